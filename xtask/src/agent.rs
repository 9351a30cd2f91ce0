//! Building and running the agent, `landfall`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::bundles;
use crate::command::cargo;

/// Builds the agent and runs `landfall play` in the current directory. Returns its exit code.
pub(crate) fn play(root: &Path, arguments: &[OsString]) -> Result<u8> {
    let agent = build(root)?;
    let status = Command::new(&agent)
        .arg("play")
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", agent.display()))?;
    let code = status.code().ok_or_else(|| anyhow!("landfall play was killed: {status}"))?;
    // Exit codes above 255 exist on Windows and never mean success.
    Ok(u8::try_from(code).unwrap_or(3))
}

/// Builds the agent in release mode.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    build_with(root, &RELEASE)
}

/// Computes encoders that are derived from those of other bundles, with an agent built with these options.
pub(crate) fn derive_encoders(root: &Path, options: &[&str]) -> Result<()> {
    if !bundles::lack_derived(root)? {
        return Ok(());
    }
    let agent = build_with(root, options)?;
    let status = Command::new(&agent).arg("derive").status();
    let status = status.with_context(|| format!("cannot start {}", agent.display()))?;
    if !status.success() {
        bail!("`landfall derive` failed with {status}");
    }
    Ok(())
}

/// The options with which [`build`] builds.
pub(crate) const RELEASE: [&str; 3] = ["--release", "--package", "landfall-agent"];
/// The options with which tests are built, so that little is compiled twice.
pub(crate) const CHECKED: [&str; 3] = ["--profile", "checked", "--workspace"];

/// Cargo's messages name the executable, whatever the target directory is.
fn build_with(root: &Path, options: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.arg("build").args(options).args(["--bin", "landfall"]);
    command.arg("--message-format=json-render-diagnostics");
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("landfall-agent does not build; the compiler's errors are above");
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| anyhow!("cargo reported no executable called landfall"))
}

/// The path of the executable in cargo's output, which has one JSON message per line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "landfall").then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_in_cargo_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"landfall"},"executable":"/t/release/landfall"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        assert_eq!(executable(messages), Some("/t/release/landfall".into()));
        assert_eq!(executable(r#"{"reason":"build-finished"}"#), None);
    }
}
