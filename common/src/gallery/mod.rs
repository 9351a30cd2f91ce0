//! Galleries: embeddings of located pictures in one file, and the search for those nearest to another picture.
//!
//! `landfall-train gallery` writes the file and `landfall locate --gallery` searches it. It is mapped into memory and may
//! come from anywhere: [`Gallery::open`] checks its sizes, and everything else is checked where it is read.

mod file;
mod refine;
mod search;
mod write;

pub use file::Gallery;
pub use refine::Refinement;
pub use search::Match;
pub use write::GalleryBuilder;

use landfall_model::bundle::{Activations, AdapterFile, EncoderFile, Manifest};
use landfall_model::preprocess::{Preprocess, normalise};
use serde::{Deserialize, Serialize};

/// What embeddings depend on. Those of different encoders cannot be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EncoderIdentity {
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    output: String,
    activations: Activations,
    preprocess: Preprocess,
}

impl EncoderIdentity {
    fn of(manifest: &Manifest) -> Self {
        let EncoderFile { sha256, output, activations, adapter, .. } = manifest.encoder.clone();
        let adapter = adapter.map(|AdapterFile { sha256, .. }| sha256);
        Self { sha256, adapter, output, activations, preprocess: manifest.preprocess.clone() }
    }
}

/// The description of a gallery, which follows the first 16 bytes of the file as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    /// The bundle, `name@version`.
    bundle: String,
    encoder: EncoderIdentity,
    rows: u64,
    dim: u64,
    /// Size in bytes of all names together.
    names: u64,
}

/// One vector for an image, of length 1: the mean of those of its squares. `embedding` is what the encoder gives, one unit
/// vector per square.
pub fn pooled(embedding: &[f32], squares: usize) -> Vec<f32> {
    let dim = (embedding.len() / squares.max(1)).max(1);
    let mut sum = vec![0.0; dim];
    for square in embedding.chunks_exact(dim) {
        sum.iter_mut().zip(square).for_each(|(sum, x)| *sum += x);
    }
    normalise(&mut sum);
    sum
}

impl Gallery {
    /// The `k` pictures that are most similar to any of several views of one place, most similar first. `embeddings`: what the
    /// encoder gives for each view.
    pub fn nearest_to_views(&self, embeddings: &[impl AsRef<[f32]>], k: usize) -> Vec<Match> {
        let squares = 1 + self.header().encoder.preprocess.details.len();
        let of_view = |view: &[f32]| self.nearest(&pooled(view, squares), k);
        let mut matches: Vec<Match> = embeddings.iter().flat_map(|view| of_view(view.as_ref())).collect();
        matches.sort_by(|a, b| a.row.cmp(&b.row).then(b.similarity.total_cmp(&a.similarity)));
        matches.dedup_by_key(|found| found.row);
        matches.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
        matches.truncate(k);
        matches
    }
}

#[cfg(test)]
mod tests;
