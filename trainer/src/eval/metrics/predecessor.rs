//! The distance formula of the project that Landfall started from ("the original project"), for comparison with its
//! published figures.
//!
//! It multiplied an angle in radians by the circumference of the earth instead of the radius, so its distances are too
//! large by a factor of 2π: its "within 25 km" means within 4 km. `evaluate` also reports errors by this formula.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use landfall_model::latlng::EARTH_RADIUS_M;
use serde::Serialize;

use super::errors::{THRESHOLDS_KM, within};

/// Radius of the earth in that formula, in kilometres.
const RADIUS_KM: f64 = 6378.0;

/// Percentages within each threshold by the original project's formula.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PredecessorMetrics {
    /// The real distance in kilometres that each threshold corresponds to.
    pub(crate) means_km: BTreeMap<u32, f64>,
    /// Percentages of pins within the thresholds by that formula.
    pub(crate) within_km: BTreeMap<u32, f64>,
}

/// The distance that the formula gives for a real distance in kilometres.
pub(crate) fn shown_km(real_km: f64) -> f64 {
    let radians = real_km / (EARTH_RADIUS_M / 1000.0);
    RADIUS_KM * 2.0 * PI * radians
}

/// The real distance in kilometres for a distance by the formula: the inverse of [`shown_km`].
pub(crate) fn real_km_of(shown_km: f64) -> f64 {
    shown_km / self::shown_km(1.0)
}

/// Percentages of real errors in kilometres by the original project's formula.
pub(crate) fn by_predecessor_formula(errors_km: impl IntoIterator<Item = f64>) -> PredecessorMetrics {
    let mut shown: Vec<f64> = errors_km.into_iter().map(shown_km).collect();
    shown.sort_by(f64::total_cmp);
    PredecessorMetrics {
        means_km: THRESHOLDS_KM.into_iter().map(|km| (km, real_km_of(f64::from(km)))).collect(),
        within_km: within(&shown, THRESHOLDS_KM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::errors::errors;
    use crate::eval::metrics::tests::at;

    /// The published thresholds and their real distances in kilometres, rounded; the 0.1 % larger radius is ignored.
    const REAL_RADII_KM: [(u32, f64); 5] = [(1, 0.159), (25, 3.98), (200, 31.8), (750, 119.0), (2500, 398.0)];

    #[test]
    fn its_thresholds_are_too_large_by_a_factor_of_two_pi() {
        let metrics = by_predecessor_formula([0.0]);
        for (shown, real) in REAL_RADII_KM {
            assert!((metrics.means_km[&shown] / real - 1.0).abs() < 0.005, "{shown} km: {}", metrics.means_km[&shown]);
        }
    }

    #[test]
    fn its_percentages_are_those_within_the_real_radii() {
        // Berlin is 877.5 km from Paris; the formula gives 5,519.5 km.
        let (paris, berlin) = (at(48.8566, 2.3522), at(52.52, 13.405));
        let real_km = paris.distance_m(berlin) / 1000.0;
        assert!((real_km - 877.5).abs() < 0.1 && (shown_km(real_km) - 5519.5).abs() < 1.0, "{}", shown_km(real_km));
        assert!((real_km_of(shown_km(real_km)) - real_km).abs() < 1e-9);
        // Pins just inside and just outside each real radius; by the correct formula all are within 750 km.
        let pins: Vec<f64> = REAL_RADII_KM.iter().flat_map(|(_, real)| [real * 0.99, real * 1.01]).collect();
        assert_eq!(
            by_predecessor_formula(pins.clone()).within_km.into_values().collect::<Vec<_>>(),
            [10.0, 30.0, 50.0, 70.0, 90.0]
        );
        assert_eq!(errors(pins).unwrap().within_km.into_values().collect::<Vec<_>>(), [20.0, 40.0, 80.0, 100.0, 100.0]);
    }
}
