//! Building and running the agent, `landfall`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::command::{cargo, print_status};

/// The agent's executable.
pub(crate) struct Agent {
    file: PathBuf,
}

impl Agent {
    /// Builds the agent in release mode.
    pub(crate) fn build(root: &Path) -> Result<Self> {
        let mut command = cargo(root);
        command.args(["build", "--release", "--package", "landfall-agent", "--bin", "landfall"]);
        Self::build_with(&mut command)?.ok_or_else(|| anyhow!("landfall-agent does not build; the errors are above"))
    }

    /// Builds the agent by a command of cargo that builds it among others. `None` if something does not build.
    pub(crate) fn build_with(command: &mut Command) -> Result<Option<Self>> {
        command.arg("--message-format=json-render-diagnostics");
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            return Ok(None);
        }
        // Cargo's messages name the executable, whatever the target directory is.
        let file = executable(&String::from_utf8_lossy(&output.stdout));
        Ok(Some(Self { file: file.ok_or_else(|| anyhow!("cargo reported no executable called landfall"))? }))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The command `landfall`.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.file)
    }

    /// Runs `landfall play` in the current directory. Returns its exit code.
    pub(crate) fn play(&self, arguments: &[OsString]) -> Result<u8> {
        let status = self.command().arg("play").args(arguments).status();
        let status = status.with_context(|| format!("cannot start {}", self.file.display()))?;
        let code = status.code().ok_or_else(|| anyhow!("landfall play was killed: {status}"))?;
        // Exit codes above 255 exist on Windows and never mean success.
        Ok(u8::try_from(code).unwrap_or(3))
    }

    /// Runs `landfall setup` for these bundles (all, if none is named), and puts ONNX Runtime into the checkout, where it is
    /// found whatever the cache directory is.
    pub(crate) fn set_up(&self, root: &Path, bundles: &[&str]) -> Result<()> {
        let mut setup = self.command();
        setup.args(["setup", "--json"]).args(bundles.iter().flat_map(|name| ["--bundle", name]));
        let report = self.json(&mut setup)?;
        let parts = report["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let runtime = parts.iter().find(|part| part["what"] == "ONNX Runtime");
        let runtime = runtime.and_then(|part| part["file"].as_str()).map(Path::new);
        let is_named = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|named| !named.is_empty());
        match runtime {
            Some(file) if !is_named => copy_runtime(file, &root.join(".runtime")),
            _ => Ok(()),
        }
    }

    /// Modification time of the newest encoder that was computed from another bundle's.
    pub(crate) fn newest_computed(&self) -> Result<Option<SystemTime>> {
        let modified = |file: PathBuf| file.metadata().ok()?.modified().ok();
        Ok(self.encoders()?.into_iter().filter(|(.., is_computed)| *is_computed).filter_map(|it| modified(it.1)).max())
    }

    /// Path of the encoder of a bundle.
    pub(crate) fn encoder(&self, bundle: &str) -> Result<PathBuf> {
        let encoder = self.encoders()?.into_iter().find(|(name, ..)| name == bundle);
        Ok(encoder.ok_or_else(|| anyhow!("there is no bundle {bundle}"))?.1)
    }

    /// Of each bundle the name, the path of the encoder, and whether it is computed from another one.
    fn encoders(&self) -> Result<Vec<(String, PathBuf, bool)>> {
        let list = self.json(self.command().args(["bundle", "list", "--json"]))?;
        let encoder = |bundle: &Value| {
            // The encoder is the last file.
            let file = bundle["files"].as_array()?.last()?;
            Some((bundle["name"].as_str()?.to_owned(), file["path"].as_str()?.into(), file["origin"] == "computed"))
        };
        Ok(list.as_array().into_iter().flatten().filter_map(encoder).collect())
    }

    /// The JSON that a command of the agent prints. Its messages are shown.
    fn json(&self, command: &mut Command) -> Result<Value> {
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start {}", self.file.display()))?;
        if !output.status.success() {
            bail!("`landfall {}` failed with {}", display_arguments(command), output.status);
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the output of `landfall {}` is not JSON", display_arguments(command)))
    }
}

fn display_arguments(command: &Command) -> String {
    command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Copies the library into a folder of the checkout, unless it is there.
fn copy_runtime(file: &Path, folder: &Path) -> Result<()> {
    let target = folder.join(file.file_name().unwrap_or_default());
    let length = |file: &Path| file.metadata().map(|metadata| metadata.len()).ok();
    if length(&target) == length(file) {
        return Ok(());
    }
    let failed = || format!("cannot write {}", target.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    // Under another name until it is complete.
    let part = target.with_extension("part");
    std::fs::copy(file, &part).with_context(failed)?;
    std::fs::rename(&part, &target).with_context(failed)?;
    print_status("onnxruntime", target.display());
    Ok(())
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
    fn incomplete_runtime_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, target) = (folder.path().join("lib.so"), folder.path().join("checkout"));
        std::fs::write(&file, b"12345").unwrap();
        copy_runtime(&file, &target).unwrap();
        std::fs::write(target.join("lib.so"), b"1234").unwrap();
        copy_runtime(&file, &target).unwrap();
        assert_eq!(std::fs::read(target.join("lib.so")).unwrap(), b"12345");
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
        // It is the one that was found.
        copy_runtime(&target.join("lib.so"), &target).unwrap();
    }

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
