//! Description of an encoder: its file, its inputs and outputs, and its preprocessing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use landfall_common::fs::read_json;
use landfall_model::Bundle;
use landfall_model::bundle::{EncoderFile, sha256_of};
use landfall_model::preprocess::Preprocess;
use serde::{Deserialize, Serialize};

/// An encoder and its preprocessing, which together determine the features that a head is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSpec {
    /// The network file and its inputs and outputs.
    pub encoder: EncoderFile,
    /// How images are converted to its input.
    pub preprocess: Preprocess,
}

impl EncoderSpec {
    /// Reads a description such as `trainer/encoders/clip-vit-b16.json`, or the same fields from a `bundle.json`.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a field or describes invalid preprocessing.
    pub fn read(file: &Path) -> Result<Self> {
        let spec: Self = read_json(file, "the description of an encoder")?;
        match spec.preprocess.check() {
            Ok(()) => Ok(spec),
            Err(problem) => bail!("{} {problem}", file.display()),
        }
    }

    /// The same description for a network that was written to `file` and has no download source.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn of_file(self, file: &Path) -> Result<Self> {
        let read_failed = || format!("cannot read {}", file.display());
        let encoder = EncoderFile {
            file: "encoder.onnx".into(),
            sha256: sha256_of(file).with_context(read_failed)?,
            bytes: fs::metadata(file).with_context(read_failed)?.len(),
            from: None,
            adapter: None,
            ..self.encoder
        };
        Ok(Self { encoder, ..self })
    }

    /// The encoder and preprocessing of a bundle.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        Self { encoder: bundle.manifest.encoder.clone(), preprocess: bundle.manifest.preprocess.clone() }
    }

    /// Length of the embedding of an image.
    pub(crate) fn width(&self) -> usize {
        self.encoder.dim * self.preprocess.squares()
    }

    /// Returns whether both produce the same embeddings.
    pub(crate) fn is_compatible_with(&self, other: &Self) -> bool {
        let network = |spec: &Self| {
            let EncoderFile { sha256, output, activations, adapter, .. } = spec.encoder.clone();
            (sha256, output, activations, adapter.map(|adapter| adapter.sha256))
        };
        network(self) == network(other) && self.preprocess == other.preprocess
    }
}
