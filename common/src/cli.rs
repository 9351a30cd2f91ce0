//! What both command lines share: verbosity and logging, durations, shell completions and man pages.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::Shell;
use landfall_model::Prior;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoLocal;

use crate::exit::{environment_error, usage_error};

/// The environment variable with the log filter.
pub const LOG_VARIABLE: &str = "LANDFALL_LOG";

/// How much is logged.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Log what is done to standard error; -vv logs details
    ///
    /// LANDFALL_LOG takes a filter in the syntax of `tracing-subscriber`, as in `landfall_agent::browser=trace`, and
    /// overrides this option.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Logging")]
    pub verbose: u8,
}

/// Starts logging to standard error: warnings only, with -v also information, with -vv also debug messages of our own
/// crates. Standard output is left to results.
///
/// # Errors
/// A usage error when `LANDFALL_LOG` is not a valid filter.
pub fn init_logging(verbosity: Verbosity) -> Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(filter) if !filter.trim().is_empty() => EnvFilter::try_new(&filter)
            .with_context(|| usage_error(format!("{LOG_VARIABLE}: `{filter}` is not a valid log filter")))?,
        _ => EnvFilter::new(default_filter(verbosity.verbose)),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_timer(ChronoLocal::new("%H:%M:%S%.3f".into()))
        .with_target(verbosity.verbose > 1)
        .try_init();
    // Fails only if a subscriber is already set, as in tests that run several commands in one process.
    _ = started;
    Ok(())
}

/// Enables logs of our own crates only: dependencies log request headers and the like, which may hold secrets, and the
/// WebDriver client logs a harmless warning when a signal ends its session: the browser is also being stopped. The MCP server
/// quotes refused messages, which may hold a picture, in warnings.
fn default_filter(verbose: u8) -> String {
    let level = ["warn", "info", "debug"].get(usize::from(verbose)).unwrap_or(&"trace");
    let ours = ["landfall", "landfall_agent", "landfall_trainer", "landfall_model", "landfall_common"];
    let ours: Vec<String> = ours.iter().map(|target| format!("{target}={level}")).collect();
    format!("warn,thirtyfour=error,rmcp=error,{}", ours.join(","))
}

/// Parses a duration: `90s`, `2m`, `1h 30m`, or a plain number of seconds.
///
/// # Errors
/// When the text is not a duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is not a duration: use 90s or 2m"));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}: use 90s or 2m"))
}

/// Parses the name of a prior.
pub fn prior_parser() -> impl TypedValueParser<Value = Prior> {
    PossibleValuesParser::new(Prior::ALL.map(Prior::name)).try_map(|name| name.parse::<Prior>())
}

/// Prints the completion script for a shell to standard output.
pub fn print_completions<C: CommandFactory>(shell: Shell) {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    // A reader that closes the pipe early, such as `head`, has what it wanted.
    _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
}

/// Writes one man page per command to a folder, which is created if missing.
///
/// # Errors
/// An environment error when a page cannot be written.
pub fn write_man_pages<C: CommandFactory>(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(C::command(), folder))
        .with_context(|| environment_error(format!("cannot write man pages to {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, seconds) in
            [("90s", 90.0), ("2m", 120.0), ("1h 30m", 5400.0), ("45", 45.0), ("0.5", 0.5), ("250ms", 0.25)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "soon", "-3", "NaN", "5 parsecs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn more_v_log_more_of_our_own_crates_and_never_more_of_others() {
        for (verbose, level) in [(0, "warn"), (1, "info"), (2, "debug"), (9, "trace")] {
            let filter = default_filter(verbose);
            assert!(
                filter.starts_with("warn,thirtyfour=error,rmcp=error,")
                    && filter.contains(&format!("landfall_agent={level}")),
                "{filter}"
            );
            assert!(EnvFilter::try_new(&filter).is_ok());
        }
    }
}
