//! The countries of the earth: borders from Natural Earth 1:50m, codes, names and continents.
//!
//! Which country a place is in, whether it is land at all, and the shapes from which the arena draws its map.

mod grid;

use std::sync::OnceLock;

use geo::{BoundingRect, Contains, Coord, LineString, MultiPolygon, Point, Polygon, Rect, Translate};
use serde::Deserialize;

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
    /// Borders in degrees, x = longitude, y = latitude. A polygon across the date line reaches beyond ±180 and stands
    /// here a second time, 360 degrees away. Empty for the few territories too small for the map.
    pub shape: MultiPolygon<f64>,
    bounds: Vec<Rect<f64>>,
}

/// Every country with a code, in the order of its code.
pub fn all() -> &'static [Country] {
    static COUNTRIES: OnceLock<Vec<Country>> = OnceLock::new();
    COUNTRIES.get_or_init(load)
}

/// The country with this ISO 3166-1 alpha-2 code.
pub fn by_code(iso2: &str) -> Option<&'static Country> {
    all().binary_search_by(|country| country.iso2.cmp(iso2)).ok().map(|i| &all()[i])
}

/// The country whose land this place is on. `None` at sea.
pub fn at(place: LatLng) -> Option<&'static Country> {
    grid::at(place)
}

/// As [`at`], by a look at all countries.
fn search(place: LatLng) -> Option<&'static Country> {
    let point = Point::new(place.lng, place.lat);
    all().iter().find(|country| country.contains(point))
}

/// How far off its coast a place still counts to a country, in metres.
const OFFSHORE_M: f64 = 50_000.0;

/// The country this place counts to: the one it is in, or the one whose coast is nearest within 50 km.
pub fn of(place: LatLng) -> Option<&'static Country> {
    at_or_near(place, OFFSHORE_M)
}

/// The country this place is in, or the one whose coast is nearest within about `reach_m` metres.
///
/// The coast of a 1:50m map is off by kilometres, so a harbour often lies at sea by it.
pub fn at_or_near(place: LatLng, reach_m: f64) -> Option<&'static Country> {
    at(place).or_else(|| {
        if grid::is_open_sea(place, reach_m) {
            return None;
        }
        (1..=4).find_map(|ring| {
            let radius_m = reach_m * f64::from(ring) / 4.0;
            (0..16).find_map(|step| at(place.destination(f64::from(step) * 22.5, radius_m)))
        })
    })
}

impl Country {
    fn contains(&self, point: Point<f64>) -> bool {
        self.bounds.iter().zip(&self.shape.0).any(|(rect, polygon)| rect.contains(&point) && polygon.contains(&point))
    }
}

/// The slice of TopoJSON that the file uses: arcs of delta-coded integers, polygons made of arc numbers (`!i` is arc
/// `i` backwards).
#[derive(Deserialize)]
struct Topology {
    arcs: Vec<Vec<[i64; 2]>>,
    transform: Transform,
    objects: Objects,
}

#[derive(Deserialize)]
struct Transform {
    scale: [f64; 2],
    translate: [f64; 2],
}

#[derive(Deserialize)]
struct Objects {
    countries: Collection,
}

#[derive(Deserialize)]
struct Collection {
    geometries: Vec<Geometry>,
}

#[derive(Deserialize)]
struct Geometry {
    id: Option<String>,
    properties: Properties,
    #[serde(flatten)]
    arcs: Arcs,
}

#[derive(Deserialize)]
struct Properties {
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "arcs")]
enum Arcs {
    Polygon(Vec<Vec<i64>>),
    MultiPolygon(Vec<Vec<Vec<i64>>>),
}

/// Areas the map shows apart and ISO does not: counted to the state that ISO counts them to.
const WITHOUT_CODE: &[(&str, &str)] = &[
    ("Somaliland", "SO"),
    ("Kosovo", "XK"),
    ("N. Cyprus", "CY"),
    ("Siachen Glacier", "IN"),
    ("Indian Ocean Ter.", "CX"),
];

fn load() -> Vec<Country> {
    let topology: Topology =
        serde_json::from_str(include_str!("../data/countries-50m.json")).expect("the map that ships with the crate");
    let lines: Vec<Vec<Coord<f64>>> = topology.arcs.iter().map(|arc| unpack(arc, &topology.transform)).collect();
    let mut countries: Vec<(Country, &str)> = include_str!("../data/countries.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.splitn(4, ',');
            let mut next = || fields.next().unwrap_or_default();
            let (iso2, numeric, continent, name) = (next(), next(), next(), next());
            (Country { iso2, name, continent, shape: MultiPolygon(Vec::new()), bounds: Vec::new() }, numeric)
        })
        .collect();
    for geometry in topology.objects.countries.geometries {
        let code = WITHOUT_CODE.iter().find(|(name, _)| *name == geometry.properties.name).map(|(_, iso2)| *iso2);
        let country = countries.iter_mut().find(|(country, numeric)| match (code, &geometry.id) {
            (Some(code), _) => country.iso2 == code,
            (None, Some(id)) => numeric == id,
            (None, None) => false,
        });
        let Some((country, _)) = country else { continue };
        let polygons = match geometry.arcs {
            Arcs::Polygon(rings) => vec![rings],
            Arcs::MultiPolygon(polygons) => polygons,
        };
        for rings in polygons {
            // Antarctica's first ring runs along the pole; its coast, closed over the pole by `join`, says it all.
            let around_pole = |ring: &LineString<f64>| ring.0.iter().all(|point| point.y < -89.9);
            let mut rings = rings.iter().map(|ring| join(ring, &lines)).filter(|ring| !around_pole(ring));
            let Some(outer) = rings.next() else { continue };
            let polygon = Polygon::new(outer, rings.collect());
            let Some(rect) = polygon.bounding_rect() else { continue };
            // What crosses the date line is kept twice, so that both ends lie within [-180, 180].
            let copies = [(true, 0.0), (rect.max().x > 180.0, -360.0), (rect.min().x < -180.0, 360.0)];
            for (_, shift) in copies.into_iter().filter(|(needed, _)| *needed) {
                country.shape.0.push(polygon.translate(shift, 0.0));
                country.bounds.push(rect.translate(shift, 0.0));
            }
        }
    }
    let mut countries: Vec<Country> = countries.into_iter().map(|(country, _)| country).collect();
    countries.sort_by_key(|country| country.iso2);
    countries
}

fn unpack(arc: &[[i64; 2]], transform: &Transform) -> Vec<Coord<f64>> {
    let (mut x, mut y) = (0, 0);
    arc.iter()
        .map(|[dx, dy]| {
            (x, y) = (x + dx, y + dy);
            Coord {
                x: x as f64 * transform.scale[0] + transform.translate[0],
                y: y as f64 * transform.scale[1] + transform.translate[1],
            }
        })
        .collect()
}

fn join(ring: &[i64], lines: &[Vec<Coord<f64>>]) -> LineString<f64> {
    let mut points: Vec<Coord<f64>> = Vec::new();
    for &arc in ring {
        let line = &lines[usize::try_from(if arc < 0 { !arc } else { arc }).unwrap_or_default()];
        points.pop(); // the last point of an arc is the first of the next
        if arc < 0 { points.extend(line.iter().rev()) } else { points.extend(line) }
    }
    // The file lets rings run across the date line: unroll them, so that each is one piece on the plane.
    for i in 1..points.len() {
        let turns = ((points[i].x - points[i - 1].x) / 360.0).round();
        points[i].x -= 360.0 * turns;
    }
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied())
        && (last.x - first.x).abs() > 180.0
    {
        // Antarctica: once around the earth, closed over the pole.
        // (The line along the pole itself gets the same two points and stays a line.)
        points.extend([Coord { x: last.x, y: -90.0 }, Coord { x: first.x, y: -90.0 }]);
    }
    LineString(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_at(lat: f64, lng: f64) -> Option<&'static str> {
        at(LatLng::new(lat, lng).unwrap()).map(|country| country.iso2)
    }

    #[test]
    fn places_lie_in_their_countries() {
        for (lat, lng, iso2) in [
            (45.76, 4.83, "FR"),
            (-33.9, 150.9, "AU"),
            (40.7, -74.5, "US"),
            (62.0, 129.7, "RU"),
            (66.5, -172.0, "RU"), // Chukotka, beyond the date line
            (42.66, 21.16, "XK"),
            (-29.6, 28.2, "LS"), // a hole in South Africa
            (9.5, 44.06, "SO"),
            (64.15, -21.6, "IS"),
            (-80.0, 30.0, "AQ"),
            (-16.8, 179.0, "FJ"),
        ] {
            assert_eq!(code_at(lat, lng), Some(iso2), "{lat}, {lng}");
        }
    }

    #[test]
    fn the_sea_is_no_country() {
        for (lat, lng) in [(0.0, 0.0), (0.0, -30.0), (40.0, -40.0), (-50.0, 100.0), (30.0, 179.999)] {
            assert_eq!(code_at(lat, lng), None, "{lat}, {lng}");
        }
        let harbour = LatLng::new(43.27, 5.28).unwrap(); // off Marseille
        assert!(at(harbour).is_none());
        assert_eq!(at_or_near(harbour, 20_000.0).map(|c| c.iso2), Some("FR"));
    }

    #[test]
    fn codes_find_their_country() {
        assert_eq!(by_code("JP").map(|c| (c.name, c.continent)), Some(("Japan", "AS")));
        assert!(by_code("ZZ").is_none());
        assert!(all().iter().filter(|c| !c.shape.0.is_empty()).count() > 200);
    }
}
