//! What commands print on standard output: lines for people, and texts for programs.

use std::io::Write;

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_common::text::sanitize;

/// A value as JSON, as [`print_text`].
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_text(&serde_json::to_string_pretty(value)?)
}

/// A line for people on standard output, as [`print_text`].
pub(super) fn print_line(line: impl std::fmt::Display) -> Result<()> {
    print_text(&sanitize(line))
}

/// A text as it is on standard output. Nobody listening any more, as behind `| head`, is no error.
pub(super) fn print_text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(environment_error(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
