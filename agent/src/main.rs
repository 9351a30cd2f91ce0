//! `landfall`: the command line.

mod cli;

use std::process::ExitCode;

use landfall_agent::failure;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("landfall: cannot start: {error}");
            return ExitCode::from(3);
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = cli::run() => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    let browsers = landfall_agent::browser::running();
    // The driver that a session started is stopped by its guard, which must run before the process ends.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    browsers.into_iter().for_each(landfall_agent::browser::kill);
    match result {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("landfall: {}", failure::sentence(&error));
            ExitCode::from(failure::exit_code(&error))
        }
        None => ExitCode::from(130), // Ctrl-C; what was recorded until then stays
    }
}
