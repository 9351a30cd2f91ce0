//! Whether a drawn map shows what its profile says it shows when a round begins: a wrong view makes every guess wrong.

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_model::preprocess;

use super::canvas;
use super::land::{self, Fit, Sheet};
use super::projection::Projection;
use crate::failure::wrong;
use crate::site::StartView;
use crate::site::page::{Page, Rect};

/// Land and sea explain at least so much of the colours where a map is known for sure.
const SURE: f64 = 0.25;
/// And so much more than where the profile says it lies.
const MORE: f64 = 0.03;
/// A view may be off by so many pixels, and by as much as a coast of the model's land is.
const OFF_PX: f64 = 4.0;
const OFF_M: f64 = 15_000.0;

/// Checks the view that the profile states against what the map shows; a map whose land and sea cannot be told apart is
/// believed.
pub(super) async fn check(page: &Page, view: StartView, stated: Projection) -> Result<()> {
    let Some((picture, canvas)) = picture(page).await? else { return Ok(()) };
    let other = tokio::task::spawn_blocking(move || {
        let sheet = Sheet::new(&picture, canvas);
        let is = sheet.nearest(stated);
        let is = if is.share >= SURE { is } else { sheet.search()? };
        let tolerance = OFF_PX.max(OFF_M / stated.metres_per_pixel(stated.place(canvas.centre())));
        let differs = sheet.apart(&stated, &is.projection) > tolerance;
        (differs && is.share >= SURE && is.share >= sheet.fit(stated).share + MORE).then_some(is)
    });
    match other.await? {
        None => Ok(()),
        Some(is) => {
            let (line, shows) = (page.profile.line_of_view(), land::written(&is, &canvas, view.tile_size));
            Err(wrong(format!(
                "{line}: map.view is not what the map shows when a round begins; that looks like {shows}"
            )))
        }
    }
}

/// What the map shows, if that can be told; it may grow under the mouse, which shows more.
///
/// # Errors
/// When the session fails.
pub async fn shown(page: &Page) -> Result<Option<(Fit, Rect)>> {
    canvas::begin(page).await?;
    let Some((picture, canvas)) = picture(page).await? else { return Ok(None) };
    let fit = tokio::task::spawn_blocking(move || Sheet::new(&picture, canvas).search()).await?;
    Ok(fit.filter(|fit| fit.share >= SURE).map(|fit| (fit, canvas)))
}

async fn picture(page: &Page) -> Result<Option<(RgbImage, Rect)>> {
    let Some(map) = page.find(&page.profile.map.canvas).await? else { return Ok(None) };
    let canvas = page.rect(&page.profile.map.canvas, "guess map").await?;
    let picture =
        preprocess::from_bytes(&page.picture(&map).await?).context("the browser's screenshot is no picture")?;
    Ok(Some((picture, canvas)))
}
