//! The overfit check: if a head cannot memorise a handful of pictures, its labels, layers or learning rate are wrong,
//! whatever the data.

use std::collections::HashMap;

use anyhow::{Result, bail};
use burn::tensor::Device;
use landfall_common::exit::check_failed;
use serde::Serialize;

use crate::cells::prior::Prior;
use crate::features::samples::Sample;
use crate::head::loss::Objective;
use crate::head::model::{self, Moments, Network};
use crate::head::recipe::{EarlyStop, MultiView, Recipe, Sampling};
use crate::head::train::{self, CheckpointConfig};
use crate::head::training_data::TrainingData;

/// Share of the pictures that must be memorised.
pub(crate) const MIN_MEMORISED: f64 = 0.95;
/// Number of training steps; a correct setup needs far fewer.
const MAX_STEPS: usize = 600;

/// Result of the check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// Maximum number of pictures per cell.
    pub(crate) per_cell: usize,
    /// Number of cells with pictures.
    pub(crate) cells: usize,
    /// Number of pictures.
    pub(crate) pictures: usize,
    /// Number of pictures whose cell has a probability above one half after training.
    pub(crate) learned: usize,
}

/// Trains on up to `per_cell` pictures per cell without regularisation and evaluates on the same pictures.
///
/// # Errors
/// When no picture has coordinates, or less than 95 % are memorised (exit code 1).
pub(crate) fn check(
    data: &TrainingData,
    recipe: &Recipe,
    per_cell: usize,
    checkpointing: &CheckpointConfig,
) -> Result<Outcome> {
    let mut recipe = without_regularisation(recipe);
    let objective = Objective::new(data, &recipe)?;
    let mut taken: HashMap<usize, usize> = HashMap::new();
    let mut pictures: Vec<(usize, Sample)> = Vec::new();
    for sample in &data.samples {
        // The hard label is the cell with the nearest mean location.
        let Some(cell) = sample.row.at.and_then(|at| data.table.nearest(at)) else { continue };
        let taken = taken.entry(cell).or_insert(0);
        if *taken < per_cell {
            *taken += 1;
            let variants = sample.variants[..1].to_vec();
            pictures.push((cell, Sample { row: sample.row.clone(), variants }));
        }
    }
    if pictures.is_empty() {
        bail!("no picture has coordinates, so there is nothing to overfit");
    }
    let samples: Vec<&Sample> = pictures.iter().map(|(_, sample)| sample).collect();
    recipe.train.epochs = MAX_STEPS.div_ceil(samples.len().div_ceil(recipe.train.batch));
    let moments = Moments::of_samples(&samples);
    let layers = train::train("overfitting", &samples, &objective, &recipe, &moments, None, checkpointing)?;
    let inputs: Vec<Vec<f32>> = samples.iter().map(|s| model::standardise(&s.variants[0], &moments)).collect();
    let device = Device::flex();
    let logits = model::logits(&Network::new(layers, &device), &inputs, &device)?;
    // A probability above one half is required: an almost untrained head may rank the correct cell first by chance.
    let is_sure = |row: &[f32], cell: usize| row.iter().map(|z| (z - row[cell]).exp()).sum::<f32>() < 2.0;
    let learned = logits.iter().zip(&pictures).filter(|(row, (cell, _))| is_sure(row, *cell)).count();
    let outcome = Outcome { per_cell, cells: taken.len(), pictures: pictures.len(), learned };
    if (learned as f64) < MIN_MEMORISED * pictures.len() as f64 {
        let why = format!(
            "overfit check failed: only {learned} of {} pictures (at most {per_cell} per cell) were memorised; check \
            the labels, the layers and the learning rate",
            pictures.len()
        );
        return Err(check_failed(why));
    }
    Ok(outcome)
}

/// The recipe without everything that prevents memorisation; layers, learning rate and optimizer are unchanged.
fn without_regularisation(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.label.tau_km = 1e-3; // 1 m: a hard label for the nearest cell
    recipe.label.smoothing = 0.0;
    recipe.train.dropout = 0.0;
    recipe.train.weight_decay = 0.0;
    recipe.train.mixup = 0.0;
    recipe.cell_embeddings.weight_decay = 0.0;
    recipe.km_loss.weight = 0.0;
    recipe.sampling = Sampling::default();
    recipe.multi_view = MultiView::default();
    recipe.prior = Prior::default();
    recipe.early_stop = EarlyStop::default();
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::training_data::tests::{place, sample, training_data};
    use landfall_common::exit::{Exit, exit_code};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// Four places with three pictures each, with random features that do not depend on the place.
    fn pictures() -> TrainingData {
        let places = [(48.85, 2.35, "FR"), (45.76, 4.83, "FR"), (35.68, 139.76, "JP"), (-33.87, 151.21, "AU")];
        let (mut data, mut random) = (training_data(&places), StdRng::seed_from_u64(1));
        for (lat, lng, iso2) in places {
            for _ in 0..3 {
                let embedding: Vec<f32> = (0..16).map(|_| random.random::<f32>() - 0.5).collect();
                data.samples.push(sample(place(lat, lng, iso2), &embedding));
            }
        }
        data
    }

    #[test]
    fn random_features_are_memorised() {
        let (data, recipe) = (pictures(), Recipe::default());
        let outcome = check(&data, &recipe, 2, &CheckpointConfig::default()).unwrap();
        assert_eq!(outcome, Outcome { per_cell: 2, cells: 4, pictures: 8, learned: 8 });
    }

    #[test]
    fn a_tiny_learning_rate_and_identical_pictures_fail_the_check() {
        let mut recipe = Recipe::default();
        recipe.train.lr = 1e-12;
        let mut identical = pictures();
        identical.samples.iter_mut().for_each(|sample| sample.variants[0] = vec![1.0; 16]);
        for (data, recipe) in [(pictures(), recipe), (identical, Recipe::default())] {
            let error = check(&data, &recipe, 1, &CheckpointConfig::default()).unwrap_err();
            assert_eq!(exit_code(&error, |_| None), Exit::CheckFailed, "{error}");
            assert!(error.to_string().contains("overfit check failed"), "{error}");
        }
    }
}
