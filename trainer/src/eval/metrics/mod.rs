//! Evaluation metrics: errors, points, countries, calibration, oracle scores of the cells, and baselines.

use std::collections::BTreeMap;

use landfall_model::pin;
use landfall_model::posterior::Posterior;
use landfall_model::{CellTable, LatLng, MapScale, countries};
use serde::Serialize;

pub(crate) mod calibration;
pub(crate) mod errors;
pub(crate) mod neighbour;
pub(crate) mod oracle;
pub(crate) mod predecessor;
mod round_result;
mod temperature;
mod with_gallery;

pub(crate) use calibration::Calibration;
pub(crate) use errors::{Quality, THRESHOLDS_KM, quality};
pub(crate) use oracle::Oracle;
pub(crate) use predecessor::PredecessorMetrics;
pub(crate) use round_result::{RoundResult, TrueCell, predict, predict_with};
pub(crate) use temperature::fit_temperature;
pub(crate) use with_gallery::WithGallery;

/// Quality on one continent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Continent {
    /// Number of places.
    pub(crate) n: usize,
    /// Quality on these places.
    #[serde(flatten)]
    pub(crate) quality: Quality,
}

/// Mean points of predictions that do not depend on the picture, and of a nearest-neighbour search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Baselines {
    /// The best constant pin under the prior of the cells.
    pub(crate) constant: f64,
    /// A random cell, drawn by its number of places.
    pub(crate) prior: f64,
    /// The mean location of all training places.
    pub(crate) mean_place: f64,
    /// The place of the most similar training picture, if training pictures are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nearest_neighbour: Option<Quality>,
}

/// Classification metrics over cells; percentages are from 0 to 100. The true cell is the one that contains the place,
/// else the one with the nearest mean location.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CellAccuracy {
    /// Percentage of places whose cell is the most likely one.
    pub(crate) top1: f64,
    /// Percentage of places whose cell is among the five most likely.
    pub(crate) top5: f64,
    /// Percentage of places whose cell is among the ten most likely.
    pub(crate) top10: f64,
    /// Percentage of places that lie in a cell.
    pub(crate) coverage: f64,
    /// Mean negative log-likelihood of the true cells, in nats.
    pub(crate) nll: f64,
}

/// The output of `evaluate`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Number of places.
    pub(crate) n: usize,
    /// Quality of the pin that `play` places.
    #[serde(flatten)]
    pub(crate) quality: Quality,
    /// Expected calibration error, in percentage points, of the probability that the place lies within 750 km of the
    /// pin.
    pub(crate) ece: f64,
    /// Quality by continent of the true place.
    pub(crate) by_continent: BTreeMap<String, Continent>,
    /// Baselines.
    pub(crate) baselines: Baselines,
    /// Quality of the centre of the most likely peak, the answer of `locate`.
    pub(crate) mode: Quality,
    /// What a gallery changes, if one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) with_gallery: Option<WithGallery>,
    /// Classification metrics over cells.
    pub(crate) cells: CellAccuracy,
    /// Calibration of the probabilities.
    pub(crate) calibration: Calibration,
    /// Errors of a classifier that always predicts the correct cell.
    pub(crate) oracle: Oracle,
    /// Errors of the pins as the original project would have measured them.
    pub(crate) seed_ruler: PredecessorMetrics,
}

/// Report over round results; `None` if there are none.
pub(crate) fn report(table: &CellTable, results: &[RoundResult]) -> Option<Report> {
    let pins: Vec<(LatLng, LatLng)> = results.iter().map(|a| (a.truth, a.pin.at)).collect();
    let modes: Vec<(LatLng, LatLng)> = results.iter().map(|a| (a.truth, a.mode)).collect();
    let truths: Vec<LatLng> = results.iter().map(|a| a.truth).collect();
    let mut of_continent: BTreeMap<String, Vec<(LatLng, LatLng)>> = BTreeMap::new();
    for pair in &pins {
        let continent = countries::of(pair.0).map_or("at sea", |country| country.continent);
        of_continent.entry(continent.to_owned()).or_default().push(*pair);
    }
    let continent =
        |(name, pairs): (String, Vec<_>)| Some((name, Continent { n: pairs.len(), quality: quality(&pairs)? }));
    let calibration = calibration::calibration(results);
    Some(Report {
        n: results.len(),
        quality: quality(&pins)?,
        ece: calibration.within_750_km.ece,
        by_continent: of_continent.into_iter().filter_map(continent).collect(),
        baselines: baselines(table, results)?,
        mode: quality(&modes)?,
        with_gallery: None,
        cells: cell_accuracy(results),
        calibration,
        oracle: oracle::oracle(table, &truths)?,
        seed_ruler: predecessor::by_predecessor_formula(results.iter().map(RoundResult::error_km)),
    })
}

fn baselines(table: &CellTable, results: &[RoundResult]) -> Option<Baselines> {
    let prior: Vec<f32> = table.cells.iter().map(|cell| (cell.count.max(1) as f32).ln()).collect();
    let constant = pin::best(&Posterior::fuse(table, &[prior], 1.0)?, MapScale::WORLD).at;
    let places = table.cells.iter().map(|cell| (cell.at, f64::from(cell.count)));
    // Places that cancel out have no mean; the constant pin is used instead.
    let mean_place = LatLng::mean(places).unwrap_or(constant);
    let mean = |points: &dyn Fn(&RoundResult) -> f64| results.iter().map(points).sum::<f64>() / results.len() as f64;
    let of = |pin: LatLng| mean(&|a| MapScale::WORLD.exact_points(pin.distance_m(a.truth)));
    Some(Baselines {
        constant: of(constant),
        prior: mean(&|a| a.prior_points),
        mean_place: of(mean_place),
        nearest_neighbour: None,
    })
}

fn cell_accuracy(results: &[RoundResult]) -> CellAccuracy {
    let n = results.len().max(1) as f64;
    let percent = |is: &dyn Fn(&TrueCell) -> bool| 100.0 * results.iter().filter(|a| is(&a.cell)).count() as f64 / n;
    CellAccuracy {
        top1: percent(&|cell| cell.rank < 1),
        top5: percent(&|cell| cell.rank < 5),
        top10: percent(&|cell| cell.rank < 10),
        coverage: percent(&|cell| cell.contains),
        nll: -results.iter().map(|a| a.cell.log_p).sum::<f64>() / n,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use landfall_model::cells::{Cell, leaf};

    pub(crate) fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    pub(crate) fn table() -> CellTable {
        let cell = |at: LatLng| {
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count: 10, country: None }
        };
        CellTable::new(vec![cell(at(48.5, 2.5)), cell(at(52.5, 13.5))]).unwrap()
    }

    #[test]
    fn a_report_of_confident_results() {
        let table = table();
        let rounds = vec![(at(48.5, 2.5), vec![vec![30.0f32, 0.0]]), (at(52.5, 13.5), vec![vec![0.0, 30.0]; 4])];
        let report = report(&table, &predict(&table, &rounds, 1.0)).unwrap();
        assert_eq!((report.n, report.quality.country), (2, 100.0));
        assert!(report.quality.geoscore > 4950.0 && report.ece < 0.1);
        assert!(report.baselines.constant < 4500.0 && report.baselines.prior < 4500.0);
        // The mean place is 440 km from either place.
        assert!((report.baselines.mean_place - 5000.0 * (-4.4f64 / 14.916862).exp()).abs() < 50.0, "{report:?}");
        assert_eq!(report.by_continent["EU"].n, 2);
        assert_eq!((report.cells.top1, report.cells.coverage), (100.0, 100.0));
        assert!(report.cells.nll < 1e-9 && report.oracle.nearest_mean.median_km < 1e-6);
    }

    #[test]
    fn cells_and_regions_by_hand() {
        // Probabilities 3/4 and 1/4; the truth is 400 km north of the second place, in no cell at all.
        let (table, truth) = (table(), at(52.5, 13.5).destination(0.0, 400e3));
        let rounds = vec![(truth, vec![vec![3.0f32.ln(), 0.0]])];
        let result = &predict(&table, &rounds, 1.0)[0];
        assert_eq!((result.cell.index, result.cell.contains, result.cell.rank), (1, false, 1));
        assert!((result.cell.log_p - 0.25f64.ln()).abs() < 1e-6 && result.top.0 == 0);
        assert!((result.top.1 - 0.75).abs() < 1e-6);
        // The 50 % region is the first cell, the 90 % region both cells.
        assert_eq!(result.regions.map(|region| (region.cells, region.contains_truth)), [(1, false), (2, true)]);
        assert!(result.regions[1].area_km2 > 1.5 * result.regions[0].area_km2);
        assert!(result.regions[1].radius_m > result.regions[0].radius_m);
        let report = report(&table, std::slice::from_ref(result)).unwrap();
        assert_eq!((report.cells.top1, report.cells.top5, report.cells.coverage), (0.0, 100.0, 0.0));
        assert!((report.cells.nll - 4.0f64.ln()).abs() < 1e-6);
        assert_eq!(report.calibration.regions[&50].holds, 0.0);
        assert_eq!(report.calibration.regions[&90].holds, 100.0);
        assert_eq!(report.calibration.regions[&90].mean_cells, 2.0);
    }
}
