//! Percentile bootstrap over groups (cluster bootstrap): rounds of one group err together, so groups are resampled, not
//! rounds.
//!
//! Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.

use std::collections::HashMap;
use std::hash::Hash;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;

/// Resamples behind [`Groups::mean`]: the ends of an interval repeat to about a twentieth of its length.
const RESAMPLES: u64 = 2_000;
/// Fixed, so that the same rounds always give the same interval.
const SEED: u64 = 1;

/// Draws `groups` group indices with replacement, `resamples` times, and returns the statistic of each draw.
///
/// Draws depend on their number only, so results do not depend on the number of threads.
pub fn resample<T: Send>(groups: usize, resamples: u64, statistic: impl Fn(&[usize]) -> T + Sync) -> Vec<T> {
    let draw = |i: u64| {
        let mut random = StdRng::seed_from_u64(SEED + i);
        let drawn: Vec<usize> = (0..groups).map(|_| random.random_range(0..groups)).collect();
        statistic(&drawn)
    };
    (0..resamples).into_par_iter().map(draw).collect()
}

/// The 2.5th and 97.5th percentile of resampled values. Panics if there are none.
pub fn interval_95(mut resampled: Vec<f64>) -> (f64, f64) {
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| resampled[((resampled.len() - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

/// A mean with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub value: f64,
    /// 2.5th percentile of the resampled means; `None` if there is only one group.
    pub low: Option<f64>,
    /// 97.5th percentile of the resampled means; `None` if there is only one group.
    pub high: Option<f64>,
}

impl Interval {
    /// Whether the interval excludes 0, that is, whether a difference is significant at the 5 % level.
    pub fn excludes_zero(&self) -> bool {
        self.low.is_some_and(|low| low > 0.0) || self.high.is_some_and(|high| high < 0.0)
    }
}

/// Assigns rounds to the groups that are resampled.
#[derive(Clone, Debug)]
pub struct Groups {
    of_round: Vec<usize>,
    count: usize,
}

impl Groups {
    /// One key per round; rounds with equal keys form a group.
    pub fn new<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Self {
        let mut numbers = HashMap::new();
        let of_round = keys.map(|key| {
            let next = numbers.len();
            *numbers.entry(key).or_insert(next)
        });
        let of_round = of_round.collect();
        Self { of_round, count: numbers.len() }
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The group of each round, numbered from 0 in order of first appearance.
    pub fn of_rounds(&self) -> &[usize] {
        &self.of_round
    }

    /// The mean over the rounds with the indices `rounds`, given one value for each round of the set.
    pub fn mean(&self, values: &[f64], rounds: &[usize]) -> Interval {
        // A draw of a group changes the mean by the group's sum and count only.
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
        let interval = (sums.len() > 1).then(|| {
            let mean = |drawn: &[usize]| {
                let (sum, n) = drawn.iter().fold((0.0, 0.0), |(sum, n), &i| (sum + sums[i].0, n + sums[i].1));
                sum / n
            };
            interval_95(resample(sums.len(), RESAMPLES, mean))
        });
        Interval { value, low: interval.map(|(low, _)| low), high: interval.map(|(_, high)| high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], keys: &[usize]) -> Interval {
        Groups::new(keys.iter()).mean(values, &(0..values.len()).collect::<Vec<_>>())
    }

    #[test]
    fn the_interval_agrees_with_the_binomial_distribution() {
        // Half of 100 rounds score 1: the standard error is √(0.25 / 100), so 95 % lie within 0.098 of the mean.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let single = mean(&values, &(0..100).collect::<Vec<_>>());
        let (low, high) = (single.low.unwrap(), single.high.unwrap());
        assert!((low - 0.402).abs() < 0.02 && (high - 0.598).abs() < 0.02, "{single:?}");
        // The same in ten groups of ten equal rounds: √10 times as wide.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i / 10 % 2)).collect();
        let grouped = mean(&values, &(0..100).map(|i| i / 10).collect::<Vec<_>>());
        let wider = (grouped.high.unwrap() - grouped.low.unwrap()) / (high - low);
        assert!((wider - 10f64.sqrt()).abs() < 0.5, "{wider}");
    }

    #[test]
    fn a_single_group_has_no_interval() {
        assert_eq!(mean(&[1.0, 2.0], &[7, 7]), Interval { value: 1.5, low: None, high: None });
        let equal = mean(&[4.0, 4.0], &[1, 2]);
        assert_eq!((equal.low, equal.high), (Some(4.0), Some(4.0)));
        assert!(equal.excludes_zero() && !mean(&[-1.0, 1.0], &[1, 2]).excludes_zero());
    }
}
