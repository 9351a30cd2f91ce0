//! The pin that a click on the map sets, and the button that sends it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::check_failed;
use serde_json::json;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, OverlayElement};
use crate::probe::{GameFrames, Probe, says, ways_to};
use crate::site::profile::locator::Locator;

/// A pin shows within this time after a click.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Pins and clicks are at whole pixels, and boxes may not be.
const MARKER_TOLERANCE_PX: f64 = 2.0;

impl Probe<'_> {
    /// Sets a pin in the middle of the map, and another beside it: what came with the first and moved with the second is the
    /// pin. What button can be pressed now is report_step by its words, or by not having been there before.
    pub(super) async fn pin_and_button(&mut self, ground: &GameFrames, before: &[ButtonElement]) -> Result<()> {
        let canvas = self.map_box().await?;
        let there: HashSet<String> = self.things(ground).await?.iter().map(|thing| thing.element.to_string()).collect();
        let first = rounded(canvas.centre()); // where a map that recentres stays
        let mut new = Vec::new();
        for _ in 0..3 {
            self.page.click(first).await?; // a first click may only give the map the focus
            let start = Instant::now();
            while new.is_empty() && start.elapsed() < PATIENCE {
                input::pause(150).await;
                new = self.things(ground).await?;
                new.retain(|thing| !there.contains(&thing.element.to_string()));
            }
            if !new.is_empty() {
                break;
            }
        }
        input::pause(300).await; // pins drop
        let now = self.things(ground).await?;
        new = now.into_iter().filter(|thing| !there.contains(&thing.element.to_string())).take(16).collect();
        let ways: Vec<&Vec<String>> = new.iter().map(|thing| &thing.ways).collect();
        let second = rounded(canvas.at(0.62, 0.38));
        self.page.click(second).await?;
        input::pause(700).await; // maps glide
        let script = "return arguments[1].map(ways => { \
            const [e] = seekShown(ways.map(css => ({css}))); return e ? rect(e) : null })";
        let moved: Option<(Vec<Option<Rect>>, Pixel)> =
            observe::see(self.page, &ground.map_frame, script, vec![json!(ways)]).await?;
        let (rects, frame) = moved.unwrap_or_else(|| (Vec::new(), Pixel { x: 0.0, y: 0.0 }));
        let pins = new.iter().zip(&rects).filter_map(|(thing, rect)| {
            let rect = (*rect)?.moved_by(frame);
            let by = Pixel { x: rect.x - thing.rect.x, y: rect.y - thing.rect.y };
            let with =
                |x: f64, y: f64| (by.x - x).abs() <= MARKER_TOLERANCE_PX && (by.y - y).abs() <= MARKER_TOLERANCE_PX;
            // With the click, or not at all where the map has moved in its place.
            let moves = with(second.x - first.x, second.y - first.y);
            let at = thing.rect.centre();
            let is_near = (at.x - first.x).hypot(at.y - first.y) < 60.0;
            (moves || is_near && with(0.0, 0.0)).then_some((!moves, thing))
        });
        // Of a pin and its shadow, the one with its point in the middle.
        let Some((_, thing)) = pins.min_by_key(|(stays, thing)| (*stays, anchor(&thing.rect, first)[0] != 0.5)) else {
            return Err(check_failed(
                "the map shows no pin where it is clicked that could be seen apart from the map: pins that are drawn \
                           into the map's canvas cannot be followed",
            ));
        };
        let anchor = anchor(&thing.rect, first);
        (self.report_step)(&format!("pin: {}, its point at {anchor:?}", Locator::of(&thing.ways[0])));
        self.draft.ways("map", "marker", &observe::ways(&thing.ways, &ground.map_frame));
        self.draft.set("map", "marker_anchor", Some(anchor.to_vec()));
        self.button(ground, before).await
    }

    async fn button(&mut self, ground: &GameFrames, before: &[ButtonElement]) -> Result<()> {
        let words = self.draft.words("map", "guess");
        let start = Instant::now();
        loop {
            let now: Vec<ButtonElement> = observe::list(self.page, &ground.map_frame, "return buttons()").await?;
            let is_new = |button: &ButtonElement| {
                !before.iter().any(|old| old.element == button.element && old.text == button.text && old.enabled)
            };
            let rank = |button: &ButtonElement| match (says(&button.text, &words), is_new(button)) {
                (true, true) => Some(0),
                (true, false) => Some(1),
                // What cannot be read as a word for it, but only shows once there is a pin.
                (false, true) if button.role.is_some() => Some(2),
                _ => None,
            };
            let late = start.elapsed() > PATIENCE;
            let mut found: Vec<(i32, &ButtonElement)> =
                now.iter().filter(|button| button.enabled).filter_map(|button| Some((rank(button)?, button))).collect();
            found.sort_by_key(|(rank, _)| *rank);
            match found.first() {
                Some((rank, button)) if *rank == 0 || late => {
                    (self.report_step)(&format!("the guess is sent by `{}`", button.text));
                    let ways = ways_to(button, &ground.map_frame);
                    self.draft.ways("map", "guess", &ways);
                    return self.adopt();
                }
                None if late => {
                    let said = now.into_iter().map(|button| button.text).collect::<Vec<_>>().join(", ");
                    return Err(check_failed(format!(
                        "no button of the page is for sending the guess; its buttons say: {said}"
                    )));
                }
                _ => input::pause(150).await,
            }
        }
    }

    /// What is small and over the map.
    async fn things(&self, ground: &GameFrames) -> Result<Vec<OverlayElement>> {
        let script = "const [box] = seekShown(arguments[1]); return box ? things(box) : []";
        let map = json!(self.draft.of("map", "canvas"));
        let seen: Option<(Vec<OverlayElement>, Pixel)> =
            observe::see(self.page, &ground.map_frame, script, vec![map]).await?;
        let (things, frame) = seen.unwrap_or_else(|| (Vec::new(), Pixel { x: 0.0, y: 0.0 }));
        Ok(things.into_iter().map(|thing| OverlayElement { rect: thing.rect.moved_by(frame), ..thing }).collect())
    }
}

fn rounded(at: Pixel) -> Pixel {
    Pixel { x: at.x.round(), y: at.y.round() }
}

/// Where in a pin's box its point is, as fractions: at the middle or an edge where that is as good as seen.
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
    fn a_pins_point_is_where_the_click_was() {
        let rect = Rect { x: 86.0, y: 64.0, width: 28.0, height: 36.0 };
        assert_eq!(anchor(&rect, Pixel { x: 100.0, y: 100.0 }), [0.5, 1.0]);
        assert_eq!(anchor(&rect, Pixel { x: 99.0, y: 94.0 }), [0.5, 0.833]);
    }
}
