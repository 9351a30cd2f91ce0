//! `landfall`: the command line.

mod cli;

use std::process::ExitCode;

use landfall_agent::browser::Running;
use landfall_agent::failure;
use landfall_agent::plain::say;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("landfall: cannot start: {error}");
            return ExitCode::from(3);
        }
    };
    let result = runtime.block_on(async {
        // Looked for while the command still runs: once it is dropped its drivers go, and leave their browsers behind.
        let stopped = async { tokio::signal::ctrl_c().await.map(|()| Running::now()).unwrap_or_default() };
        tokio::select! {
            result = cli::run() => Ok(result),
            browsers = stopped => Err(browsers),
        }
    });
    // The driver that a session started is stopped by its guard, which must run before the process ends.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            say(format!("landfall: {}", failure::sentence(&error)));
            ExitCode::from(failure::exit_code(&error))
        }
        Err(browsers) => {
            browsers.end();
            ExitCode::from(130) // Ctrl-C; what was recorded until then stays
        }
    }
}
