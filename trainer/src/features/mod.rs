//! Embeddings of images, cached on disk, and the samples made from them.

pub(crate) mod embed;
pub(crate) mod encoder_spec;
pub(crate) mod merge;
pub(crate) mod samples;
pub(crate) mod store;
