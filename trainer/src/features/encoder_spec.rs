//! Which encoder features are made with: its file, its interface, and how pictures are prepared for it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use landfall_common::fs::read_json;
use landfall_model::Bundle;
use landfall_model::bundle::{EncoderFile, sha256_of};
use landfall_model::preprocess::Preprocess;
use serde::{Deserialize, Serialize};

/// An encoder and the preprocessing it wants: what a bundle's head is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSpec {
    /// The network's file and interface.
    pub encoder: EncoderFile,
    /// How pictures are made into its input.
    pub preprocess: Preprocess,
}

impl EncoderSpec {
    /// Reads a description such as `trainer/encoders/clip-vit-b16.json`, or the same fields of a `bundle.json`.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a field, or describes a preprocessing that cannot be.
    pub fn read(file: &Path) -> Result<Self> {
        let spec: Self = read_json(file, "the description of an encoder")?;
        match spec.preprocess.check() {
            Ok(()) => Ok(spec),
            Err(what) => bail!("{} {what}", file.display()),
        }
    }

    /// The same for a network that was written to `file` and comes from no package.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of_file(self, file: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", file.display());
        let encoder = EncoderFile {
            file: "encoder.onnx".into(),
            sha256: sha256_of(file).with_context(cannot)?,
            bytes: fs::metadata(file).with_context(cannot)?.len(),
            from: None,
            adapter: None,
            ..self.encoder
        };
        Ok(Self { encoder, ..self })
    }

    /// What a bundle's pictures go through.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        Self { encoder: bundle.manifest.encoder.clone(), preprocess: bundle.manifest.preprocess.clone() }
    }

    /// Length of the embedding of a picture.
    pub(crate) fn width(&self) -> usize {
        self.encoder.dim * self.preprocess.squares()
    }

    /// Whether both give the same embeddings.
    pub(crate) fn is_compatible_with(&self, other: &Self) -> bool {
        let network = |spec: &Self| {
            let EncoderFile { sha256, output, activations, adapter, .. } = spec.encoder.clone();
            (sha256, output, activations, adapter.map(|adapter| adapter.sha256))
        };
        network(self) == network(other) && self.preprocess == other.preprocess
    }
}
