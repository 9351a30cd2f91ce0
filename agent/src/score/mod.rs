//! Score laws of pages: points by distance, as a formula that a profile states.
//!
//! A formula decides pins, so its functions come from `libm`, which gives the same answers on all platforms.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod expression;
mod law;

pub(crate) use law::{SIZE_KM, ScoreLaw};
