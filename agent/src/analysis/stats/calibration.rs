//! Calibration: actual against expected scores, and coverage of the credible regions.

use std::ops::Range;

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_common::statistics::calibration::equal_count_bins;
use serde::Serialize;

use crate::analysis::stats::rounds::ScoredRound;

/// Minimum number of rounds per bin, if there are enough for two bins.
const MIN_ROUNDS_PER_BIN: usize = 10;
/// Maximum number of bins.
const MAX_BINS: usize = 10;

/// Calibration of expected scores and credible regions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Number of rounds with an expected score.
    pub rounds: usize,
    /// Mean expected score.
    pub expected: Option<f64>,
    /// Score minus expected score; positive if predictions were better than expected.
    pub surplus: Option<Interval>,
    /// Bins of equal size in increasing order of expected score.
    pub bins: Vec<Bin>,
    /// Coverage for rounds with logits of an installed bundle.
    pub regions: Option<Regions>,
}

/// Rounds with similar expected scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Number of rounds.
    pub rounds: usize,
    /// Mean expected score.
    pub expected: f64,
    /// Mean score.
    pub points: f64,
}

/// Coverage of credible regions: the most likely cells that contain a given probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Regions {
    /// Number of rounds.
    pub rounds: usize,
    /// Percentage of truths in the 50 % region.
    pub in_50: f64,
    /// Percentage of truths in the 90 % region.
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
