//! Web Mercator (EPSG:3857) on the unit square.

use std::f64::consts::{PI, TAU};

use landfall_model::LatLng;
use landfall_model::latlng::wrap_lng;

use super::Point;

/// The northern and southern edge of the map in degrees: atan(sinh(π)), where the world becomes a square.
pub const MAX_LAT_DEG: f64 = 85.051_128_779_806_6;

/// Where a place lies on the unit square: x eastwards from longitude -180, y southwards from the northern edge. Latitudes
/// beyond the edges are clamped.
pub fn project(place: LatLng) -> Point {
    let phi = place.lat.clamp(-MAX_LAT_DEG, MAX_LAT_DEG).to_radians();
    let y = 0.5 - (phi.tan() + 1.0 / phi.cos()).ln() / TAU;
    ((place.lng + 180.0) / 360.0, y)
}

/// The inverse of [`project`]. x wraps around the world, y is clamped to the map.
pub fn unproject((x, y): Point) -> LatLng {
    let lng = wrap_lng(x * 360.0 - 180.0);
    let lat = (PI * (1.0 - 2.0 * y.clamp(0.0, 1.0))).sinh().atan().to_degrees();
    LatLng { lat, lng }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projecting_and_back_is_the_identity_on_the_map() {
        for (lat, lng) in [(0.0, 0.0), (45.76, 4.83), (-54.8, -68.3), (85.0, 179.9)] {
            let place = LatLng::new(lat, lng).unwrap();
            assert!(unproject(project(place)).distance_m(place) < 1e-3, "{place}");
        }
        assert_eq!(project(LatLng { lat: 0.0, lng: 0.0 }), (0.5, 0.5));
        assert!(project(LatLng { lat: 90.0, lng: -180.0 }).1.abs() < 1e-9);
    }
}
