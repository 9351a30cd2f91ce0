//! Exit codes of both programs, and errors that know theirs.

use std::error::Error as StdError;

use landfall_model as model;

/// Exit codes. The same table holds for `landfall` and `landfall-train`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to.
    Success = 0,
    /// A check failed, as in `replay --against` when a score differs.
    CheckFailed = 1,
    /// The command line, or a file that the user named, cannot be used.
    Usage = 2,
    /// The machine, the browser or the network failed, or something is not installed.
    Environment = 3,
    /// Stopped by SIGHUP, as when the terminal closes: 128 + 1.
    HungUp = 129,
    /// Stopped by Ctrl-C (SIGINT): 128 + 2.
    Interrupted = 130,
    /// Stopped by SIGTERM: 128 + 15.
    Terminated = 143,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit codes as `--help` lists them.
pub const HELP: &str = "Exit codes: 0 success, 1 check failed, 2 usage error, 3 environment error, 129 hung up \
                        (SIGHUP), 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).";

/// Whether this process was started with SIGHUP ignored, as `nohup` does: then it must stay ignored. Known on Linux only.
pub fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status) & 1 != 0 // the lowest bit is signal 1
}

/// The mask of ignored signals in a `/proc/PID/status`.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// An error message with its exit code.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for CliError {}

/// A failed check: exit code 1.
pub fn check_failed(message: impl Into<String>) -> anyhow::Error {
    CliError { exit: Exit::CheckFailed, message: message.into() }.into()
}

/// A usage error: exit code 2.
pub fn usage_error(message: impl Into<String>) -> anyhow::Error {
    CliError { exit: Exit::Usage, message: message.into() }.into()
}

/// An environment error: exit code 3.
pub fn environment_error(message: impl Into<String>) -> anyhow::Error {
    CliError { exit: Exit::Environment, message: message.into() }.into()
}

/// An interruption by a signal: Ctrl-C, SIGTERM or SIGHUP.
pub fn interrupted(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    CliError { exit, message: message.into() }.into()
}

/// Classifies errors of libraries that only one program uses.
pub type Classify = fn(&(dyn StdError + 'static)) -> Option<Exit>;

/// The exit code of an error: that of the outermost cause that has one, [`Exit::Usage`] if none has.
pub fn exit_code(error: &anyhow::Error, classify: Classify) -> Exit {
    // A `CliError` added with `.context(…)` is an `anyhow::Error` inside the context and not a link of the chain.
    if let Some(context) = error.downcast_ref::<anyhow::Error>() {
        return exit_code(context, classify);
    }
    let known = error.chain().find_map(|cause| {
        cause
            .downcast_ref::<CliError>()
            .map(|error| error.exit)
            .or_else(|| cause.downcast_ref().map(of_model))
            .or_else(|| classify(cause))
    });
    known.unwrap_or(Exit::Usage)
}

fn of_model(error: &model::Error) -> Exit {
    use model::Error::{EmptyImage, Exif, Image, NoImages, UnknownBundle};
    match error {
        UnknownBundle { .. } | Image { .. } | EmptyImage { .. } | NoImages | Exif { .. } => Exit::Usage,
        _ => Exit::Environment,
    }
}

/// What to do about an error whose library cannot know: how this repository's files are restored or installed.
pub fn hint(error: &anyhow::Error) -> Option<&'static str> {
    use model::Error::{
        Cells, Checksum, EncoderNotInstalled, Manifest, Network, RuntimeLoad, RuntimeNeeded, RuntimeNotFound,
    };
    error.chain().find_map(|cause| match cause.downcast_ref::<model::Error>()? {
        EncoderNotInstalled { .. } => Some("`landfall setup` downloads it; in a checkout, `cargo xtask setup` does"),
        RuntimeNotFound { .. } | RuntimeNeeded { .. } if model::runtime::IS_STATIC => {
            Some("this program is statically linked and can use only the bundle pocket; other builds load ONNX Runtime")
        }
        RuntimeNotFound { .. } | RuntimeNeeded { .. } | RuntimeLoad { .. } => {
            Some(
                "`landfall setup` installs ONNX Runtime (in a checkout, `cargo xtask setup`); or set ORT_DYLIB_PATH to the \
                 path of its library",
            )
        }
        Checksum { .. } => {
            Some(
                "`landfall setup` replaces what it had downloaded; other files come with the release, and in a checkout from \
                 `git checkout model/bundles`",
            )
        }
        Manifest { .. } | Cells { .. } | Network { .. } => Some(
            "restore the bundle from the release; in a checkout, `git checkout model/bundles` does",
        ),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_a_process() {
        assert_eq!(ignored_signals("Name:\tlandfall\nSigIgn:\t0000000000001001\nSigCgt:\t0"), 0x1001);
        assert_eq!(ignored_signals("SigIgn:\tnonsense"), 0);
        assert_eq!(ignored_signals(""), 0);
    }

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        let io = || std::io::Error::other("disk full");
        let table: [(&str, anyhow::Error, Exit); 8] = [
            ("check", check_failed("differs"), Exit::CheckFailed),
            ("usage", usage_error("no such map"), Exit::Usage),
            ("environment", environment_error("no browser"), Exit::Environment),
            ("signal", interrupted(Exit::Terminated, "stopped"), Exit::Terminated),
            ("context added", check_failed("differs").context("round 2"), Exit::CheckFailed),
            (
                "context with a code",
                Err::<(), _>(io()).context(environment_error("cannot write")).context("game 2").unwrap_err(),
                Exit::Environment,
            ),
            ("library", io().into(), Exit::CheckFailed),
            ("unknown", anyhow::anyhow!("unknown"), Exit::Usage),
        ];
        let classify: Classify = |cause| cause.is::<std::io::Error>().then_some(Exit::CheckFailed);
        for (name, error, exit) in table {
            assert_eq!(exit_code(&error, classify), exit, "{name}: {error:#}");
        }
    }
}
