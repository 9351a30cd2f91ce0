//! The maps of a report as inline SVG: the world, and a detail around the pin and the truth. Colours are the style sheet's.

use std::fmt::Write;

use landfall_common::draw::{Point, geodesic};
use landfall_model::LatLng;
use maud::{Markup, html};

mod cell_outline;
mod detail;
mod world;

pub(super) use detail::detail;
pub(super) use world::{PinAndTruth, defs, overview, world};

use crate::analysis::report::posterior_summary::HeatCell;

/// Steps of the heat: cells of about the same probability are one path.
const STEPS: usize = 8;
/// Points of a great circle.
const WAY: usize = 96;

/// What a round's maps show.
pub(super) struct MapScene<'a> {
    /// The likeliest cells, likeliest first.
    pub(super) heat_cells: &'a [HeatCell],
    /// Where the pin might have gone.
    pub(super) candidates: Vec<LatLng>,
    /// Where the pin is.
    pub(super) pin: Option<LatLng>,
    /// Where it was.
    pub(super) truth: Option<LatLng>,
}

/// The heat and the outline of the half, as paths: `trace` draws one cell's outline.
fn heat(heat_cells: &[HeatCell], trace: impl Fn(&[LatLng], &mut String)) -> Markup {
    let most = heat_cells.iter().map(|shade| shade.p).fold(0.0, f64::max);
    let (mut steps, mut half) = (vec![String::new(); STEPS], String::new());
    for shade in heat_cells {
        let Some(outline) = cell_outline::outline(&shade.token) else { continue };
        let mut path = String::new();
        trace(&outline, &mut path);
        // By the square root: what is a hundredth as likely is still seen.
        let share = (shade.p / most.max(f64::MIN_POSITIVE)).sqrt();
        steps[((share * STEPS as f64) as usize).min(STEPS - 1)].push_str(&path);
        if shade.is_in_half {
            half.push_str(&path);
        }
    }
    html! {
        @for (i, path) in steps.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            path class=(format!("heat heat-{}", i + 1)) d=(path) {}
        }
        @if !half.is_empty() { path.half d=(half) vector-effect="non-scaling-stroke" {} }
    }
}

/// The great circle between two places, from end to end.
fn great_circle(from: LatLng, to: LatLng) -> impl Iterator<Item = LatLng> {
    geodesic::great_circle(from, to, WAY)
}

/// Appends a line through some points, closed or not.
fn line(points: impl IntoIterator<Item = Point>, close: bool, path: &mut String) {
    let mut last = None;
    for (x, y) in points {
        let point = ((x * 10.0).round() / 10.0, (y * 10.0).round() / 10.0);
        if last == Some(point) {
            continue;
        }
        let command = if last.is_none() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", point.0, point.1); // writing to a String cannot fail
        last = Some(point);
    }
    if close && last.is_some() {
        path.push('Z');
    }
}

/// A mark at a point, `scale` times as large as it was drawn in [`defs`].
fn mark(name: &str, (x, y): Point, scale: f64) -> Markup {
    html! { use href=(format!("#{name}")) transform=(format!("translate({x:.1} {y:.1}) scale({scale})")) {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_likelier_is_darker_and_the_half_has_an_outline() {
        let shade = |token: &str, p: f64, is_in_half: bool| HeatCell { token: token.into(), p, is_in_half };
        let heat_cells = [shade("89c25c", 0.6, true), shade("89c3c", 0.01, false), shade("<script>", 0.3, true)];
        let trace = |outline: &[LatLng], path: &mut String| line(outline.iter().map(|at| (at.lng, at.lat)), true, path);
        let drawn = heat(&heat_cells, trace).into_string();
        assert!(drawn.contains("heat-8") && drawn.contains("heat-2") && drawn.matches("<path").count() == 3, "{drawn}");
        assert!(!drawn.contains("script"));
    }
}
