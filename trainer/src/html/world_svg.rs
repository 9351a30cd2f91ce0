//! A map of the world as inline SVG, with longitude and latitude as x and y.

use landfall_common::draw::land;
use landfall_model::LatLng;
use maud::{Markup, html};

/// Pixels per degree.
const SCALE: f64 = 8.0 / 3.0;
/// Latitudes of the northern and southern edge of the map.
const EDGES: (f64, f64) = (80.0, -58.0);
/// Width and height of the map in pixels.
pub(crate) const SIZE: (f64, f64) = (360.0 * SCALE, (EDGES.0 - EDGES.1) * SCALE);

/// Projects a place to pixels on the map.
pub(crate) fn project(at: LatLng) -> (f64, f64) {
    ((at.lng + 180.0) * SCALE, (EDGES.0 - at.lat) * SCALE)
}

/// A map with dots whose area is proportional to the number of pictures.
pub(crate) fn density(dots: &[(LatLng, usize)]) -> Markup {
    let (width, height) = SIZE;
    let max_count = dots.iter().map(|(_, n)| *n).max().unwrap_or(1) as f64;
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label="Map of the pictures" {
            path.land d=(land()) {}
            @for (at, n) in dots {
                @let (x, y) = project(*at);
                circle class="e0" cx=(format!("{x:.1}")) cy=(format!("{y:.1}"))
                    r=(format!("{:.1}", 1.2 + 8.0 * (*n as f64 / max_count).sqrt())) { title { (n) } }
            }
        }
    }
}

/// The outline of the land as an SVG path.
pub(crate) fn land() -> String {
    land::svg_path(|(lng, lat)| project(LatLng { lat, lng }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_projected_to_the_map() {
        let at = |lat, lng| project(LatLng::new(lat, lng).unwrap());
        assert_eq!(at(80.0, -180.0), (0.0, 0.0));
        assert_eq!(at(-58.0, 0.0), (480.0, 368.0));
    }
}
