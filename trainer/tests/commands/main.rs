//! End-to-end tests of `landfall-train`, with real files and stub servers that implement the services' protocols.
//!
//! All tests are one binary, so that it is compiled and linked once.

#![allow(clippy::unwrap_used, reason = "a test may panic on errors")]

#[cfg(feature = "cluster")]
mod cluster;
mod collect;
mod dataset;
mod finetune;
mod measure;
mod path;
mod shrink;
