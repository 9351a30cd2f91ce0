//! The contents of `bundle.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read;
use crate::cells::CellTable;
use crate::error::{Error, Result};
use crate::onnx::{adapter, dequantize, exact_conv, per_token};
use crate::preprocess::Preprocess;

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
    /// Length of the output for one square of an image.
    pub dim: usize,
    /// How the activations of an int8 network are quantised.
    #[serde(default, skip_serializing_if = "Activations::is_as_written")]
    pub activations: Activations,
    /// The Python package that contains the file, when it is not part of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Package>,
    /// A LoRA adapter, when the encoder was fine-tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterFile>,
}

/// A LoRA adapter that is merged into the encoder; see `onnx::adapter`.
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
        let network = activations.of(read(&self.network)?, adapter.as_deref());
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
    /// The reason, when it does not describe a bundle.
    pub fn parse(json: &[u8]) -> std::result::Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The cell table from the contents of its file.
    ///
    /// # Errors
    /// The reason, when it is not a cell table or the number of cells is not the stated one.
    pub fn parse_cells(&self, json: &[u8]) -> std::result::Result<CellTable, String> {
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

    fn check(&self) -> std::result::Result<(), &'static str> {
        self.preprocess.check()?;
        if self.head.outputs.is_empty() {
            return Err("no output of the head is named");
        }
        if !self.temperature.values().all(|t| t.is_finite() && *t > 0.0) {
            return Err("a temperature is not a positive number");
        }
        Ok(())
    }

    /// The temperature for this many views: the entry for the largest number of views not above it, else 1.
    pub fn temperature_for(&self, views: usize) -> f64 {
        self.temperature.range(..=views).next_back().map_or(1.0, |(_, t)| *t)
    }
}
