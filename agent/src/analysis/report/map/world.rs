//! The world without Antarctica in the equal-area Equal Earth projection, so that heat is not distorted.
//!
//! Šavrič, Patterson and Jenny 2018, "The Equal Earth map projection".

use std::f64::consts::PI;

use landfall_common::draw::{Point, land};
use landfall_model::LatLng;
use maud::{Markup, html};

use crate::analysis::report::map::{MapScene, great_circle, heat, line, mark};

const A: [f64; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];
/// Pixels from Greenwich to the date line on the equator.
const HALF_WIDTH: f64 = 480.0;
/// The map's northern and southern edge in degrees.
const EDGES: (f64, f64) = (84.0, -58.0);
/// Subdivisions of a pixel in the integer coordinates of the coast.
const FINE: f64 = 2.0;

/// From the truth to the pin of one round.
pub(crate) struct PinAndTruth {
    /// Round number in the report.
    pub(crate) n: usize,
    pub(crate) pin: LatLng,
    pub(crate) truth: Option<LatLng>,
}

/// A place in pixels from the upper left corner. Longitudes beyond ±180° are outside the map.
fn project(lat: f64, lng: f64) -> Point {
    let root = 3f64.sqrt() / 2.0;
    let theta = (root * lat.to_radians().sin()).asin();
    let [a, b, c, d] = A;
    let (t2, t6) = (theta.powi(2), theta.powi(6));
    let slope = a + 3.0 * b * t2 + t6 * (7.0 * c + 9.0 * d * t2);
    let x = lng.to_radians() * theta.cos() / (root * slope);
    let y = theta * (a + b * t2 + t6 * (c + d * t2));
    let pixels = HALF_WIDTH * root * A[0] / PI;
    (HALF_WIDTH + x * pixels, -y * pixels)
}

fn top() -> f64 {
    project(EDGES.0, 0.0).1
}

fn size() -> (f64, f64) {
    (2.0 * HALF_WIDTH, project(EDGES.1, 0.0).1 - top())
}

fn xy(at: LatLng) -> Point {
    unrolled(at.lat, at.lng)
}

fn unrolled(lat: f64, lng: f64) -> Point {
    let (x, y) = project(lat, lng);
    (x, y - top())
}

/// Definitions shared by all maps of a page: coastline, edge of the globe, and markers.
pub(crate) fn defs() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                path.land #land vector-effect="non-scaling-stroke" d=(land()) transform=(format!("scale({})", 1.0 / FINE)) {}
                path #globe d=(globe()) {}
                clipPath #within { use href="#globe" {} }
                g #pin {
                    path.pin d="M0 0C-2-6-8-9-8-15.5a8 8 0 0 1 16 0C8-9 2-6 0 0Z" {}
                    circle.hole cx="0" cy="-15.5" r="3" {}
                }
                g #truth { circle.truth cx="0" cy="0" r="5.5" {} circle.hole cx="0" cy="0" r="1.8" {} }
                g #candidate { circle.candidate cx="0" cy="0" r="4" {} }
            }
        }
    }
}

/// A world map of one round.
pub(in crate::analysis::report) fn world(scene: &MapScene<'_>, name: &str) -> Markup {
    let (width, height) = size();
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label=(name) {
            use.sea href="#globe" {}
            g clip-path="url(#within)" {
                use href="#land" {}
                (heat(scene.heat_cells, trace))
                @if let Some((pin, truth)) = scene.pin.zip(scene.truth) { path.way d=(great_circle_path(truth, pin)) vector-effect="non-scaling-stroke" {} }
            }
            @if let Some(truth) = scene.truth { (mark("truth", xy(truth), 2.0)) }
            @if let Some(pin) = scene.pin { (mark("pin", xy(pin), 1.9)) }
        }
    }
}

/// A world map of several rounds, with numbers if there are few.
pub(crate) fn overview(trips: &[PinAndTruth], name: &str) -> Markup {
    let (width, height) = size();
    let are_few = trips.len() <= 12;
    let scale = if are_few { 1.15 } else { 0.7 };
    html! {
        svg.map.overview viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label=(name) {
            use.sea href="#globe" {}
            g clip-path="url(#within)" {
                use href="#land" {}
                @for trip in trips { @if let Some(truth) = trip.truth { path.way d=(great_circle_path(truth, trip.pin)) vector-effect="non-scaling-stroke" {} } }
            }
            @for trip in trips { @if let Some(truth) = trip.truth { (mark("truth", xy(truth), scale)) } }
            @for trip in trips {
                @let (x, y) = xy(trip.pin);
                @if are_few {
                    (mark("pin", (x, y), 1.3))
                    circle.plate cx=(format!("{x:.1}")) cy=(format!("{:.1}", y - 20.2)) r="7.4" {}
                    text.number x=(format!("{x:.1}")) y=(format!("{:.1}", y - 16.4)) { (trip.n) }
                } @else {
                    (mark("pin", (x, y), scale))
                }
            }
        }
    }
}

/// The outline of a cell. If it crosses the date line, it is drawn at both edges.
fn trace(outline: &[LatLng], path: &mut String) {
    let Some(first) = outline.first() else { return };
    // Unwrap longitudes relative to the first.
    let near: Vec<(f64, f64)> =
        outline.iter().map(|at| (at.lat, at.lng - 360.0 * ((at.lng - first.lng) / 360.0).round())).collect();
    let (least, most) = near.iter().fold((f64::MAX, f64::MIN), |(a, b), (_, lng)| (a.min(*lng), b.max(*lng)));
    for (_, shift) in [(true, 0.0), (most > 180.0, -360.0), (least < -180.0, 360.0)].into_iter().filter(|(is, _)| *is) {
        line(near.iter().map(|(lat, lng)| unrolled(*lat, lng + shift)), true, path);
    }
}

/// The great circle between two places, split where it crosses the date line.
fn great_circle_path(from: LatLng, to: LatLng) -> String {
    let places: Vec<LatLng> = great_circle(from, to).collect();
    let mut path = String::new();
    for piece in places.chunk_by(|a, b| (a.lng - b.lng).abs() < 180.0) {
        line(piece.iter().map(|at| xy(*at)), false, &mut path);
    }
    path
}

/// The edge of the map.
fn globe() -> String {
    let steps = 48;
    let lat = |i: usize| EDGES.0 + (EDGES.1 - EDGES.0) * i as f64 / steps as f64;
    let east = (0..=steps).map(|i| unrolled(lat(i), 180.0));
    let west = (0..=steps).rev().map(|i| unrolled(lat(i), -180.0));
    let mut path = String::new();
    line(east.chain(west), true, &mut path);
    path
}

/// The land as one path, in units of 1/[`FINE`] pixel.
fn land() -> String {
    land::svg_path(|(lng, lat)| {
        let (x, y) = unrolled(lat, lng);
        (x * FINE, y * FINE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_matches_the_reference() {
        // Reference values of d3-geo 3.1.2 (`geoEqualEarthRaw`), in units of the sphere radius.
        let pixels = HALF_WIDTH * 3f64.sqrt() / 2.0 * A[0] / PI;
        for ((lat, lng), (x, y)) in [
            ((60.0, 90.0), (1.019_530_043_785_8, 1.088_300_835_505_3)),
            ((-33.0, 151.0), (2.093_500_934_475_3, -0.648_718_786_074_2)),
            ((84.0, -20.0), (-0.180_929_619_765_3, 1.306_713_138_887_3)),
        ] {
            let drawn = project(lat, lng);
            let off = ((drawn.0 - HALF_WIDTH) / pixels - x).hypot(-drawn.1 / pixels - y);
            assert!(off < 1e-9, "{lat}, {lng}: {drawn:?}");
        }
        assert_eq!(project(0.0, -180.0).0.round(), 0.0);
    }

    #[test]
    fn areas_are_preserved() {
        // A square degree covers the same fraction of the map as of the earth, at every latitude.
        let area = |lat: f64| {
            let corners = [(lat, 10.0), (lat, 11.0), (lat + 1.0, 11.0), (lat + 1.0, 10.0)].map(|(a, b)| project(a, b));
            let cross = |i: usize| corners[i].0 * corners[(i + 1) % 4].1 - corners[(i + 1) % 4].0 * corners[i].1;
            let earth = (lat + 1.0).to_radians().sin() - lat.to_radians().sin();
            (0..4).map(cross).sum::<f64>().abs() / earth
        };
        assert!((area(0.0) / area(65.0) - 1.0).abs() < 1e-3 && (area(0.0) / area(-40.0) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn lines_are_split_at_the_date_line() {
        let at = |lat, lng| LatLng::new(lat, lng).unwrap();
        assert_eq!(great_circle_path(at(-17.8, 178.0), at(-13.8, -172.0)).matches('M').count(), 2);
        assert_eq!(great_circle_path(at(48.0, 2.0), at(40.0, -74.0)).matches('M').count(), 1);
        let (mut fiji, mut paris) = (String::new(), String::new());
        trace(&[at(-17.0, 179.0), at(-17.0, -179.0), at(-19.0, -179.0), at(-19.0, 179.0)], &mut fiji);
        trace(&[at(48.0, 2.0), at(48.0, 3.0), at(49.0, 3.0), at(49.0, 2.0)], &mut paris);
        assert_eq!((fiji.matches('M').count(), paris.matches('M').count()), (2, 1));
    }

    #[test]
    fn land_path_is_small_enough_to_embed() {
        let land = land();
        assert!(land.starts_with('M') && (50_000..300_000).contains(&land.len()), "{}", land.len());
    }
}
