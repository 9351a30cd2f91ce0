//! The pin on a map that is drawn on a canvas, as MapLibre GL and its like do: no tile says which place is where.
//!
//! The profile says what the map shows when a round begins; from there the map is followed by what is done to it, and the
//! page's own pin, an element whose pixel can be read, says what that did. To zoom in, a pin is put down a little beside
//! the target and the wheel is turned right over the target: the target stays under the mouse, and how far the pin has
//! gone from it is the factor. Hence an error of that factor moves the target by a part of a pixel only, and what the map
//! is known by stays as good as it was at first. A drag moves the pin by whole pixels.
//!
//! It is assumed that
//! - the map is Web Mercator with north up, seen from right above;
//! - every round begins in the view that the profile states, without a pin, with its middle in the middle of the box;
//! - when the box grows, its middle stays the same place, and nothing beyond the poles is ever shown: a world that is less
//!   high than the box is enlarged (as MapLibre, Mapbox and Google do);
//! - the wheel zooms about the mouse and a drag takes the map along. Both are checked by the pin.
//!
//! Whether the map animates any of this, by how much a turn of the wheel zooms, and whether a click brings the place
//! clicked to the middle of the box, is found out.

use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_model::LatLng;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::observe;
use crate::play::pin::placed::{COARSE_M, FINE_M, MARGIN, PlacedPin, WHEEL_IN};
use crate::play::pin::projection::Projection;
use crate::play::pin::view::{check, stated};
use crate::play::pin::wheel::{WheelZoom, room};
use crate::site::StartView;
use crate::site::page::Page;

/// Pins are shown at whole pixels: where one is seen may be off by this much in pixels, rounding of the box included.
const CLICK_TOLERANCE_PX: f64 = 1.5;
/// How far beside the target the pin is put across and down, in pixels: far enough that its picture, which is mostly above
/// its point, is not over the target.
const BESIDE: Pixel = Pixel { x: 24.0, y: 16.0 };
/// A drag of fewer pixels than this may be taken for a click.
const SMALL: f64 = 5.0;
/// A pin that takes longer than this to show is not coming.
const PIN_PATIENCE: Duration = Duration::from_millis(1500);

/// Zooms in on the place and clicks it.
pub(super) async fn place_pin(page: &Page, view: StartView, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    let mut map = MapElement::begin(page, view).await?;
    if page.is_new_map() {
        check(page, view).await?;
    }
    map.bring(wanted).await?;
    map.zoom_in(wanted).await?;
    map.bring(wanted).await?; // what was held by a pole may be free now
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
    // That the pin shows where it was clicked has been seen.
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

/// The map, and what is known of it.
struct MapElement<'a> {
    page: &'a Page,
    view: StartView,
    canvas: Rect,
    projection: Projection,
    /// Where the pin was when it was last seen.
    pin: Option<Pixel>,
    /// Whether a click brings the place clicked to the middle, once that is known.
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

    /// Where the place is. Where the world does not repeat there is but one such pixel.
    fn pixel(&self, place: LatLng) -> Pixel {
        let world = &self.projection;
        match self.view.repeats {
            true => world.pixel(place, self.canvas.centre()),
            false => world.pixel(place, Pixel { x: world.corner.x + 0.5 * world.world, ..world.corner }),
        }
    }

    /// Waits until the map rests. When its box has changed, the place in its middle has not.
    async fn rest(&mut self) -> Result<Option<Pixel>> {
        let seen = observe::rest(self.page).await?;
        if seen.canvas != self.canvas {
            let by = between(self.canvas.centre(), seen.canvas.centre());
            self.projection = self.projection.moved_by(by).held_in(&seen.canvas, self.view.repeats);
            self.canvas = seen.canvas;
        }
        self.pin = seen.pin;
        Ok(seen.pin)
    }

    /// Clicks, and returns the pixel that the pin has then, exactly: that of the click, unless the map recentres.
    async fn pin(&mut self, at: Pixel) -> Result<Pixel> {
        let old = self.pin;
        for _ in 0..3 {
            self.page.click(at).await?;
            let start = Instant::now();
            while start.elapsed() < PIN_PATIENCE {
                // Where clicks are known to leave the map alone, a pin where the click was is all there is to wait for.
                let seen = match self.recentres {
                    Some(false) => observe::look(self.page).await?.and_then(|seen| seen.pin),
                    _ => self.rest().await?,
                };
                let Some(seen) = seen else { continue };
                if self.is_at(seen, at) {
                    if !self.may_be_either(at) {
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
        Err(environment_error("the guess map accepts no pin: none appears where it was clicked"))
    }

    /// As [`MapElement::pin`], a little beside it where a click would not show whether the map recentres.
    async fn pin_about(&mut self, at: Pixel) -> Result<Pixel> {
        let beside = at + Pixel { x: BESIDE.x / 2.0, y: 0.0 };
        self.pin(if self.may_be_either(at) { beside } else { at }).await
    }

    /// Whether a click here looks the same on a map that recentres as on one that does not, and it is not known which it is.
    fn may_be_either(&self, at: Pixel) -> bool {
        let by = between(at, self.canvas.centre());
        let recentred = self.projection.moved_by(by).held_in(&self.canvas, self.view.repeats);
        self.recentres.is_none() && distance(recentred.corner, self.projection.corner) <= 2.0 * CLICK_TOLERANCE_PX
    }

    /// Takes note that the map has moved by so much, as far as its edges let it, and the pin from one pixel to another. The
    /// pin's pixel after that: what follows from the move where the pin is seen there, as it was seen where it is not.
    fn moved(&mut self, from: Pixel, by: Pixel, seen: Pixel) -> Pixel {
        let moved = self.projection.moved_by(by).held_in(&self.canvas, self.view.repeats);
        let expected = from + between(self.projection.corner, moved.corner);
        let (projection, pin) = match self.is_at(seen, expected) {
            true => (moved, expected),
            false => (self.projection.moved_by(between(from, seen)), seen),
        };
        (self.projection, self.pin) = (projection, Some(pin));
        pin
    }

    /// Whether a pin seen at one pixel is at another, or at a copy of it, for pins are shown on one copy of the world.
    fn is_at(&self, seen: Pixel, expected: Pixel) -> bool {
        let seen = if self.view.repeats { self.projection.copy(seen, expected) } else { seen };
        distance(seen, expected) <= CLICK_TOLERANCE_PX
    }

    /// Drags the map until the place is well inside the box, or as near to that as the map lets it.
    async fn bring(&mut self, wanted: LatLng) -> Result<()> {
        for _ in 0..60 {
            let target = self.pixel(wanted);
            if self.canvas.holds(target, MARGIN) {
                return Ok(());
            }
            let centre = self.canvas.centre();
            let reach = |distance: f64, side: f64| distance.clamp(-0.6 * side, 0.6 * side);
            let by = Pixel {
                x: reach(centre.x - target.x, self.canvas.width),
                y: reach(centre.y - target.y, self.canvas.height),
            };
            // Only as far as the map goes: no pull at its edge, which may be elastic.
            let free = self.projection.moved_by(by).held_in(&self.canvas, self.view.repeats);
            let by = between(self.projection.corner, free.corner);
            let mut by = Pixel { x: by.x.trunc(), y: by.y.trunc() };
            // Maps take a small drag for a click.
            if by.x.abs() < SMALL && by.y.abs() < SMALL {
                if distance(self.inside(target, 0.0), target) <= CLICK_TOLERANCE_PX {
                    return Ok(());
                }
                // Where that little is missing, the other way first, so as to come back by more.
                by = Pixel { x: -by.x.signum() * 4.0 * SMALL, y: -by.y.signum() * 4.0 * SMALL };
            }
            let half = |to: f64| rounded(Pixel { x: centre.x + to * by.x / 2.0, y: centre.y + to * by.y / 2.0 });
            let from = half(-1.0);
            let to = from + by;
            // The pin is put where the mouse does not take hold of it, and stays in the box.
            let aside = if by.y.abs() > by.x.abs() { Pixel { x: 40.0, y: 0.0 } } else { Pixel { x: 0.0, y: -30.0 } };
            let was = self.projection;
            let pin = self.pin_about(rounded(from + aside)).await?;
            if !self.projection.rests_at(&was) {
                continue; // the click has moved the map: anew from where it is now
            }
            self.page.drag(from, to).await?;
            let seen = self.rest().await?.ok_or_else(lost)?;
            if self.is_at(seen, pin) {
                return Ok(()); // it does not move; whether that will do is seen at the end
            }
            self.moved(pin, by, seen);
        }
        Ok(())
    }

    /// Turns the wheel over the place until a pixel is fine enough.
    async fn zoom_in(&mut self, wanted: LatLng) -> Result<()> {
        let mut turns = WheelZoom::default();
        for _ in 0..40 {
            if self.projection.metres_per_pixel(wanted) <= FINE_M {
                return Ok(());
            }
            let beside = self.beside(self.inside(self.pixel(wanted), 2.0));
            let pin = self.pin_about(beside).await?;
            let target = self.pixel(wanted); // the click may have moved the map
            let about = self.inside(target, 2.0);
            if distance(about, target) > 8.0 {
                self.bring(wanted).await?;
                continue;
            }
            self.zoom_about(about, pin, wanted, &mut turns).await?;
            if turns.in_vain > 2 {
                if self.projection.metres_per_pixel(wanted) <= COARSE_M {
                    return Ok(());
                }
                break;
            }
        }
        Err(environment_error(format!("the guess map cannot be brought to {wanted}: it does not zoom as expected")))
    }

    /// The whole pixel nearest to a point that lies in the box, at least `clear` pixels from its edge.
    fn inside(&self, point: Pixel, clear: f64) -> Pixel {
        let Rect { x, y, width, height } = self.canvas;
        let within = |value: f64, start: f64, side: f64| {
            value.round().min((start + side - 1.0 - clear).floor()).max((start + clear).ceil())
        };
        Pixel { x: within(point.x, x, width), y: within(point.y, y, height) }
    }

    /// Where a pin is put beside a pixel: on the side that has more room.
    fn beside(&self, target: Pixel) -> Pixel {
        let centre = self.canvas.centre();
        let side = |target: f64, centre: f64| if target > centre { -1.0 } else { 1.0 };
        target + Pixel { x: side(target.x, centre.x) * BESIDE.x, y: side(target.y, centre.y) * BESIDE.y }
    }

    /// Turns the wheel about a pixel for as long as the pin, which is beside it, stays in the box. All factors are told by
    /// where the pin was at first, which is known exactly.
    async fn zoom_about(&mut self, about: Pixel, pin: Pixel, wanted: LatLng, turns: &mut WheelZoom) -> Result<()> {
        let (start, from) = (self.projection, between(about, pin));
        let length = from.x.hypot(from.y);
        if length < 8.0 {
            return Err(environment_error("the pin cannot be put beside the target on the guess map"));
        }
        let room = room(&self.canvas, about, from);
        let mut factor = 1.0;
        loop {
            let needed = self.projection.metres_per_pixel(wanted) / FINE_M;
            let Some(count) = turns.towards(needed, room / factor, factor <= 1.0) else { return Ok(()) };
            for _ in 0..count {
                self.page.wheel(about, WHEEL_IN).await?;
            }
            input::pause(60).await; // maps gather turns of the wheel before they move
            let canvas = self.canvas;
            let seen = self.rest().await?.ok_or_else(lost)?;
            if self.canvas != canvas {
                return Err(environment_error("the guess map changes its size while it is zoomed: try again"));
            }
            let to = between(about, seen);
            let now = (to.x * from.x + to.y * from.y) / (length * length);
            let astray = (to.x * from.y - to.y * from.x).abs() / length;
            if astray > CLICK_TOLERANCE_PX || now < factor - CLICK_TOLERANCE_PX / length {
                return Err(environment_error(
                    "the guess map does not zoom about the mouse, so the pin cannot be placed on it",
                ));
            }
            if now - factor <= CLICK_TOLERANCE_PX / length {
                turns.in_vain += 1;
                return Ok(());
            }
            turns.were(count, now / factor);
            factor = now;
            self.projection = start.zoomed(about, factor);
            if self.projection.metres_per_pixel(wanted) <= FINE_M {
                return Ok(());
            }
        }
    }
}

fn lost() -> anyhow::Error {
    environment_error("the pin disappeared from the guess map, so its position is unknown; reload the page")
}

fn rounded(pixel: Pixel) -> Pixel {
    Pixel { x: pixel.x.round(), y: pixel.y.round() }
}

fn between(from: Pixel, to: Pixel) -> Pixel {
    Pixel { x: to.x - from.x, y: to.y - from.y }
}

fn distance(a: Pixel, b: Pixel) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}
