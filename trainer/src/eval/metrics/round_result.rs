//! Prediction and true place of one round.

use landfall_model::latlng::EARTH_RADIUS_M;
use landfall_model::pin::{self, Pin};
use landfall_model::posterior::Posterior;
use landfall_model::{CellTable, LatLng, MapScale};
use rayon::prelude::*;
use s2::cell::Cell as S2Cell;
use s2::cellid::CellID;

/// Probabilities of the credible regions, in percent.
pub(crate) const REGIONS: [u32; 2] = [50, 90];

/// The credible region and credible radius of one prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Region {
    /// Number of cells in the region.
    pub(crate) cells: usize,
    /// Area of the cells, including water, in square kilometres.
    pub(crate) area_km2: f64,
    /// Whether the true cell is in the region.
    pub(crate) contains_truth: bool,
    /// Credible radius around the pin in metres.
    pub(crate) radius_m: f64,
}

/// The prediction for one round.
#[derive(Clone, Debug)]
pub(crate) struct RoundResult {
    /// True place.
    pub(crate) truth: LatLng,
    /// The pin with the highest expected score on the World map.
    pub(crate) pin: Pin,
    /// The centre of the most likely peak.
    pub(crate) mode: LatLng,
    /// Probability that the truth lies within 750 km of the pin.
    pub(crate) confidence: f64,
    /// Probability that the truth lies within 200 km of the pin.
    pub(crate) confidence_200_km: f64,
    /// Expected points of a random cell, drawn by its number of places.
    pub(crate) prior_points: f64,
    /// The true cell.
    pub(crate) cell: TrueCell,
    /// The most likely cell and its probability.
    pub(crate) top: (usize, f64),
    /// The credible regions for [`REGIONS`].
    pub(crate) regions: [Region; 2],
}

/// The cell that contains a place, else the one with the nearest mean location.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TrueCell {
    /// Index in the table.
    pub(crate) index: usize,
    /// Whether the cell contains the place.
    pub(crate) contains: bool,
    /// Number of cells that are more likely.
    pub(crate) rank: usize,
    /// Natural logarithm of its probability.
    pub(crate) log_p: f64,
}

impl RoundResult {
    /// Distance of the pin from the truth in kilometres.
    pub(crate) fn error_km(&self) -> f64 {
        self.truth.distance_m(self.pin.at) / 1000.0
    }

    /// Points of the pin on the World map, unrounded.
    pub(crate) fn points(&self) -> f64 {
        MapScale::WORLD.exact_points(self.truth.distance_m(self.pin.at))
    }
}

/// Predictions for rounds, each given by its true place and the logits of its views, with one temperature.
///
/// Rounds with invalid logits are skipped; the caller checks the count.
pub(crate) fn predict(table: &CellTable, rounds: &[(LatLng, Vec<Vec<f32>>)], temperature: f64) -> Vec<RoundResult> {
    predict_with(table, rounds, |logits| Posterior::fuse(table, logits, temperature))
}

/// As [`predict`], with the posterior that `fuse` returns for the logits of a round.
pub(crate) fn predict_with<'a>(
    table: &'a CellTable,
    rounds: &[(LatLng, Vec<Vec<f32>>)],
    fuse: impl Fn(&[Vec<f32>]) -> Option<Posterior<'a>> + Sync,
) -> Vec<RoundResult> {
    let total: f64 = table.cells.iter().map(|cell| f64::from(cell.count)).sum();
    let areas_km2 = areas_km2(table);
    let result = |(truth, logits): &(LatLng, Vec<Vec<f32>>)| {
        let posterior = fuse(logits)?;
        let pin = pin::best(&posterior, MapScale::WORLD);
        let points = |cell: &landfall_model::cells::Cell| {
            f64::from(cell.count) / total * MapScale::WORLD.exact_points(cell.at.distance_m(*truth))
        };
        let cell = true_cell(&posterior, *truth)?;
        let region = |percent: u32| {
            let mass = f64::from(percent) / 100.0;
            let cells = posterior.credible_region(mass);
            Region {
                cells: cells.len(),
                area_km2: cells.iter().map(|i| areas_km2[*i]).sum(),
                contains_truth: cells.contains(&cell.index),
                radius_m: posterior.radius_m(pin.at, mass),
            }
        };
        Some(RoundResult {
            truth: *truth,
            pin,
            mode: pin::mode(&posterior).at,
            confidence: posterior.mass_within(pin.at, 750e3),
            confidence_200_km: posterior.mass_within(pin.at, 200e3),
            prior_points: table.cells.iter().map(points).sum(),
            cell,
            top: *posterior.top(1).first()?,
            regions: REGIONS.map(region),
        })
    };
    rounds.par_iter().filter_map(result).collect()
}

fn true_cell(posterior: &Posterior<'_>, truth: LatLng) -> Option<TrueCell> {
    let containing = posterior.table.containing(truth);
    let index = containing.or_else(|| posterior.table.nearest(truth))?;
    let all = posterior.log_probabilities();
    let log_p = all[index];
    // Ties are ordered by cell index, as in `Posterior::top`.
    let is_more_likely = |(i, other): (usize, &f64)| *other > log_p || (*other == log_p && i < index);
    let rank = all.iter().enumerate().filter(|cell| is_more_likely(*cell)).count();
    Some(TrueCell { index, contains: containing.is_some(), rank, log_p })
}

/// Areas of the cells in square kilometres, including water.
fn areas_km2(table: &CellTable) -> Vec<f64> {
    let radius_km = EARTH_RADIUS_M / 1000.0;
    let area = |token: &str| S2Cell::from(CellID::from_token(token)).exact_area() * radius_km * radius_km;
    table.cells.iter().map(|cell| area(&cell.token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::cells::{Cell, leaf};

    #[test]
    fn the_six_faces_cover_the_earth() {
        let centres = [(0.0, 0.0), (0.0, 90.0), (90.0, 0.0), (0.0, 180.0), (0.0, -90.0), (-90.0, 0.0)];
        let face = |(lat, lng)| {
            let at = landfall_model::LatLng::new(lat, lng).unwrap();
            let token = leaf(at).parent(0).to_token();
            Cell { token, level: 0, at, spread_m: 0.0, count: 1, country: None }
        };
        let areas = areas_km2(&CellTable::new(centres.into_iter().map(face).collect()).unwrap());
        assert!((areas.iter().sum::<f64>() - 4.0 * std::f64::consts::PI * 6371.0 * 6371.0).abs() < 1.0);
        assert!(areas.iter().all(|area| (area - areas[0]).abs() < 1.0));
    }
}
