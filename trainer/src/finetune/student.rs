//! The network that learns: an encoder, what it says of the teacher's embedding, and logits over cells.

use std::path::Path;

use anyhow::Result;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::recipe::Training;
use crate::nn::lite::{self, Lite};
use crate::{head, trainee};

/// An encoder with two heads.
#[derive(Module, Debug)]
pub(super) struct Student {
    /// The encoder.
    pub(super) trunk: Lite,
    /// What learns at the rate of new layers.
    pub(super) heads: Heads,
}

/// What stands on the encoder while it learns.
#[derive(Module, Debug)]
pub(super) struct Heads {
    /// To the teacher's embedding of the same square.
    project: Linear,
    /// Logits over cells; with embeddings of the cells, to those.
    cells: Linear,
    /// `[E, cells]`.
    embeddings: Option<Param<Tensor<2>>>,
}

/// What a student says of a batch.
pub(super) struct Said {
    /// Of the teacher's embeddings, `[N, D]`.
    pub(super) embedding: Tensor<2>,
    /// Logits `[N, cells]`.
    pub(super) logits: Tensor<2>,
}

impl Student {
    /// A pretrained encoder with fresh heads for embeddings of `dim` numbers and so many cells.
    ///
    /// # Errors
    /// When the weights or the embeddings of the cells cannot be read.
    pub(super) fn new(
        pretrained: &Path,
        cell_embeddings: Option<&Path>,
        dim: usize,
        cells: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let embeddings = cell_embeddings.map(|file| trainee::read_embeddings(file, cells, device)).transpose()?;
        let width = embeddings.as_ref().map_or(cells, |embeddings| embeddings.dims()[0]);
        let mut random = StdRng::seed_from_u64(seed);
        let mut linear = |outputs| {
            // As burn's own layers begin, but by the seed.
            let reach = (lite::FEATURES as f32).sqrt().recip();
            let weights = (0..lite::FEATURES * outputs).map(|_| (2.0 * random.random::<f32>() - 1.0) * reach).collect();
            head::linear(weights, vec![0.0; outputs], device)
        };
        let student = Self {
            trunk: Lite::read(pretrained, device)?,
            heads: Heads {
                project: linear(dim),
                cells: linear(width),
                embeddings: embeddings.map(|embeddings| Param::from_tensor(embeddings).no_grad()),
            },
        };
        Ok(student.map(&mut Number(0)))
    }

    /// The same with the stem and the first `blocks` blocks not learning; with all of them, nothing of the encoder.
    pub(super) fn frozen(mut self, blocks: usize) -> Self {
        self.trunk = if blocks < self.trunk.depth() { self.trunk.frozen(blocks) } else { self.trunk.no_grad() };
        self
    }

    /// What it says of patches, as [`lite::patches`] cuts them.
    pub(super) fn forward(&self, patches: Tensor<4>) -> Said {
        self.heads.forward(self.trunk.forward(patches))
    }
}

impl Heads {
    fn forward(&self, features: Tensor<2>) -> Said {
        let embedding = self.project.forward(features.clone());
        let to_cells = self.cells.forward(features);
        let logits = match &self.embeddings {
            Some(embeddings) => to_cells.matmul(embeddings.val()),
            None => to_cells,
        };
        Said { embedding, logits }
    }
}

/// What a batch should be answered with.
pub(super) struct Lesson {
    /// The teacher's embeddings, of length 1, `[N, D]`.
    pub(super) embedding: Tensor<2>,
    /// The teacher's probabilities of cells, `[N, cells]`.
    pub(super) posterior: Tensor<2>,
    /// One where the teacher saw what the student sees, else zero: only then its posterior counts. `[N, 1]`.
    pub(super) is_whole: Tensor<2>,
}

/// The loss of a batch, by weight: one less the cosine to the teacher's embedding, and the cross-entropy with its
/// posterior.
pub(super) fn loss(said: Said, lesson: Lesson, weights: &Training) -> Tensor<1> {
    let length = said.embedding.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-6);
    let cosine = (said.embedding / length * lesson.embedding).sum_dim(1);
    let apart = (cosine.neg() + 1.0).mean();
    let of_row = (activation::log_softmax(said.logits, 1) * lesson.posterior).sum_dim(1).neg();
    let wrong = (of_row * lesson.is_whole.clone()).sum() / lesson.is_whole.sum().clamp_min(1.0);
    apart * weights.embedding + wrong * weights.posterior
}

/// Gives parameters numbers in the order in which they are met: a checkpoint finds an optimiser's state by these.
struct Number(u64);

impl ModuleMapper for Number {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        Param::initialized(ParamId::from(self.0), param.val())
    }
}
