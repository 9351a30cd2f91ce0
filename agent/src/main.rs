//! `landfall`: the command line.

use std::process::ExitCode;

use landfall_model::runtime::TELEMETRY_OFF;

// musl's own allocator returns the memory of each large tensor to the system and requests it again.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(unsafe_code, reason = "the environment must not change while another thread reads it")]
fn main() -> ExitCode {
    let (name, value) = TELEMETRY_OFF;
    // SAFETY: this is the only thread.
    unsafe { std::env::set_var(name, value) };
    landfall_agent::main()
}
