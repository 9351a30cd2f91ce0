//! A step that runs beside others, for what they leave of the processor.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Counts, ParseSummary, print_lines};
use crate::command::{adopt, display_command, find_program};

/// A running step. Its output is kept until [`wait`](Self::wait), so that it does not mix with that of other steps.
/// Dropping it ends it.
pub(super) struct Background {
    shown: String,
    child: Child,
    output: File,
    start: Instant,
    parse_summary: Option<ParseSummary>,
}

/// How a step ended.
pub(super) struct Ended {
    pub(super) shown: String,
    pub(super) duration: Duration,
    pub(super) success: bool,
    pub(super) counts: Option<Counts>,
}

impl Background {
    /// Starts a command with the lowest priority, where the system has one.
    pub(super) fn start(command: &Command, parse_summary: Option<ParseSummary>) -> Result<Self> {
        let shown = display_command(command);
        println!("beside the next step: $ {shown}");
        let mut started = match find_program(&["nice"]) {
            Some(nice) => {
                let mut niced = Command::new(nice);
                niced.args(["-n", "19"]).arg(command.get_program());
                niced
            }
            None => Command::new(command.get_program()),
        };
        started.args(command.get_args());
        adopt(&mut started, command);
        let output = tempfile::tempfile().context("cannot create a temporary file")?;
        let (stdout, stderr) = (output.try_clone()?, output.try_clone()?);
        let child = started.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let child = child.with_context(|| format!("cannot start `{shown}`"))?;
        Ok(Self { shown, child, output, start: Instant::now(), parse_summary })
    }

    /// Whether it must run at least one test.
    pub(super) fn has_tests(&self) -> bool {
        self.parse_summary.is_some()
    }

    /// Waits for the end and prints the output.
    pub(super) fn wait(mut self) -> Result<Ended> {
        let success = self.child.wait()?.success();
        println!("$ {}", self.shown);
        self.output.seek(SeekFrom::Start(0))?;
        let counts = print_lines(&self.output, self.parse_summary).context("cannot read the output of a step")?;
        Ok(Ended { shown: std::mem::take(&mut self.shown), duration: self.start.elapsed(), success, counts })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::test::libtest;

    #[test]
    fn output_of_both_streams_is_kept_and_counted() {
        let mut command = Command::new("sh");
        let script = "echo \"$GREETING\"; echo 'test result: ok. 2 passed; 1 failed; 0 ignored' >&2; exit 1";
        command.args(["-c", script]).env("GREETING", "hello").env_remove("HOME");
        let ended = Background::start(&command, Some(libtest)).unwrap().wait().unwrap();
        assert_eq!((ended.success, ended.counts), (false, Some(Counts { passed: 2, failed: 1 })));
        assert!(ended.shown.starts_with("sh -c"), "{}", ended.shown);
    }
}
