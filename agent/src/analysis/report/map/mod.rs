//! The maps of a report as inline SVG: the world, and a detail around the pin and the truth. Colours are in the style
//! sheet.

use std::fmt::Write;

use landfall_common::draw::{Point, geodesic};
use landfall_model::LatLng;
use maud::{Markup, html};

mod cell_outline;
mod detail;
mod world;

pub(super) use detail::detail;
pub(super) use world::world;
pub(crate) use world::{PinAndTruth, defs, overview};

use crate::analysis::report::posterior_summary::HeatCell;

/// Number of heat levels. Cells of the same level form one path.
const STEPS: usize = 8;
/// Number of points of a great circle.
const WAY: usize = 96;

/// Contents of the maps of a round.
pub(super) struct MapScene<'a> {
    /// The most likely cells, in decreasing order.
    pub(super) heat_cells: &'a [HeatCell],
    /// Candidate pins.
    pub(super) candidates: Vec<LatLng>,
    /// Position of the pin.
    pub(super) pin: Option<LatLng>,
    /// The true location.
    pub(super) truth: Option<LatLng>,
}

/// The heat and the outline of the 50 % credible region as paths. `trace` draws the outline of a cell.
fn heat(heat_cells: &[HeatCell], trace: impl Fn(&[LatLng], &mut String)) -> Markup {
    let most = heat_cells.iter().map(|heat_cell| heat_cell.p).fold(0.0, f64::max);
    let (mut steps, mut half) = (vec![String::new(); STEPS], String::new());
    for heat_cell in heat_cells {
        let Some(outline) = cell_outline::outline(&heat_cell.token) else { continue };
        let mut path = String::new();
        trace(&outline, &mut path);
        // Square root, so that cells a hundred times less likely are still visible.
        let share = (heat_cell.p / most.max(f64::MIN_POSITIVE)).sqrt();
        steps[((share * STEPS as f64) as usize).min(STEPS - 1)].push_str(&path);
        if heat_cell.is_in_half {
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

/// Points of the great circle between two places.
fn great_circle(from: LatLng, to: LatLng) -> impl Iterator<Item = LatLng> {
    geodesic::great_circle(from, to, WAY)
}

/// Appends a line through points, optionally closed.
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

/// A marker of [`defs`] at a point, scaled.
fn mark(name: &str, (x, y): Point, scale: f64) -> Markup {
    html! { use href=(format!("#{name}")) transform=(format!("translate({x:.1} {y:.1}) scale({scale})")) {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelier_cells_are_darker_and_the_half_is_outlined() {
        let heat_cell = |token: &str, p: f64, is_in_half: bool| HeatCell { token: token.into(), p, is_in_half };
        let heat_cells =
            [heat_cell("89c25c", 0.6, true), heat_cell("89c3c", 0.01, false), heat_cell("<script>", 0.3, true)];
        let trace = |outline: &[LatLng], path: &mut String| line(outline.iter().map(|at| (at.lng, at.lat)), true, path);
        let drawn = heat(&heat_cells, trace).into_string();
        assert!(drawn.contains("heat-8") && drawn.contains("heat-2") && drawn.matches("<path").count() == 3, "{drawn}");
        assert!(!drawn.contains("script"));
    }
}
