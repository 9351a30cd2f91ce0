//! Which optional parts can be built on this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The page's target.
pub(super) const WASM_TARGET: &str = "wasm32-unknown-unknown";
pub(super) const EMBED: &str = "landfall-agent/embed";
/// Features that build wherever Rust does. Two cores would check them for minutes: for one of them, all dependencies are
/// checked once more, and the trainer's have large ones (wgpu, DataFusion, Ballista).
const PORTABLE: [&str; 4] = [EMBED, "landfall-agent/rten", "landfall-trainer/gpu", "landfall-trainer/cluster"];
/// Fewer cores leave out [`PORTABLE`].
const MIN_CORES: usize = 4;
/// Libraries that the feature `screen` links on Linux, as pkg-config names them.
const SCREEN_LIBRARIES: [&str; 5] = ["libpipewire-0.3", "gbm", "egl", "wayland-client", "xcb"];

/// The features to lint. Prints one line for each that is left out, with the reason.
pub(super) fn buildable(all: bool) -> Vec<&'static str> {
    let mut features = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if all || cores >= MIN_CORES {
        features.extend(PORTABLE);
    } else {
        println!(
            "skipped: the features {}, on fewer than {MIN_CORES} cores; `cargo xtask test --all-features` lints them",
            PORTABLE.join(", ")
        );
    }
    match missing_for_screen() {
        None => features.push("landfall-agent/screen"),
        Some(missing) => println!("skipped: the feature landfall-agent/screen, which needs {missing}"),
    }
    features
}

/// What the feature `screen` lacks, if anything.
fn missing_for_screen() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let is_missing = |library: &&&str| !succeeds(Command::new("pkg-config").args(["--exists", library]));
    let mut missing: Vec<&str> = SCREEN_LIBRARIES.iter().filter(is_missing).copied().collect();
    if !has_libclang() {
        missing.push("libclang");
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Whether bindgen will find libclang.
fn has_libclang() -> bool {
    let is_libclang = |file: std::io::Result<std::fs::DirEntry>| {
        file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libclang"))
    };
    let holds = |folder: PathBuf| std::fs::read_dir(folder).is_ok_and(|mut files| files.any(is_libclang));
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = llvm.filter(|folder| folder.file_name().to_string_lossy().starts_with("llvm-"));
    std::env::var_os("LIBCLANG_PATH").is_some_and(|folder| holds(folder.into()))
        || llvm.map(|folder| folder.path().join("lib")).any(holds)
}

/// Whether rustup has installed the page's target.
pub(super) fn has_wasm_target() -> bool {
    let targets = Command::new("rustup").args(["target", "list", "--installed"]).stderr(Stdio::null()).output();
    targets.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|target| target == WASM_TARGET))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
