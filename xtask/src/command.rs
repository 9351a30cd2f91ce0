//! Running other programs: quietly, with their output shown only when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// One line of set-up's report.
pub(crate) fn say(what: &str, state: impl std::fmt::Display) {
    eprintln!("{what:<14}{state}");
}

/// Run to the end and give its standard output; when it fails, show everything it said first.
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{shown}` could not be started"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        eprint!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{shown}` failed with {}", output.status);
    }
    Ok(stdout)
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The first of these programs on PATH.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| program(folder, name)).find(|file| file.is_file()))
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A command for a program that may be a script on Windows (`npm.cmd`).
pub(crate) fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// The cargo that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set for us by `cargo run`; handed down they would make cargo rebuild crates that look at them.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(root);
    command
}

/// The Python to use: `LANDFALL_PYTHON`, else the usual name.
pub(crate) fn python() -> Command {
    let usual = if cfg!(windows) { "python" } else { "python3" };
    Command::new(std::env::var_os("LANDFALL_PYTHON").unwrap_or_else(|| usual.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_command_and_its_status() {
        let error = quiet(cargo(Path::new(".")).arg("no-such-subcommand")).unwrap_err().to_string();
        assert!(error.contains("no-such-subcommand` failed with exit"), "{error}");
        let error = quiet(&mut Command::new("no-such-program-at-all")).unwrap_err().to_string();
        assert_eq!(error, "`no-such-program-at-all` could not be started");
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert_eq!(on_path(&["no-such-program-at-all"]), None);
    }
}
