//! Embeddings of images, cached on disk, the samples made from them, and galleries.

pub(crate) mod embed;
pub(crate) mod encoder_spec;
pub(crate) mod gallery;
pub(crate) mod merge;
pub(crate) mod samples;
pub(crate) mod store;
