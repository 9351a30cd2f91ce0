//! Coordinates in degrees and distances in metres, on the sphere the game server measures with.
//!
//! Every transcendental function comes from `libm`, not from the platform: the same logits give the same pin to the
//! last bit on Linux, macOS, Windows and in the browser.

use serde::{Deserialize, Serialize};

/// The earth's radius in metres as GeoGuessr's server takes it: exactly 6 371 000, which reproduces its published
/// distances to 1e-8 m. The mean radius 6 371 008.8 is off by up to 8 m.
pub const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// A place on earth in degrees: latitude in [-90, 90], longitude in [-180, 180).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatLng {
    /// Degrees north of the equator.
    pub lat: f64,
    /// Degrees east of Greenwich.
    pub lng: f64,
}

/// Coordinates that are no place on earth.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("latitude {lat}, longitude {lng} is no place on earth: latitude must be within ±90 and both must be numbers")]
pub struct NotOnEarth {
    lat: f64,
    lng: f64,
}

impl LatLng {
    /// A checked place; any finite longitude is wrapped to [-180, 180).
    ///
    /// # Errors
    /// When either number is not finite or the latitude lies outside [-90, 90].
    pub fn new(lat: f64, lng: f64) -> Result<Self, NotOnEarth> {
        if !lat.is_finite() || !lng.is_finite() || lat.abs() > 90.0 {
            return Err(NotOnEarth { lat, lng });
        }
        Ok(Self { lat, lng: wrap_lng(lng) })
    }

    /// Great-circle distance in metres (haversine, R = [`EARTH_RADIUS_M`]).
    pub fn distance_m(self, other: Self) -> f64 {
        let (phi1, phi2) = (self.lat.to_radians(), other.lat.to_radians());
        let dphi = (other.lat - self.lat).to_radians();
        let dlam = (other.lng - self.lng).to_radians();
        let a = libm::sin(dphi / 2.0) * libm::sin(dphi / 2.0)
            + libm::cos(phi1) * libm::cos(phi2) * libm::sin(dlam / 2.0) * libm::sin(dlam / 2.0);
        2.0 * EARTH_RADIUS_M * libm::asin(a.sqrt().min(1.0))
    }

    /// The place `distance_m` metres away at `bearing` degrees clockwise from north.
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

    /// The place in the direction of `v`, which need not have unit length. `None` for the zero vector.
    pub fn from_vector([x, y, z]: [f64; 3]) -> Option<Self> {
        let horizontal = (x * x + y * y).sqrt();
        if horizontal + z.abs() < 1e-12 {
            return None;
        }
        let lat = libm::atan2(z, horizontal).to_degrees();
        Some(Self { lat, lng: wrap_lng(libm::atan2(y, x).to_degrees()) })
    }

    /// The weighted mean direction of some places. `None` when there are none, or when they cancel out.
    pub fn mean(weighted: impl IntoIterator<Item = (Self, f64)>) -> Option<Self> {
        let sum = weighted.into_iter().fold([0.0; 3], |mut sum, (place, weight)| {
            for (total, v) in sum.iter_mut().zip(place.to_unit_vector()) {
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

/// Longitude wrapped to [-180, 180).
pub fn wrap_lng(lng: f64) -> f64 {
    if (-180.0..180.0).contains(&lng) {
        return lng; // to the last bit: the arithmetic below would round
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

    fn anywhere() -> impl Strategy<Value = LatLng> {
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
    fn refuses_what_is_no_place() {
        assert!(LatLng::new(90.1, 0.0).is_err());
        assert!(LatLng::new(f64::NAN, 0.0).is_err());
        assert!(LatLng::new(0.0, f64::INFINITY).is_err());
        assert_eq!(at(10.0, 190.0).lng, -170.0);
        assert_eq!(at(10.0, 180.0).lng, -180.0);
        assert_eq!(at(10.0, -540.0).lng, -180.0);
        assert_eq!(at(10.0, 4.835659).lng, 4.835659);
    }

    #[test]
    fn no_mean_of_nothing_or_of_antipodes() {
        assert!(LatLng::mean([]).is_none());
        assert!(LatLng::mean([(at(0.0, 0.0), 1.0), (at(0.0, 180.0), 1.0)]).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_the_geo_crate(a in anywhere(), b in anywhere()) {
            let theirs = HaversineMeasure::new(EARTH_RADIUS_M)
                .distance(Point::new(a.lng, a.lat), Point::new(b.lng, b.lat));
            prop_assert!((a.distance_m(b) - theirs).abs() < 1e-3);
        }

        #[test]
        fn destination_is_as_far_as_asked(a in anywhere(), bearing in 0.0..360.0f64, d in 1.0..1.9e7f64) {
            prop_assert!((a.distance_m(a.destination(bearing, d)) - d).abs() < 0.5);
        }

        #[test]
        fn vectors_round_trip(a in anywhere()) {
            let b = LatLng::from_vector(a.to_unit_vector()).unwrap();
            prop_assert!(a.distance_m(b) < 1e-3);
        }
    }
}
