//! Placing the pin on a map of image tiles. The positions of the tiles give the projection at any time, so no state is
//! tracked.

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_model::LatLng;
use serde::Deserialize;
use serde_json::json;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::placed::{MARGIN, MAX_M_PER_PX, PlacedPin, TARGET_M_PER_PX, WHEEL_IN};
use crate::play::pin::projection::Projection;
use crate::play::pin::tiles::Tile;
use crate::site::MapLocators;
use crate::site::page::Page;

/// Zooms in on a place, clicks, and reads back the position of the pin. Repeats the click if the pin is off by more
/// than a few pixels.
pub(super) async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    let canvas = page.rect(&page.profile().map.canvas, "guess map").await?;
    page.hover(canvas.centre()).await?; // hovering enlarges the map
    let (mut map, mut canvas) = approach(page, wanted).await?;
    let mut problem = "the place is not in the visible part of the map".to_owned();
    let mut last_pin = None::<(f64, PlacedPin)>;
    for _ in 0..3 {
        let target = map.pixel(wanted, canvas.centre());
        let click = Pixel { x: target.x.round(), y: target.y.round() };
        if !canvas.holds(click, 0.0) {
            break; // never click outside the map
        }
        page.click(click).await?;
        (map, canvas) = wait_until_still(page).await?;
        let metres_per_pixel = map.metres_per_pixel(wanted);
        let Some(at) = marker(page, &map).await? else {
            // A first click may only give the map the focus; a second one places the pin.
            "no pin appears".clone_into(&mut problem);
            continue;
        };
        let (error_m, placed) = (at.distance_m(wanted), PlacedPin { at, click, metres_per_pixel });
        if error_m <= (3.0 * metres_per_pixel).min(max_error_m) {
            return Ok(placed);
        }
        problem = format!("it is {:.0} km off", error_m / 1000.0);
        last_pin = Some((error_m, placed)); // the previous pin has been moved
    }
    if let Some((_, placed)) = last_pin.filter(|(error_m, _)| *error_m <= max_error_m) {
        return Ok(placed);
    }
    Err(environment_error(format!("the pin cannot be placed at {wanted}: {problem} after three clicks")))
}

/// Zooms and pans until the place is well inside the box and a pixel is fine enough.
async fn approach(page: &Page, wanted: LatLng) -> Result<(Projection, Rect)> {
    let mut stuck = 0;
    for _ in 0..40 {
        let (map, canvas) = wait_until_still(page).await?;
        let target = map.pixel(wanted, canvas.centre());
        let metres = map.metres_per_pixel(wanted);
        if !canvas.holds(target, MARGIN) {
            let is_far = |distance: f64, side: f64| distance.abs() > 1.2 * side;
            let middle = canvas.centre();
            if is_far(target.x - middle.x, canvas.width) || is_far(target.y - middle.y, canvas.height) {
                // The target is far away, after a failed attempt or in a close initial view: dragging would take too
                // long.
                page.wheel(middle, -WHEEL_IN).await?;
                input::pause(120).await;
                if !wait_until_still(page).await?.0.approx_eq(&map) {
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
            let (after, _) = wait_until_still(page).await?;
            if !after.approx_eq(&map) {
                continue;
            }
            // At the edge of the world the map can move only after zooming in. Places near the poles stay near the
            // edge.
            if metres <= TARGET_M_PER_PX && canvas.holds(target, 0.02) {
                return Ok((map, canvas));
            }
        } else if metres <= TARGET_M_PER_PX {
            return Ok((map, canvas));
        }
        let inside = |value: f64, start: f64, side: f64| value.clamp(start + 0.1 * side, start + 0.9 * side);
        let wheel_at =
            Pixel { x: inside(target.x, canvas.x, canvas.width), y: inside(target.y, canvas.y, canvas.height) };
        page.wheel(wheel_at, WHEEL_IN).await?;
        input::pause(120).await; // maps debounce the wheel
        let (after, _) = wait_until_still(page).await?;
        if after.approx_eq(&map) {
            stuck += 1;
            if stuck > 3 && metres <= MAX_M_PER_PX && canvas.holds(target, 0.02) {
                return Ok((map, canvas));
            }
            if stuck > 6 {
                break;
            }
        }
    }
    Err(environment_error(format!("the guess map cannot be brought to {wanted}: it does not zoom or pan as expected")))
}

/// The box of the map and its tiles.
#[derive(Deserialize)]
struct TileObservation {
    canvas: Rect,
    tiles: Vec<Tile>,
}

/// One call, since each waits for a frame to be rendered.
const OBSERVE_SCRIPT: &str = "const [canvas] = findVisible(arguments[0]); \
    const tiles = arguments[1].flatMap(findAll).map(tile => ({src: tile.src, ...rect(tile)})); \
    return canvas ? {canvas: rect(canvas), tiles} : null";

/// The projection and box of the map when both are unchanged between two observations.
async fn wait_until_still(page: &Page) -> Result<(Projection, Rect)> {
    let last = std::cell::Cell::new(None::<(Projection, Rect)>);
    page.until("the guess map shows no tiles or does not become still", async || {
        let MapLocators { canvas, tiles, tile_address, .. } = &page.profile().map;
        // The tiles are in the same frame as the map.
        let tiles = json!(tiles.iter().collect::<Vec<_>>());
        let shown: Option<(TileObservation, Pixel)> = page.ask(canvas, OBSERVE_SCRIPT, vec![tiles]).await?;
        let now = shown.and_then(|(shown, frame)| {
            let tiles: Vec<Tile> = shown.tiles.into_iter().map(|tile| tile.moved_by(frame)).collect();
            Some((Projection::of(&tiles, tile_address)?, shown.canvas.moved_by(frame)))
        });
        let before = last.replace(now);
        let is_unchanged = |((map, rect), (old_map, old_rect)): &((Projection, Rect), (Projection, Rect))| {
            map.approx_eq(old_map) && rect == old_rect
        };
        Ok(now.zip(before).filter(is_unchanged).map(|(now, _)| now))
    })
    .await
}

/// The place of the pin, from the position of its tip.
async fn marker(page: &Page, map: &Projection) -> Result<Option<LatLng>> {
    let Some(rect) = page.rect_if_shown(&page.profile().map.marker).await? else { return Ok(None) };
    let [across, down] = page.profile().map.marker_anchor;
    Ok(Some(map.place(rect.at(across, down))))
}
