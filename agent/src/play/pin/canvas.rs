//! Placing the pin on a map that is drawn on a canvas (MapLibre GL and similar), which has no tiles to locate places
//! with.
//!
//! The profile states the initial view of the map. From there its projection is tracked through every drag and zoom,
//! and the effect of each is measured from the pin of the page, an element whose position can be read. To zoom in, a
//! pin is placed next to the target and the wheel is turned exactly over the target: the target stays under the mouse,
//! and the growing distance of the pin gives the zoom factor. An error of that factor moves the target by a fraction of
//! a pixel only, so errors do not accumulate. A drag moves the pin by whole pixels.
//!
//! Assumptions:
//! - The map is Web Mercator with north up and no tilt.
//! - Every round starts in the view that the profile states, centred in the box and without a pin, or where the last round
//!   left the map (`relocate`).
//! - When the box grows, its centre remains at the same place. Nothing beyond the poles is ever shown: a world lower
//!   than the box is enlarged (as in MapLibre, Mapbox and Google Maps).
//! - The wheel zooms about the mouse and a drag moves the map with it. Both are verified with the pin.
//!
//! Measured, not assumed: whether the map animates, the zoom factor per wheel turn, and whether a click recentres the
//! map.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_model::LatLng;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::anchor::Anchor;
use crate::play::pin::compare::MapPicture;
use crate::play::pin::placed::{MARGIN, PlacedPin, TARGET_M_PER_PX, TooCoarse, WHEEL_IN, max_m_per_px};
use crate::play::pin::projection::Projection;
use crate::play::pin::view::{check, map_picture, mismatch, stated};
use crate::play::pin::wheel::{WheelZoom, room};
use crate::play::pin::{anchor, observe};
use crate::site::StartView;
use crate::site::page::Page;

/// Tolerance of the position of a pin in pixels: pins are rendered at whole pixels, and the box is rounded too.
const CLICK_TOLERANCE_PX: f64 = 1.5;
/// Offset of the pin from the target in pixels: far enough that its icon, which is mostly above its tip, does not cover
/// the target.
const PIN_OFFSET: Pixel = Pixel { x: 24.0, y: 16.0 };
/// Maps may interpret a drag shorter than this, in pixels, as a click.
const MIN_DRAG_PX: f64 = 5.0;
/// Time limit for the pin to appear after a click.
const PIN_TIMEOUT: Duration = Duration::from_millis(2500);

/// Zooms in on a place and clicks it.
pub(super) async fn place_pin(page: &Page, view: StartView, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    let mut map = MapElement::begin(page, view).await?;
    let doubt = if page.is_new_map() { check(page, view).await? } else { None };
    if let Some(anchor) = map.first_pin(wanted, doubt.is_none()).await? {
        let placed = anchor::place_pin(page, view, anchor, wanted, max_error_m).await;
        return match doubt {
            Some(shown) => placed.map_err(|error| error.context(mismatch(page, shown))),
            None => placed,
        };
    }
    map.pan_to(wanted).await?;
    map.zoom_in(wanted, max_error_m).await?;
    map.pan_to(wanted).await?; // at the higher zoom, the edge of the world may not constrain the map any more
    let target = map.pixel(wanted);
    let click = map.inside(target, 0.0);
    if distance(click, target) > CLICK_TOLERANCE_PX {
        return Err(environment_error(format!(
            "the guess map cannot be brought to {wanted}, which stays {:.0} pixels outside of its box",
            distance(click, target)
        )));
    }
    let before = map.projection;
    map.pin(click).await?;
    // `pin` has verified that the pin is at the clicked pixel.
    let (at, metres_per_pixel) = (before.place(click), before.metres_per_pixel(wanted));
    let error_m = at.distance_m(wanted);
    if error_m > max_error_m {
        return Err(environment_error(format!(
            "the pin cannot be placed at {wanted}: it is {:.0} km off where a pixel spans {:.0} km",
            error_m / 1000.0,
            metres_per_pixel / 1000.0
        )));
    }
    Ok(PlacedPin { at, click, metres_per_pixel })
}

/// The map and its tracked state.
pub(super) struct MapElement<'a> {
    pub(super) page: &'a Page,
    pub(super) view: StartView,
    pub(super) canvas: Rect,
    pub(super) projection: Projection,
    /// Last observed position of the pin.
    pub(super) pin: Option<Pixel>,
    /// Whether a click recentres the map on the clicked place; `None` until that is known.
    recentres: Option<bool>,
}

impl<'a> MapElement<'a> {
    async fn begin(page: &'a Page, view: StartView) -> Result<Self> {
        let seen = observe::begin(page).await?;
        if seen.pin.is_some() {
            return Err(environment_error(
                "the guess map already has a pin, so its view is not the initial one; reload the page",
            ));
        }
        let canvas = seen.canvas;
        let projection = stated(view, &canvas)?;
        Ok(Self { page, view, canvas, projection, pin: None, recentres: None })
    }

    /// Places the first pin as near to the place as the initial view allows, and compares pictures of the map from before
    /// and after. Returns that pin if the map zooms by itself after a click, or if it is not certain that it does not.
    async fn first_pin(&mut self, wanted: LatLng, is_certain: bool) -> Result<Option<Anchor>> {
        let moves = self.page.profile().map.moves_after_click || !is_certain;
        let before = map_picture(self.page).await?;
        if let Some(before) = &before
            && let Some(reference) = self.other_start(before)
        {
            self.relocate(reference).await?;
            return Ok(None);
        }
        let is_known = self.page.click_zooms();
        if is_known == Some(false) && !moves {
            return Ok(None);
        }
        if let Some(before) = before.as_ref().filter(|_| moves || is_known == Some(true)) {
            self.drag_into_view(wanted, before).await?;
        }
        let before = before.filter(|_| !moves && is_known != Some(true));
        let click = self.inside(self.pixel(wanted), 2.0);
        let (start, at) = (self.projection, self.projection.place(click));
        // If the map zooms by itself, this may take its movement for something else; only the pin counts then.
        self.pin(click).await?;
        let Some(before) = before else { return Ok(Some(Anchor { at })) };
        let seen = self.wait_until_still().await?.ok_or_else(lost)?;
        let Some(after) = map_picture(self.page).await? else { return Ok(None) };
        let by = between(start.corner, self.projection.corner);
        match after.is_moved(&before, by, &[click, seen]) {
            Some(true) => self.page.learn_click_zooms(false),
            Some(false) => {
                self.page.learn_click_zooms(true);
                return Ok(Some(Anchor { at }));
            }
            None => {} // an empty map
        }
        Ok(None)
    }

    /// Drags the map until the place is in the box, without a pin: on a map that zooms by itself after a click, the first pin
    /// has to be near the place. A picture of the map shows whether it has moved as far as the mouse.
    async fn drag_into_view(&mut self, wanted: LatLng, before: &MapPicture) -> Result<()> {
        let mut last = None;
        for _ in 0..4 {
            let (target, centre) = (self.pixel(wanted), self.canvas.centre());
            if self.canvas.holds(target, 0.04) {
                return Ok(());
            }
            let limited = |distance: f64, side: f64| distance.clamp(-0.4 * side, 0.4 * side).trunc();
            let by = Pixel {
                x: limited(centre.x - target.x, self.canvas.width),
                y: limited(centre.y - target.y, self.canvas.height),
            };
            let moved = self.projection.moved_by(by).clamped_to(&self.canvas, self.view.repeats);
            let by = between(self.projection.corner, moved.corner);
            let by = Pixel { x: by.x.trunc(), y: by.y.trunc() };
            if by.x.hypot(by.y) < MIN_DRAG_PX {
                return Ok(()); // at the edge of the world
            }
            let from = rounded(Pixel { x: centre.x - by.x / 2.0, y: centre.y - by.y / 2.0 });
            self.page.drag(from, from + by).await?;
            self.wait_until_still().await?;
            let Some(after) = map_picture(self.page).await? else { return Ok(()) };
            if after.is_moved(last.as_ref().unwrap_or(before), by, &[]) == Some(false) {
                return Err(environment_error("the guess map does not follow the mouse when it is dragged"));
            }
            self.projection = self.projection.moved_by(by);
            last = Some(after);
        }
        Ok(())
    }

    /// The pixel of a place. A world that does not repeat has only one.
    fn pixel(&self, place: LatLng) -> Pixel {
        let world = &self.projection;
        match self.view.repeats {
            true => world.pixel(place, self.canvas.centre()),
            false => world.pixel(place, Pixel { x: world.corner.x + 0.5 * world.world, ..world.corner }),
        }
    }

    /// Waits until the map is still and returns the pin. If the box has changed, its centre has remained at the same
    /// place.
    pub(super) async fn wait_until_still(&mut self) -> Result<Option<Pixel>> {
        let seen = observe::wait_until_still(self.page).await?;
        if seen.canvas != self.canvas {
            let by = between(self.canvas.centre(), seen.canvas.centre());
            self.projection = self.projection.moved_by(by).clamped_to(&seen.canvas, self.view.repeats);
            self.canvas = seen.canvas;
        }
        self.pin = seen.pin;
        Ok(seen.pin)
    }

    /// Clicks and returns the exact pixel of the pin afterwards: that of the click, unless the map recentres.
    pub(super) async fn pin(&mut self, at: Pixel) -> Result<Pixel> {
        let old = self.pin;
        for _ in 0..3 {
            self.page.click(at).await?;
            let start = Instant::now();
            while start.elapsed() < PIN_TIMEOUT {
                // If clicks do not move the map, there is no need to wait until it is still.
                let seen = match self.recentres {
                    Some(false) => observe::look(self.page).await?.and_then(|seen| seen.pin),
                    _ => self.wait_until_still().await?,
                };
                let Some(seen) = seen else { continue };
                if self.is_at(seen, at) {
                    if !self.is_ambiguous(at) {
                        self.recentres = Some(false);
                    }
                    self.pin = Some(at);
                    return Ok(at);
                }
                let unmoved = old.is_some_and(|old| self.is_at(seen, old));
                if unmoved && self.recentres != Some(true) {
                    continue; // the old pin
                }
                if self.recentres == Some(false) {
                    break;
                }
                self.recentres = Some(true);
                let by = between(at, self.canvas.centre());
                return Ok(self.moved(at, by, seen));
            }
            // A first click may only give the map the focus; a second one places the pin.
        }
        Err(environment_error("the guess map shows no pin where it was clicked"))
    }

    /// As [`MapElement::pin`], but slightly next to the pixel if a click there would not reveal whether the map
    /// recentres.
    async fn pin_near(&mut self, at: Pixel) -> Result<Pixel> {
        let beside = at + Pixel { x: PIN_OFFSET.x / 2.0, y: 0.0 };
        self.pin(if self.is_ambiguous(at) { beside } else { at }).await
    }

    /// Whether it is unknown if the map recentres, and a click at this pixel would not reveal it.
    fn is_ambiguous(&self, at: Pixel) -> bool {
        let by = between(at, self.canvas.centre());
        let recentred = self.projection.moved_by(by).clamped_to(&self.canvas, self.view.repeats);
        self.recentres.is_none() && distance(recentred.corner, self.projection.corner) <= 2.0 * CLICK_TOLERANCE_PX
    }

    /// Records that the map was moved by `by`, within its limits, and the pin from `from` to `seen`. Returns the pixel
    /// of the pin: the computed one if it agrees with the observed one within the tolerance, else the observed one.
    fn moved(&mut self, from: Pixel, by: Pixel, seen: Pixel) -> Pixel {
        let moved = self.projection.moved_by(by).clamped_to(&self.canvas, self.view.repeats);
        let expected = from + between(self.projection.corner, moved.corner);
        let (projection, pin) = match self.is_at(seen, expected) {
            true => (moved, expected),
            false => (self.projection.moved_by(between(from, seen)), seen),
        };
        (self.projection, self.pin) = (projection, Some(pin));
        pin
    }

    /// Whether an observed pin is at the expected pixel or at a copy of it: pins are shown on only one copy of the
    /// world.
    fn is_at(&self, seen: Pixel, expected: Pixel) -> bool {
        let seen = if self.view.repeats { self.projection.copy(seen, expected) } else { seen };
        distance(seen, expected) <= CLICK_TOLERANCE_PX
    }

    /// Drags the map until the place is well inside the box, or as close to that as the map allows.
    async fn pan_to(&mut self, wanted: LatLng) -> Result<()> {
        for _ in 0..60 {
            let target = self.pixel(wanted);
            if self.canvas.holds(target, MARGIN) {
                return Ok(());
            }
            let centre = self.canvas.centre();
            let clamp_drag = |distance: f64, side: f64| distance.clamp(-0.6 * side, 0.6 * side);
            let by = Pixel {
                x: clamp_drag(centre.x - target.x, self.canvas.width),
                y: clamp_drag(centre.y - target.y, self.canvas.height),
            };
            // Only as far as the map can move: its edge may be elastic.
            let allowed = self.projection.moved_by(by).clamped_to(&self.canvas, self.view.repeats);
            let by = between(self.projection.corner, allowed.corner);
            let mut by = Pixel { x: by.x.trunc(), y: by.y.trunc() };
            // A short drag would be interpreted as a click.
            if by.x.abs() < MIN_DRAG_PX && by.y.abs() < MIN_DRAG_PX {
                if distance(self.inside(target, 0.0), target) <= CLICK_TOLERANCE_PX {
                    return Ok(());
                }
                // Move away first, so that the next drag is long enough.
                by = Pixel { x: -by.x.signum() * 4.0 * MIN_DRAG_PX, y: -by.y.signum() * 4.0 * MIN_DRAG_PX };
            }
            let half = |to: f64| rounded(Pixel { x: centre.x + to * by.x / 2.0, y: centre.y + to * by.y / 2.0 });
            let from = half(-1.0);
            let to = from + by;
            // Place the pin where the drag does not grab it and where it stays in the box.
            let pin_offset =
                if by.y.abs() > by.x.abs() { Pixel { x: 40.0, y: 0.0 } } else { Pixel { x: 0.0, y: -30.0 } };
            let before = self.projection;
            let pin = self.pin_near(rounded(from + pin_offset)).await?;
            if !self.projection.approx_eq(&before) {
                continue; // the click has moved the map
            }
            self.page.drag(from, to).await?;
            let seen = self.wait_until_still().await?.ok_or_else(lost)?;
            if self.is_at(seen, pin) {
                return Ok(()); // the map does not move; the caller checks the target
            }
            self.moved(pin, by, seen);
        }
        Ok(())
    }

    /// Zooms in on the place until the resolution suffices.
    async fn zoom_in(&mut self, wanted: LatLng, max_error_m: f64) -> Result<()> {
        let mut wheel_zoom = WheelZoom::default();
        for _ in 0..40 {
            if self.projection.metres_per_pixel(wanted) <= TARGET_M_PER_PX {
                return Ok(());
            }
            let beside = self.beside(self.inside(self.pixel(wanted), 2.0));
            let pin = self.pin_near(beside).await?;
            let target = self.pixel(wanted); // the click may have moved the map
            let about = self.inside(target, 2.0);
            if distance(about, target) > 8.0 {
                self.pan_to(wanted).await?;
                continue;
            }
            self.zoom_about(about, pin, wanted, &mut wheel_zoom).await?;
            if wheel_zoom.failed_attempts > 2 {
                if self.projection.metres_per_pixel(wanted) <= max_m_per_px(max_error_m) {
                    return Ok(());
                }
                if wheel_zoom.factor.is_some() {
                    let why = format!("the guess map cannot be brought to {wanted}");
                    return Err(TooCoarse::new(self.projection.world)).context(environment_error(why));
                }
                break;
            }
        }
        Err(environment_error(format!("the guess map cannot be brought to {wanted}: it does not zoom as expected")))
    }

    /// The whole pixel inside the box that is nearest to a point and at least `clear` pixels from the edge.
    fn inside(&self, point: Pixel, clear: f64) -> Pixel {
        let Rect { x, y, width, height } = self.canvas;
        let within = |value: f64, start: f64, side: f64| {
            value.round().min((start + side - 1.0 - clear).floor()).max((start + clear).ceil())
        };
        Pixel { x: within(point.x, x, width), y: within(point.y, y, height) }
    }

    /// A position for a pin next to a pixel, on the side with more room.
    fn beside(&self, target: Pixel) -> Pixel {
        let centre = self.canvas.centre();
        let side = |target: f64, centre: f64| if target > centre { -1.0 } else { 1.0 };
        target + Pixel { x: side(target.x, centre.x) * PIN_OFFSET.x, y: side(target.y, centre.y) * PIN_OFFSET.y }
    }

    /// Zooms about a pixel while the pin next to it stays in the box. All factors are relative to the initial position
    /// of the pin, which is known exactly.
    async fn zoom_about(&mut self, about: Pixel, pin: Pixel, wanted: LatLng, wheel_zoom: &mut WheelZoom) -> Result<()> {
        let (start, from) = (self.projection, between(about, pin));
        let length = from.x.hypot(from.y);
        if length < 8.0 {
            return Err(environment_error("the pin cannot be put beside the target on the guess map"));
        }
        let room = room(&self.canvas, about, from);
        let mut factor = 1.0;
        loop {
            let needed = self.projection.metres_per_pixel(wanted) / TARGET_M_PER_PX;
            let Some(count) = wheel_zoom.towards(needed, room / factor, factor <= 1.0) else { return Ok(()) };
            for _ in 0..count {
                self.page.wheel(about, WHEEL_IN).await?;
            }
            input::pause(60).await; // maps debounce the wheel
            let canvas = self.canvas;
            let seen = self.wait_until_still().await?.ok_or_else(lost)?;
            if self.canvas != canvas {
                return Err(environment_error("the size of the guess map changes during zooming; try again"));
            }
            let to = between(about, seen);
            let current = (to.x * from.x + to.y * from.y) / (length * length);
            let off_axis = (to.x * from.y - to.y * from.x).abs() / length;
            if off_axis > CLICK_TOLERANCE_PX || current < factor - CLICK_TOLERANCE_PX / length {
                return Err(environment_error(
                    "the guess map does not zoom about the mouse, so the pin cannot be placed on it",
                ));
            }
            if current - factor <= CLICK_TOLERANCE_PX / length {
                wheel_zoom.failed_attempts += 1;
                return Ok(());
            }
            wheel_zoom.record(count, current / factor);
            factor = current;
            self.projection = start.zoomed(about, factor);
            if self.projection.metres_per_pixel(wanted) <= TARGET_M_PER_PX {
                return Ok(());
            }
        }
    }
}

pub(super) fn lost() -> anyhow::Error {
    environment_error("the pin disappeared from the guess map, so its position is unknown; reload the page")
}

pub(super) fn rounded(pixel: Pixel) -> Pixel {
    Pixel { x: pixel.x.round(), y: pixel.y.round() }
}

fn between(from: Pixel, to: Pixel) -> Pixel {
    Pixel { x: to.x - from.x, y: to.y - from.y }
}

fn distance(a: Pixel, b: Pixel) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}
