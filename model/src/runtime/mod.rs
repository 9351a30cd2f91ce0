//! Finding and loading ONNX Runtime, a native library that is opened at run time.
//!
//! Loading a library runs its code. So it is looked for only where the user or the installation put it, and never in the
//! working directory.

mod file;
mod library;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;

use crate::bundle::cache_dir;
use crate::error::{Error, Result};
use crate::installation;

/// The library's file name on this platform.
pub const LIBRARY: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// The environment variable that names the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The environment variable that keeps ONNX Runtime's telemetry off, and its value.
///
/// Since version 1.32 the library opens a database in the user's cache directory, gives the device an identifier and
/// prepares uploads as soon as it is initialised, before its API can turn that off. A program sets the variable when it
/// starts, while it has one thread.
pub const TELEMETRY_OFF: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Whether this program is statically linked. The system's loader is not part of such a program.
pub const IS_STATIC: bool = cfg!(all(target_env = "musl", target_feature = "crt-static"));

/// Why a library was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `ORT_DYLIB_PATH` names it.
    Variable,
    /// The package manager of the interpreter that this code runs in has installed it.
    Package,
    /// It lies beside the program.
    Program,
    /// It lies in the source tree that the program was built in.
    SourceTree,
    /// It lies in the user's cache directory.
    Cache,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Variable => "named by ORT_DYLIB_PATH",
            Self::Package => "of the Python package onnxruntime",
            Self::Program => "beside the program",
            Self::SourceTree => "in the source tree of this build",
            Self::Cache => "in the user's cache directory",
        })
    }
}

/// The loaded runtime, one for the whole process.
#[derive(Debug)]
pub struct Runtime {
    /// The library.
    pub file: PathBuf,
    /// Why it was chosen.
    pub origin: Origin,
    /// The version that it states, such as `1.32.0`.
    pub version: String,
    environment: Environment,
}

/// The library that was offered, see [`offer`].
static OFFERED: OnceLock<PathBuf> = OnceLock::new();

/// Offers a library that was installed for other programs too, and may therefore be of any version. It is used unless
/// `ORT_DYLIB_PATH` names another one. Call it before the runtime is loaded.
///
/// # Errors
/// The reason why it cannot be used. Then the runtime is looked for elsewhere, as if the library did not exist.
pub fn offer(library: PathBuf) -> std::result::Result<(), String> {
    if named().is_none() {
        file::check(&library)?;
        library::open(&library)?;
        _ = OFFERED.set(library);
    }
    Ok(())
}

/// Why the runtime is not there. Kept for the life of the process, so that every attempt reports the same error.
#[derive(Debug)]
enum LoadError {
    NotFound { searched: Vec<PathBuf> },
    Load { library: PathBuf, reason: String },
}

/// The runtime's environment, which sessions are created in.
///
/// # Errors
/// [`Error::RuntimeNotFound`] or [`Error::RuntimeLoad`].
pub(crate) fn environment() -> Result<&'static Environment> {
    Ok(&load_library()?.environment)
}

/// The runtime, loaded by the first call.
///
/// # Errors
/// [`Error::RuntimeNotFound`] or [`Error::RuntimeLoad`].
pub fn load_library() -> Result<&'static Runtime> {
    static LOADED: OnceLock<std::result::Result<Runtime, LoadError>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|error| match error {
        LoadError::NotFound { searched } => Error::RuntimeNotFound { library: LIBRARY, searched: searched.clone() },
        LoadError::Load { library, reason } => {
            Error::RuntimeLoad { library: library.clone(), source: reason.clone().into() }
        }
    })
}

fn load() -> std::result::Result<Runtime, LoadError> {
    let (file, origin) = find()?;
    let failed = |reason: String| LoadError::Load { library: file.clone(), reason };
    if IS_STATIC {
        return Err(failed("this program is statically linked and cannot load libraries".to_owned()));
    }
    // Before `ort` sees it, which would spin or panic with a library whose API it does not know.
    file::check(&file).map_err(failed)?;
    let version = library::open(&file).map_err(failed)?;
    let builder = ort::init_from(&file).map_err(|error| failed(error.to_string()))?;
    let built = builder.with_name("landfall").with_telemetry(false).build();
    let environment = built.map_err(|error| failed(error.to_string()))?;
    Ok(Runtime { file, origin, version, environment })
}

/// The library that `ORT_DYLIB_PATH` names, whatever it is, or else one that was offered, or else the first that exists
/// beside the program, in the source tree that the program was built in, or in the user's cache directory.
fn find() -> std::result::Result<(PathBuf, Origin), LoadError> {
    if let Some(named) = named() {
        return Ok((named_library(named)?, Origin::Variable));
    }
    if let Some(offered) = OFFERED.get() {
        return Ok((offered.clone(), Origin::Package));
    }
    if IS_STATIC {
        return Err(LoadError::NotFound { searched: Vec::new() });
    }
    let places = [
        (installation::program_dir(), Origin::Program),
        (installation::source_tree_in_place().map(|tree| tree.join(".runtime")), Origin::SourceTree),
        (cache_dir().map(|cache| cache.join("runtime")), Origin::Cache),
    ];
    first_of(places.into_iter().filter_map(|(folder, origin)| Some((folder?, origin))))
}

fn named() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|named| !named.is_empty())
}

/// The path in the variable, made absolute: the system's loader would look for another file of that name first.
fn named_library(named: OsString) -> std::result::Result<PathBuf, LoadError> {
    let named = PathBuf::from(named);
    // `libonnxruntime.so` could mean the file in the working directory as well as one that the system knows.
    if named.parent() == Some(Path::new("")) {
        let reason = format!("{VARIABLE} is a file name; give the path of the library");
        return Err(LoadError::Load { library: named, reason });
    }
    Ok(std::path::absolute(&named).unwrap_or(named))
}

fn first_of(folders: impl Iterator<Item = (PathBuf, Origin)>) -> std::result::Result<(PathBuf, Origin), LoadError> {
    let mut searched = Vec::new();
    for (folder, origin) in folders {
        let library = folder.join(LIBRARY);
        if library.is_file() {
            return Ok((library, origin));
        }
        searched.push(folder);
    }
    Err(LoadError::NotFound { searched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_is_chosen_and_what_is_no_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let [program, tree, cache] = ["program", "tree", "cache"].map(|name| dir.path().join(name));
        let places =
            || [(program.clone(), Origin::Program), (tree.clone(), Origin::SourceTree), (cache.clone(), Origin::Cache)];
        let Err(LoadError::NotFound { searched }) = first_of(places().into_iter()) else { panic!("found") };
        assert_eq!(searched, [program.clone(), tree.clone(), cache.clone()]);
        std::fs::create_dir_all(program.join(LIBRARY)).unwrap(); // a folder of this name
        for folder in [&cache, &tree] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(LIBRARY), "").unwrap();
        }
        let (file, origin) = first_of(places().into_iter()).unwrap();
        assert_eq!((file, origin), (tree.join(LIBRARY), Origin::SourceTree));
    }

    #[test]
    fn the_variable_holds_a_path_and_not_a_name() {
        for name in ["libonnxruntime.so", "x"] {
            let Err(LoadError::Load { reason, .. }) = named_library(name.into()) else { panic!("{name} was accepted") };
            assert!(reason.contains("give the path"), "{reason}");
        }
        for path in ["./libonnxruntime.so", "lib/libonnxruntime.so"] {
            assert!(named_library(path.into()).unwrap().is_absolute(), "{path}");
        }
    }
}
