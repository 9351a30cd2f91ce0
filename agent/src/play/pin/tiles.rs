//! Placing the pin on a map of image tiles. The positions of the tiles give the projection at any time, so no state is
//! tracked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_model::LatLng;
use serde::Deserialize;
use serde_json::json;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::placed::{MARGIN, PlacedPin, TARGET_M_PER_PX, TooCoarse, max_m_per_px};
use crate::play::pin::projection::Projection;
use crate::play::pin::tile_projection::Tile;
use crate::play::pin::zoom::ZoomControl;
use crate::site::MapLocators;
use crate::site::page::Page;

/// Number of clicks: the first may only give the map the focus, and a pin beside the target is corrected.
const CLICKS: usize = 4;
/// Time limit for the pin to appear: some maps wait for a second click first, others ask their server.
const PIN_TIMEOUT: Duration = Duration::from_millis(2500);
/// A new pin that has stayed beside its target for this time does not move there any more.
const PIN_SETTLED: Duration = Duration::from_millis(600);
/// Tolerance of a pin in pixels.
const TOLERANCE_PX: f64 = 3.0;

/// The map when it is still: its projection and box, and the tip of the pin.
#[derive(Clone, Copy, Debug)]
struct MapState {
    map: Projection,
    canvas: Rect,
    pin: Option<Pixel>,
}

impl MapState {
    fn pin_place(&self) -> Option<LatLng> {
        self.pin.map(|pin| self.map.place(pin))
    }
}

/// Zooms in on a place, clicks, and reads back the position of the pin. Repeats the click if the pin is off by more
/// than a few pixels.
pub(super) async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    let canvas = page.reveal_map().await?;
    page.hover(canvas.centre()).await?; // hovering enlarges the map
    let mut state = approach(page, wanted, max_error_m).await?;
    let mut problem = "the place is not in the visible part of the map".to_owned();
    let mut last_pin = None::<(f64, PlacedPin)>;
    let mut correction = Pixel { x: 0.0, y: 0.0 };
    for _ in 0..CLICKS {
        let target = state.map.pixel(wanted, state.canvas.centre());
        let click = target + correction;
        let click = Pixel { x: click.x.round(), y: click.y.round() };
        if !state.canvas.holds(click, 0.0) {
            break; // never click outside the map
        }
        let before = state;
        page.click(click).await?;
        state = await_pin(page, &before, wanted).await?;
        let metres_per_pixel = state.map.metres_per_pixel(wanted);
        let Some(at) = state.pin_place() else {
            // A first click may only give the map the focus; a second one places the pin.
            "no pin appears".clone_into(&mut problem);
            continue;
        };
        let (error_m, placed) = (at.distance_m(wanted), PlacedPin { at, click, metres_per_pixel });
        if error_m <= (TOLERANCE_PX * metres_per_pixel).min(max_error_m) {
            return Ok(placed);
        }
        problem = format!("it is {:.0} km off", error_m / 1000.0);
        last_pin = Some((error_m, placed)); // the previous pin has been moved
        let target = state.map.pixel(wanted, state.canvas.centre());
        if !state.canvas.holds(target, 0.02) {
            state = approach(page, wanted, max_error_m).await?; // the map has moved after the click
        } else if let Some(pin) = state.pin.filter(|_| state.map.approx_eq(&before.map)) {
            // Pages that scale the map may place the pin beside the click.
            let off = Pixel { x: target.x - pin.x, y: target.y - pin.y };
            correction = correction + off;
        }
    }
    if let Some((_, placed)) = last_pin.filter(|(error_m, _)| *error_m <= max_error_m) {
        return Ok(placed);
    }
    Err(environment_error(format!("the pin cannot be placed at {wanted}: {problem} after {CLICKS} clicks")))
}

/// The position of the pin now, when the map is still.
///
/// # Errors
/// When there is no pin any more.
pub(super) async fn read_back(page: &Page) -> Result<(LatLng, f64)> {
    let state = wait_until_still(page).await?;
    let at = state.pin_place();
    let at = at.ok_or_else(|| environment_error("the pin disappeared from the guess map before the guess was sent"))?;
    Ok((at, state.map.metres_per_pixel(at)))
}

/// Waits for the pin after a click.
async fn await_pin(page: &Page, before: &MapState, wanted: LatLng) -> Result<MapState> {
    let (start, mut since, mut last) = (Instant::now(), Instant::now(), None::<LatLng>);
    loop {
        let state = wait_until_still(page).await?;
        let metres = state.map.metres_per_pixel(wanted);
        let at = state.pin_place();
        if at.is_some_and(|at| at.distance_m(wanted) <= TOLERANCE_PX * metres) {
            return Ok(state);
        }
        let near = |a: Option<LatLng>, b: Option<LatLng>| match (a, b) {
            (Some(a), Some(b)) => a.distance_m(b) <= metres,
            (a, b) => a.is_none() && b.is_none(),
        };
        if !near(at, last) {
            (since, last) = (Instant::now(), at);
        }
        let is_new = at.is_some() && !near(at, before.pin_place());
        if start.elapsed() > PIN_TIMEOUT || is_new && since.elapsed() > PIN_SETTLED {
            return Ok(state);
        }
        input::pause(60).await;
    }
}

/// Zooms and pans until the place is well inside the box and a pixel is fine enough.
async fn approach(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<MapState> {
    let mut zoom = ZoomControl::default();
    for _ in 0..60 {
        let state = wait_until_still(page).await?;
        let MapState { map, canvas, .. } = state;
        let target = map.pixel(wanted, canvas.centre());
        let metres = map.metres_per_pixel(wanted);
        if !canvas.holds(target, MARGIN) {
            let is_far = |distance: f64, side: f64| distance.abs() > 1.2 * side;
            let middle = canvas.centre();
            if is_far(target.x - middle.x, canvas.width) || is_far(target.y - middle.y, canvas.height) {
                // The target is far away, after a failed attempt or in a close initial view: dragging would take too
                // long.
                zoom.turn(page, middle, false).await?;
                if !wait_until_still(page).await?.map.approx_eq(&map) {
                    continue;
                }
            }
            // Drag the target towards the centre.
            let clamp_drag = |distance: f64, side: f64| distance.clamp(-0.35 * side, 0.35 * side);
            let centre = canvas.centre();
            let (dx, dy) =
                (clamp_drag(target.x - centre.x, canvas.width), clamp_drag(target.y - centre.y, canvas.height));
            let half = |to: f64| Pixel { x: centre.x + to * dx / 2.0, y: centre.y + to * dy / 2.0 };
            page.drag(half(1.0), half(-1.0)).await?;
            if !wait_until_still(page).await?.map.approx_eq(&map) {
                continue;
            }
            // At the edge of the world the map can move only after zooming in. Places near the poles stay near the
            // edge.
            if metres <= TARGET_M_PER_PX && canvas.holds(target, 0.02) {
                return wait_until_still(page).await;
            }
        } else if metres <= TARGET_M_PER_PX {
            return Ok(state);
        }
        let inside = |value: f64, start: f64, side: f64| value.clamp(start + 0.1 * side, start + 0.9 * side);
        let about = Pixel { x: inside(target.x, canvas.x, canvas.width), y: inside(target.y, canvas.y, canvas.height) };
        zoom.turn(page, about, true).await?;
        let after = wait_until_still(page).await?;
        if after.canvas != canvas {
            page.reveal_map().await?; // the wheel may have scrolled the page
        }
        if (after.map.world - map.world).abs() < 0.5 {
            let is_visible = canvas.holds(target, 0.02);
            if zoom.has_failed(page).await? {
                if is_visible && metres <= max_m_per_px(max_error_m) {
                    return wait_until_still(page).await;
                }
                if is_visible && zoom.works() {
                    let why = environment_error(format!("the guess map cannot be brought to {wanted}"));
                    return Err(TooCoarse::new(map.world)).context(why);
                }
                break;
            }
        } else {
            zoom.has_worked();
        }
    }
    Err(environment_error(format!(
        "the guess map cannot be brought to {wanted}: it does not zoom or pan as expected by the wheel, by Ctrl and the \
         wheel, or by a + button"
    )))
}

/// The box of the map, its tiles and its pin.
#[derive(Deserialize)]
struct TileObservation {
    canvas: Rect,
    tiles: Vec<Tile>,
    pin: Option<Pixel>,
}

/// One call, since each waits for a frame to be rendered. The area of a tile is that of its part inside the box and all
/// elements around it that clip it.
const OBSERVE_SCRIPT: &str = "const [canvas] = findVisible(arguments[0]); if (!canvas) return null; \
    const clips = new Map(), box = canvas.getBoundingClientRect(); \
    const clip = e => { if (!clips.has(e)) clips.set(e, e === canvas || getComputedStyle(e).overflow !== 'visible'); return clips.get(e) }; \
    const area = tile => { let {left, top, right, bottom} = tile.getBoundingClientRect(); \
      const within = r => { left = Math.max(left, r.left); top = Math.max(top, r.top); right = Math.min(right, r.right); bottom = Math.min(bottom, r.bottom) }; \
      within(box); \
      for (let up = tile.parentElement; up && up !== canvas; up = up.parentElement) if (clip(up)) within(up.getBoundingClientRect()); \
      return Math.max(0, right - left) * Math.max(0, bottom - top) }; \
    const tiles = arguments[1].flatMap(findAll).map(tile => ({src: tile.src, area: area(tile), ...rect(tile)})); \
    const [pin] = findVisible(arguments[2]), p = pin && rect(pin), [across, down] = arguments[3]; \
    return {canvas: rect(canvas), tiles, pin: p ? {x: p.x + across * p.width, y: p.y + down * p.height} : null}";

/// The projection, box and pin of the map when the first two are unchanged between two observations.
async fn wait_until_still(page: &Page) -> Result<MapState> {
    let last = std::cell::Cell::new(None::<MapState>);
    page.until("the guess map shows no tiles or does not become still", async || {
        let MapLocators { canvas, tiles, tile_address, marker, marker_anchor, .. } = &page.profile().map;
        // Tiles and pin are in the same frame as the map.
        let tiles = json!(tiles.iter().collect::<Vec<_>>());
        let extra_args = vec![tiles, json!(marker.iter().collect::<Vec<_>>()), json!(marker_anchor)];
        let shown: Option<(TileObservation, Pixel)> = page.ask(canvas, OBSERVE_SCRIPT, extra_args).await?;
        let now = shown.and_then(|(shown, frame)| {
            let tiles: Vec<Tile> = shown.tiles.into_iter().map(|tile| tile.moved_by(frame)).collect();
            let (map, rows) = Projection::with_rows(&tiles, tile_address, page.tile_rows())?;
            page.learn_tile_rows(rows);
            Some(MapState { map, canvas: shown.canvas.moved_by(frame), pin: shown.pin.map(|pin| pin + frame) })
        });
        let before = last.replace(now);
        let is_unchanged =
            |(now, before): &(MapState, MapState)| now.map.approx_eq(&before.map) && now.canvas == before.canvas;
        Ok(now.zip(before).filter(is_unchanged).map(|(now, _)| now))
    })
    .await
}
