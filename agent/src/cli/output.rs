//! Standard output: sanitised lines for people, and data for programs. Files to write: checked before the work.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::{check_failed, environment_error, usage_error};
use landfall_common::fs::temporary_file_in;
use landfall_common::text::{eprint_sanitized, escape_json, sanitize, sanitize_line};

/// Standard output was closed by its reader, as by `| head`. The command ends early and without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct OutputClosed;

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_text(&escape_json(&serde_json::to_string_pretty(value)?))
}

/// Prints a value as one line of JSON.
pub(super) fn print_json_line(value: &impl serde::Serialize) -> Result<()> {
    print_text(&escape_json(&serde_json::to_string(value)?))
}

/// Prints a line, sanitised.
pub(super) fn print_line(line: impl std::fmt::Display) -> Result<()> {
    print_text(&sanitize(line))
}

/// Prints text unchanged.
///
/// # Errors
/// [`OutputClosed`], which is not a failure, and an environment error.
pub(super) fn print_text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(environment_error(format!("cannot print: {error}"))),
    }
}

/// Checks that a file can be written later, so that a mistake is reported before the work and not after it.
///
/// # Errors
/// When its directory does not exist or is not writable, or the file is a directory or its name is too long.
pub(super) fn check_output_file(file: &Path) -> Result<()> {
    let unusable = |reason: &str| usage_error(format!("{}: cannot be written: {reason}", file.display()));
    match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => return Err(unusable("it is a directory")),
        Ok(found) if !found.is_file() => return Err(unusable("it is not a regular file")),
        Ok(found) if found.permissions().readonly() => return Err(unusable("it is read-only")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(&error.to_string())),
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(unusable(&format!("there is no directory {}", folder.display())));
    }
    check_writable(folder)
}

/// Checks that files can be written later in a directory that may have to be created.
///
/// # Errors
/// When it is not a directory, or it or the directory to create it in is not writable.
pub(super) fn check_output_dir(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir).with_context(|| usage_error("the directory to write has no name"))?;
    let existing = dir.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(&dir);
    if !existing.is_dir() {
        return Err(usage_error(format!("{}: cannot be written: it is not a directory", existing.display())));
    }
    check_writable(existing)
}

fn check_writable(folder: &Path) -> Result<()> {
    let created = temporary_file_in(folder).map(drop);
    // Without the name of the temporary file, which says nothing to the user.
    let failed = |error: std::io::Error| {
        environment_error(format!("cannot create files in the directory {}: {}", folder.display(), error.kind()))
    };
    created.map_err(failed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_written_are_refused_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file.csv"), "old").unwrap();
        check_output_file(&path("file.csv")).unwrap();
        std::fs::write(path("kept.csv"), "old").unwrap();
        let mut permissions = std::fs::metadata(path("kept.csv")).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(path("kept.csv"), permissions).unwrap();
        check_output_file(&path("new.csv")).unwrap();
        check_output_file(&path(&("x".repeat(251) + ".csv"))).unwrap();
        check_output_dir(&path("new/folder")).unwrap();
        for (file, reason) in [
            (dir.path().to_owned(), "is a directory"),
            (path("no/such/x.csv"), "there is no directory"),
            (path("file.csv/x.csv"), "cannot be written"),
            (path(&("x".repeat(252) + ".csv")), "cannot be written"),
            (Path::new("/dev/null").to_owned(), "not a regular file"),
            (path("kept.csv"), "it is read-only"),
        ] {
            let error = check_output_file(&file).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(check_output_dir(&path("file.csv/copies")).unwrap_err().to_string().contains("not a directory"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
