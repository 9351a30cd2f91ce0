//! Whether promises are kept: points against the points that were expected, and how often the truth lay in the regions
//! that should hold it.

use std::ops::Range;

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_common::statistics::calibration::equal_count_bins;
use serde::Serialize;

use crate::analysis::stats::rounds::ScoredRound;

/// Rounds that a bin of promises has at least, where there are enough for two.
const MIN_ROUNDS_PER_BIN: usize = 10;
/// Most bins.
const MAX_BINS: usize = 10;

/// How honest the promises were.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Rounds with a promise.
    pub rounds: usize,
    /// Mean points that were expected.
    pub expected: Option<f64>,
    /// Points minus expected points; above 0 it was better than it said.
    pub surplus: Option<Interval>,
    /// From the least to the most that was expected, in equal numbers.
    pub bins: Vec<Bin>,
    /// Of rounds whose logits are recorded, by a bundle that is here.
    pub regions: Option<Regions>,
}

/// What came of like promises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Rounds.
    pub rounds: usize,
    /// Mean points that were expected.
    pub expected: f64,
    /// Mean points.
    pub points: f64,
}

/// How often the truth was where it should be. A region is the likeliest cells that hold so much of the probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Regions {
    /// Rounds.
    pub rounds: usize,
    /// Percentage of truths within the region of 50 %.
    pub in_50: f64,
    /// Percentage of truths within the region of 90 %.
    pub in_90: f64,
}

/// The calibration of these rounds.
pub(super) fn calibration(rounds: &[&ScoredRound], points: &[f64], groups: &Groups) -> Calibration {
    let mut expected: Vec<(usize, f64)> =
        rounds.iter().enumerate().filter_map(|(i, round)| Some((i, round.expected?))).collect();
    expected.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
    let n = expected.len();
    let bins = if n == 0 { 0 } else { (n / MIN_ROUNDS_PER_BIN).clamp(1, MAX_BINS) };
    let bin = |range: Range<usize>| {
        let part = &expected[range];
        Bin {
            rounds: part.len(),
            expected: mean(&mut part.iter().map(|(_, promise)| *promise), part.len()),
            points: mean(&mut part.iter().map(|(i, _)| points[*i]), part.len()),
        }
    };
    let mut gains = vec![0.0; points.len()];
    expected.iter().for_each(|(i, promise)| gains[*i] = points[*i] - promise);
    let numbers: Vec<usize> = expected.iter().map(|(i, _)| *i).collect();
    let mass_before_truth: Vec<f64> = rounds.iter().filter_map(|round| round.mass_before_truth).collect();
    let within = |mass: f64| {
        let held = mass_before_truth.iter().filter(|before| **before < mass).count();
        100.0 * held as f64 / mass_before_truth.len() as f64
    };
    Calibration {
        rounds: n,
        expected: (n > 0).then(|| mean(&mut expected.iter().map(|(_, promise)| *promise), n)),
        surplus: (n > 0).then(|| groups.mean(&gains, &numbers)),
        bins: equal_count_bins(n, bins).map(bin).collect(),
        regions: (!mass_before_truth.is_empty()).then(|| Regions {
            rounds: mass_before_truth.len(),
            in_50: within(0.5),
            in_90: within(0.9),
        }),
    }
}
