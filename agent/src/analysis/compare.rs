//! Two bundles on the same rounds: which is better, and whether the difference is more than luck.

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_model::LatLng;
use serde::Serialize;

/// How much better the first bundle is than the second on the same rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedComparison {
    /// The second bundle, `name@version`.
    pub bundle: String,
    /// Its points on all rounds whose truth is known.
    pub score: u32,
    /// Mean points of the first minus mean points of the second, on the scale to 5000.
    pub difference: Interval,
    /// Rounds that the first won.
    pub won: usize,
    /// Rounds that the second won.
    pub lost: usize,
    /// Rounds with equal points.
    pub even: usize,
    /// Round by round.
    pub rounds: Vec<RoundPair>,
}

/// One round and the points of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundPair {
    /// The round's folder.
    pub dir: String,
    /// Points of the first.
    pub score: u32,
    /// Points of the second.
    pub against: u32,
}

/// A round that both were scored on.
pub(crate) struct SharedRound {
    pub(crate) pair: RoundPair,
    pub(crate) truth: LatLng,
    /// How many points more the first has, on the scale to 5000.
    pub(crate) gain: f64,
}

/// Holds the points of two bundles on the same rounds against each other; `bundle` and `score` are the second's. `None`
/// where there is no round.
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

/// Places with equal keys are one: to a ten-thousandth of a degree.
pub(crate) fn place_key(at: LatLng) -> (i64, i64) {
    let whole = |degrees: f64| (degrees * 1e4).round() as i64;
    (whole(at.lat), whole(at.lng))
}
