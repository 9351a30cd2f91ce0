//! Description of an encoder: its file, its inputs and outputs, and its preprocessing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use landfall_common::fs::read_json;
use landfall_model::Bundle;
use landfall_model::bundle::{EncoderFile, sha256_of};
use landfall_model::preprocess::Preprocess;
use serde::{Deserialize, Serialize};

/// Maximum length of the embedding of an image.
const MAX_WIDTH: usize = 1 << 20;

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
        if let Err(problem) = spec.preprocess.check() {
            bail!("{} {problem}", file.display());
        }
        // Also the number of floats per image that are kept on disk and in memory.
        if !(1..=MAX_WIDTH).contains(&spec.encoder.dim.saturating_mul(spec.preprocess.squares())) {
            bail!("{}: the embedding of an image must have 1 to {MAX_WIDTH} numbers", file.display());
        }
        Ok(spec)
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
            derived: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_have_a_plausible_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("encoder.json");
        for (dim, is_valid) in [("0", false), ("512", true), ("18446744073709551615", false)] {
            let text =
                include_str!("../../encoders/clip-vit-b16.json").replace("\"dim\": 512", &format!("\"dim\": {dim}"));
            assert!(text.contains(dim), "{text}");
            std::fs::write(&file, text).unwrap();
            assert_eq!(EncoderSpec::read(&file).is_ok(), is_valid, "{dim}");
        }
    }
}
