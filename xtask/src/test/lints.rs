//! Clippy and rustdoc on the workspace's crates, as they are compiled for the tests.
//!
//! `cargo clippy` and `cargo doc` share nothing with a build: they would check the workspace's 500 dependencies again,
//! for minutes. So cargo runs xtask in place of the compiler (`RUSTC_WORKSPACE_WRAPPER`), and xtask runs the compiler,
//! Clippy and rustdoc with the same arguments.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// What `cargo clippy -- -D warnings` passes to Clippy.
const CLIPPY_ARGS: &str = "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__";

/// Makes a cargo command lint and document the crates of the workspace that it compiles. Findings fail the build.
pub(crate) fn enable(command: &mut Command) -> Result<()> {
    let xtask = std::env::current_exe().context("cannot find the executable of xtask")?;
    command.env("RUSTC_WORKSPACE_WRAPPER", xtask);
    Ok(())
}

/// Whether cargo runs xtask in place of the compiler, with these arguments: those of the compiler after its path.
pub(crate) fn is_compilation(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|first| Path::new(first).file_stem() == Some(OsStr::new("rustc")))
}

/// Compiles a crate, lints it and builds its documentation, which is discarded. Returns the exit code.
pub(crate) fn compile(arguments: &[OsString]) -> Result<u8> {
    let Some((rustc, arguments)) = arguments.split_first() else { return Ok(2) };
    let arguments = &quick_to_compile(arguments);
    let status = run(Command::new(rustc).args(arguments))?;
    if !status.success() || is_query(arguments) {
        return Ok(code(status));
    }
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut clippy = Command::new("clippy-driver");
    clippy.arg(rustc).args(without(arguments, &[])).args(["--emit=metadata", "--out-dir"]).arg(scratch.path());
    let mut statuses = vec![run(clippy.env("CLIPPY_ARGS", CLIPPY_ARGS))?];
    if is_documented(arguments) {
        let mut rustdoc = Command::new("rustdoc");
        rustdoc.args(without(arguments, &["-C"])).args(["-D", "warnings", "--out-dir"]).arg(scratch.path());
        statuses.push(run(&mut rustdoc)?);
    }
    Ok(statuses.into_iter().find(|status| !status.success()).map_or(0, code))
}

/// The arguments, of tests without optimisation: it would take longer than it saves. The libraries that they link keep it.
fn quick_to_compile(arguments: &[OsString]) -> Vec<OsString> {
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let is_level = |argument: &OsString| argument.to_string_lossy().starts_with("opt-level=");
    arguments.iter().map(|it| if is_test && is_level(it) { "opt-level=0".into() } else { it.clone() }).collect()
}

fn run(command: &mut Command) -> Result<ExitStatus> {
    let program = command.get_program().display().to_string();
    command.status().with_context(|| format!("cannot start {program}: `rustup component add clippy` installs Clippy"))
}

/// A compiler that is killed has no exit code.
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Whether cargo only asks the compiler for something.
fn is_query(arguments: &[OsString]) -> bool {
    let compiles = arguments.iter().any(|argument| argument == "--crate-name");
    !compiles || arguments.iter().any(|argument| argument.to_string_lossy().starts_with("--print"))
}

/// Whether `cargo doc` would document the crate: libraries and programs.
fn is_documented(arguments: &[OsString]) -> bool {
    let is_library = arguments.windows(2).any(|pair| pair[0] == "--crate-type" && pair[1] == "lib");
    let is_test = arguments.iter().any(|argument| argument == "--test");
    !is_test && (is_library || std::env::var_os("CARGO_BIN_NAME").is_some())
}

/// The compiler's arguments for another program, without what it writes where, and without these options and their values.
fn without(arguments: &[OsString], options: &[&str]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--out-dir" || options.contains(&&*text) {
            arguments.next();
        } else if let Some(kinds) = text.strip_prefix("--json=") {
            // Cargo must hear of the compiler's own files only.
            let kinds: Vec<&str> = kinds.split(',').filter(|kind| *kind != "artifacts").collect();
            kept.push(format!("--json={}", kinds.join(",")).into());
        } else if !text.starts_with("--emit=") {
            kept.push(argument.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn compilations_are_recognised() {
        assert!(is_compilation(&words("/bin/rustc -vV")));
        assert!(!is_compilation(&words("test --all-features")) && !is_compilation(&[]));
        assert!(is_query(&words("-vV")) && is_query(&words("- --crate-name ___ --print=file-names")));
        assert!(!is_query(&words("--crate-name a a.rs")));
    }

    #[test]
    fn linters_write_elsewhere_and_tell_cargo_only_of_findings() {
        let given =
            "--crate-name a --json=diagnostic-rendered-ansi,artifacts --emit=link -C opt-level=1 --out-dir d a.rs";
        let clippy = "--crate-name a --json=diagnostic-rendered-ansi -C opt-level=1 a.rs";
        assert_eq!(without(&words(given), &[]), words(clippy));
        let rustdoc = "--crate-name a --json=diagnostic-rendered-ansi a.rs";
        assert_eq!(without(&words(given), &["-C"]), words(rustdoc));
    }

    #[test]
    fn tests_are_compiled_without_optimisation() {
        let quick = |text: &str| quick_to_compile(&words(text));
        assert_eq!(quick("a.rs -C opt-level=2 --test"), words("a.rs -C opt-level=0 --test"));
        assert_eq!(quick("a.rs -C opt-level=2"), words("a.rs -C opt-level=2"));
    }

    /// A crate that compiles, in which Clippy finds something and, with a broken link, rustdoc.
    #[test]
    fn findings_of_each_linter_fail_the_compilation() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.rs");
        let compiled = |source: &str| {
            std::fs::write(&file, source).unwrap();
            let mut arguments = words("rustc --crate-name a --edition=2024 --crate-type lib --emit=metadata --out-dir");
            arguments.extend([folder.path().into(), file.clone().into()]);
            compile(&arguments).unwrap()
        };
        assert_eq!(compiled("//! A crate."), 0);
        assert_ne!(compiled("//! See [`nothing`]."), 0);
        assert_ne!(compiled("//! A crate.\n/// Zero.\npub fn zero(x: usize) -> bool { x.clone() == 0 }"), 0);
    }
}
