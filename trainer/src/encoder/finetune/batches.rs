//! Batches of a fine-tuning run: pictures as squares, and the teacher's embeddings and posteriors.

use anyhow::Result;
use landfall_model::Bundle;
use landfall_model::classifier;
use landfall_model::preprocess::{Preprocess, Square};
use rand::distr::Distribution;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::Beta;
use rayon::prelude::*;

use super::pictures::{self, Cache};
use super::recipe::{Recipe, Stage};
use crate::encoder::lite;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};
use crate::head::dataloader::mix_pairs;
use crate::head::model::{self, Moments};

/// The examples of one training step.
pub(super) struct Batch {
    /// Number of pictures with all squares.
    pub(super) n: usize,
    /// Number of squares: those of the `n` pictures in order, then the central squares of further pictures.
    pub(super) squares: usize,
    /// Patches of the squares, `[squares, side / 2, side / 2, 27]`.
    pub(super) patches: Vec<f32>,
    /// The teacher's embedding of each square, standardised and of unit length, `[squares, dim]`.
    pub(super) embedding: Vec<f32>,
    /// The teacher's posterior over cells for each of the `n` pictures, `[n, cells]`.
    pub(super) posterior: Vec<f32>,
}

/// Training pictures with the teacher's outputs.
pub(super) struct Batches<'a> {
    recipe: &'a Recipe,
    cache: &'a Cache,
    preprocess: &'a Preprocess,
    squares: Vec<Square>,
    /// Standardised embeddings of the squares of each picture.
    embeddings: Vec<Vec<f32>>,
    dim: usize,
    /// Posteriors of the pictures with all squares; empty for the others.
    posteriors: Vec<Vec<f32>>,
    /// Indices of the pictures with all squares, and of those with only the central square.
    sample_kinds: [Vec<usize>; 2],
    /// Number of pictures of each kind per step.
    per_step: [usize; 2],
}

impl<'a> Batches<'a> {
    /// Computes the teacher's posteriors.
    ///
    /// # Errors
    /// When the teacher's head cannot be loaded or run.
    pub(super) fn new(
        recipe: &'a Recipe,
        teacher: &Bundle,
        encoder: &EncoderSpec,
        samples: &'a [Sample],
        cache: &'a Cache,
        preprocess: &'a Preprocess,
    ) -> Result<Self> {
        let head = classifier::Head::of(teacher)?;
        let temperature = teacher.manifest.temperature.get(&1).copied().unwrap_or(1.0) as f32;
        let squares: Vec<Square> =
            std::iter::once(Square::CENTRAL).chain(encoder.preprocess.details.iter().copied()).collect();
        let has_all_squares = |sample: &Sample| sample.variants[0].len() == encoder.width();
        let posterior = |sample: &Sample| -> Result<Vec<f32>> {
            if !has_all_squares(sample) {
                return Ok(Vec::new());
            }
            let logits = head.logits(&sample.variants[0])?;
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let p: Vec<f32> = logits.iter().map(|z| ((z - highest) / temperature).exp()).collect();
            let sum: f32 = p.iter().sum();
            Ok(p.into_iter().map(|p| p / sum).collect())
        };
        let posteriors = samples.iter().map(posterior).collect::<Result<_>>()?;
        let dim = encoder.encoder.dim;
        // Standardised, because some dimensions are large and nearly constant and would dominate the cosine similarity.
        let moments = Moments::of(samples.iter().flat_map(|sample| sample.variants[0].chunks_exact(dim)), dim);
        let standard = |embedding: &[f32]| model::standardise(embedding, &moments);
        let embeddings =
            samples.iter().map(|sample| sample.variants[0].chunks_exact(dim).flat_map(standard).collect()).collect();
        let (all_squares, central_only): (Vec<usize>, Vec<usize>) =
            (0..samples.len()).partition(|i| has_all_squares(&samples[*i]));
        let batch = recipe.train.batch;
        let n_all = (batch * all_squares.len()).div_ceil(samples.len().max(1)).min(batch);
        let (sample_kinds, per_step) = ([all_squares, central_only], [n_all, batch - n_all]);
        Ok(Self { recipe, cache, preprocess, squares, embeddings, dim, posteriors, sample_kinds, per_step })
    }

    /// Number of steps per epoch; an incomplete last batch is dropped.
    pub(super) fn steps(&self) -> usize {
        (self.sample_kinds[0].len() / self.per_step[0].max(1)).max(1)
    }

    /// The batch of the step after `done` steps. All randomness is derived from the seed and the step number.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub(super) fn batch(&self, stage: &Stage, done: usize) -> Result<Batch> {
        let train = &self.recipe.train;
        let (epoch, step) = (done / self.steps(), done % self.steps());
        // The epoch goes into the upper half, so that different pairs of seed and epoch do not collide.
        let seed = train.seed ^ (epoch as u64 + 1) << 32;
        let mut random = StdRng::seed_from_u64(seed);
        let mut chosen = Vec::with_capacity(train.batch);
        for (kind, per_step) in self.sample_kinds.iter().zip(self.per_step) {
            let mut order = kind.clone();
            order.shuffle(&mut random);
            chosen.extend(order.into_iter().cycle().skip(step * per_step).take(per_step));
        }
        let n = self.per_step[0];
        let preprocess = Preprocess { size: stage.side as u32, details: Vec::new(), ..self.preprocess.clone() };
        let example = |(position, i): (usize, &usize)| -> Result<Vec<f32>> {
            let mut random = StdRng::seed_from_u64(seed ^ ((step * train.batch + position) as u64 + 1) << 8);
            let picture = self.cache.reader()?.read(*i)?;
            let mut patches = Vec::new();
            let squares = if position < n { &self.squares[..] } else { &self.squares[..1] };
            for square in squares {
                let view =
                    pictures::augmented_view(&picture, *square, &preprocess, &self.recipe.augment, random.random())?;
                patches.extend(lite::patches_of(&view, &preprocess));
            }
            Ok(patches)
        };
        let patches: Vec<Vec<f32>> = chosen.par_iter().enumerate().map(example).collect::<Result<_>>()?;
        let mut batch = Batch {
            n,
            squares: n * self.squares.len() + self.per_step[1],
            patches: patches.concat(),
            embedding: chosen.iter().flat_map(|i| &self.embeddings[*i]).copied().collect(),
            posterior: chosen.iter().flat_map(|i| &self.posteriors[*i]).copied().collect(),
        };
        if train.mixup > 0.0
            && let Ok(beta) = Beta::new(train.mixup, train.mixup)
        {
            let mut random = StdRng::seed_from_u64(seed ^ (step as u64 + 1) << 8 ^ 0xb1e4d);
            let mut mix = |pictures: usize, parts: Vec<&mut [f32]>| {
                let mut partner: Vec<usize> = (0..pictures).collect();
                partner.shuffle(&mut random);
                let share: Vec<f32> = (0..pictures).map(|_| beta.sample(&mut random)).collect();
                for values in parts {
                    let mixed = mix_pairs(values, &share, &partner);
                    values.copy_from_slice(&mixed);
                }
            };
            // Only pictures of the same kind are mixed, because they have the same number of squares.
            let n_squares = n * self.squares.len();
            let square_len = batch.patches.len() / batch.squares;
            let (patches, other_patches) = batch.patches.split_at_mut(square_len * n_squares);
            let (embedding, other_embedding) = batch.embedding.split_at_mut(n_squares * self.dim);
            mix(n, vec![patches, embedding, &mut batch.posterior]);
            mix(self.per_step[1], vec![other_patches, other_embedding]);
        }
        batch.embedding = batch.embedding.chunks_exact(self.dim).flat_map(samples::unit_vector).collect();
        Ok(batch)
    }
}
