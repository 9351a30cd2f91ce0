//! Placing the pin on a drawn map that zooms by itself after a click, or whose initial view is in doubt.
//!
//! The first pin is the anchor: its place is known exactly, from the click and the view before it. What the map did then
//! is unknown, so it is zoomed out as far as it goes. There the world is exactly as high as the box, which the height of
//! the pin in it has to confirm. From there the map is zoomed in again without another click: the zoom factor of each step
//! follows from how far the pin moves away from the mouse. Since the anchor is close to the target, an error of the scale
//! hardly moves the target.

use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::draw::mercator;
use landfall_common::exit::environment_error;
use landfall_model::LatLng;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::observe;
use crate::play::pin::placed::{PlacedPin, TARGET_M_PER_PX, WHEEL_IN, max_m_per_px};
use crate::play::pin::projection::Projection;
use crate::play::pin::view::{coasts_confirm, stated};
use crate::site::StartView;
use crate::site::page::Page;

/// Tolerance of the anchor's height in the map that is zoomed out, in pixels.
const HEIGHT_TOLERANCE_PX: f64 = 2.5;
/// Offset of the mouse from the pin when zooming: far enough to measure the factor.
const OFFSET_PX: f64 = 70.0;
/// Turns of the wheel at a time to zoom out.
const TURNS_OUT: usize = 10;
/// Turns of the wheel to zoom in for another look at the coasts.
const TURNS_IN: usize = 4;
/// Zoom factor of a step.
const STEP: f64 = 1.9;
/// Relative error of the scale after zooming in.
const SCALE_ERROR: f64 = 0.04;
/// Time limit for the last pin to appear.
const PIN_TIMEOUT: Duration = Duration::from_millis(2500);

/// A pin at a place that is known exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) at: LatLng,
}

/// Zooms in on a place from the anchor and clicks it.
pub(super) async fn place_pin(
    page: &Page,
    view: StartView,
    anchor: Anchor,
    wanted: LatLng,
    max_error_m: f64,
) -> Result<PlacedPin> {
    let off_m = SCALE_ERROR * anchor.at.distance_m(wanted);
    if off_m > max_error_m {
        return Err(environment_error(format!(
            "the guess map zooms by itself after a click, and {wanted} is too far from what it shows at first to be found \
             again; the pin would be {:.0} km off",
            off_m / 1000.0
        )));
    }
    let mut map = zoomed_out(page, view, anchor).await?;
    let mut stuck = 0;
    for _ in 0..80 {
        let metres = map.projection.metres_per_pixel(wanted);
        if metres <= TARGET_M_PER_PX || stuck > 2 {
            break;
        }
        stuck = if map.zoom_in(page).await? { 0 } else { stuck + 1 };
    }
    let metres_per_pixel = map.projection.metres_per_pixel(wanted);
    if metres_per_pixel > max_m_per_px(max_error_m) {
        return Err(environment_error(format!(
            "the guess map cannot be brought to {wanted}: it does not zoom as expected"
        )));
    }
    let target = map.projection.pixel(wanted, map.pin);
    let click = Pixel { x: target.x.round(), y: target.y.round() };
    if !map.canvas.holds(click, 0.0) {
        return Err(environment_error(format!("the guess map cannot be brought to {wanted}")));
    }
    map.click(page, click).await?;
    let at = map.projection.place(click);
    let error_m = at.distance_m(wanted);
    if error_m > max_error_m {
        return Err(environment_error(format!(
            "the pin cannot be placed at {wanted}: it is {:.0} km off",
            error_m / 1000.0
        )));
    }
    Ok(PlacedPin { at, click, metres_per_pixel })
}

/// Checks the initial view that a profile states: places a pin at `down` of the map's height and zooms out, where the height
/// of the pin has to fit, or the coasts. Afterwards the map is not in its initial view any more.
///
/// # Errors
/// When the view does not fit, or the map takes no pin or does not zoom.
pub(crate) async fn check_view(page: &Page, view: StartView, down: f64) -> Result<()> {
    let canvas = observe::begin(page).await?.canvas;
    let click = canvas.at(0.5, down);
    let click = Pixel { x: click.x.round(), y: click.y.round() };
    let initial = stated(view, &canvas)?;
    let at = initial.place(click);
    page.click(click).await?;
    let start = Instant::now();
    while observe::wait_until_still(page).await?.pin.is_none() {
        if start.elapsed() > PIN_TIMEOUT {
            return Err(environment_error("the guess map shows no pin where it was clicked"));
        }
        input::pause(60).await;
    }
    let Err(error) = zoomed_out(page, view, Anchor { at }).await else { return Ok(()) };
    // Not every map zooms out until the world is as high as the box (OpenLayers); the coasts of other views tell too.
    for turns in [0, TURNS_IN] {
        let Some(pin) = observe::look(page).await?.and_then(|seen| seen.pin) else { break };
        let beside = Pixel { x: (pin.x + 20.0).round(), y: (pin.y + 10.0).round() };
        for _ in 0..turns {
            page.wheel(beside, WHEEL_IN).await?;
        }
        observe::wait_until_still(page).await?;
        if coasts_confirm(page, &initial, at).await? {
            return Ok(());
        }
    }
    Err(error)
}

struct AnchoredMap {
    canvas: Rect,
    projection: Projection,
    pin: Pixel,
    /// Turns of the wheel per step, so that the map is enlarged about twice.
    turns: usize,
}

/// Zooms out as far as the map goes, where the world is as high as the box.
async fn zoomed_out(page: &Page, view: StartView, anchor: Anchor) -> Result<AnchoredMap> {
    let lost = || environment_error("the pin disappeared from the guess map, so its position is unknown");
    let mut seen = observe::wait_until_still(page).await?;
    let mut same = 0;
    for _ in 0..30 {
        // Beside the pin, which would stay where it is under the mouse.
        let corners = [(0.2, 0.25), (0.8, 0.25), (0.2, 0.75), (0.8, 0.75)].map(|(x, y)| seen.canvas.at(x, y));
        let distance = |at: &Pixel| seen.pin.map_or(0.0, |pin| (pin.x - at.x).hypot(pin.y - at.y));
        let about = corners.into_iter().max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(corners[0]);
        for _ in 0..TURNS_OUT {
            page.wheel(about, -WHEEL_IN).await?;
        }
        input::pause(120).await;
        let now = observe::wait_until_still(page).await?;
        let (Some(old), Some(new)) = (seen.pin, now.pin) else { return Err(lost()) };
        same = if (new.x - old.x).hypot(new.y - old.y) < 0.6 { same + 1 } else { 0 };
        seen = now;
        if same > 1 {
            break;
        }
    }
    let (canvas, pin) = (seen.canvas, seen.pin.ok_or_else(lost)?);
    let (across, down) = mercator::project(anchor.at);
    let world = if view.repeats { canvas.height } else { canvas.height.max(canvas.width) };
    let off = (canvas.y + down * world - pin.y).abs();
    if off > HEIGHT_TOLERANCE_PX || !view.repeats && canvas.width > canvas.height {
        return Err(environment_error(format!(
            "the guess map cannot be located: it moves by itself after a click, or map.view is not its initial view \
             (zoomed out, the pin is {off:.0} pixels from where it should be)"
        )));
    }
    // Anchored at the pin, whose place is exact; its pixel is rounded.
    let corner = Pixel { x: pin.x - across * world, y: pin.y - down * world };
    Ok(AnchoredMap { canvas, projection: Projection { world, corner }, pin, turns: 2 })
}

impl AnchoredMap {
    /// Zooms in by a few wheel notches, so that the pin ends up near the centre of the box. Returns whether the map
    /// has zoomed.
    async fn zoom_in(&mut self, page: &Page) -> Result<bool> {
        let centre = self.canvas.centre();
        // The pin moves away from the mouse; with the mouse beyond the pin, seen from the centre, it moves to the centre.
        let away = Pixel { x: self.pin.x - centre.x, y: self.pin.y - centre.y };
        let length = away.x.hypot(away.y);
        let direction =
            if length < 6.0 { Pixel { x: 1.0, y: 0.0 } } else { Pixel { x: away.x / length, y: away.y / length } };
        let reach = OFFSET_PX.min(0.3 * self.canvas.width).min(0.3 * self.canvas.height);
        let inside = |value: f64, start: f64, side: f64| value.clamp(start + 8.0, start + side - 8.0).round();
        let about = Pixel {
            x: inside(self.pin.x + direction.x * reach, self.canvas.x, self.canvas.width),
            y: inside(self.pin.y + direction.y * reach, self.canvas.y, self.canvas.height),
        };
        let from = Pixel { x: self.pin.x - about.x, y: self.pin.y - about.y };
        let distance = from.x.hypot(from.y);
        if distance < 12.0 {
            return Err(environment_error(
                "the pin is at the edge of the guess map and cannot be brought to its centre",
            ));
        }
        for _ in 0..self.turns {
            page.wheel(about, WHEEL_IN).await?;
        }
        input::pause(60).await;
        let seen = observe::wait_until_still(page).await?;
        let pin = seen.pin.ok_or_else(|| environment_error("the pin disappeared from the guess map while zooming"))?;
        let to = Pixel { x: pin.x - about.x, y: pin.y - about.y };
        let factor = (to.x * from.x + to.y * from.y) / (distance * distance);
        let off_axis = (to.x * from.y - to.y * from.x).abs() / distance;
        // Near the poles the map is moved back into its limits, which shows in the height of the pin only.
        let factor = match off_axis > 2.0 && from.x.abs() > 12.0 {
            true => to.x / from.x,
            false => factor,
        };
        if factor < 0.98 || seen.canvas != self.canvas {
            return Err(environment_error(
                "the guess map does not zoom about the mouse, so the pin cannot be placed on it",
            ));
        }
        self.pin = pin;
        if factor > 1.02 {
            let per_turn = factor.ln() / self.turns as f64;
            self.turns = ((STEP.ln() / per_turn).round() as usize).clamp(1, 8);
        }
        let zoomed = self.projection.zoomed(about, factor);
        // Anchored at the pin, so that errors do not add up.
        let moved = self.projection_at(zoomed.world, about, from, pin);
        self.projection = moved;
        Ok(factor > 1.02)
    }

    /// The projection with a world of this size in which the pin is where it is seen.
    fn projection_at(&self, world: f64, about: Pixel, from: Pixel, pin: Pixel) -> Projection {
        let before = Pixel { x: about.x + from.x, y: about.y + from.y };
        let part = |at: f64, corner: f64| (at - corner) / self.projection.world;
        let (across, down) = (part(before.x, self.projection.corner.x), part(before.y, self.projection.corner.y));
        Projection { world, corner: Pixel { x: pin.x - across * world, y: pin.y - down * world } }
    }

    /// Clicks and waits until the pin has moved there, or wherever the map has brought it.
    async fn click(&self, page: &Page, at: Pixel) -> Result<()> {
        for _ in 0..3 {
            page.click(at).await?;
            let start = Instant::now();
            while start.elapsed() < PIN_TIMEOUT {
                let seen = observe::wait_until_still(page).await?;
                let near = |a: Pixel, b: Pixel| (a.x - b.x).hypot(a.y - b.y) <= 2.0;
                let is_new = seen.pin.is_some_and(|pin| near(pin, at) || !near(pin, self.pin));
                if is_new || near(at, self.pin) && seen.pin.is_some() {
                    return Ok(());
                }
                input::pause(60).await;
            }
        }
        Err(environment_error("the guess map shows no pin where it was clicked"))
    }
}
