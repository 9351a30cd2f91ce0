//! A map of the world as inline SVG, with longitude and latitude as x and y.

use std::fmt::Write;

use landfall_model::{LatLng, countries};
use maud::{Markup, html};

/// Pixels per degree.
const SCALE: f64 = 8.0 / 3.0;
/// The map's northern and southern edge.
const EDGES: (f64, f64) = (80.0, -58.0);
/// The map's width and height in pixels.
pub(crate) const SIZE: (f64, f64) = (360.0 * SCALE, (EDGES.0 - EDGES.1) * SCALE);

/// Where a place is on the map, in pixels.
pub(crate) fn project(at: LatLng) -> (f64, f64) {
    ((at.lng + 180.0) * SCALE, (EDGES.0 - at.lat) * SCALE)
}

/// A map of dots, as large as the number of pictures that each stands for.
pub(crate) fn density(dots: &[(LatLng, usize)]) -> Markup {
    let (width, height) = SIZE;
    let most = dots.iter().map(|(_, n)| *n).max().unwrap_or(1) as f64;
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label="Map of where the pictures lie" {
            path.land d=(land()) {}
            @for (at, n) in dots {
                @let (x, y) = project(*at);
                circle class="e0" cx=(format!("{x:.1}")) cy=(format!("{y:.1}"))
                    r=(format!("{:.1}", 1.2 + 8.0 * (*n as f64 / most).sqrt())) { title { (n) } }
            }
        }
    }
}

/// The land as one path, its points rounded to whole pixels and what falls together left out.
pub(crate) fn land() -> String {
    let mut path = String::new();
    for polygon in countries::all().iter().filter(|country| country.iso2 != "AQ").flat_map(|country| &country.shape.0) {
        let mut ring: Vec<(i32, i32)> = polygon.exterior().0.iter().map(|c| pixel(c.x, c.y)).collect();
        ring.dedup();
        if ring.len() < 4 {
            continue;
        }
        let mut last = ring[0];
        let _ = write!(path, "M{} {}l", last.0, last.1); // writing to a String cannot fail
        for point in &ring[1..] {
            let _ = write!(path, "{} {} ", point.0 - last.0, point.1 - last.1);
            last = *point;
        }
        path.push('z');
    }
    path
}

fn pixel(lng: f64, lat: f64) -> (i32, i32) {
    (((lng + 180.0) * SCALE).round() as i32, ((EDGES.0 - lat) * SCALE).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_where_a_map_has_them() {
        let at = |lat, lng| project(LatLng::new(lat, lng).unwrap());
        assert_eq!(at(80.0, -180.0), (0.0, 0.0));
        assert_eq!(at(-58.0, 0.0), (480.0, 368.0));
    }

    #[test]
    fn the_land_is_small_enough_to_embed() {
        let land = land();
        assert!(land.starts_with('M') && land.len() > 20_000 && land.len() < 200_000, "{}", land.len());
    }
}
