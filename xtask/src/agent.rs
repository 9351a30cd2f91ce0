//! Building and running the agent, `landfall`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

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

/// Builds the agent in release mode. Cargo's messages name the executable, whatever the target directory is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(["build", "--release", "--package", "landfall-agent", "--bin", "landfall"]);
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
