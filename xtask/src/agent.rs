//! Building and running the agent, `landfall`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::command::cargo;

/// Build the agent and run `landfall play` where the user stands. Returns its exit code.
pub(crate) fn play(root: &Path, arguments: &[OsString]) -> Result<u8> {
    let agent = build(root)?;
    let status = Command::new(&agent)
        .arg("play")
        .args(arguments)
        .status()
        .with_context(|| format!("{} could not be started", agent.display()))?;
    let code = status.code().ok_or_else(|| anyhow!("landfall play was stopped: {status}"))?;
    // Windows has wider codes; none of them means "done".
    Ok(u8::try_from(code).unwrap_or(3))
}

/// Build the agent in release mode; cargo itself says where the program is, whatever its target directory.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(["build", "--release", "--package", "landfall-agent", "--bin", "landfall"]);
    command.arg("--message-format=json-render-diagnostics");
    let output = command.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("landfall-agent does not build");
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| anyhow!("cargo built no program called landfall"))
}

/// The program among cargo's messages, one JSON object a line.
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
    fn the_program_is_found_among_the_messages() {
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
