//! Networks in burn: the small convolutional encoder of the pocket bundle.

pub mod channels_last;
#[cfg(any(test, feature = "gpu"))]
mod composed;
pub mod lite;
pub(crate) mod padding;
