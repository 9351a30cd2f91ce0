//! Two bundles on the same rounds: which is better, and whether the difference is more than luck.

use std::collections::HashMap;

use anyhow::Result;
use serde::Serialize;

use super::bootstrap::{Groups, Interval};
use super::place_key;
use crate::failure::wrong;
use crate::record::Round;
use crate::replay::Replay;

/// How much better the first bundle is than the second on the same rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
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
    pub rounds: Vec<Pair>,
}

/// One round and the points of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The round's folder.
    pub dir: String,
    /// Points of the first.
    pub score: u32,
    /// Points of the second.
    pub against: u32,
}

/// Holds two replays of the same rounds against each other.
///
/// # Errors
/// When no round's points are known.
pub fn paired(first: &Replay, second: &Replay) -> Result<Paired> {
    let of_second: HashMap<&str, &Round> =
        second.rounds.iter().map(|replayed| (replayed.dir.as_str(), &replayed.round)).collect();
    let (mut rounds, mut gains, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for replayed in &first.rounds {
        let Some(other) = of_second.get(replayed.dir.as_str()) else { continue };
        let (Some(score), Some(against), Some(truth)) = (replayed.round.score, other.score, replayed.round.truth)
        else {
            continue;
        };
        gains.push(replayed.round.map.usual(f64::from(score) - f64::from(against)));
        places.push(place_key(truth));
        rounds.push(Pair { dir: replayed.dir.clone(), score, against });
    }
    if rounds.is_empty() {
        return Err(wrong("no round's truth is known, so the bundles cannot be compared"));
    }
    let count = |is: fn(&f64) -> bool| gains.iter().filter(|gain| is(gain)).count();
    let every: Vec<usize> = (0..gains.len()).collect();
    Ok(Paired {
        bundle: second.bundle.clone(),
        score: second.score,
        difference: Groups::new(places.iter()).mean(&gains, &every),
        won: count(|gain| *gain > 0.0),
        lost: count(|gain| *gain < 0.0),
        even: count(|gain| *gain == 0.0),
        rounds,
    })
}
