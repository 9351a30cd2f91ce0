//! `cargo xtask`: development tasks of the workspace.
//!
//! Standard output belongs to the program that a task runs (`play -- --json` prints only the agent's JSON); messages of
//! xtask itself go to standard error.

mod agent;
mod bench;
mod browser;
mod command;
mod dist;
mod fixtures;
mod page;
mod test;
mod wasm;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::agent::Agent;

const USAGE: &str = "\
Run a development task of the Landfall workspace

Usage: cargo xtask <COMMAND>

Commands:
  setup [--all-browsers]
                  Install what is missing: Chromium, ONNX Runtime and the encoders (with `landfall setup`), the web pages.
                  --all-browsers adds Firefox with geckodriver and WebKitGTK with Xvfb, in which the page's tests then
                  run too
  play [--] ARGS  Set up, build in release mode and run `landfall play ARGS`
  test [--all-features]
                  Set up and run every check and test. --all-features includes lints that a small machine skips
  fixtures        Record the views and logits of the fixtures and rewrite expected.json
  wheel [--] ARGS Build the Python package as a wheel in python/dist and test it in a clean virtual environment; ARGS are
                  passed to maturin
  wasm            Build the model crate as WebAssembly into web-demo/src/engine
  bench [--against LANDFALL]
                  Measure the bundles on one thread, beside Python's onnxruntime on the published encoder, and beside
                  another build of the agent
  dist [--target TRIPLE]
                  Build the release archive for a target, this machine's by default, into target/distrib, with SHA256SUMS
                  and a bill of materials (CycloneDX), and test it. With cargo-zigbuild on PATH, programs for Linux run
                  with glibc 2.28 or newer
  roots PROGRAM...
                  Run built programs in root file systems with nothing but the program, with busybox, and of Debian
  help            Print this help

Options, directly after the command:
  --no-install    Do not install system packages (with apt-get, as root), only say which are missing. What is downloaded
                  into the checkout and the cache directory is not affected.

Environment:
  LANDFALL_CACHE   Folder for downloaded models [default: the user's cache directory]
  CARGO_HOME       Cargo's folder, whose path `dist` keeps out of the program [default: ~/.cargo]
  LANDFALL_PYTHON  Python interpreter for pip, `bench` and `wheel` [default: python3, on Windows python]
  ORT_DYLIB_PATH   ONNX Runtime library to use instead of a downloaded one

Exit codes:
  0 success, 1 check failed, 2 usage error, 3 environment error

Examples:
  cargo xtask play
  cargo xtask play -- --json
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if test::lints::is_compilation(&arguments) {
        return exit_code(test::lints::compile(&arguments));
    }
    let mut arguments = arguments.into_iter();
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let (install, rest) = match rest.split_first() {
        Some((first, rest)) if first == "--no-install" => (false, rest),
        _ => (true, &rest[..]),
    };
    let rest = if rest.first().is_some_and(|first| first == "--") { &rest[1..] } else { rest };
    let root = workspace_root();
    let set_up = |bundles: &[&str]| set_up(&root, install, bundles);
    let outcome = match command.to_str() {
        Some("setup") if rest.is_empty() => set_up(ALL).map(|_| 0),
        Some("setup") if rest == ["--all-browsers"] => {
            let others = browser::set_up_others(&root, install);
            set_up(ALL).and(others).map(|()| 0)
        }
        Some("play") => set_up(&PLAYED).and_then(|agent| agent.play(rest)),
        Some("test") if rest.is_empty() => test::run(&root, install, false),
        Some("test") if rest == ["--all-features"] => test::run(&root, install, true),
        Some("fixtures") if rest.is_empty() => set_up(&PLAYED).and_then(|agent| fixtures::record(&root, &agent)),
        Some("wheel") if install => wheel::run(&root, rest),
        Some("wasm") if rest.is_empty() && install => wasm::build(&root).map(|()| 0),
        Some("bench") if rest.is_empty() => set_up(ALL).and_then(|agent| bench::run(&root, &agent, None)),
        Some("bench") if rest.len() == 2 && rest[0] == "--against" => {
            set_up(ALL).and_then(|agent| bench::run(&root, &agent, Some(Path::new(&rest[1]))))
        }
        Some("dist") => match rest {
            [] => dist::run(&root, None),
            [option, target] if option == "--target" => dist::run(&root, Some(&target.to_string_lossy())),
            _ => usage_error(),
        },
        Some("roots") if !rest.is_empty() => {
            dist::roots::run(&root, &rest.iter().map(PathBuf::from).collect::<Vec<_>>())
        }
        Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            Ok(0)
        }
        _ => usage_error(),
    };
    exit_code(outcome)
}

/// Prints what was given and how to call xtask.
fn usage_error() -> Result<u8> {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    let given = given.join(" ".as_ref());
    match given.is_empty() {
        true => eprint!("xtask: no command given\n\n{USAGE}"),
        false => eprint!("xtask: unknown command or argument: `{}`\n\n{USAGE}", given.display()),
    }
    Ok(2)
}

fn exit_code(outcome: Result<u8>) -> ExitCode {
    let code = outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        3
    });
    code.into()
}

/// All bundles, and the encoders that the trainer knows.
pub(crate) const ALL: &[&str] = &[];
/// The bundles that games are played with. The others' encoders are computed, which nobody should wait for before a game.
const PLAYED: [&str; 2] = ["desktop", "pocket"];

/// Installs everything that the agent needs, and builds it; fast when nothing is missing. Without a browser the rest is
/// installed too. `bundles`: the bundles to set up.
fn set_up(root: &Path, install: bool, bundles: &[&str]) -> Result<Agent> {
    let browser = browser::set_up(install);
    // The build leaves a core idle at times. The pages may contain an encoder that is computed below; then they are built
    // afterwards.
    let (agent, page) = std::thread::scope(|scope| {
        let page = scope.spawn(|| match bundles {
            [] => page::install(root),
            _ => page::set_up(root, None),
        });
        (Agent::build(root), page.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
    });
    let agent = agent?;
    page?;
    agent.set_up(root, bundles)?;
    page::set_up(root, agent.newest_computed()?)?;
    browser.map(|()| agent)
}

/// The workspace root. The run-time value of the variable, which cargo sets, is right even if the checkout was moved
/// after the build.
fn workspace_root() -> PathBuf {
    let built_in = env!("CARGO_MANIFEST_DIR");
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| built_in.into(), PathBuf::from);
    crate_dir.parent().map(Path::to_path_buf).unwrap_or(crate_dir)
}
