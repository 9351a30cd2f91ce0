//! What a batch of a fine-tuning run holds: squares of pictures, and what the teacher says of them.

use anyhow::Result;
use landfall_model::Bundle;
use landfall_model::classifier;
use landfall_model::preprocess::{Preprocess, Square};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

use super::pictures::{self, Cache};
use super::recipe::{Recipe, Stage};
use crate::embed::EncoderSpec;
use crate::nn::lite;
use crate::samples::Sample;

/// What one step learns from.
pub(super) struct Batch {
    /// Number of examples.
    pub(super) n: usize,
    /// Patches of the pictures, `[n, side / 2, side / 2, 27]`.
    pub(super) patches: Vec<f32>,
    /// The teacher's embedding of each square, of length 1, `[n, dim]`.
    pub(super) embedding: Vec<f32>,
    /// The teacher's probabilities of cells for each picture, `[n, cells]`.
    pub(super) posterior: Vec<f32>,
    /// Whether the whole picture is shown: one or zero.
    pub(super) is_whole: Vec<f32>,
}

/// Pictures and what the teacher says of them.
pub(super) struct Lessons<'a> {
    recipe: &'a Recipe,
    samples: &'a [Sample],
    cache: &'a Cache,
    preprocess: &'a Preprocess,
    squares: Vec<Square>,
    dim: usize,
    posteriors: Vec<Vec<f32>>,
}

impl<'a> Lessons<'a> {
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
        let posterior = |sample: &Sample| -> Result<Vec<f32>> {
            let logits = head.logits(&sample.variants[0])?;
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let p: Vec<f32> = logits.iter().map(|z| ((z - highest) / temperature).exp()).collect();
            let sum: f32 = p.iter().sum();
            Ok(p.into_iter().map(|p| p / sum).collect())
        };
        let squares = std::iter::once(Square::CENTRAL).chain(encoder.preprocess.details.iter().copied()).collect();
        let posteriors = samples.iter().map(posterior).collect::<Result<_>>()?;
        Ok(Self { recipe, samples, cache, preprocess, squares, dim: encoder.encoder.dim, posteriors })
    }

    /// Steps of an epoch; pictures that fill no batch are left to the next epoch's order.
    pub(super) fn steps(&self) -> usize {
        (self.samples.len() / self.recipe.train.batch).max(1)
    }

    /// The examples of the step after `done` others. All that is random follows from the seed and that number.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub(super) fn batch(&self, stage: &Stage, done: usize) -> Result<Batch> {
        let (train, all) = (&self.recipe.train, self.samples.len());
        let (epoch, step) = (done / self.steps(), done % self.steps());
        let mut order: Vec<usize> = (0..all).collect();
        // Numbers of neighbouring seeds and epochs must not meet: the epoch goes to the upper half.
        let seed = train.seed ^ (epoch as u64 + 1) << 32;
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let chosen: Vec<usize> = order.into_iter().cycle().skip(step * train.batch).take(train.batch).collect();
        let preprocess = Preprocess { size: stage.side as u32, ..self.preprocess.clone() };
        let example = |(place, i): (usize, &usize)| -> Result<(Vec<f32>, usize)> {
            let mut random = StdRng::seed_from_u64(seed ^ ((step * train.batch + place) as u64 + 1) << 8);
            let is_detail = self.squares.len() > 1 && random.random::<f64>() < train.details;
            let square = if is_detail { random.random_range(1..self.squares.len()) } else { 0 };
            let picture = self.cache.reader()?.read(*i)?;
            let view =
                pictures::varied(&picture, self.squares[square], &preprocess, &self.recipe.augment, random.random())?;
            Ok((lite::patches_of(&view, &preprocess), square))
        };
        let examples: Vec<_> = chosen.par_iter().enumerate().map(example).collect::<Result<_>>()?;
        let mut batch = Batch {
            n: chosen.len(),
            patches: Vec::new(),
            embedding: Vec::new(),
            posterior: Vec::new(),
            is_whole: Vec::new(),
        };
        for (i, (patches, square)) in chosen.into_iter().zip(examples) {
            batch.patches.extend(patches);
            batch.embedding.extend(&self.samples[i].variants[0][square * self.dim..][..self.dim]);
            batch.posterior.extend(&self.posteriors[i]);
            batch.is_whole.push(if square == 0 { 1.0 } else { 0.0 });
        }
        Ok(batch)
    }
}
