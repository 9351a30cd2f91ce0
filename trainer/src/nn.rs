//! Networks in burn: the small convolutional encoder of the pocket bundle.

pub mod channels_last;
pub mod lite;
