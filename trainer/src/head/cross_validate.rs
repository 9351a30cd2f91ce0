//! Cross-validation: evaluates heads on pictures they were not trained on.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use burn::tensor::Device;
use landfall_model::{LatLng, MapScale};

use crate::eval::metrics::{self, Report};
use crate::features::samples::{self, Sample};
use crate::head::held_out::HeldOutEval;
use crate::head::loss::Objective;
use crate::head::model::{self, Moments, Network};
use crate::head::recipe::Recipe;
use crate::head::train::{self, CheckpointConfig};
use crate::head::training_data::TrainingData;

/// Maximum number of places on which a head is evaluated during training.
const EVAL_PLACES: usize = 256;
/// Numbers of views to evaluate.
const VIEWS: [usize; 2] = [1, 4];

/// Temperature and quality per number of views.
pub(crate) struct Validation {
    /// Softmax temperature, fitted on the first feature folder.
    pub(crate) temperature: BTreeMap<usize, f64>,
    /// Quality on each feature folder.
    pub(crate) reports: BTreeMap<usize, Vec<Report>>,
    /// Standard deviation of the mean points of the folds, on the first feature folder.
    pub(crate) spread: BTreeMap<usize, f64>,
}

/// True location and logits of each held-out round.
type Rounds = Vec<(LatLng, Vec<Vec<f32>>)>;

/// Trains on all folds but one, in turn, and evaluates on the remaining one.
///
/// # Errors
/// When training fails, or no held-out row has coordinates.
pub(crate) fn cross_validate(
    data: &TrainingData,
    objective: &Objective<'_>,
    recipe: &Recipe,
    folds: usize,
    first: Option<usize>,
    checkpointing: &CheckpointConfig,
) -> Result<Validation> {
    let table = &data.table;
    let variants = data.samples.iter().map(|s| s.variants.len()).min().unwrap_or(0);
    let mut ends: BTreeMap<usize, Vec<usize>> = VIEWS.map(|views| (views, Vec::new())).into();
    let mut rounds: BTreeMap<usize, Vec<Rounds>> = VIEWS.map(|views| (views, vec![Vec::new(); variants])).into();
    for fold in 0..first.map_or(folds, |first| folds.min(first)) {
        let is_held_out = |s: &&Sample| samples::fold_of(&s.row, folds) == fold;
        let (out, rest): (Vec<&Sample>, Vec<&Sample>) = data.samples.iter().partition(is_held_out);
        let moments = Moments::of_samples(&rest);
        let held_out = HeldOutEval::new(table, &out, &moments, EVAL_PLACES);
        let name = format!("fold {} of {folds}", fold + 1);
        let layers = train::train(&name, &rest, objective, recipe, &moments, Some(&held_out), checkpointing)?;
        let device = Device::flex();
        let network = Network::new(layers, &device);
        let out: Vec<Sample> = out.into_iter().filter(|sample| sample.row.at.is_some()).cloned().collect();
        for variant in 0..variants {
            let inputs: Vec<Vec<f32>> =
                out.iter().map(|s| model::standardise(&s.variants[variant], &moments)).collect();
            let logits = model::logits(&network, &inputs, &device)?;
            let of_file: BTreeMap<_, _> = out.iter().map(|sample| &sample.row.file).zip(logits).collect();
            for (views, rounds) in &mut rounds {
                let is_complete = |round: &Vec<&Sample>| {
                    round.len() == *views && round.iter().all(|s| samples::is_one_place(&round[0].row, &s.row))
                };
                for round in samples::rounds(&out, *views).into_iter().filter(is_complete) {
                    let logits = round.iter().map(|sample| of_file[&sample.row.file].clone()).collect();
                    rounds[variant].extend(round[0].row.at.map(|truth| (truth, logits)));
                }
            }
        }
        for (views, ends) in &mut ends {
            ends.extend(rounds[views].first().map(Vec::len));
        }
    }
    let mut validation = Validation { temperature: BTreeMap::new(), reports: BTreeMap::new(), spread: BTreeMap::new() };
    for (views, rounds) in rounds {
        let first = rounds.first().filter(|rounds| !rounds.is_empty());
        let Some(t) = first.and_then(|rounds| metrics::fit_temperature(table, rounds)) else { continue };
        let results = first.map_or_else(Vec::new, |rounds| metrics::predict(table, rounds, t));
        let points =
            |result: &metrics::RoundResult| MapScale::WORLD.exact_points(result.pin.at.distance_m(result.truth));
        validation.spread.extend(spread(results.iter().map(points).collect(), &ends[&views]).map(|s| (views, s)));
        let report = |rounds: &Rounds| metrics::report(table, &metrics::predict(table, rounds, t));
        validation.temperature.insert(views, t);
        validation.reports.insert(views, rounds.iter().filter_map(report).collect());
    }
    if validation.temperature.is_empty() {
        bail!("cannot cross-validate: no held-out row has coordinates");
    }
    Ok(validation)
}

/// Standard deviation of the means of the parts of `values` that end at `ends`; `None` if fewer than two parts have
/// values.
fn spread(values: Vec<f64>, ends: &[usize]) -> Option<f64> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let parts: Vec<&[f64]> = starts.zip(ends).map(|(a, b)| &values[a..*b]).filter(|part| !part.is_empty()).collect();
    let means: Vec<f64> = parts.iter().map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let squares: f64 = means.iter().map(|x| (x - mean).powi(2)).sum();
    (means.len() > 1).then(|| (squares / (means.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_spread_is_the_standard_deviation_of_the_folds_means() {
        assert_eq!(spread(vec![1.0, 3.0, 5.0, 7.0], &[2, 4]), Some(8.0_f64.sqrt()));
        assert_eq!(spread(vec![1.0, 3.0], &[2, 2]), None, "an empty part has no mean");
    }
}
