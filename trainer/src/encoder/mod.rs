//! Encoders: the small convolutional network of the pocket bundle, and the commands that train and compress encoders.

pub(crate) mod depthwise;
pub(crate) mod distill_pool;
pub(crate) mod finetune;
pub(crate) mod lite;
pub(crate) mod padding;
pub(crate) mod quantise;
pub(crate) mod shrink;
pub(crate) mod truncate;
