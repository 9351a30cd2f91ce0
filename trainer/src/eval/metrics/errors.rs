//! Summaries of distance errors: thresholds, median, mean, points, countries.

use std::collections::BTreeMap;

use landfall_common::statistics::median_of_sorted;
use landfall_model::{LatLng, MapScale, countries};
use rayon::prelude::*;
use serde::Serialize;

/// Radii of the standard thresholds (street, city, region, country, continent), in kilometres.
pub(crate) const THRESHOLDS_KM: [u32; 5] = [1, 25, 200, 750, 2500];

/// Summary of errors; percentages are from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Errors {
    /// Number of places.
    pub(crate) n: usize,
    /// Percentage of errors within each threshold in kilometres.
    pub(crate) within_km: BTreeMap<u32, f64>,
    /// Median error in kilometres.
    pub(crate) median_km: f64,
    /// Mean error in kilometres.
    pub(crate) mean_km: f64,
    /// Mean points on the World map, unrounded.
    pub(crate) geoscore: f64,
}

/// Errors, points and country accuracy of predictions; percentages are from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Quality {
    /// Percentage of predictions with an error within each threshold in kilometres.
    pub(crate) within_km: BTreeMap<u32, f64>,
    /// Median error in kilometres.
    pub(crate) median_km: f64,
    /// Mean error in kilometres.
    pub(crate) mean_km: f64,
    /// Mean points on the World map, unrounded.
    pub(crate) geoscore: f64,
    /// Percentage of predictions in the correct country.
    pub(crate) country: f64,
}

/// Summarises errors in kilometres; `None` if there are none.
pub(crate) fn errors(mut errors_km: Vec<f64>) -> Option<Errors> {
    errors_km.sort_by(f64::total_cmp);
    let n = errors_km.len();
    let median_km = median_of_sorted(&errors_km)?;
    Some(Errors {
        n,
        within_km: within(&errors_km, THRESHOLDS_KM),
        median_km,
        mean_km: errors_km.iter().sum::<f64>() / n as f64,
        geoscore: errors_km.iter().map(|km| MapScale::WORLD.exact_points(km * 1000.0)).sum::<f64>() / n as f64,
    })
}

/// Quality of predictions, each given as (truth, guess); `None` if there are none.
pub(crate) fn quality(guesses: &[(LatLng, LatLng)]) -> Option<Quality> {
    let km = |(truth, guess): &(LatLng, LatLng)| truth.distance_m(*guess) / 1000.0;
    let Errors { n, within_km, median_km, mean_km, geoscore } = errors(guesses.iter().map(km).collect())?;
    let code = |place: LatLng| countries::of(place).map(|country| country.iso2);
    let correct = guesses.par_iter().filter(|(truth, guess)| code(*truth).is_some_and(|c| code(*guess) == Some(c)));
    Some(Quality { within_km, median_km, mean_km, geoscore, country: 100.0 * correct.count() as f64 / n as f64 })
}

/// Percentage of sorted errors within each threshold in kilometres.
pub(crate) fn within(sorted_km: &[f64], thresholds_km: [u32; 5]) -> BTreeMap<u32, f64> {
    let percent = |km: u32| {
        let count = sorted_km.partition_point(|error| *error <= f64::from(km));
        (km, 100.0 * count as f64 / sorted_km.len() as f64)
    };
    thresholds_km.into_iter().map(percent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::tests::at;

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
    fn thresholds_are_inclusive() {
        let errors = errors(vec![2500.0, 1.0, 25.001]).unwrap();
        assert_eq!(errors.within_km.values().map(|p| p.round()).collect::<Vec<_>>(), [33.0, 33.0, 67.0, 67.0, 100.0]);
        assert_eq!((errors.n, errors.median_km), (3, 25.001));
        assert!(super::errors(Vec::new()).is_none());
    }
}
