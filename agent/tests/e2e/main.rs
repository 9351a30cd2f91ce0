//! End-to-end tests: whole games and commands in a real Chromium, against the arena and against test pages.
//!
//! All of them are in one binary so that it is linked only once. `cargo xtask test` sets how many browsers run in
//! parallel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod arena;
mod browsers;
mod cli;
mod compat;
mod fair;
mod faults;
mod frames;
mod installation;
mod leaks;
mod live;
mod look;
mod maps;
mod out;
mod photos;
mod play;
mod probe;
mod records;
mod report;
mod serve;
mod versus;

/// Directory of the recorded rounds that are part of the repository.
fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}
