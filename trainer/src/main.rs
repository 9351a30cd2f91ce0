//! `landfall-train`: trains a bundle from geotagged photographs.

use std::process::ExitCode;

use landfall_model::runtime::TELEMETRY_OFF;

// A training step allocates and frees large tensors; with the system allocator, half of its time is spent on requesting
// and returning their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(unsafe_code, reason = "the environment must not change while another thread reads it")]
fn main() -> ExitCode {
    let (name, value) = TELEMETRY_OFF;
    // SAFETY: this is the only thread.
    unsafe { std::env::set_var(name, value) };
    landfall_trainer::cli::main()
}
