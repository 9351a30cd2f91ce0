//! Bundles: the files of one model, described by `bundle.json` and checked by sha256.

#[cfg(feature = "onnx")]
mod derive;
#[cfg(feature = "onnx")]
pub mod gzip;
mod manifest;
#[cfg(feature = "onnx")]
mod memory;
mod network_file;
mod prior;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use manifest::{
    Activations, AdapterFile, CellsFile, Derived, EncoderFile, EncoderPaths, HeadFile, Manifest, Package,
};
#[cfg(feature = "onnx")]
pub use memory::provide;
pub use network_file::read_network;
pub use prior::{CellPrior, Prior};

use manifest::{MAX_CELLS_BYTES, MAX_MANIFEST_BYTES};
use network_file::MAX_INFLATED_BYTES;

use crate::cells::CellTable;
use crate::error::{Error, Result};
#[cfg(feature = "onnx")]
use crate::installation;
use crate::posterior::Posterior;

/// A bundle. `bundle.json` and the cell table are read and checked; the networks are not.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The contents of `bundle.json`.
    pub manifest: Manifest,
    /// The classes of the logits.
    pub cells: CellTable,
    /// Directory of `bundle.json`.
    pub dir: PathBuf,
    #[cfg(feature = "onnx")]
    files: Option<std::sync::Arc<memory::Files>>,
}

impl Bundle {
    /// The bundle with this name or at this path.
    ///
    /// A single word is a name and never a directory in the working directory; a path has a separator, as in `./mine`.
    /// Names are looked for in `LANDFALL_BUNDLES`, in `bundles/` beside the executable, in the packages' directory for an
    /// executable in `bin/` (`../share/landfall/bundles`), in `model/bundles/` of the source tree that the program was built
    /// from, and in the user's cache directory, and then among those of [`provide`].
    ///
    /// # Errors
    /// When there is none, or `bundle.json` or the cell table is invalid. [`Bundle::encoder_paths`] and
    /// [`Bundle::head_path`] check the two networks, since not every use needs them.
    #[cfg(feature = "onnx")]
    pub fn find(name: &str) -> Result<Self> {
        let candidates = match is_name(name) {
            true => search_path().iter().map(|folder| folder.join(name)).collect(),
            false => vec![PathBuf::from(name)],
        };
        let provided = || memory::provided().filter(|bundle| bundle.manifest.name == name);
        match (candidates.iter().find(|dir| dir.join("bundle.json").is_file()), provided()) {
            (Some(dir), _) => Self::open(dir),
            (None, Some(bundle)) => Ok(bundle.clone()),
            (None, None) => Err(Error::UnknownBundle { name: name.to_owned(), available: names() }),
        }
    }

    /// The bundle in this directory.
    ///
    /// # Errors
    /// As [`Bundle::find`].
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("bundle.json");
        let manifest = Manifest::parse(&read_limited(&file, MAX_MANIFEST_BYTES)?);
        let manifest = manifest.map_err(|reason| Error::Manifest { file: file.clone(), source: reason.into() })?;
        let file = checked(&dir.join(&manifest.cells.file), &manifest.cells.sha256)?;
        let cells = manifest.parse_cells(&read_limited(&file, MAX_CELLS_BYTES)?);
        let cells = cells.map_err(|reason| Error::Cells { file, source: reason.into() })?;
        Ok(Self::of_parts(manifest, cells, dir.to_owned()))
    }

    pub(crate) fn of_parts(manifest: Manifest, cells: CellTable, dir: PathBuf) -> Self {
        Self {
            manifest,
            cells,
            dir,
            #[cfg(feature = "onnx")]
            files: None,
        }
    }

    /// The posterior given the logits of all views of one place, one row per view; `None` when they do not fit this bundle.
    pub fn fuse(&self, logits: &[impl AsRef<[f32]>], prior: Prior) -> Option<Posterior<'_>> {
        let posterior = Posterior::fuse(&self.cells, logits, self.manifest.temperature_for(logits.len(), prior))?;
        Some(match self.manifest.priors.get(&prior) {
            Some(prior) => posterior.with_prior(&prior.log_weights, 1.0),
            None => posterior,
        })
    }

    /// The encoder's files, checked by sha256. The network may also be in the user's cache directory.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn encoder_paths(&self) -> Result<EncoderPaths> {
        self.manifest.encoder.locate(&self.dir)
    }

    /// The head's file, checked by sha256.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn head_path(&self) -> Result<PathBuf> {
        let HeadFile { file, sha256, bytes, .. } = &self.manifest.head;
        network_file::checked(&self.dir.join(file), sha256, bytes.unwrap_or(MAX_INFLATED_BYTES))
    }
}

impl EncoderFile {
    /// Whether the file is neither in `dir` nor in the user's cache directory. A damaged file counts as present.
    pub fn is_absent(&self, dir: &Path) -> bool {
        !dir.join(&self.file).exists() && !self.cached().is_some_and(|file| file.exists())
    }

    /// Where the file is kept in the user's cache directory, if it is not part of the bundle.
    pub fn cached(&self) -> Option<PathBuf> {
        let ending = match (&self.from, &self.derived) {
            (Some(_), _) => "onnx",
            (None, Some(_)) => "onnx.gz",
            (None, None) => return None,
        };
        Some(cache_dir()?.join("bundles").join(format!("{}.{ending}", self.sha256)))
    }

    /// The files in `dir`, checked by sha256. The network may also be in the user's cache directory; if it is derived from
    /// that of another bundle and not there yet, it is computed, which takes some seconds.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn locate(&self, dir: &Path) -> Result<EncoderPaths> {
        let adapter = self.adapter.as_ref().map(|adapter| checked(&dir.join(&adapter.file), &adapter.sha256));
        Ok(EncoderPaths { network: self.network(dir)?, adapter: adapter.transpose()? })
    }

    fn network(&self, dir: &Path) -> Result<PathBuf> {
        let beside = dir.join(&self.file);
        let checked = |file: &Path| network_file::checked(file, &self.sha256, self.bytes.min(MAX_INFLATED_BYTES));
        if beside.exists() || (self.from.is_none() && self.derived.is_none()) {
            return checked(&beside);
        }
        let cached = self.cached().filter(|file| file.exists());
        match (cached, &self.from, &self.derived) {
            #[cfg(feature = "onnx")]
            (cached, None, Some(derived)) => {
                // A damaged file is replaced.
                let kept = cached.and_then(|file| checked(&file).ok());
                kept.map_or_else(|| self.derive(derived, dir), Ok)
            }
            (Some(cached), ..) => checked(&cached),
            (None, Some(package), _) => Err(Error::EncoderNotInstalled {
                file: beside,
                package: package.pip.clone(),
                member: package.member.clone(),
            }),
            (None, None, _) => checked(&beside), // an error, since it is not there
        }
    }
}

/// Names of all bundles that can be found, sorted.
#[cfg(feature = "onnx")]
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = search_path()
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("bundle.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .chain(memory::provided().map(|bundle| bundle.manifest.name.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The user's cache directory: `LANDFALL_CACHE`, or the platform's own. None for a user without a home directory.
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("LANDFALL_CACHE").filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    #[cfg(feature = "onnx")]
    return directories::ProjectDirs::from("", "", "landfall")
        .map(|dirs| dirs.cache_dir().to_owned())
        .filter(|dir| dir.is_absolute()); // with HOME=. it would lie in the working directory
    #[cfg(not(feature = "onnx"))]
    None
}

/// Lower-case hexadecimal sha256 of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(file: &Path) -> std::io::Result<String> {
    let mut reader = fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Whether this is the name of a bundle rather than a path: one word, and neither `.` nor `..`.
#[cfg(feature = "onnx")]
fn is_name(name: &str) -> bool {
    use std::path::Component::Normal;
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Normal(part)), None) if part == name)
}

#[cfg(feature = "onnx")]
fn search_path() -> Vec<PathBuf> {
    let named = std::env::var_os("LANDFALL_BUNDLES").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let beside = installation::program_dir().map(|dir| dir.join("bundles"));
    let shared = installation::shared_dir().map(|dir| dir.join("bundles"));
    let in_tree = installation::source_tree().map(|tree| tree.join("model/bundles"));
    let cached = cache_dir().map(|cache| cache.join("bundles"));
    [named, beside, shared, in_tree, cached].into_iter().flatten().collect()
}

fn checked(file: &Path, sha256: &str) -> Result<PathBuf> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    // A device or a pipe would have no end.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let found = sha256_of(file).map_err(failed)?;
    if found != sha256 {
        return Err(Error::Checksum { file: file.to_owned(), expected: sha256.to_owned(), found });
    }
    Ok(file.to_owned())
}

fn read_limited(file: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte more: what is too large is refused when it is parsed.
    fs::File::open(file).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|source| Error::Read { file: file.to_owned(), source })
}

#[cfg(all(test, feature = "onnx"))]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_and_a_path_has_a_separator() {
        for name in ["pocket", "my-bundle.2", "..."] {
            assert!(is_name(name), "{name}");
        }
        for path in ["./pocket", "pocket/", "bundles/pocket", "/pocket", ".", "..", "", "../pocket", "pocket/."] {
            assert!(!is_name(path), "{path}");
        }
    }

    #[test]
    fn a_bundle_that_is_not_there_is_an_unknown_one() {
        for (name, hint) in [("nonesuch", "; a directory is given as a path, ./nonesuch"), ("./nonesuch", "")] {
            let error = Bundle::find(name).unwrap_err();
            assert!(matches!(error, Error::UnknownBundle { .. }), "{error}");
            let text = error.to_string();
            assert!(text.starts_with(&format!("there is no bundle `{name}`; available: desktop, ")), "{text}");
            assert!(text.ends_with(hint), "{text}");
        }
    }
}
