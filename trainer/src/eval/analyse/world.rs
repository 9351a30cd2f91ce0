//! Map of the report: all rounds coloured by error, and lines from the true place to the pin for the worst rounds.

use maud::{Markup, html};

use super::tally::WorstRound;
use crate::eval::metrics::RoundResult;
use crate::html::world_svg::{self, project};

/// Upper bounds of the error classes in kilometres, each with the CSS class of its colour.
pub(super) const CLASSES: [(f64, &str); 4] = [(200.0, "e0"), (750.0, "e1"), (2500.0, "e2"), (f64::INFINITY, "e3")];

/// CSS class for an error in kilometres.
pub(super) fn class(km: f64) -> &'static str {
    CLASSES.iter().find(|(up_to, _)| km <= *up_to).map_or("e3", |(_, class)| *class)
}

pub(super) fn map(results: &[RoundResult], worst: &[WorstRound]) -> Markup {
    let (width, height) = world_svg::SIZE;
    let path = |w: &WorstRound| {
        let (from, to) = (project(w.truth), project(w.guess));
        // If the shorter path crosses the antimeridian, it is drawn from both ends, each leaving the map.
        let turn = ((from.0 - to.0) / width).round() * width;
        let line = |shift: f64| format!("M{:.0} {:.0}L{:.0} {:.0}", from.0 - shift, from.1, to.0 + turn - shift, to.1);
        if turn == 0.0 { line(0.0) } else { line(0.0) + &line(turn) }
    };
    html! {
        svg.map viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img"
            aria-label="Map of all rounds, coloured by the distance of the pin" {
            path.land d=(world_svg::land()) {}
            @for result in results {
                @let (x, y) = project(result.truth);
                circle class=(class(result.error_km())) cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="2.6" {}
            }
            @for (i, worst) in worst.iter().enumerate() {
                @let ((x, y), (to_x, to_y)) = (project(worst.truth), project(worst.guess));
                path.path d=(path(worst)) {}
                circle.pin cx=(format!("{to_x:.1}")) cy=(format!("{to_y:.1}")) r="4" {}
                circle.truth cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="8" {}
                text.number x=(format!("{x:.1}")) y=(format!("{:.1}", y + 3.5)) { (i + 1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_colour_of_their_class() {
        assert_eq!([10.0, 200.0, 201.0, 2500.0, 9000.0].map(class), ["e0", "e0", "e1", "e2", "e3"]);
    }
}
