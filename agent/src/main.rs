//! `landfall`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall_agent::main()
}
