//! Data sets: the index and its images, and how both are built.

pub(crate) mod build;
#[cfg(feature = "cluster")]
pub(crate) mod engine;
pub(crate) mod images;
pub(crate) mod index;
pub(crate) mod split_rules;
