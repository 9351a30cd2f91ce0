//! What an evaluation says: errors, points, countries, calibration, and the baselines they must beat.

use std::collections::BTreeMap;

use landfall_model::pin::{self, Pin};
use landfall_model::posterior::Posterior;
use landfall_model::{CellTable, LatLng, MapScale, countries};
use rayon::prelude::*;
use serde::Serialize;

/// Radii of the usual thresholds, in kilometres.
pub const THRESHOLDS_KM: [u32; 5] = [1, 25, 200, 750, 2500];
/// The calibration error is about the probability of lying within so many metres of the pin.
const CALIBRATION_M: f64 = 750_000.0;
/// Bins of the calibration error, of equal numbers of answers.
const BINS: usize = 15;
/// A place this far off a coast still counts to the country, in metres.
const COAST_M: f64 = 50_000.0;

/// One place and what was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Where it is.
    pub truth: LatLng,
    /// The pin with the highest expected score on the World map.
    pub pin: Pin,
    /// The middle of the likeliest peak.
    pub mode: LatLng,
    /// Probability that the truth lies within 750 km of the pin.
    pub confidence: f64,
    /// Expected points of a cell drawn by the numbers of places in the cells.
    pub prior_points: f64,
}

/// Answers for rounds: the logits of one round's views, and its truth.
///
/// Rounds whose logits are no distribution are left out; the caller checks the count.
pub fn answer(
    table: &CellTable,
    rounds: &[(LatLng, Vec<Vec<f32>>)],
    temperature: impl Fn(usize) -> f64 + Sync,
) -> Vec<Answer> {
    let total: f64 = table.cells.iter().map(|cell| f64::from(cell.count)).sum();
    let answer = |(truth, logits): &(LatLng, Vec<Vec<f32>>)| {
        let posterior = Posterior::fuse(table, logits, temperature(logits.len()))?;
        let pin = pin::best(&posterior, MapScale::WORLD);
        let confidence = posterior.mass_within(pin.at, CALIBRATION_M);
        let points = |cell: &landfall_model::cells::Cell| {
            f64::from(cell.count) / total * MapScale::WORLD.exact_points(cell.at.distance_m(*truth))
        };
        let prior_points = table.cells.iter().map(points).sum();
        Some(Answer { truth: *truth, pin, mode: pin::mode(&posterior).at, confidence, prior_points })
    };
    rounds.par_iter().filter_map(answer).collect()
}

/// Errors, points and countries of some answers; percentages run from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Percentage of answers at most so many kilometres off.
    pub within_km: BTreeMap<u32, f64>,
    /// Median error in kilometres.
    pub median_km: f64,
    /// Mean error in kilometres.
    pub mean_km: f64,
    /// Mean points on the World map, not rounded.
    pub geoscore: f64,
    /// Percentage of answers in the right country, by its borders.
    pub country: f64,
}

/// The quality on one continent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Continent {
    /// Number of places.
    pub n: usize,
    /// Their quality.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Mean points of answers that do not look at the picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baselines {
    /// The best constant pin for the cells' numbers of places.
    pub constant: f64,
    /// A cell drawn by its number of places.
    pub prior: f64,
}

/// Everything `evaluate` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of places.
    pub n: usize,
    /// Of the pin that play places.
    #[serde(flatten)]
    pub quality: Quality,
    /// Expected calibration error, in percentage points, of the probability that the place lies within 750 km of the
    /// pin.
    pub ece: f64,
    /// By continent of the truth.
    pub by_continent: BTreeMap<String, Continent>,
    /// Mean points without looking.
    pub baselines: Baselines,
    /// Of the middle of the likeliest peak, which `locate` answers with.
    pub mode: Quality,
}

/// Sums up answers. `None` when there are none.
pub fn report(table: &CellTable, answers: &[Answer]) -> Option<Report> {
    let pins: Vec<(LatLng, LatLng)> = answers.iter().map(|a| (a.truth, a.pin.at)).collect();
    let modes: Vec<(LatLng, LatLng)> = answers.iter().map(|a| (a.truth, a.mode)).collect();
    let mut of_continent: BTreeMap<String, Vec<(LatLng, LatLng)>> = BTreeMap::new();
    for pair in &pins {
        let continent = countries::at_or_near(pair.0, COAST_M).map_or("at sea", |country| country.continent);
        of_continent.entry(continent.to_owned()).or_default().push(*pair);
    }
    let continent =
        |(name, pairs): (String, Vec<_>)| Some((name, Continent { n: pairs.len(), quality: quality(&pairs)? }));
    let prior: Vec<f32> = table.cells.iter().map(|cell| (cell.count.max(1) as f32).ln()).collect();
    let constant = pin::best(&Posterior::fuse(table, &[prior], 1.0)?, MapScale::WORLD).at;
    let mean = |points: &dyn Fn(&Answer) -> f64| answers.iter().map(points).sum::<f64>() / answers.len() as f64;
    Some(Report {
        n: answers.len(),
        quality: quality(&pins)?,
        ece: calibration_error(
            answers.iter().map(|a| (a.confidence, a.truth.distance_m(a.pin.at) <= CALIBRATION_M)).collect(),
        ),
        by_continent: of_continent.into_iter().filter_map(continent).collect(),
        baselines: Baselines {
            constant: mean(&|a| MapScale::WORLD.exact_points(constant.distance_m(a.truth))),
            prior: mean(&|a| a.prior_points),
        },
        mode: quality(&modes)?,
    })
}

/// The quality of guesses, each given as (truth, guess). `None` when there are none.
pub fn quality(guesses: &[(LatLng, LatLng)]) -> Option<Quality> {
    let mut errors_km: Vec<f64> = guesses.iter().map(|(truth, guess)| truth.distance_m(*guess) / 1000.0).collect();
    errors_km.sort_by(f64::total_cmp);
    let n = errors_km.len();
    let middle = [errors_km.get(n.checked_sub(1)? / 2)?, errors_km.get(n / 2)?];
    let percent = |count: usize| 100.0 * count as f64 / n as f64;
    let within = |km: u32| (km, percent(errors_km.partition_point(|error| *error <= f64::from(km))));
    let country = |place: LatLng| countries::at_or_near(place, COAST_M).map(|country| country.iso2);
    let right = guesses.par_iter().filter(|(truth, guess)| country(*truth).is_some_and(|c| country(*guess) == Some(c)));
    Some(Quality {
        within_km: THRESHOLDS_KM.into_iter().map(within).collect(),
        median_km: (middle[0] + middle[1]) / 2.0,
        mean_km: errors_km.iter().sum::<f64>() / n as f64,
        geoscore: errors_km.iter().map(|km| MapScale::WORLD.exact_points(km * 1000.0)).sum::<f64>() / n as f64,
        country: percent(right.count()),
    })
}

/// Mean distance, in percentage points, between what was promised and what came true, over bins of equal numbers.
pub fn calibration_error(mut answers: Vec<(f64, bool)>) -> f64 {
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (n, bins) = (answers.len(), BINS.min(answers.len()));
    let bin = |i: usize| &answers[n * i / bins..n * (i + 1) / bins];
    let gap = |bin: &[(f64, bool)]| bin.iter().map(|(p, came)| p - f64::from(u8::from(*came))).sum::<f64>().abs();
    100.0 * (0..bins).map(|i| gap(bin(i))).sum::<f64>() / n.max(1) as f64
}

/// The softmax temperature with the least mean negative log-likelihood of the rounds' true cells (the containing cell,
/// else the nearest), between 0.1 and 10. `None` without rounds.
pub fn fit_temperature(table: &CellTable, rounds: &[(LatLng, Vec<Vec<f32>>)]) -> Option<f64> {
    let averaged: Vec<(usize, Vec<f64>)> = rounds
        .iter()
        .filter_map(|(truth, views)| {
            let cell = table.containing(*truth).or_else(|| table.nearest(*truth))?;
            let mut mean = vec![0.0; table.cells.len()];
            for view in views {
                mean.iter_mut().zip(view).for_each(|(m, x)| *m += f64::from(*x) / views.len() as f64);
            }
            Some((cell, mean))
        })
        .collect();
    if averaged.is_empty() {
        return None;
    }
    let loss = |log_t: f64| {
        let t = log_t.exp();
        let one = |(cell, z): &(usize, Vec<f64>)| {
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            z.iter().map(|x| ((x - max) / t).exp()).sum::<f64>().ln() - (z[*cell] - max) / t
        };
        // Summed in order, not by rayon: floating-point sums must repeat.
        averaged.par_iter().map(one).collect::<Vec<f64>>().into_iter().sum::<f64>()
    };
    // Golden section: the loss has one valley in ln T.
    let golden = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.1f64.ln(), 10.0f64.ln());
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_a, mut at_b) = (loss(a), loss(b));
    while high - low > 1e-3 {
        if at_a < at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - golden * (high - low);
            at_a = loss(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + golden * (high - low);
            at_b = loss(b);
        }
    }
    Some((((low + high) / 2.0).exp() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::cells::{Cell, leaf};

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    fn table() -> CellTable {
        let cell = |at: LatLng| {
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count: 10, country: None }
        };
        CellTable::new(vec![cell(at(48.5, 2.5)), cell(at(52.5, 13.5))]).unwrap()
    }

    #[test]
    fn quality_by_hand() {
        let paris = at(48.85, 2.35);
        let guesses = [
            (paris, paris),                            // 0 km
            (paris, paris.destination(90.0, 20e3)),    // still France
            (paris, paris.destination(45.0, 500e3)),   // Germany
            (paris, paris.destination(180.0, 9000e3)), // South Atlantic
        ];
        let quality = quality(&guesses).unwrap();
        assert_eq!(quality.within_km.values().copied().collect::<Vec<_>>(), [25.0, 50.0, 50.0, 75.0, 75.0]);
        assert!((quality.median_km - 260.0).abs() < 0.01 && (quality.mean_km - 2380.0).abs() < 0.01);
        let points = [0.0, 20.0, 500.0, 9000.0].map(|km: f64| 5000.0 * (-10.0 * km / 14_916.862).exp());
        assert!((quality.geoscore - points.iter().sum::<f64>() / 4.0).abs() < 0.01);
        assert_eq!(quality.country, 50.0);
        assert!(super::quality(&[]).is_none());
    }

    #[test]
    fn calibration_by_hand() {
        // Two bins' worth of answers in fifteen bins of one: every gap counts alone.
        assert!((calibration_error(vec![(0.8, true), (0.6, false)]) - 40.0).abs() < 1e-9);
        // A thousand answers of 70 % that come true in 70 of 100.
        let honest = (0..1500).map(|i| (0.7, i % 10 < 7)).collect();
        assert!(calibration_error(honest) < 1e-9);
        assert_eq!(calibration_error(vec![(1.0, false); 30]), 100.0);
    }

    #[test]
    fn temperature_undoes_overconfidence() {
        // Right in 3 of 4 cases with logits that promise 1/(1+e^-6): T = 6 / ln 3 makes it 75 %.
        let table = table();
        let round = |right: bool| (at(48.5, 2.5), vec![if right { vec![6.0f32, 0.0] } else { vec![0.0, 6.0] }]);
        let rounds: Vec<_> = (0..40).map(|i| round(i % 4 != 0)).collect();
        assert!((fit_temperature(&table, &rounds).unwrap() - 6.0 / 3.0f64.ln()).abs() < 0.02);
        assert_eq!(fit_temperature(&table, &[]), None);
    }

    #[test]
    fn a_report_of_sure_answers() {
        let table = table();
        let rounds = vec![(at(48.5, 2.5), vec![vec![30.0f32, 0.0]]), (at(52.5, 13.5), vec![vec![0.0, 30.0]; 4])];
        let report = report(&table, &answer(&table, &rounds, |_| 1.0)).unwrap();
        assert_eq!((report.n, report.quality.country), (2, 100.0));
        assert!(report.quality.geoscore > 4950.0 && report.ece < 0.1);
        assert!(report.baselines.constant < 4500.0 && report.baselines.prior < 4500.0);
        assert_eq!(report.by_continent["EU"].n, 2);
    }
}
