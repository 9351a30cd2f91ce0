//! The pin on a map of tile pictures: where the tiles are says at every moment which place is at which pixel, so nothing
//! need be remembered.

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_model::LatLng;
use serde::Deserialize;
use serde_json::json;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::play::pin::placed::{COARSE_M, FINE_M, MARGIN, PlacedPin, WHEEL_IN};
use crate::play::pin::projection::Projection;
use crate::play::pin::tiles::Tile;
use crate::site::MapLocators;
use crate::site::page::Page;

/// Zooms in on the place, clicks, and reads back where the pin came to be. A pin that is more than a few pixels off is set
/// again.
pub(super) async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    let canvas = page.rect(&page.profile.map.canvas, "guess map").await?;
    page.hover(canvas.centre()).await?; // the map grows under the mouse
    let (mut map, mut canvas) = approach(page, wanted).await?;
    let mut worst = "the place is not on the part of the map that shows".to_owned();
    let mut nearest = None::<(f64, PlacedPin)>;
    for _ in 0..3 {
        let target = map.pixel(wanted, canvas.centre());
        let click = Pixel { x: target.x.round(), y: target.y.round() };
        if !canvas.holds(click, 0.0) {
            break; // never click beside the map
        }
        page.click(click).await?;
        (map, canvas) = rest(page).await?;
        let metres_per_pixel = map.metres_per_pixel(wanted);
        let Some(at) = marker(page, &map).await? else {
            // A first click may only give the map the focus; a second one places the pin.
            "no pin shows".clone_into(&mut worst);
            continue;
        };
        let (error_m, placed) = (at.distance_m(wanted), PlacedPin { at, click, metres_per_pixel });
        if error_m <= (3.0 * metres_per_pixel).min(max_error_m) {
            return Ok(placed);
        }
        worst = format!("it is {:.0} km off", error_m / 1000.0);
        nearest = Some((error_m, placed)); // where it is now: what came before has been moved
    }
    if let Some((_, placed)) = nearest.filter(|(error_m, _)| *error_m <= max_error_m) {
        return Ok(placed);
    }
    Err(environment_error(format!("the pin cannot be placed at {wanted}: {worst} after three clicks")))
}

/// Zooms and pans until the place is well inside the box and a pixel is fine enough.
async fn approach(page: &Page, wanted: LatLng) -> Result<(Projection, Rect)> {
    let mut stuck = 0;
    for _ in 0..40 {
        let (map, canvas) = rest(page).await?;
        let target = map.pixel(wanted, canvas.centre());
        let metres = map.metres_per_pixel(wanted);
        if !canvas.holds(target, MARGIN) {
            let far = |distance: f64, side: f64| distance.abs() > 1.2 * side;
            let middle = canvas.centre();
            if far(target.x - middle.x, canvas.width) || far(target.y - middle.y, canvas.height) {
                // As after a first try, or on a map that begins close: dragging there would take long.
                page.wheel(middle, -WHEEL_IN).await?;
                input::pause(120).await;
                if !rest(page).await?.0.rests_at(&map) {
                    continue;
                }
            }
            // Bring it to the middle, as far as one drag goes.
            let reach = |distance: f64, side: f64| distance.clamp(-0.35 * side, 0.35 * side);
            let centre = canvas.centre();
            let (dx, dy) = (reach(target.x - centre.x, canvas.width), reach(target.y - centre.y, canvas.height));
            let half = |to: f64| Pixel { x: centre.x + to * dx / 2.0, y: centre.y + to * dy / 2.0 };
            page.drag(half(1.0), half(-1.0)).await?;
            let (after, _) = rest(page).await?;
            if !after.rests_at(&map) {
                continue;
            }
            // Held by the edge of the world: zooming in makes room. A place near a pole stays near the box's edge.
            if metres <= FINE_M && canvas.holds(target, 0.02) {
                return Ok((map, canvas));
            }
        } else if metres <= FINE_M {
            return Ok((map, canvas));
        }
        let inside = |value: f64, start: f64, side: f64| value.clamp(start + 0.1 * side, start + 0.9 * side);
        let over = Pixel { x: inside(target.x, canvas.x, canvas.width), y: inside(target.y, canvas.y, canvas.height) };
        page.wheel(over, WHEEL_IN).await?;
        input::pause(120).await; // maps gather turns of the wheel before they move
        let (after, _) = rest(page).await?;
        if after.rests_at(&map) {
            stuck += 1;
            if stuck > 3 && metres <= COARSE_M && canvas.holds(target, 0.02) {
                return Ok((map, canvas));
            }
            if stuck > 6 {
                break;
            }
        }
    }
    Err(environment_error(format!("the guess map cannot be brought to {wanted}: it does not zoom or pan as expected")))
}

/// What the page shows of its map: its box, and the tiles in it.
#[derive(Deserialize)]
struct TileObservation {
    canvas: Rect,
    tiles: Vec<Tile>,
}

/// In one call, since each waits for a frame to be drawn.
const SHOWN: &str = "const [canvas] = findVisible(arguments[0]); \
    const tiles = arguments[1].flatMap(findAll).map(tile => ({src: tile.src, ...rect(tile)})); \
    return canvas ? {canvas: rect(canvas), tiles} : null";

/// The map's projection and box once both are the same twice in a row.
async fn rest(page: &Page) -> Result<(Projection, Rect)> {
    let last = std::cell::Cell::new(None::<(Projection, Rect)>);
    page.until("the guess map shows no tiles, or does not come to rest", async || {
        let MapLocators { canvas, tiles, tile_address, .. } = &page.profile.map;
        // The tiles are in the frame that the map is in.
        let tiles = json!(tiles.iter().collect::<Vec<_>>());
        let shown: Option<(TileObservation, Pixel)> = page.ask(canvas, SHOWN, vec![tiles]).await?;
        let now = shown.and_then(|(shown, frame)| {
            let tiles: Vec<Tile> = shown.tiles.into_iter().map(|tile| tile.moved_by(frame)).collect();
            Some((Projection::of(&tiles, tile_address)?, shown.canvas.moved_by(frame)))
        });
        let before = last.replace(now);
        let same = |((map, rect), (old_map, old_rect)): &((Projection, Rect), (Projection, Rect))| {
            map.rests_at(old_map) && rect == old_rect
        };
        Ok(now.zip(before).filter(same).map(|(now, _)| now))
    })
    .await
}

/// Where the pin is, by the point of its picture.
async fn marker(page: &Page, map: &Projection) -> Result<Option<LatLng>> {
    let Some(rect) = page.rect_if_shown(&page.profile.map.marker).await? else { return Ok(None) };
    let [across, down] = page.profile.map.marker_anchor;
    Ok(Some(map.place(rect.at(across, down))))
}
