//! Standard output: sanitised lines for people, and data for programs.

use std::io::Write;

use anyhow::Result;
use landfall_common::exit::{check_failed, environment_error};
use landfall_common::text::{eprint_sanitized, sanitize, sanitize_line};

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

/// Says what a command on recorded rounds had to leave out, after it did its work on the others.
///
/// # Errors
/// A failed check, when something was left out.
pub(super) fn check_complete(left_out: &[String]) -> Result<()> {
    left_out.iter().for_each(|why| eprint_sanitized(format!("landfall: left out: {}", sanitize_line(why))));
    match left_out.len() {
        0 => Ok(()),
        n => Err(check_failed(format!("{n} left out, see above; the rest was done"))),
    }
}
