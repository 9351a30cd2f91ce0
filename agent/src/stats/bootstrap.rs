//! How far chance alone may have moved a mean: a bootstrap over groups of rounds that come out alike.

use std::collections::HashMap;
use std::hash::Hash;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;

/// Resamples: the ends of an interval repeat to about a twentieth of its length.
const RESAMPLES: u64 = 2_000;
/// The bootstrap draws the same numbers every time.
const SEED: u64 = 1;

/// A mean and the interval that holds 95 % of its resamples; without one where there is a single group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub value: f64,
    /// 2.5 % of the resamples are lower.
    pub low: Option<f64>,
    /// 2.5 % of the resamples are higher.
    pub high: Option<f64>,
}

impl Interval {
    /// Whether 0 lies outside, so that chance alone hardly explains the difference that this is.
    pub fn is_certain(&self) -> bool {
        self.low.is_some_and(|low| low > 0.0) || self.high.is_some_and(|high| high < 0.0)
    }
}

/// Which rounds belong together: they are drawn together.
#[derive(Clone, Debug)]
pub struct Groups {
    of_round: Vec<usize>,
    count: usize,
}

impl Groups {
    /// Rounds with equal keys are of one group.
    pub fn new<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Self {
        let mut numbers = HashMap::new();
        let of_round = keys.map(|key| {
            let next = numbers.len();
            *numbers.entry(key).or_insert(next)
        });
        let of_round = of_round.collect();
        Self { of_round, count: numbers.len() }
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The mean of the values of these rounds.
    pub fn mean(&self, values: &[f64], rounds: &[usize]) -> Interval {
        // A group's sum and number of rounds are all that a draw of it changes.
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for &round in rounds {
            let next = sums.len();
            let group = *numbers.entry(self.of_round[round]).or_insert(next);
            if group == next {
                sums.push((0.0, 0.0));
            }
            sums[group].0 += values[round];
            sums[group].1 += 1.0;
        }
        let value = rounds.iter().map(|round| values[*round]).sum::<f64>() / rounds.len() as f64;
        let interval = (sums.len() > 1).then(|| interval(&sums));
        Interval { value, low: interval.map(|(low, _)| low), high: interval.map(|(_, high)| high) }
    }
}

/// The ends of the interval of the resampled means; `sums` has each group's sum and number.
fn interval(sums: &[(f64, f64)]) -> (f64, f64) {
    let resample = |i: u64| {
        let mut random = StdRng::seed_from_u64(SEED + i);
        let (mut sum, mut n) = (0.0, 0.0);
        for _ in 0..sums.len() {
            let drawn = sums[random.random_range(0..sums.len())];
            sum += drawn.0;
            n += drawn.1;
        }
        sum / n
    };
    let mut means: Vec<f64> = (0..RESAMPLES).into_par_iter().map(resample).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], keys: &[usize]) -> Interval {
        Groups::new(keys.iter()).mean(values, &(0..values.len()).collect::<Vec<_>>())
    }

    #[test]
    fn the_interval_is_that_of_the_binomial() {
        // Half of 100 rounds have a point: a resample's mean has a deviation of √(0.25 / 100), 95 % are within 0.098.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let alone = mean(&values, &(0..100).collect::<Vec<_>>());
        let (low, high) = (alone.low.unwrap(), alone.high.unwrap());
        assert!((low - 0.402).abs() < 0.02 && (high - 0.598).abs() < 0.02, "{alone:?}");
        // The same in ten groups of ten alike: √10 as wide.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i / 10 % 2)).collect();
        let grouped = mean(&values, &(0..100).map(|i| i / 10).collect::<Vec<_>>());
        let wider = (grouped.high.unwrap() - grouped.low.unwrap()) / (high - low);
        assert!((wider - 10f64.sqrt()).abs() < 0.5, "{wider}");
    }

    #[test]
    fn one_group_has_a_mean_alone() {
        assert_eq!(mean(&[1.0, 2.0], &[7, 7]), Interval { value: 1.5, low: None, high: None });
        let equal = mean(&[4.0, 4.0], &[1, 2]);
        assert_eq!((equal.low, equal.high), (Some(4.0), Some(4.0)));
        assert!(equal.is_certain() && !mean(&[-1.0, 1.0], &[1, 2]).is_certain());
    }
}
