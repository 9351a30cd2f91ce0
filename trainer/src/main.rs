//! `landfall-train`: from geotagged photographs to a bundle.

use std::process::ExitCode;

// A training step allocates and frees large tensors: with the system's allocator half of its time goes into requesting
// their pages and returning them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    landfall_trainer::cli::main()
}
