//! What a batch of a fine-tuning run holds: pictures through all of their squares, and what the teacher says of them.

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

/// What one step learns from.
pub(super) struct Batch {
    /// Number of pictures that are seen through all squares.
    pub(super) n: usize,
    /// Number of squares: those of these pictures, which follow each other, and the whole ones of other pictures.
    pub(super) squares: usize,
    /// Patches of the squares, `[squares, side / 2, side / 2, 27]`.
    pub(super) patches: Vec<f32>,
    /// The teacher's embedding of each square, standardised and of length 1, `[squares, dim]`.
    pub(super) embedding: Vec<f32>,
    /// The teacher's probabilities of cells for each of the `n` pictures, `[n, cells]`.
    pub(super) posterior: Vec<f32>,
}

/// Pictures and what the teacher says of them.
pub(super) struct Batches<'a> {
    recipe: &'a Recipe,
    cache: &'a Cache,
    preprocess: &'a Preprocess,
    squares: Vec<Square>,
    /// Embeddings of each picture's squares, standardised.
    embeddings: Vec<Vec<f32>>,
    dim: usize,
    /// Where the teacher saw all squares.
    posteriors: Vec<Vec<f32>>,
    /// The pictures that the teacher saw through all squares, and those of which it saw the whole alone.
    sample_kinds: [Vec<usize>; 2],
    /// How many of each kind a step takes.
    per_step: [usize; 2],
}

impl<'a> Batches<'a> {
    /// Asks the teacher for its posteriors.
    ///
    /// # Errors
    /// When its head cannot be loaded or gives what is no number.
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
        let is_all = |sample: &Sample| sample.variants[0].len() == encoder.width();
        let posterior = |sample: &Sample| -> Result<Vec<f32>> {
            if !is_all(sample) {
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
        // Some of its numbers are large and hardly vary: as they are they would be most of the cosine.
        let moments = Moments::of(samples.iter().flat_map(|sample| sample.variants[0].chunks_exact(dim)), dim);
        let standard = |embedding: &[f32]| model::standardise(embedding, &moments);
        let embeddings =
            samples.iter().map(|sample| sample.variants[0].chunks_exact(dim).flat_map(standard).collect()).collect();
        let (all, whole_only): (Vec<usize>, Vec<usize>) = (0..samples.len()).partition(|i| is_all(&samples[*i]));
        let batch = recipe.train.batch;
        let of_all = (batch * all.len()).div_ceil(samples.len().max(1)).min(batch);
        let (sample_kinds, per_step) = ([all, whole_only], [of_all, batch - of_all]);
        Ok(Self { recipe, cache, preprocess, squares, embeddings, dim, posteriors, sample_kinds, per_step })
    }

    /// Steps of an epoch; pictures that fill no batch are left to the next epoch's order.
    pub(super) fn steps(&self) -> usize {
        (self.sample_kinds[0].len() / self.per_step[0].max(1)).max(1)
    }

    /// The examples of the step after `done` others. All that is random follows from the seed and that number.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub(super) fn batch(&self, stage: &Stage, done: usize) -> Result<Batch> {
        let train = &self.recipe.train;
        let (epoch, step) = (done / self.steps(), done % self.steps());
        // Numbers of neighbouring seeds and epochs must not meet: the epoch goes to the upper half.
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
        let example = |(place, i): (usize, &usize)| -> Result<Vec<f32>> {
            let mut random = StdRng::seed_from_u64(seed ^ ((step * train.batch + place) as u64 + 1) << 8);
            let picture = self.cache.reader()?.read(*i)?;
            let mut patches = Vec::new();
            let squares = if place < n { &self.squares[..] } else { &self.squares[..1] };
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
            let mut blend = |pictures: usize, parts: Vec<&mut [f32]>| {
                let mut partner: Vec<usize> = (0..pictures).collect();
                partner.shuffle(&mut random);
                let share: Vec<f32> = (0..pictures).map(|_| beta.sample(&mut random)).collect();
                for values in parts {
                    let blended = mix_pairs(values, &share, &partner);
                    values.copy_from_slice(&blended);
                }
            };
            // Pictures of each kind among themselves: their squares must fit.
            let in_all = n * self.squares.len();
            let of_square = batch.patches.len() / batch.squares;
            let (patches, others) = batch.patches.split_at_mut(of_square * in_all);
            let (embedding, of_others) = batch.embedding.split_at_mut(in_all * self.dim);
            blend(n, vec![patches, embedding, &mut batch.posterior]);
            blend(self.per_step[1], vec![others, of_others]);
        }
        batch.embedding = batch.embedding.chunks_exact(self.dim).flat_map(samples::unit_vector).collect();
        Ok(batch)
    }
}
