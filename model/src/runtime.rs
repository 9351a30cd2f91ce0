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

/// Why the runtime is not there. Kept for the life of the process, so that every attempt reports the same error.
enum LoadError {
    NotFound,
    Load { library: PathBuf, reason: String },
}

/// The loaded runtime, one for the whole process.
///
/// # Errors
/// [`Error::RuntimeNotFound`] or [`Error::RuntimeLoad`].
pub(crate) fn environment() -> Result<&'static Environment> {
    static LOADED: OnceLock<std::result::Result<Environment, LoadError>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|error| match error {
        LoadError::NotFound => Error::RuntimeNotFound { library: LIBRARY },
        LoadError::Load { library, reason } => {
            Error::RuntimeLoad { library: library.clone(), source: reason.clone().into() }
        }
    })
}

/// Loads the runtime now rather than with the first network.
///
/// # Errors
/// [`Error::RuntimeNotFound`] or [`Error::RuntimeLoad`].
pub fn load_library() -> Result<()> {
    environment().map(|_| ())
}

fn load() -> std::result::Result<Environment, LoadError> {
    let library = find().ok_or(LoadError::NotFound)?;
    let failed =
        |error: &dyn std::fmt::Display| LoadError::Load { library: library.clone(), reason: error.to_string() };
    let builder = ort::init_from(&library).map_err(|error| failed(&error))?;
    builder.with_name("landfall").with_telemetry(false).build().map_err(|error| failed(&error))
}

/// Finds the library: `ORT_DYLIB_PATH`, beside the executable, `.runtime/` in the working directory or the source tree, the
/// user's cache directory, an importable Python package, or an installed npm package.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH") {
        // Not checked: loading a wrong path fails with an error that names it. The path is made absolute because the
        // loader would look for a relative one beside the executable first.
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

/// The library in a directory of a package, where its file name may contain a version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let stem = LIBRARY.split('.').next()?;
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let other = ["providers", "pybind", "binding"].iter().any(|part| name.contains(part));
        name.starts_with(stem) && !other
    })
}
