//! `landfall-train`: trains a bundle from geotagged photographs.

use std::process::ExitCode;

// A training step allocates and frees large tensors; with the system allocator, half of its time is spent on requesting
// and returning their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    landfall_trainer::cli::main()
}
