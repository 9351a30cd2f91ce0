//! The page's map: coasts, every round by how well it went, and the way from truth to pin for the worst.

use std::fmt::Write;

use landfall_model::{LatLng, countries};
use maud::{Markup, html};

use super::Worst;
use crate::metrics::Answer;

/// Pixels a degree of the map, which is drawn with longitude and latitude as x and y.
const SCALE: f64 = 8.0 / 3.0;
/// The map's northern and southern edge.
const EDGES: (f64, f64) = (80.0, -58.0);
/// Upper ends in kilometres of the classes of error, each with the class of its colour; the last is open.
pub(super) const CLASSES: [(f64, &str); 4] = [(200.0, "e0"), (750.0, "e1"), (2500.0, "e2"), (f64::INFINITY, "e3")];

fn xy(at: LatLng) -> (f64, f64) {
    ((at.lng + 180.0) * SCALE, (EDGES.0 - at.lat) * SCALE)
}

/// The class of an error's colour.
pub(super) fn class(km: f64) -> &'static str {
    CLASSES.iter().find(|(up_to, _)| km <= *up_to).map_or("e3", |(_, class)| *class)
}

/// The map.
pub(super) fn map(answers: &[Answer], worst: &[Worst]) -> Markup {
    let (width, height) = (360.0 * SCALE, (EDGES.0 - EDGES.1) * SCALE);
    let way = |w: &Worst| {
        let (from, to) = (xy(w.truth), xy(w.guess));
        // The shorter way may cross the date line; then it is drawn from both ends, each leaving the map.
        let turn = ((from.0 - to.0) / width).round() * width;
        let line = |shift: f64| format!("M{:.0} {:.0}L{:.0} {:.0}", from.0 - shift, from.1, to.0 + turn - shift, to.1);
        if turn == 0.0 { line(0.0) } else { line(0.0) + &line(turn) }
    };
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img"
            aria-label="Map of all rounds, coloured by the distance of the pin" {
            path.land d=(land()) {}
            @for answer in answers {
                @let (x, y) = xy(answer.truth);
                circle class=(class(answer.error_km())) cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="2.6" {}
            }
            @for (i, worst) in worst.iter().enumerate() {
                @let ((x, y), (to_x, to_y)) = (xy(worst.truth), xy(worst.guess));
                path.way d=(way(worst)) {}
                circle.pin cx=(format!("{to_x:.1}")) cy=(format!("{to_y:.1}")) r="4" {}
                circle.truth cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="8" {}
                text.number x=(format!("{x:.1}")) y=(format!("{:.1}", y + 3.5)) { (i + 1) }
            }
        }
    }
}

/// A map of dots, as large as the number of pictures that each stands for.
pub(crate) fn density(dots: &[(LatLng, usize)]) -> Markup {
    let (width, height) = (360.0 * SCALE, (EDGES.0 - EDGES.1) * SCALE);
    let most = dots.iter().map(|(_, n)| *n).max().unwrap_or(1) as f64;
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label="Map of where the pictures lie" {
            path.land d=(land()) {}
            @for (at, n) in dots {
                @let (x, y) = xy(*at);
                circle class="e0" cx=(format!("{x:.1}")) cy=(format!("{y:.1}"))
                    r=(format!("{:.1}", 1.2 + 8.0 * (*n as f64 / most).sqrt())) { title { (n) } }
            }
        }
    }
}

/// The land as one path, its points rounded to whole pixels and what falls together left out.
fn land() -> String {
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
        let at = |lat, lng| xy(LatLng::new(lat, lng).unwrap());
        assert_eq!(at(80.0, -180.0), (0.0, 0.0));
        assert_eq!(at(-58.0, 0.0), (480.0, 368.0));
        assert_eq!([10.0, 200.0, 201.0, 2500.0, 9000.0].map(class), ["e0", "e0", "e1", "e2", "e3"]);
    }

    #[test]
    fn the_land_is_small_enough_to_embed() {
        let land = land();
        assert!(land.starts_with('M') && land.len() > 20_000 && land.len() < 200_000, "{}", land.len());
    }
}
