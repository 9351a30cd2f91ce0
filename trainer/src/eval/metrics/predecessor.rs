//! The ruler of the project that Landfall follows, wrong by a factor of 2π, so that its printed figures can be read.
//!
//! It multiplied an angle in radians by the earth's whole girth. Its "within 25 km" therefore means within 4 km, and
//! its tables cannot be set beside anybody else's. Landfall prints its own errors by that ruler too.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use landfall_model::latlng::EARTH_RADIUS_M;
use serde::Serialize;

use super::errors::{THRESHOLDS_KM, within};

/// The radius of the earth that the ruler takes, in kilometres.
const RADIUS_KM: f64 = 6378.0;

/// Percentages within each threshold by the wrong ruler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PredecessorRuler {
    /// How many real kilometres each threshold stands for.
    pub(crate) means_km: BTreeMap<u32, f64>,
    /// Percentages of pins within the thresholds by that ruler.
    pub(crate) within_km: BTreeMap<u32, f64>,
}

/// What the ruler shows, in its "kilometres", for a real distance in kilometres.
pub(crate) fn shown_km(real_km: f64) -> f64 {
    let radians = real_km / (EARTH_RADIUS_M / 1000.0);
    RADIUS_KM * 2.0 * PI * radians
}

/// How many real kilometres a figure of the ruler stands for: the inverse of [`shown_km`].
pub(crate) fn real_km_of(shown_km: f64) -> f64 {
    shown_km / self::shown_km(1.0)
}

/// Real errors in kilometres as the ruler would have them.
pub(crate) fn by_predecessor_ruler(errors_km: impl IntoIterator<Item = f64>) -> PredecessorRuler {
    let mut shown: Vec<f64> = errors_km.into_iter().map(shown_km).collect();
    shown.sort_by(f64::total_cmp);
    PredecessorRuler {
        means_km: THRESHOLDS_KM.into_iter().map(|km| (km, real_km_of(f64::from(km)))).collect(),
        within_km: within(&shown, THRESHOLDS_KM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::errors::errors;
    use crate::eval::metrics::tests::at;

    /// The thresholds it printed, in the kilometres they really were. (Without its 0.1 % longer radius, which the
    /// last digits of 0.159, 3.98, 31.8, 119 and 398 leave out.)
    const REAL_RADII_KM: [(u32, f64); 5] = [(1, 0.159), (25, 3.98), (200, 31.8), (750, 119.0), (2500, 398.0)];

    #[test]
    fn its_thresholds_are_too_large_by_a_factor_of_two_pi() {
        let ruler = by_predecessor_ruler([0.0]);
        for (says, is) in REAL_RADII_KM {
            assert!((ruler.means_km[&says] / is - 1.0).abs() < 0.005, "{says} km: {}", ruler.means_km[&says]);
        }
    }

    #[test]
    fn its_percentages_are_those_within_the_real_radii() {
        // Berlin is 877.5 km from Paris; the ruler shows more than a quarter of the earth's girth.
        let (paris, berlin) = (at(48.8566, 2.3522), at(52.52, 13.405));
        let real_km = paris.distance_m(berlin) / 1000.0;
        assert!((real_km - 877.5).abs() < 0.1 && (shown_km(real_km) - 5519.5).abs() < 1.0, "{}", shown_km(real_km));
        assert!((real_km_of(shown_km(real_km)) - real_km).abs() < 1e-9);
        // Pins just inside and just outside each real radius: the honest table puts them all within 750 km.
        let pins: Vec<f64> = REAL_RADII_KM.iter().flat_map(|(_, is)| [is * 0.99, is * 1.01]).collect();
        assert_eq!(
            by_predecessor_ruler(pins.clone()).within_km.into_values().collect::<Vec<_>>(),
            [10.0, 30.0, 50.0, 70.0, 90.0]
        );
        assert_eq!(errors(pins).unwrap().within_km.into_values().collect::<Vec<_>>(), [20.0, 40.0, 80.0, 100.0, 100.0]);
    }
}
