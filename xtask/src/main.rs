//! `cargo xtask`: set-up and the chores that are not the product.
//!
//! Standard output belongs to what is run (`play -- --json` prints only the agent's JSON); everything said here goes to
//! standard error. Exit codes: 0 done, 1 the answer is no (a test failed), 2 the call was wrong, 3 the surroundings failed.

mod agent;
mod bench;
mod browser;
mod bundles;
mod command;
mod fixtures;
mod page;
mod runtime;
mod test;
mod wasm;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
Set-up and chores of Landfall.

usage: cargo xtask COMMAND

  setup           get what is missing: Chromium, ONNX Runtime, the desktop encoder, the arena's page
  play [--] ARGS  set-up, a release build, then `landfall play ARGS`
  test            set-up, format and lint check, every test
  fixtures        record the fixtures' views and expected.json anew
  wasm            the page's part of the model crate, built anew into web-demo/src/engine
  bench           our encoder's latency beside Python's onnxruntime on the same file

examples: cargo xtask play
          cargo xtask play -- --json
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let rest = if rest.first().is_some_and(|first| first == "--") { &rest[1..] } else { &rest[..] };
    let root = workspace_root();
    let outcome = match command.to_str() {
        Some("setup") if rest.is_empty() => set_up(&root).map(|()| 0),
        Some("play") => set_up(&root).and_then(|()| agent::play(&root, rest)),
        Some("test") if rest.is_empty() => set_up(&root).and_then(|()| test::run(&root)),
        Some("fixtures") if rest.is_empty() => set_up(&root).and_then(|()| fixtures::record(&root)),
        Some("wasm") if rest.is_empty() => wasm::build(&root).map(|()| 0),
        Some("bench") if rest.is_empty() => set_up(&root).and_then(|()| bench::run(&root)),
        Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            Ok(0)
        }
        _ => {
            let given: Vec<_> = std::env::args_os().skip(1).collect();
            let given = given.join(" ".as_ref());
            eprintln!("xtask: `{}` is not a call it knows\n\n{USAGE}", given.display());
            Ok(2)
        }
    };
    outcome
        .unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            3
        })
        .into()
}

/// Make everything there that the agent needs; quick when nothing is missing.
fn set_up(root: &Path) -> Result<()> {
    browser::set_up()?;
    runtime::set_up(root)?;
    bundles::set_up(root)?;
    page::set_up(root)
}

/// The workspace's root. Cargo sets the variable when it runs us, so that a moved checkout is still found.
fn workspace_root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map(Path::to_path_buf).unwrap_or(own)
}
