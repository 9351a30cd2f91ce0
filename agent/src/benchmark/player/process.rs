//! The process of a player: started without a shell, and ended with all that it started.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::fs::open_append;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A program with its arguments.
#[derive(Debug)]
pub(super) struct CommandLine {
    program: String,
    arguments: Vec<String>,
    /// File that gets the program's standard error.
    log: PathBuf,
}

/// A running program.
pub(super) struct PlayerProcess(pub Child);

/// A program that never ends takes its whole process group with it.
impl Drop for PlayerProcess {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        _ = self.0.start_kill();
    }
}

impl CommandLine {
    /// Splits a command line as a shell does.
    ///
    /// # Errors
    /// When quotes are not closed, or it is empty.
    pub(super) fn parse(text: &str, log: PathBuf) -> Result<Self> {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let mut words = words
            .ok_or_else(|| usage_error(format!("`{text}` is not a command line: is a quote not closed?")))?
            .into_iter();
        Ok(Self { program: words.next().unwrap_or_default(), arguments: words.collect(), log })
    }

    /// # Errors
    /// An environment error when the program cannot be started.
    pub(super) fn start(&self) -> Result<(PlayerProcess, ChildStdin, ChildStdout)> {
        let log = open_append(&self.log)
            .with_context(|| environment_error(format!("cannot write {}", self.log.display())))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let cannot_start = || environment_error(format!("cannot start the player `{}`", self.program));
        let mut process = PlayerProcess(command.spawn().with_context(cannot_start)?);
        let (stdin, stdout) = (process.0.stdin.take(), process.0.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).with_context(cannot_start)?;
        Ok((process, stdin, stdout))
    }
}
