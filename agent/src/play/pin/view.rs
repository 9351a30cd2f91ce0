//! Whether a drawn map shows what its profile says it shows when a round begins: a wrong view makes every guess wrong.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::usage_error;
use landfall_model::preprocess;

use crate::browser::input;
use crate::geometry::Rect;
use crate::play::pin::land::MapScreenshot;
use crate::play::pin::observe;
use crate::play::pin::projection::Projection;
use crate::site::StartView;
use crate::site::page::Page;

/// Land and sea explain at least so much of the colours where a map is known for sure.
const SURE: f64 = 0.25;
/// And so much more than where the profile says it lies.
const MORE: f64 = 0.03;
/// A view may be off by so many pixels, and by as much as a coast of the model's land is.
const OFF_PX: f64 = 4.0;
const OFF_M: f64 = 15_000.0;
/// A map that moves for longer than this is taken as it is.
const RESTLESS: Duration = Duration::from_secs(5);

/// Where a map lies in its box when it shows this.
pub(super) fn stated(view: StartView, canvas: &Rect) -> Result<Projection> {
    Ok(Projection::with(view.middle()?, canvas.centre(), view.world_px()).held_in(canvas, view.repeats))
}

/// Checks the view that the profile states against what the map shows, with the mouse over it.
pub(super) async fn check(page: &Page, view: StartView) -> Result<()> {
    match differs(page, view).await? {
        None => Ok(()),
        Some(shown) => {
            let line = page.profile.line_of_view();
            Err(usage_error(format!(
                "{line}: map.view is not what the map shows when a round begins; that looks like {shown}"
            )))
        }
    }
}

/// What the map shows, when the profile states something else; it may grow under the mouse, which is moved there.
///
/// # Errors
/// When the session fails.
pub async fn examine(page: &Page, view: StartView) -> Result<Option<StartView>> {
    observe::begin(page).await?;
    differs(page, view).await
}

/// What the map shows when that is not what the profile states; a map whose land and sea cannot be told apart is believed.
async fn differs(page: &Page, view: StartView) -> Result<Option<StartView>> {
    let Some((picture, canvas)) = picture(page).await? else { return Ok(None) };
    let stated = stated(view, &canvas)?;
    let found = tokio::task::spawn_blocking(move || {
        let sheet = MapScreenshot::new(&picture, canvas);
        let is = sheet.nearest(stated);
        let is = if is.share >= SURE { is } else { sheet.search()? };
        let tolerance = OFF_PX.max(OFF_M / stated.metres_per_pixel(stated.place(canvas.centre())));
        let differs = sheet.apart(&stated, &is.projection) > tolerance;
        let is_sure = is.share >= SURE && is.share >= sheet.fit(stated).share + MORE;
        (differs && is_sure).then(|| sheet.rounded(&is, view.tile_size))
    });
    Ok(found.await?)
}

/// What the map shows, for a world of `tile_size` pixels at zoom 0, if that can be told; it may grow under the mouse.
///
/// # Errors
/// When the session fails.
pub async fn shown(page: &Page, tile_size: f64) -> Result<Option<StartView>> {
    observe::begin(page).await?;
    let Some((picture, canvas)) = picture(page).await? else { return Ok(None) };
    let found = tokio::task::spawn_blocking(move || {
        let sheet = MapScreenshot::new(&picture, canvas);
        sheet.search().filter(|fit| fit.share >= SURE).map(|fit| sheet.rounded(&fit, tile_size))
    });
    Ok(found.await?)
}

/// The map's picture, once two in a row are the same or it has moved for too long, and its box.
async fn picture(page: &Page) -> Result<Option<(RgbImage, Rect)>> {
    let Some(map) = page.find(&page.profile.map.canvas).await? else { return Ok(None) };
    let (start, mut png) = (Instant::now(), page.picture(&map).await?);
    while start.elapsed() < RESTLESS {
        input::pause(120).await;
        let next = page.picture(&map).await?;
        let rests = next == png;
        png = next;
        if rests {
            break;
        }
    }
    let canvas = page.rect(&page.profile.map.canvas, "guess map").await?;
    let picture = preprocess::from_bytes(&png).context("the browser's screenshot is no picture")?;
    Ok(Some((picture, canvas)))
}
