//! `stats`: scores, calibration and confusions over recorded rounds.
//!
//! Scores are scaled to 5000 points regardless of the maximum of the map. Confidence intervals contain 95 % of 2,000
//! bootstrap resamples of places, not of rounds, since rounds at the same place are correlated.

pub(crate) mod calibration;
mod rounds;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use calibration::Calibration;
use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_common::statistics::median;
use rounds::ScoredRound;
use serde::Serialize;

use crate::record::find_rounds;

/// Number of best and worst rounds listed.
const RANKED_ROUNDS: usize = 5;
/// Maximum number of confused country pairs listed.
const MAX_CONFUSIONS: usize = 10;

/// The statistics.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Number of rounds with known score, on which all other fields are based.
    pub rounds: usize,
    /// Number of games; rounds without a game do not count.
    pub games: usize,
    /// Number of distinct places.
    pub places: usize,
    /// Number of rounds with unknown score.
    pub without_points: usize,
    /// Mean score per round.
    pub points: Interval,
    /// Median distance in kilometres.
    pub median_km: Option<f64>,
    /// Calibration.
    pub calibration: Calibration,
    /// By number of views, increasing.
    pub by_views: Vec<ByViews>,
    /// By bundle, sorted by version.
    pub by_bundle: Vec<ByBundle>,
    /// Percentage of pins in the country of the truth, if both are known.
    pub right_country: Option<f64>,
    /// By country of the truth, most frequent first.
    pub countries: Vec<ByCountry>,
    /// Confused countries, most frequent first.
    pub confusions: Vec<Confusion>,
    /// The rounds with the highest scores.
    pub best: Vec<RoundByFolder>,
    /// The rounds with the lowest scores.
    pub worst: Vec<RoundByFolder>,
    /// Unreadable records, one sentence each.
    pub broken: Vec<String>,
}

/// Rounds by number of views.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByViews {
    /// Number of views.
    pub views: usize,
    /// Number of rounds.
    pub rounds: usize,
    /// Mean score per round.
    pub points: Interval,
}

/// Rounds of one bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByBundle {
    /// Name and version; `None` if not recorded.
    pub bundle: Option<String>,
    /// Number of rounds.
    pub rounds: usize,
    /// Mean score per round.
    pub points: Interval,
}

/// Rounds in one country.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByCountry {
    /// ISO 3166-1 alpha-2 code.
    pub country: &'static str,
    /// Number of rounds.
    pub rounds: usize,
    /// Percentage of pins in this country.
    pub right: f64,
    /// Mean score per round.
    pub points: f64,
}

/// A pair of confused countries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// Country code of the truth.
    pub truth: &'static str,
    /// Country code of the pin; `None` at sea.
    pub guess: Option<&'static str>,
    /// Number of rounds.
    pub rounds: usize,
    /// Mean score.
    pub points: f64,
}

/// A round, identified by its directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundByFolder {
    /// Directory of the round, relative to the given directory.
    pub round: String,
    /// Score.
    pub points: f64,
    /// Distance of the pin in kilometres.
    pub distance_km: Option<f64>,
    /// Description of the predicted place.
    pub place: Option<String>,
    /// Country code of the truth.
    pub country: Option<&'static str>,
}

/// The statistics of all rounds under these directories.
///
/// # Errors
/// When a directory cannot be read or contains no rounds. Invalid records are skipped and listed in the result.
pub fn stats(dirs: &[PathBuf]) -> Result<Stats> {
    let (found, mut broken) = find_rounds(dirs)?;
    let (rounds, further) = rounds::read(&found);
    broken.extend(further);
    Ok(Stats { broken, ..Stats::of(&rounds) })
}

impl Stats {
    /// Computes the statistics of these rounds.
    fn of(all: &[ScoredRound]) -> Self {
        let rounds: Vec<&ScoredRound> = all.iter().filter(|round| round.points.is_some()).collect();
        let points: Vec<f64> = rounds.iter().filter_map(|round| round.points).collect();
        let groups = Groups::new(rounds.iter().enumerate().map(|(i, round)| round.place_key(i)));
        let of = |rounds: &[usize]| (rounds.len(), groups.mean(&points, rounds));
        let mean = |rounds: &[usize]| rounds.iter().map(|i| points[*i]).sum::<f64>() / rounds.len() as f64;
        let every: Vec<usize> = (0..rounds.len()).collect();

        let by_views = group_by(&rounds, |round| Some(round.views)).into_iter().map(|(views, part)| {
            let (rounds, points) = of(&part);
            ByViews { views, rounds, points }
        });
        let by_bundle =
            group_by(&rounds, |round| Some(version_key(round.bundle.as_deref()))).into_values().map(|part| {
                let (n, points) = of(&part);
                ByBundle { bundle: rounds[part[0]].bundle.clone(), rounds: n, points }
            });
        let is_right = |i: &&usize| rounds[**i].guess_country == rounds[**i].country;
        let share = |part: &[usize]| 100.0 * part.iter().filter(is_right).count() as f64 / part.len() as f64;
        let of_country = group_by(&rounds, |round| round.country.filter(|_| round.has_guess));
        let placed: Vec<usize> = of_country.values().flatten().copied().collect();
        let mut countries: Vec<ByCountry> = of_country
            .into_iter()
            .map(|(country, part)| ByCountry { country, rounds: part.len(), right: share(&part), points: mean(&part) })
            .collect();
        countries.sort_by_key(|country| std::cmp::Reverse(country.rounds));
        let confused = group_by(&rounds, |round| {
            let pair = (round.country?, round.guess_country);
            (round.has_guess && pair.1 != Some(pair.0)).then_some(pair)
        });
        let mut confusions: Vec<Confusion> = confused
            .into_iter()
            .map(|((truth, guess), part)| Confusion { truth, guess, rounds: part.len(), points: mean(&part) })
            .collect();
        confusions.sort_by(|a, b| b.rounds.cmp(&a.rounds).then(a.points.total_cmp(&b.points)));
        confusions.truncate(MAX_CONFUSIONS);

        let mut order = every.clone();
        order.sort_by(|a, b| points[*b].total_cmp(&points[*a]));
        let named = |i: &usize| rounds[*i].by_folder(points[*i]);
        let distances: Vec<f64> = rounds.iter().filter_map(|round| round.distance_km).collect();
        Self {
            rounds: rounds.len(),
            games: rounds.iter().filter_map(|round| round.game.as_ref()).collect::<HashSet<_>>().len(),
            places: groups.count(),
            without_points: all.len() - rounds.len(),
            points: groups.mean(&points, &every),
            median_km: median(distances),
            calibration: calibration::calibration(&rounds, &points, &groups),
            by_views: by_views.collect(),
            by_bundle: by_bundle.collect(),
            right_country: (!placed.is_empty()).then(|| share(&placed)),
            countries,
            confusions,
            best: order.iter().take(RANKED_ROUNDS).map(named).collect(),
            worst: order.iter().rev().take(RANKED_ROUNDS).map(named).collect(),
            broken: Vec::new(),
        }
    }
}

/// Groups rounds by a key; rounds without a key are skipped.
fn group_by<K: Ord>(rounds: &[&ScoredRound], key: impl Fn(&ScoredRound) -> Option<K>) -> BTreeMap<K, Vec<usize>> {
    let mut parts: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (i, round) in rounds.iter().enumerate() {
        if let Some(key) = key(round) {
            parts.entry(key).or_default().push(i);
        }
    }
    parts
}

/// Sort key for `name@version` with numeric comparison of versions: 2026.9.1 before 2026.11.1.
fn version_key(bundle: Option<&str>) -> (String, Vec<u64>, String) {
    let id = bundle.unwrap_or_default();
    let (name, version) = id.split_once('@').unwrap_or((id, ""));
    let numbers = version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    (name.to_owned(), numbers, version.to_owned())
}

#[cfg(test)]
mod tests;
