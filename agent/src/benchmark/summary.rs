//! The result of a run: what the answers are worth.

use std::collections::BTreeMap;

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_common::statistics::calibration::equal_count_bins;
use landfall_common::statistics::median;
use landfall_model::{LatLng, countries};
use serde::{Deserialize, Serialize};

use crate::benchmark::journal::{Answered, Header, Journal, Outcome};
use crate::benchmark::set::{RoundSet, country_at};
use crate::server::arena::world_map;

/// The event of which players state the probability: the truth is within this distance of the guess.
pub(super) const EVENT_KM: f64 = 750.0;
/// Radii of the usual thresholds (street, city, region, country, continent).
const THRESHOLDS_KM: [u32; 5] = [1, 25, 200, 750, 2500];
/// Distance of a round without a guess: half around the earth.
const NO_GUESS_KM: f64 = 20_015.1;
/// Maximum number of bins of the calibration error; each has at least two rounds.
const BINS: usize = 10;

/// A round of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoundScore {
    /// Number in the order of play, from 1.
    pub n: usize,
    pub truth: LatLng,
    pub country: Option<String>,
    #[serde(flatten)]
    pub answered: Answered,
    pub distance_km: Option<f64>,
    pub points: u32,
}

/// What confidences are worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Confidence {
    /// Number of rounds with a confidence.
    pub rounds: usize,
    pub event: String,
    /// Expected calibration error, 0 to 1, in bins of equal counts.
    pub ece: f64,
    /// Mean squared difference between confidence and event.
    pub brier: f64,
    pub mean: f64,
    /// Share of the rounds in which the event came true.
    pub came_true: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seconds {
    pub median: f64,
    pub p95: f64,
    pub total: f64,
}

/// What the player says it cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Number of rounds with a cost.
    pub rounds: usize,
    pub usd: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContinentScore {
    pub rounds: usize,
    pub points: f64,
    pub median_km: f64,
    /// Share of guesses in the right country, 0 to 1.
    pub country: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeanPoints {
    pub mean: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl From<Interval> for MeanPoints {
    fn from(Interval { value, low, high }: Interval) -> Self {
        Self { mean: value, low, high }
    }
}

/// `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BenchResult {
    #[serde(flatten)]
    pub run: Header,
    /// Version of this program.
    pub landfall: String,
    pub answered: usize,
    pub refused: usize,
    pub errors: usize,
    /// Number of rounds per reason without a guess.
    pub reasons: BTreeMap<String, usize>,
    /// Points per round with a 95 % interval; a round without a guess has 0 points.
    pub points: MeanPoints,
    /// Over all rounds; a round without a guess counts as half around the earth.
    pub median_km: f64,
    /// Share of all rounds within these distances.
    pub within_km: BTreeMap<u32, f64>,
    /// Share of all rounds with a guess in the right country.
    pub country: f64,
    pub confidence: Option<Confidence>,
    pub seconds: Seconds,
    pub cost: Option<Cost>,
    pub continents: BTreeMap<String, ContinentScore>,
    pub per_round: Vec<RoundScore>,
}

/// The result of the answers in a journal; `None` if a round has no answer.
pub(crate) fn summarize(set: &RoundSet, header: &Header, journal: &Journal) -> Option<BenchResult> {
    let map = world_map();
    let scores: Option<Vec<RoundScore>> = set
        .rounds
        .iter()
        .enumerate()
        .map(|(i, round)| {
            let answered = journal.of(&round.id)?.clone();
            let distance_m = answered.guess.map(|guess| guess.distance_m(round.truth()));
            Some(RoundScore {
                n: i + 1,
                truth: round.truth(),
                country: round.country.clone(),
                distance_km: distance_m.map(|metres| (metres / 100.0).round() / 10.0),
                points: distance_m.map_or(0, |metres| map.points(metres)),
                answered,
            })
        })
        .collect();
    Some(of_scores(header.clone(), scores?))
}

fn of_scores(run: Header, scores: Vec<RoundScore>) -> BenchResult {
    let n = scores.len().max(1) as f64;
    let count = |outcome: Outcome| scores.iter().filter(|score| score.answered.outcome == outcome).count();
    let mut reasons = BTreeMap::new();
    for reason in scores.iter().filter_map(|score| score.answered.reason.clone()) {
        *reasons.entry(reason).or_default() += 1;
    }
    let points: Vec<f64> = scores.iter().map(|score| f64::from(score.points)).collect();
    let every: Vec<usize> = (0..scores.len()).collect();
    let mut continents: BTreeMap<String, Vec<&RoundScore>> = BTreeMap::new();
    for score in &scores {
        continents.entry(continent(score)).or_default().push(score);
    }
    let seconds = seconds(scores.iter().map(|score| score.answered.seconds).collect());
    let costs: Vec<f64> = scores.iter().filter_map(|score| score.answered.cost_usd).collect();
    let share = |is: &dyn Fn(&RoundScore) -> bool| scores.iter().filter(|score| is(score)).count() as f64 / n;
    BenchResult {
        run,
        landfall: env!("CARGO_PKG_VERSION").to_owned(),
        answered: count(Outcome::Answered),
        refused: count(Outcome::Refused),
        errors: count(Outcome::Error),
        reasons,
        points: Groups::new(scores.iter().map(|score| neighbourhood(score.truth))).mean(&points, &every).into(),
        median_km: median(scores.iter().map(distance).collect()).unwrap_or(NO_GUESS_KM),
        within_km: THRESHOLDS_KM.map(|km| (km, share(&|score| distance(score) <= f64::from(km)))).into(),
        country: share(&is_right_country),
        confidence: confidence(&scores),
        seconds,
        cost: (!costs.is_empty()).then(|| Cost { rounds: costs.len(), usd: costs.iter().sum() }),
        continents: continents.into_iter().map(|(name, scores)| (name, of_continent(&scores))).collect(),
        per_round: scores,
    }
}

/// Rounds of the same tenth of a degree err together, and are resampled together.
pub(super) fn neighbourhood(at: LatLng) -> (i64, i64) {
    let tenths = |degrees: f64| (degrees * 10.0).round() as i64;
    (tenths(at.lat), tenths(at.lng))
}

fn distance(score: &RoundScore) -> f64 {
    score.distance_km.unwrap_or(NO_GUESS_KM)
}

fn is_right_country(score: &RoundScore) -> bool {
    score.country.is_some() && score.answered.guess.and_then(country_at) == score.country
}

fn continent(score: &RoundScore) -> String {
    let country = score.country.as_deref().and_then(countries::by_code);
    country.map_or("none", |country| country.continent).to_owned()
}

fn of_continent(scores: &[&RoundScore]) -> ContinentScore {
    let n = scores.len().max(1) as f64;
    ContinentScore {
        rounds: scores.len(),
        points: scores.iter().map(|score| f64::from(score.points)).sum::<f64>() / n,
        median_km: median(scores.iter().map(|score| distance(score)).collect()).unwrap_or(NO_GUESS_KM),
        country: scores.iter().filter(|score| is_right_country(score)).count() as f64 / n,
    }
}

fn seconds(mut seconds: Vec<f64>) -> Seconds {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds.get(((seconds.len().saturating_sub(1)) as f64 * share).round() as usize).copied();
    Seconds { median: at(0.5).unwrap_or_default(), p95: at(0.95).unwrap_or_default(), total: seconds.iter().sum() }
}

/// Calibration of the confidences that were stated; `None` if there are none.
fn confidence(scores: &[RoundScore]) -> Option<Confidence> {
    let stated = |score: &RoundScore| Some((score.answered.confidence?, distance(score) <= EVENT_KM));
    let mut stated: Vec<(f64, bool)> = scores.iter().filter_map(stated).collect();
    if stated.is_empty() {
        return None;
    }
    stated.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = stated.len() as f64;
    let sums = |part: &[(f64, bool)]| {
        part.iter().fold((0.0, 0.0), |(promised, came), (p, is)| (promised + p, came + f64::from(u8::from(*is))))
    };
    let bins = equal_count_bins(stated.len(), BINS.min(stated.len().div_ceil(2)));
    let gaps = bins.map(|range| {
        let (promised, came) = sums(&stated[range]);
        (promised - came).abs() / n
    });
    let brier = stated.iter().map(|(p, is)| (p - f64::from(u8::from(*is))).powi(2)).sum::<f64>() / n;
    let (promised, came) = sums(&stated);
    Some(Confidence {
        rounds: stated.len(),
        event: format!("within {EVENT_KM} km"),
        ece: gaps.sum(),
        brier,
        mean: promised / n,
        came_true: came / n,
    })
}

/// Head of the Markdown table.
pub(crate) const MARKDOWN_HEADER: &str = "\
| player | rounds | points per round (95 % interval) | median | ≤ 25 km | ≤ 200 km | ≤ 750 km | country | ECE | Brier | seconds per round | cost |
|---|---|---|---|---|---|---|---|---|---|---|---|";

impl BenchResult {
    /// The result as a row of a Markdown table.
    pub(crate) fn markdown_row(&self) -> String {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let within = |km: u32| percent(self.within_km.get(&km).copied().unwrap_or_default());
        let interval = match (self.points.low, self.points.high) {
            (Some(low), Some(high)) => format!(" ({low:.0} to {high:.0})"),
            _ => String::new(),
        };
        let unanswered = match self.refused + self.errors {
            0 => String::new(),
            _ => format!(", {} refused, {} failed", self.refused, self.errors),
        };
        let calibration = |number: fn(&Confidence) -> f64| {
            self.confidence.as_ref().map_or_else(|| "–".to_owned(), |it| format!("{:.3}", number(it)))
        };
        let cost = self.cost.map_or_else(|| "–".to_owned(), |cost| format!("{:.4} USD", cost.usd));
        let cells = [
            self.run.player.name.replace('|', "/"),
            format!("{}{unanswered}", self.per_round.len()),
            format!("{:.0}{interval}", self.points.mean),
            format!("{:.0} km", self.median_km),
            within(25),
            within(200),
            within(750),
            percent(self.country),
            calibration(|it| it.ece),
            calibration(|it| it.brier),
            format!("{:.2}", self.seconds.median),
            cost,
        ];
        format!("| {} |", cells.join(" | "))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::benchmark::journal::tests::header;
    use crate::benchmark::protocol::{Guess, Reply};

    /// A round in Vienna, guessed `north` degrees too far in the north.
    pub(crate) fn score(n: usize, north: Option<f64>, confidence: Option<f64>) -> RoundScore {
        let truth = LatLng { lat: 48.2, lng: 16.4 + n as f64 };
        let guess = north.map(|north| LatLng { lat: truth.lat + north, ..truth });
        let reply = match guess {
            Some(at) => Ok(Reply::Guess(Guess { confidence, cost_usd: Some(0.01), ..Guess::at(at) })),
            None => Ok(Reply::Refused { reason: "a face".into(), cost_usd: None }),
        };
        let distance_m = guess.map(|guess| guess.distance_m(truth));
        RoundScore {
            n,
            truth,
            country: Some("AT".into()),
            answered: Answered::new(&format!("r{n}"), reply, 1, n as f64),
            distance_km: distance_m.map(|metres| metres / 1000.0),
            points: distance_m.map_or(0, |metres| world_map().points(metres)),
        }
    }

    pub(crate) fn result(scores: Vec<RoundScore>) -> BenchResult {
        of_scores(header(), scores)
    }

    #[test]
    fn numbers_by_hand() {
        // 0 km, 111 km, 2224 km, no guess.
        let scores = vec![
            score(0, Some(0.0), Some(0.9)),
            score(1, Some(1.0), Some(0.7)),
            score(2, Some(20.0), Some(0.4)),
            score(3, None, None),
        ];
        let points: u32 = scores.iter().map(|score| score.points).sum();
        let result = result(scores);
        assert_eq!((result.answered, result.refused, result.errors), (3, 1, 0));
        assert_eq!(result.reasons["a face"], 1);
        assert_eq!(result.points.mean, f64::from(points) / 4.0);
        assert!(result.points.low.unwrap() < result.points.mean && result.points.high.unwrap() > result.points.mean);
        assert!((result.median_km - (111.2 + 2223.9) / 2.0).abs() < 1.0, "{}", result.median_km);
        assert_eq!(result.within_km, BTreeMap::from([(1, 0.25), (25, 0.25), (200, 0.5), (750, 0.5), (2500, 0.75)]));
        let confidence = result.confidence.unwrap();
        // Bins {0.4} and {0.7, 0.9}: |0.4 - 0| + |1.6 - 2|, by three rounds.
        assert!((confidence.ece - 0.8 / 3.0).abs() < 1e-12, "{confidence:?}");
        assert!((confidence.brier - (0.01 + 0.09 + 0.16) / 3.0).abs() < 1e-12);
        assert_eq!((confidence.rounds, result.cost.unwrap().rounds), (3, 3));
        assert_eq!((result.seconds.median, result.seconds.total), (2.0, 6.0));
        assert_eq!(result.continents["EU"].rounds, 4);
    }

    #[test]
    fn a_result_is_read_as_it_was_written_and_its_row_fits_the_header() {
        let result = result(vec![score(0, Some(0.0), None), score(1, None, None)]);
        let json = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<BenchResult>(&json).unwrap(), result);
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(&result.markdown_row()), columns(MARKDOWN_HEADER.lines().next().unwrap()));
        assert!(result.markdown_row().contains("2, 1 refused, 0 failed"), "{}", result.markdown_row());
    }
}
