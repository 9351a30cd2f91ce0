//! Country borders from the TopoJSON file that ships with the crate.

use geo::{BoundingRect, Coord, LineString, MultiPolygon, Polygon, Translate};
use serde::Deserialize;

use super::Country;

/// The subset of TopoJSON that the file uses: arcs of delta-coded integers, and polygons made of arc indices (`!i` is
/// arc `i` reversed).
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

/// Areas that are separate on the map but have no ISO code: they count to the country that ISO counts them to.
const WITHOUT_CODE: &[(&str, &str)] = &[
    ("Somaliland", "SO"),
    ("Kosovo", "XK"),
    ("N. Cyprus", "CY"),
    ("Siachen Glacier", "IN"),
    ("Indian Ocean Ter.", "CX"),
];

pub(super) fn load() -> Vec<Country> {
    let topology: Topology =
        serde_json::from_str(include_str!("../../data/countries-50m.json")).expect("the map in the crate is valid");
    let lines: Vec<Vec<Coord<f64>>> = topology.arcs.iter().map(|arc| unpack(arc, &topology.transform)).collect();
    let mut countries: Vec<(Country, &str)> = include_str!("../../data/countries.csv")
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
            // Antarctica's first ring runs along the pole and adds nothing: `join` closes its coast over the pole.
            let around_pole = |ring: &LineString<f64>| ring.0.iter().all(|point| point.y < -89.9);
            let mut rings = rings.iter().map(|ring| join(ring, &lines)).filter(|ring| !around_pole(ring));
            let Some(outer) = rings.next() else { continue };
            let polygon = Polygon::new(outer, rings.collect());
            let Some(rect) = polygon.bounding_rect() else { continue };
            // Polygons across the antimeridian are kept twice, so that both parts are found within [-180, 180].
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
        points.pop(); // the last point of an arc is the first point of the next
        if arc < 0 { points.extend(line.iter().rev()) } else { points.extend(line) }
    }
    // Rings in the file jump at the antimeridian: unwrap them, so that each is one piece on the plane.
    for i in 1..points.len() {
        let turns = ((points[i].x - points[i - 1].x) / 360.0).round();
        points[i].x -= 360.0 * turns;
    }
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied())
        && (last.x - first.x).abs() > 180.0
    {
        // Antarctica's coast runs once around the earth: close it over the pole. The ring along the pole itself gets the
        // same two points and stays degenerate.
        points.extend([Coord { x: last.x, y: -90.0 }, Coord { x: first.x, y: -90.0 }]);
    }
    LineString(points)
}
