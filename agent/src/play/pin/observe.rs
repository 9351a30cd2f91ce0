//! Observing a drawn guess map: its box and the pin.

use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::environment_error;
use serde::Deserialize;
use serde_json::json;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::Page;

/// The map is still when it has not changed for this time and number of observations. The time exceeds the delay with
/// which maps react to the wheel; the number is for busy pages, which respond late.
const QUIET: (Duration, usize) = (Duration::from_millis(180), 4);

/// Moves the mouse over the map, which may enlarge it, and waits until it is still.
pub(super) async fn begin(page: &Page) -> Result<MapObservation> {
    let canvas = page.reveal_map().await?;
    page.hover(canvas.centre()).await?;
    wait_until_still(page).await
}

/// The box of the map and the position of the pin.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(super) struct MapObservation {
    pub(super) canvas: Rect,
    pub(super) pin: Option<Pixel>,
}

/// The box is measured as map libraries do: in whole pixels and inside the border. One call, since each waits for a
/// frame to be rendered. The pin is in the same frame as the map.
const OBSERVE_SCRIPT: &str = "const [canvas] = findVisible(arguments[0]); if (!canvas) return null; \
    const box = rect(canvas), [pin] = findVisible(arguments[1]), p = pin && rect(pin), [across, down] = arguments[2]; \
    return {canvas: {x: box.x + canvas.clientLeft, y: box.y + canvas.clientTop, \
                     width: canvas.clientWidth || box.width, height: canvas.clientHeight || box.height}, \
            pin: p ? {x: p.x + across * p.width, y: p.y + down * p.height} : null}";

/// The current observation; `None` while there is no map.
pub(super) async fn look(page: &Page) -> Result<Option<MapObservation>> {
    let map = &page.profile().map;
    let extra_args = vec![json!(map.marker.iter().collect::<Vec<_>>()), json!(map.marker_anchor)];
    let seen: Option<(MapObservation, Pixel)> = page.ask(&map.canvas, OBSERVE_SCRIPT, extra_args).await?;
    Ok(seen.map(|(seen, frame)| MapObservation {
        canvas: seen.canvas.moved_by(frame),
        pin: seen.pin.map(|pin| pin + frame),
    }))
}

/// The observation when the map is still.
pub(super) async fn wait_until_still(page: &Page) -> Result<MapObservation> {
    let (start, mut since, mut observations, mut last) = (Instant::now(), Instant::now(), 0, None);
    loop {
        let now = look(page).await?;
        if now != last {
            (since, observations, last) = (Instant::now(), 0, now);
        }
        observations += 1;
        if let Some(seen) = now.filter(|_| since.elapsed() >= QUIET.0 && observations >= QUIET.1) {
            return Ok(seen);
        }
        if start.elapsed() > page.patience() {
            return Err(environment_error(format!(
                "the guess map is not visible or did not become still within {} s",
                page.profile().patience_s
            )));
        }
        input::pause(30).await;
    }
}
