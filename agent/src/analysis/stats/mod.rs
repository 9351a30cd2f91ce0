//! `stats`: what all recorded games say together: how good, how sure, where wrong.
//!
//! Points count on the usual scale to 5000, whatever a map's most points are. Intervals hold 95 % of 2,000 resamples;
//! places are drawn, not rounds, since rounds of one place come out alike.

pub mod calibration;
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

/// So many of the best rounds are named, and of the worst.
const RANKED_ROUNDS: usize = 5;
/// So many confusions of countries are named.
const MAX_CONFUSIONS: usize = 10;

/// Everything `stats` says.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Rounds whose points are known; all below is of these.
    pub rounds: usize,
    /// Games that they are of; rounds that were not played in a game count to none.
    pub games: usize,
    /// Places that they were at.
    pub places: usize,
    /// Rounds whose points are not known.
    pub without_points: usize,
    /// Mean score per round.
    pub points: Interval,
    /// Half of the pins are no farther off, in kilometres.
    pub median_km: Option<f64>,
    /// What was promised, and what came of it.
    pub calibration: Calibration,
    /// By the number of views that were looked at, from the fewest.
    pub by_views: Vec<ByViews>,
    /// By bundle, versions in their order.
    pub by_bundle: Vec<ByBundle>,
    /// Percentage of pins that are in the country of the truth, where both are known.
    pub right_country: Option<f64>,
    /// By the truth's country, the most frequent first.
    pub countries: Vec<ByCountry>,
    /// Countries taken for others, the most frequent first.
    pub confusions: Vec<Confusion>,
    /// The rounds with the most points.
    pub best: Vec<RoundByFolder>,
    /// The rounds with the fewest.
    pub worst: Vec<RoundByFolder>,
    /// Records that could not be read, a sentence each.
    pub broken: Vec<String>,
}

/// Rounds by number of views.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByViews {
    /// Views that were looked at.
    pub views: usize,
    /// Rounds.
    pub rounds: usize,
    /// Mean score per round.
    pub points: Interval,
}

/// Rounds of one bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByBundle {
    /// Name and version; `None` where none is recorded.
    pub bundle: Option<String>,
    /// Rounds.
    pub rounds: usize,
    /// Mean score per round.
    pub points: Interval,
}

/// Rounds in one country.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByCountry {
    /// ISO 3166-1 alpha-2 code.
    pub country: &'static str,
    /// Rounds.
    pub rounds: usize,
    /// Percentage of pins in this country.
    pub right: f64,
    /// Mean score per round.
    pub points: f64,
}

/// One country taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// Code of the country that it was.
    pub truth: &'static str,
    /// Code of the country that the pin was in; `None` at sea.
    pub guess: Option<&'static str>,
    /// How often.
    pub rounds: usize,
    /// Mean points of these.
    pub points: f64,
}

/// One round by its folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundByFolder {
    /// The round's folder, below the folder that was asked for.
    pub round: String,
    /// Its points.
    pub points: f64,
    /// How far off the pin was, in kilometres.
    pub distance_km: Option<f64>,
    /// The answer in words.
    pub place: Option<String>,
    /// Code of the country that it was in.
    pub country: Option<&'static str>,
}

/// The statistics of every round in these folders or below.
///
/// # Errors
/// When a folder cannot be read or holds no round. A record that is broken is named in the result and left out.
pub fn stats(dirs: &[PathBuf]) -> Result<Stats> {
    let (rounds, broken) = rounds::read(&find_rounds(dirs)?);
    Ok(Stats { broken, ..Stats::of(&rounds) })
}

impl Stats {
    /// The statistics of these rounds.
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

/// The rounds by a key, those without one left out.
fn group_by<K: Ord>(rounds: &[&ScoredRound], key: impl Fn(&ScoredRound) -> Option<K>) -> BTreeMap<K, Vec<usize>> {
    let mut parts: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (i, round) in rounds.iter().enumerate() {
        if let Some(key) = key(round) {
            parts.entry(key).or_default().push(i);
        }
    }
    parts
}

/// Orders `name@version` by name, then by version with its numbers as numbers: 2026.9.1 before 2026.11.1.
fn version_key(bundle: Option<&str>) -> (String, Vec<u64>, String) {
    let id = bundle.unwrap_or_default();
    let (name, version) = id.split_once('@').unwrap_or((id, ""));
    let numbers = version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    (name.to_owned(), numbers, version.to_owned())
}

#[cfg(test)]
mod tests;
