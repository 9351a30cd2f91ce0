//! Standard output: sanitised lines for people, and data for programs.

use std::io::Write;

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_common::text::sanitize;

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_text(&serde_json::to_string_pretty(value)?)
}

/// Prints a line, sanitised.
pub(super) fn print_line(line: impl std::fmt::Display) -> Result<()> {
    print_text(&sanitize(line))
}

/// Prints text unchanged. A closed pipe, as with `| head`, is not an error.
pub(super) fn print_text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(environment_error(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
