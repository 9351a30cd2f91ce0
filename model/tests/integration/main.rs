//! Tests of the library as other crates use it, in one binary so that it is linked only once. `mutations` has an
//! allocator of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod activations;
mod compat;
#[cfg(feature = "rten")]
mod engines;
mod pocket;
mod preprocess;
