//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Prints one line of setup's progress to standard error.
pub(crate) fn print_status(what: &str, state: impl std::fmt::Display) {
    eprintln!("{what:<14}{state}");
}

/// Runs a command and returns its standard output. Its output is printed only if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    let shown = display_command(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        eprint!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{shown}` failed with {}", output.status);
    }
    Ok(stdout)
}

/// A command with the same program, arguments, environment and working directory.
pub(crate) fn copy(command: &Command) -> Command {
    let mut copied = Command::new(command.get_program());
    copied.args(command.get_args());
    adopt(&mut copied, command);
    copied
}

/// Gives a command the environment and the working directory of another one.
pub(crate) fn adopt(command: &mut Command, from: &Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(dir) = from.get_current_dir() {
        command.current_dir(dir);
    }
}

/// The command line, for messages.
pub(crate) fn display_command(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The first of these programs that PATH has.
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| which::which(name).ok())
}

/// npm is a script on Windows, which `Command` starts only by its full name.
pub(crate) fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// The cargo that runs this task, in the workspace root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` sets these. Passed on, they would make cargo rebuild the crates that read them.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(root);
    command
}

/// The Python interpreter: `LANDFALL_PYTHON`, else the platform's usual name. From 3.11 on it does not import modules
/// from the current directory.
pub(crate) fn python() -> Command {
    let default = if cfg!(windows) { "python" } else { "python3" };
    let named = PathBuf::from(std::env::var_os("LANDFALL_PYTHON").unwrap_or_else(|| default.into()));
    // A path stays right in another directory; a name is looked for in PATH.
    let is_path = named.parent().is_some_and(|parent| parent != Path::new(""));
    let mut command = Command::new(if is_path { std::path::absolute(&named).unwrap_or(named) } else { named });
    command.env("PYTHONSAFEPATH", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_command_and_its_status() {
        let error = run_quietly(cargo(Path::new(".")).arg("no-such-subcommand")).unwrap_err().to_string();
        assert!(error.contains("no-such-subcommand` failed with exit"), "{error}");
        let error = run_quietly(&mut Command::new("no-such-program-at-all")).unwrap_err().to_string();
        assert_eq!(error, "cannot start `no-such-program-at-all`");
    }

    #[test]
    fn missing_programs_are_not_found() {
        assert_eq!(find_program(&["no-such-program-at-all"]), None);
    }
}
