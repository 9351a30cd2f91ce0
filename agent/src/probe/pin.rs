//! Finds the pin that a click on the map places, and the button that submits the guess.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::{Exit, check_failed};
use serde_json::json;

use crate::browser::input;
use crate::error::exit_code;
use crate::geometry::{Pixel, Rect};
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, OverlayElement};
use crate::probe::{GameFrames, Probe, button_locators, matches_any};
use crate::site::page::is_outside_window;
use crate::site::profile::locator::Locator;

/// Time limit for a pin to appear after a click.
const PIN_TIMEOUT: Duration = Duration::from_millis(2500);
/// Number of clicks for a pin to appear: the first may only give the map the focus.
const PIN_CLICKS: usize = 3;
/// Time in milliseconds for the pin to move after the second click.
const SECOND_PIN_TIME: u64 = 1800;
/// Tolerance in pixels: pins and clicks are at whole pixels, but boxes may not be.
const MARKER_TOLERANCE_PX: f64 = 2.0;
/// Maximum distance of the centre of a pin from its place.
const NEAR_PX: f64 = 60.0;
/// Scales of a map that a page may forget.
const SCALES: std::ops::RangeInclusive<f64> = 0.4..=2.5;

impl Probe<'_> {
    /// Clicks the centre of the map and another position. The pin is the element that appeared with the first click and
    /// moved with the second. The guess button is found by its text, or because it was not enabled before.
    pub(super) async fn learn_pin_and_guess_button(
        &mut self,
        game: &GameFrames,
        before: &[ButtonElement],
    ) -> Result<()> {
        if self.draft.given().has("map", "marker") {
            self.learn_given_pin().await?;
            return self.learn_guess_button(game, before, &[]).await;
        }
        let canvas = self.settled_map_rect().await?;
        let before_click: HashSet<String> =
            self.map_overlays(game).await?.iter().map(|overlay| overlay.element.to_string()).collect();
        let first = rounded(canvas.centre()); // a map that recentres does not move then
        let mut new = Vec::new();
        for _ in 0..PIN_CLICKS {
            self.page.click(first).await?;
            let start = Instant::now();
            while new.is_empty() && start.elapsed() < PIN_TIMEOUT {
                input::pause(150).await;
                new = self.map_overlays(game).await?;
                new.retain(|overlay| !before_click.contains(&overlay.element.to_string()));
            }
            if !new.is_empty() {
                break;
            }
        }
        input::pause(300).await; // pins may be animated
        let now = self.map_overlays(game).await?;
        new = now.into_iter().filter(|overlay| !before_click.contains(&overlay.element.to_string())).take(16).collect();
        let selectors: Vec<&Vec<String>> = new.iter().map(|overlay| &overlay.selectors).collect();
        let second = rounded(canvas.at(0.62, 0.38));
        self.page.click(second).await?;
        input::pause(SECOND_PIN_TIME).await; // maps may be animated, and pins may come late
        let script = "return arguments[1].map(selectors => { \
            const [e] = findVisible(selectors.map(css => ({css}))); return e ? rect(e) : null })";
        let moved: Option<(Vec<Option<Rect>>, Pixel)> =
            observe::run_script(self.page, &game.map_frame, script, vec![json!(selectors)]).await?;
        let (rects, frame) = moved.unwrap_or_else(|| (Vec::new(), Pixel { x: 0.0, y: 0.0 }));
        let clicks = [first, second];
        let pins = new.iter().zip(&rects).filter_map(|(overlay, rect)| {
            let found = PinCandidate::of(overlay.rect, (*rect)?.moved_by(frame), clicks, canvas)?;
            Some((found, overlay))
        });
        // Of a pin and its shadow, choose the one with its tip in the middle.
        let Some((PinCandidate { anchor, .. }, overlay)) =
            pins.min_by_key(|(found, _)| (found.movement, found.anchor[0] != 0.5))
        else {
            return Err(check_failed(
                "no pin element appears on the map after a click: pins that are drawn into the canvas of the map \
                           cannot be tracked",
            ));
        };
        (self.on_step)(&format!("pin: {}, tip at {anchor:?}", Locator::of(&overlay.selectors[0])));
        self.draft.set_locators("map", "marker", &observe::css_locators(&overlay.selectors, &game.map_frame));
        self.draft.set("map", "marker_anchor", Some(anchor.to_vec()));
        self.learn_guess_button(game, before, &[]).await
    }

    /// Clicks the map until the stated pin is on display, and learns where its tip is.
    async fn learn_given_pin(&mut self) -> Result<()> {
        let at = rounded(self.settled_map_rect().await?.centre());
        let marker = self.draft.locators("map", "marker").into_iter().collect();
        for _ in 0..PIN_CLICKS {
            self.page.click(at).await?;
            let start = Instant::now();
            while start.elapsed() < PIN_TIMEOUT {
                input::pause(150).await;
                if self.page.find(&marker).await?.is_some() {
                    input::pause(300).await; // pins may be animated
                    let rect = self.page.rect(&marker, "pin").await?;
                    self.draft.set("map", "marker_anchor", Some(anchor(&rect, at).to_vec()));
                    return self.apply_draft();
                }
            }
        }
        Err(self.dead("map", "marker", "after a click on the map"))
    }

    /// After a button that brought no result: places a pin again and takes another one. `false` if there is none.
    pub(super) async fn learn_other_guess_button(&mut self, game: &GameFrames, tried: &[Locator]) -> Result<bool> {
        let canvas = self.settled_map_rect().await?;
        self.click_until_pinned(canvas, (0.45, 0.42)).await?;
        match self.learn_guess_button(game, &[], tried).await {
            Ok(()) => Ok(true),
            Err(error) if exit_code(&error) == Exit::CheckFailed => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Clicks the map at fractions of its width and height until the pin is on display: a first click may only give the map
    /// the focus. `canvas` is where the map was last.
    pub(super) async fn click_until_pinned(&self, canvas: Rect, (across, down): (f64, f64)) -> Result<()> {
        for click in 1..=PIN_CLICKS {
            let canvas = self.page.reveal_map().await.unwrap_or(canvas);
            match self.page.click(rounded(canvas.at(across, down))).await {
                // The page has scrolled or moved the map meanwhile.
                Err(error) if is_outside_window(&error) && click < PIN_CLICKS => {
                    input::pause(500).await;
                    continue;
                }
                clicked => clicked?,
            }
            input::pause(500).await; // for the pin of an earlier click to move
            let start = Instant::now();
            while start.elapsed() < PIN_TIMEOUT {
                if self.page.find(&self.page.profile().map.marker).await?.is_some() {
                    return Ok(());
                }
                input::pause(150).await;
            }
        }
        Ok(()) // the page may take the guess all the same
    }

    async fn learn_guess_button(
        &mut self,
        game: &GameFrames,
        before: &[ButtonElement],
        tried: &[Locator],
    ) -> Result<()> {
        if self.draft.given().has("map", "guess") {
            let start = Instant::now();
            while !self.find_given("map", "guess").await? {
                if start.elapsed() > PIN_TIMEOUT {
                    return Err(self.dead("map", "guess", "after the pin was placed"));
                }
                input::pause(150).await;
            }
            return self.apply_draft();
        }
        let words = self.draft.generic_texts("map", "guess");
        let start = Instant::now();
        loop {
            let now: Vec<ButtonElement> =
                observe::run_list_script(self.page, &game.map_frame, "return buttons()").await?;
            let is_new = |button: &ButtonElement| {
                !before.iter().any(|old| old.element == button.element && old.text == button.text && old.enabled)
            };
            let is_tried = |button: &ButtonElement| {
                button_locators(button, &game.map_frame).iter().any(|locator| tried.contains(locator))
            };
            let rank = |button: &ButtonElement| match (matches_any(&button.text, &words), is_new(button)) {
                _ if is_tried(button) => None,
                _ if self.draft.is_hinted("guess", &button.text) => Some(0),
                (true, true) => Some(0),
                (true, false) => Some(1),
                // An unknown text, but the button appeared with the pin.
                (false, true) if button.role.is_some() => Some(2),
                _ => None,
            };
            let is_late = start.elapsed() > PIN_TIMEOUT;
            let mut found: Vec<(i32, &ButtonElement)> =
                now.iter().filter(|button| button.enabled).filter_map(|button| Some((rank(button)?, button))).collect();
            found.sort_by_key(|(rank, _)| *rank);
            match found.first() {
                Some((rank, button)) if *rank == 0 || is_late => {
                    (self.on_step)(&format!("guess button: `{}`", button.text));
                    let locators = button_locators(button, &game.map_frame);
                    self.draft.set_locators("map", "guess", &locators);
                    return self.apply_draft();
                }
                None if is_late => {
                    let labels = now.into_iter().map(|button| button.text).collect::<Vec<_>>().join(", ");
                    return Err(check_failed(format!("the page has no guess button; its buttons: {labels}")));
                }
                _ => input::pause(150).await,
            }
        }
    }

    /// Small elements over the map.
    async fn map_overlays(&self, game: &GameFrames) -> Result<Vec<OverlayElement>> {
        let script = "const [box] = findVisible(arguments[1]); return box ? smallOverlays(box) : []";
        let map = json!(self.draft.locators("map", "canvas"));
        let seen: Option<(Vec<OverlayElement>, Pixel)> =
            observe::run_script(self.page, &game.map_frame, script, vec![map]).await?;
        let (overlays, frame) = seen.unwrap_or_else(|| (Vec::new(), Pixel { x: 0.0, y: 0.0 }));
        Ok(overlays
            .into_iter()
            .map(|overlay| OverlayElement { rect: overlay.rect.moved_by(frame), ..overlay })
            .collect())
    }
}

/// How an element moved between two clicks, most likely a pin first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Movement {
    WithClick,
    /// Not at all, beside the first click: the map has recentred instead.
    Stays,
    /// In proportion to the click: the page scales the map and forgets that when it places the pin.
    Scaled,
}

/// An element that may be the pin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PinCandidate {
    movement: Movement,
    anchor: [f64; 2],
}

impl PinCandidate {
    /// From its boxes after two clicks on the map.
    fn of(before: Rect, after: Rect, [first, second]: [Pixel; 2], canvas: Rect) -> Option<Self> {
        let by = Pixel { x: after.x - before.x, y: after.y - before.y };
        let click = Pixel { x: second.x - first.x, y: second.y - first.y };
        let with = |x: f64, y: f64| (by.x - x).abs() <= MARKER_TOLERANCE_PX && (by.y - y).abs() <= MARKER_TOLERANCE_PX;
        if with(click.x, click.y) {
            return Some(Self { movement: Movement::WithClick, anchor: anchor(&before, first) });
        }
        let at = before.centre();
        if (at.x - first.x).hypot(at.y - first.y) < NEAR_PX && with(0.0, 0.0) {
            return Some(Self { movement: Movement::Stays, anchor: anchor(&before, first) });
        }
        let scale = (by.x / click.x + by.y / click.y) / 2.0;
        if !SCALES.contains(&scale) || !with(scale * click.x, scale * click.y) {
            return None;
        }
        // Measured from the corner of the map, where both agree.
        let tip = Pixel { x: canvas.x + scale * (first.x - canvas.x), y: canvas.y + scale * (first.y - canvas.y) };
        let is_near = (at.x - tip.x).hypot(at.y - tip.y) < NEAR_PX;
        is_near.then(|| Self { movement: Movement::Scaled, anchor: anchor(&before, tip) })
    }
}

fn rounded(at: Pixel) -> Pixel {
    Pixel { x: at.x.round(), y: at.y.round() }
}

/// Position of the tip in the box of a pin as fractions, rounded to the centre or an edge if it is close.
fn anchor(rect: &Rect, point: Pixel) -> [f64; 2] {
    let part = |at: f64, side: f64| {
        let near = [0.0, 0.5, 1.0].into_iter().find(|to| (to * side - at).abs() <= 1.5);
        near.unwrap_or((at / side * 1000.0).round() / 1000.0)
    };
    [part(point.x - rect.x, rect.width), part(point.y - rect.y, rect.height)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_move_with_the_clicks() {
        let canvas = Rect { x: 100.0, y: 200.0, width: 400.0, height: 300.0 };
        let clicks = [Pixel { x: 300.0, y: 350.0 }, Pixel { x: 348.0, y: 314.0 }];
        let pin = |tip: Pixel| Rect { x: tip.x - 12.0, y: tip.y - 36.0, width: 24.0, height: 36.0 };
        let of = |before: Pixel, after: Pixel| PinCandidate::of(pin(before), pin(after), clicks, canvas);
        let found = |movement| Some(PinCandidate { movement, anchor: [0.5, 1.0] });
        assert_eq!(of(clicks[0], clicks[1]), found(Movement::WithClick));
        assert_eq!(of(clicks[0], clicks[0]), found(Movement::Stays));
        // The page shows the map at 125 % and takes the pixels of the window for those of the map.
        let scaled =
            |at: Pixel| Pixel { x: canvas.x + 1.25 * (at.x - canvas.x), y: canvas.y + 1.25 * (at.y - canvas.y) };
        assert_eq!(of(scaled(clicks[0]), scaled(clicks[1])), found(Movement::Scaled));
        // A counter that moves elsewhere, and a message beside the map that stays.
        assert_eq!(of(clicks[0], Pixel { x: 300.0, y: 314.0 }), None);
        assert_eq!(of(Pixel { x: 480.0, y: 230.0 }, Pixel { x: 480.0, y: 230.0 }), None);
    }

    #[test]
    fn anchor_is_where_the_click_was() {
        let rect = Rect { x: 86.0, y: 64.0, width: 28.0, height: 36.0 };
        assert_eq!(anchor(&rect, Pixel { x: 100.0, y: 100.0 }), [0.5, 1.0]);
        assert_eq!(anchor(&rect, Pixel { x: 99.0, y: 94.0 }), [0.5, 0.833]);
    }
}
