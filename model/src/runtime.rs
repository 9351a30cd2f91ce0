//! Finding and loading ONNX Runtime, a native library that is opened at run time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ort::environment::Environment;

use crate::bundle::cache_dir;
use crate::error::{Error, Result};

/// The library's file name on this platform.
pub const LIBRARY: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

const HINT: &str =
    "run `cargo xtask setup`, or `python3 -m pip install onnxruntime`, or name the library in ORT_DYLIB_PATH";

/// The loaded runtime, one for the whole process.
///
/// # Errors
/// When no library is found or the one found cannot be loaded; the message says what to do.
pub fn environment() -> Result<&'static Environment> {
    static LOADED: OnceLock<std::result::Result<Environment, String>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|why| Error::Surroundings(why.clone()))
}

fn load() -> std::result::Result<Environment, String> {
    let library = find().ok_or_else(|| format!("ONNX Runtime ({LIBRARY}) is nowhere to be found; {HINT}"))?;
    let broken =
        |e: &dyn std::fmt::Display| format!("{}: cannot be loaded as ONNX Runtime ({e}); {HINT}", library.display());
    let builder = ort::init_from(&library).map_err(|e| broken(&e))?;
    builder.with_name("landfall").with_telemetry(false).build().map_err(|e| broken(&e))
}

/// Where the library is: `ORT_DYLIB_PATH`, beside the executable, `.runtime/` of the working directory or of the
/// source tree, the user's cache directory, an importable Python package, an installed npm package.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH") {
        // Named but wrong is the user's mistake to hear of: loading it fails with a message that names it. The path is
        // made absolute because the loader would look for a relative one beside the executable first.
        return Some(std::path::absolute(&named).unwrap_or(named.into()));
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let source_tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join(".runtime"));
    let folders = beside
        .into_iter()
        .chain(std::env::current_dir().ok().map(|dir| dir.join(".runtime")))
        .chain(source_tree)
        .chain(cache_dir().map(|cache| cache.join("runtime")));
    folders.map(|folder| folder.join(LIBRARY)).find(|library| library.is_file()).or_else(in_python).or_else(in_npm)
}

fn in_python() -> Option<PathBuf> {
    let script = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";
    let python = if cfg!(windows) { "python" } else { "python3" };
    let output = Command::new(python).args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let package = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    if !output.status.success() {
        return None;
    }
    library_in(&package.join("capi"))
}

fn in_npm() -> Option<PathBuf> {
    let platform = match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let folder = Path::new("node_modules/onnxruntime-node/bin/napi-v6").join(platform).join(arch);
    library_in(&folder)
}

/// The library in a folder of a package, where its name may have a version in it.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let stem = LIBRARY.split('.').next()?;
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let other = ["providers", "pybind", "binding"].iter().any(|part| name.contains(part));
        name.starts_with(stem) && !other
    })
}
