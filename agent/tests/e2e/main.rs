//! Whole games and commands, in a real Chromium, against the arena and against pages that the tests write.
//!
//! One program: it is linked once, and several browsers play at a time: `cargo xtask test` says how many.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod arena;
mod browsers;
mod cli;
mod compat;
mod fair;
mod faults;
mod frames;
mod leaks;
mod live;
mod look;
mod maps;
mod out;
mod play;
mod probe;
mod report;
mod serve;
mod versus;

/// The rounds that come with the project.
fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}
