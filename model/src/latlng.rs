//! Coordinates in degrees and distances in metres, on the sphere that the game server uses.
//!
//! Every transcendental function comes from `libm`, not from the platform, so that the same logits give the same pin to
//! the last bit on Linux, macOS, Windows and in the browser.

use serde::{Deserialize, Serialize};

/// Radius of the earth in metres. GeoGuessr's server uses exactly 6 371 000: it reproduces the server's distances to
/// 1e-8 m, while the mean radius 6 371 008.8 is off by up to 8 m.
pub const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// A location on earth in degrees: latitude in [-90, 90], longitude in [-180, 180).
///
/// ```
/// use landfall_model::LatLng;
///
/// let paris = LatLng::new(48.8566, 2.3522)?;
/// let berlin = LatLng::new(52.52, 13.405)?;
/// assert_eq!((paris.distance_m(berlin) / 1000.0).round(), 877.0);
/// # Ok::<(), landfall_model::InvalidLatLng>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatLng {
    /// Degrees north of the equator.
    pub lat: f64,
    /// Degrees east of Greenwich.
    pub lng: f64,
}

/// Coordinates that are not on earth.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq)]
#[error("invalid coordinates {lat}, {lng}: the latitude must be within ±90 and both must be finite")]
pub struct InvalidLatLng {
    lat: f64,
    lng: f64,
}

impl LatLng {
    /// The location at `lat` degrees north and `lng` degrees east. The longitude is wrapped to [-180, 180).
    ///
    /// ```
    /// use landfall_model::LatLng;
    ///
    /// assert_eq!(LatLng::new(10.0, 190.0)?.lng, -170.0);
    /// assert!(LatLng::new(90.1, 0.0).is_err());
    /// # Ok::<(), landfall_model::InvalidLatLng>(())
    /// ```
    ///
    /// # Errors
    /// When either number is not finite or the latitude lies outside [-90, 90].
    pub fn new(lat: f64, lng: f64) -> Result<Self, InvalidLatLng> {
        if !lat.is_finite() || !lng.is_finite() || lat.abs() > 90.0 {
            return Err(InvalidLatLng { lat, lng });
        }
        Ok(Self { lat, lng: wrap_lng(lng) })
    }

    /// Great-circle distance in metres, by the haversine formula with the radius [`EARTH_RADIUS_M`] (R. W. Sinnott,
    /// "Virtues of the Haversine", Sky and Telescope 68(2), 1984).
    pub fn distance_m(self, other: Self) -> f64 {
        let (phi1, phi2) = (self.lat.to_radians(), other.lat.to_radians());
        let dphi = (other.lat - self.lat).to_radians();
        let dlam = (other.lng - self.lng).to_radians();
        let a = libm::sin(dphi / 2.0) * libm::sin(dphi / 2.0)
            + libm::cos(phi1) * libm::cos(phi2) * libm::sin(dlam / 2.0) * libm::sin(dlam / 2.0);
        2.0 * EARTH_RADIUS_M * libm::asin(a.sqrt().min(1.0))
    }

    /// The location `distance_m` metres away along the great circle that starts at `bearing` degrees clockwise from
    /// north.
    ///
    /// ```
    /// use landfall_model::LatLng;
    ///
    /// let start = LatLng::new(45.0, 5.0)?;
    /// let end = start.destination(90.0, 10_000.0);
    /// assert!((start.distance_m(end) - 10_000.0).abs() < 0.01);
    /// # Ok::<(), landfall_model::InvalidLatLng>(())
    /// ```
    #[must_use]
    pub fn destination(self, bearing: f64, distance_m: f64) -> Self {
        let (phi, lam, theta) = (self.lat.to_radians(), self.lng.to_radians(), bearing.to_radians());
        let delta = distance_m / EARTH_RADIUS_M;
        let (sin_phi, cos_phi) = (libm::sin(phi), libm::cos(phi));
        let (sin_delta, cos_delta) = (libm::sin(delta), libm::cos(delta));
        let sin_phi2 = (sin_phi * cos_delta + cos_phi * sin_delta * libm::cos(theta)).clamp(-1.0, 1.0);
        let y = libm::sin(theta) * sin_delta * cos_phi;
        let x = cos_delta - sin_phi * sin_phi2;
        Self { lat: libm::asin(sin_phi2).to_degrees(), lng: wrap_lng((lam + libm::atan2(y, x)).to_degrees()) }
    }

    /// The point on the unit sphere, as (x, y, z) with z towards the north pole.
    pub fn to_unit_vector(self) -> [f64; 3] {
        let (phi, lam) = (self.lat.to_radians(), self.lng.to_radians());
        [libm::cos(phi) * libm::cos(lam), libm::cos(phi) * libm::sin(lam), libm::sin(phi)]
    }

    /// The location in the direction of a vector of any length. `None` for the zero vector.
    pub fn from_vector([x, y, z]: [f64; 3]) -> Option<Self> {
        let horizontal = (x * x + y * y).sqrt();
        if horizontal + z.abs() < 1e-12 {
            return None;
        }
        let lat = libm::atan2(z, horizontal).to_degrees();
        Some(Self { lat, lng: wrap_lng(libm::atan2(y, x).to_degrees()) })
    }

    /// The weighted mean of some locations: the direction of the weighted sum of their unit vectors. `None` without
    /// locations, or when they cancel out.
    ///
    /// ```
    /// use landfall_model::LatLng;
    ///
    /// let mean = LatLng::mean([(LatLng::new(0.0, 170.0)?, 1.0), (LatLng::new(0.0, -170.0)?, 1.0)]);
    /// assert_eq!(mean.map(|mean| mean.lng.round()), Some(-180.0));
    /// # Ok::<(), landfall_model::InvalidLatLng>(())
    /// ```
    pub fn mean(weighted: impl IntoIterator<Item = (Self, f64)>) -> Option<Self> {
        let sum = weighted.into_iter().fold([0.0; 3], |mut sum, (location, weight)| {
            for (total, v) in sum.iter_mut().zip(location.to_unit_vector()) {
                *total += weight * v;
            }
            sum
        });
        Self::from_vector(sum)
    }
}

impl std::fmt::Display for LatLng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4}, {:.4}", self.lat, self.lng)
    }
}

/// A longitude in degrees, wrapped to [-180, 180).
pub fn wrap_lng(lng: f64) -> f64 {
    if (-180.0..180.0).contains(&lng) {
        return lng; // unchanged to the last bit: the arithmetic below would round
    }
    let wrapped = (lng + 180.0).rem_euclid(360.0) - 180.0;
    if wrapped >= 180.0 { -180.0 } else { wrapped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Distance, HaversineMeasure, Point};
    use proptest::prelude::*;

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    fn any_location() -> impl Strategy<Value = LatLng> {
        (-89.9..89.9f64, -180.0..180.0f64).prop_map(|(lat, lng)| at(lat, lng))
    }

    #[test]
    fn known_distances() {
        assert!((at(48.8566, 2.3522).distance_m(at(52.52, 13.405)) - 877_463.0).abs() < 500.0);
        assert!((at(90.0, 0.0).distance_m(at(-90.0, 0.0)) - std::f64::consts::PI * EARTH_RADIUS_M).abs() < 1e-6);
        assert!((at(0.0, 179.9).distance_m(at(0.0, -179.9)) - 22_239.0).abs() < 1.0);
        assert_eq!(at(7.0, 8.0).distance_m(at(7.0, 8.0)), 0.0);
    }

    #[test]
    fn invalid_coordinates_are_refused_and_longitudes_wrapped() {
        assert!(LatLng::new(90.1, 0.0).is_err());
        assert!(LatLng::new(f64::NAN, 0.0).is_err());
        assert!(LatLng::new(0.0, f64::INFINITY).is_err());
        assert_eq!(at(10.0, 190.0).lng, -170.0);
        assert_eq!(at(10.0, 180.0).lng, -180.0);
        assert_eq!(at(10.0, -540.0).lng, -180.0);
        assert_eq!(at(10.0, 4.835659).lng, 4.835659);
    }

    #[test]
    fn nothing_and_antipodes_have_no_mean() {
        assert!(LatLng::mean([]).is_none());
        assert!(LatLng::mean([(at(0.0, 0.0), 1.0), (at(0.0, 180.0), 1.0)]).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_the_geo_crate(a in any_location(), b in any_location()) {
            let theirs = HaversineMeasure::new(EARTH_RADIUS_M)
                .distance(Point::new(a.lng, a.lat), Point::new(b.lng, b.lat));
            prop_assert!((a.distance_m(b) - theirs).abs() < 1e-3);
        }

        #[test]
        fn destination_is_at_the_given_distance(a in any_location(), bearing in 0.0..360.0f64, d in 1.0..1.9e7f64) {
            prop_assert!((a.distance_m(a.destination(bearing, d)) - d).abs() < 0.5);
        }

        #[test]
        fn vectors_round_trip(a in any_location()) {
            let b = LatLng::from_vector(a.to_unit_vector()).unwrap();
            prop_assert!(a.distance_m(b) < 1e-3);
        }
    }
}
