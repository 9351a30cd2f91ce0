//! Countries: borders from Natural Earth 1:50m, codes, names and continents; and the country at a location.

mod grid;
mod topojson;

use std::sync::OnceLock;

use geo::{Contains, MultiPolygon, Point, Rect};

use crate::latlng::LatLng;

/// One country or territory.
#[derive(Debug)]
pub struct Country {
    /// ISO 3166-1 alpha-2 code, such as `FR`.
    pub iso2: &'static str,
    /// English short name.
    pub name: &'static str,
    /// Two-letter continent code: AF, AN, AS, EU, NA, OC or SA.
    pub continent: &'static str,
    /// Borders in degrees, x = longitude, y = latitude. A polygon across the antimeridian extends beyond ±180 and is
    /// included twice, 360 degrees apart. Empty for the few territories that are too small for the map.
    pub shape: MultiPolygon<f64>,
    bounds: Vec<Rect<f64>>,
}

/// Every country with a code, in the order of its code.
pub fn all() -> &'static [Country] {
    static COUNTRIES: OnceLock<Vec<Country>> = OnceLock::new();
    COUNTRIES.get_or_init(topojson::load)
}

/// The country with this ISO 3166-1 alpha-2 code.
pub fn by_code(iso2: &str) -> Option<&'static Country> {
    all().binary_search_by(|country| country.iso2.cmp(iso2)).ok().map(|i| &all()[i])
}

/// The country on whose land a location is. `None` at sea.
pub fn at(location: LatLng) -> Option<&'static Country> {
    grid::at(location)
}

/// As [`at`], by a linear search.
fn search(location: LatLng) -> Option<&'static Country> {
    let point = Point::new(location.lng, location.lat);
    all().iter().find(|country| country.contains(point))
}

/// Distance from the coast in metres within which the sea belongs to a country.
const OFFSHORE_M: f64 = 50_000.0;

/// The country at a location, or the one whose coast is nearest within 50 km.
pub fn of(location: LatLng) -> Option<&'static Country> {
    at_or_near(location, OFFSHORE_M)
}

/// The country at a location, or the one whose coast is nearest within about `reach_m` metres.
///
/// The coasts of a 1:50m map are off by kilometres: harbours are often at sea on it.
pub fn at_or_near(location: LatLng, reach_m: f64) -> Option<&'static Country> {
    at(location).or_else(|| {
        if grid::is_open_sea(location, reach_m) {
            return None;
        }
        (1..=4).find_map(|ring| {
            let radius_m = reach_m * f64::from(ring) / 4.0;
            (0..16).find_map(|step| at(location.destination(f64::from(step) * 22.5, radius_m)))
        })
    })
}

impl Country {
    fn contains(&self, point: Point<f64>) -> bool {
        self.bounds.iter().zip(&self.shape.0).any(|(rect, polygon)| rect.contains(&point) && polygon.contains(&point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_at(lat: f64, lng: f64) -> Option<&'static str> {
        at(LatLng::new(lat, lng).unwrap()).map(|country| country.iso2)
    }

    #[test]
    fn locations_are_in_their_countries() {
        for (lat, lng, iso2) in [
            (45.76, 4.83, "FR"),
            (-33.9, 150.9, "AU"),
            (40.7, -74.5, "US"),
            (62.0, 129.7, "RU"),
            (66.5, -172.0, "RU"), // Chukotka, beyond the antimeridian
            (42.66, 21.16, "XK"),
            (-29.6, 28.2, "LS"), // enclosed by South Africa
            (9.5, 44.06, "SO"),
            (64.15, -21.6, "IS"),
            (-80.0, 30.0, "AQ"),
            (-16.8, 179.0, "FJ"),
        ] {
            assert_eq!(code_at(lat, lng), Some(iso2), "{lat}, {lng}");
        }
    }

    #[test]
    fn no_country_is_at_sea() {
        for (lat, lng) in [(0.0, 0.0), (0.0, -30.0), (40.0, -40.0), (-50.0, 100.0), (30.0, 179.999)] {
            assert_eq!(code_at(lat, lng), None, "{lat}, {lng}");
        }
        let harbour = LatLng::new(43.27, 5.28).unwrap(); // off Marseille
        assert!(at(harbour).is_none());
        assert_eq!(at_or_near(harbour, 20_000.0).map(|c| c.iso2), Some("FR"));
    }

    #[test]
    fn countries_are_found_by_code() {
        assert_eq!(by_code("JP").map(|c| (c.name, c.continent)), Some(("Japan", "AS")));
        assert!(by_code("ZZ").is_none());
        assert!(all().iter().filter(|c| !c.shape.0.is_empty()).count() > 200);
    }
}
