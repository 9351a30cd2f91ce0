//! Paired comparison of two bundles on the same rounds, with confidence intervals.

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_model::LatLng;
use serde::Serialize;

/// Paired comparison of two bundles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PairedComparison {
    /// The second bundle, `name@version`.
    pub bundle: String,
    /// Total score of the second bundle on all rounds with known truth.
    pub score: u32,
    /// Mean score of the first bundle minus that of the second, scaled to 5000 points.
    pub difference: Interval,
    /// Rounds in which the first bundle scored more.
    pub won: usize,
    /// Rounds in which the second bundle scored more.
    pub lost: usize,
    /// Rounds with equal scores.
    pub even: usize,
    /// Scores per round.
    pub rounds: Vec<RoundPair>,
}

/// Scores of both bundles on one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RoundPair {
    /// Directory of the round.
    pub dir: String,
    /// Score of the first bundle.
    pub score: u32,
    /// Score of the second bundle.
    pub against: u32,
}

/// A round scored with both bundles.
pub(crate) struct SharedRound {
    pub(crate) pair: RoundPair,
    pub(crate) truth: LatLng,
    /// Score of the first bundle minus that of the second, scaled to 5000 points.
    pub(crate) gain: f64,
}

/// Compares the scores of two bundles on the same rounds. `bundle` and `score` belong to the second bundle. `None`
/// without rounds.
pub(crate) fn compare(bundle: String, score: u32, common: Vec<SharedRound>) -> Option<PairedComparison> {
    if common.is_empty() {
        return None;
    }
    let gains: Vec<f64> = common.iter().map(|round| round.gain).collect();
    let count = |is: fn(&f64) -> bool| gains.iter().filter(|gain| is(gain)).count();
    let every: Vec<usize> = (0..gains.len()).collect();
    Some(PairedComparison {
        bundle,
        score,
        difference: Groups::new(common.iter().map(|round| place_key(round.truth))).mean(&gains, &every),
        won: count(|gain| *gain > 0.0),
        lost: count(|gain| *gain < 0.0),
        even: count(|gain| *gain == 0.0),
        rounds: common.into_iter().map(|round| round.pair).collect(),
    })
}

/// A key that is equal for places within a ten-thousandth of a degree.
pub(crate) fn place_key(at: LatLng) -> (i64, i64) {
    let whole = |degrees: f64| (degrees * 1e4).round() as i64;
    (whole(at.lat), whole(at.lng))
}
