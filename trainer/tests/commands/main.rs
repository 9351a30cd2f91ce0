//! `landfall-train` as a person types it, on real files and against servers that speak the services' own protocols.
//!
//! One program, so that it is compiled and linked once.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is wrong")]

#[cfg(feature = "cluster")]
mod cluster;
mod collect;
mod dataset;
mod finetune;
mod measure;
mod path;
