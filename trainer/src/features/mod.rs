//! An encoder's embeddings of pictures, cached on disk, and the samples made of them.

pub(crate) mod embed;
pub(crate) mod encoder_spec;
pub(crate) mod merge;
pub(crate) mod samples;
pub(crate) mod store;
