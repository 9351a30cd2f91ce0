//! Checks the initial view of a drawn map that the profile states: a wrong one would make every guess wrong.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::usage_error;
use landfall_model::{LatLng, preprocess};

use crate::browser::input;
use crate::geometry::Rect;
use crate::play::pin::compare::MapPicture;
use crate::play::pin::land::MapScreenshot;
use crate::play::pin::observe;
use crate::play::pin::projection::Projection;
use crate::site::StartView;
use crate::site::page::Page;

/// Minimum fit of a detected view that is considered certain.
const MIN_SHARE: f64 = 0.25;
/// Minimum difference to the fit of the view that the profile states.
const MIN_GAIN: f64 = 0.03;
/// Tolerance of a view in pixels, and in metres for the accuracy of the coasts.
const OFF_PX: f64 = 4.0;
const OFF_M: f64 = 15_000.0;
/// Relative difference of the scale from which a view is another one.
const MIN_ZOOMED: f64 = 0.1;
/// Time limit for a map to become still.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The projection of a view in a box.
pub(super) fn stated(view: StartView, canvas: &Rect) -> Result<Projection> {
    Ok(Projection::with(view.middle()?, canvas.centre(), view.world_px()).clamped_to(canvas, view.repeats))
}

/// Minimum fit of a detected view that overrules the profile without another check: tiles of different shades look like
/// land and sea to some degree.
const OVERRULES: f64 = 0.5;
/// As [`OVERRULES`], for the difference to the fit of the profile's view. Tiles of different shades: 0.08; wrong views of
/// maps with coastlines: 0.34 and more.
const OVERRULES_BY: f64 = 0.2;

/// A detected view that differs from the one that the profile states.
struct OtherView {
    view: StartView,
    /// Whether the profile is certainly wrong.
    is_certain: bool,
}

/// Checks with a screenshot, with the mouse over the map, that the view that the profile states is the one on display.
/// Returns the detected view if that is in doubt.
///
/// # Errors
/// When the view is certainly another one.
pub(super) async fn check(page: &Page, view: StartView) -> Result<Option<StartView>> {
    match differs(page, view).await? {
        None => Ok(None),
        Some(OtherView { view, is_certain: false }) => Ok(Some(view)),
        Some(OtherView { view, is_certain: true }) => Err(mismatch(page, view)),
    }
}

/// The error for a view of the profile that is not the initial view of the map.
pub(super) fn mismatch(page: &Page, shown: StartView) -> anyhow::Error {
    let line = page.profile().line_of_view();
    usage_error(format!("{line}: map.view does not match the initial view of the map, which looks like {shown}"))
}

/// A screenshot of the map.
pub(super) async fn map_picture(page: &Page) -> Result<Option<MapPicture>> {
    Ok(picture(page).await?.map(|(picture, canvas)| MapPicture::new(&picture, canvas)))
}

/// The detected view, if it differs from the one that the profile states. Moves the mouse over the map, which may
/// enlarge it.
///
/// # Errors
/// When the session fails.
pub(crate) async fn examine(page: &Page, view: StartView) -> Result<Option<StartView>> {
    observe::begin(page).await?;
    Ok(differs(page, view).await?.filter(|other| other.is_certain).map(|other| other.view))
}

/// The detected view, if it differs; `None` also if land and sea cannot be distinguished.
async fn differs(page: &Page, view: StartView) -> Result<Option<OtherView>> {
    let Some((picture, canvas)) = picture(page).await? else { return Ok(None) };
    let stated = stated(view, &canvas)?;
    let found = tokio::task::spawn_blocking(move || {
        let screenshot = MapScreenshot::new(&picture, canvas);
        let detected = screenshot.nearest(stated);
        let detected = if detected.share >= MIN_SHARE { detected } else { screenshot.search()? };
        let tolerance = OFF_PX.max(OFF_M / stated.metres_per_pixel(stated.place(canvas.centre())));
        let differs = screenshot.apart(&stated, &detected.projection) > tolerance;
        let (share, gain) = (detected.share, detected.share - screenshot.fit(stated).share);
        tracing::debug!(share, gain, "initial view of the map");
        let other = || OtherView {
            view: screenshot.rounded(&detected, view.tile_size),
            is_certain: share >= OVERRULES || gain >= OVERRULES_BY,
        };
        (differs && share >= MIN_SHARE && gain >= MIN_GAIN).then(other)
    });
    Ok(found.await?)
}

/// The detected view, for a world of `tile_size` pixels at zoom 0: tiles of different shades look like land and sea to some
/// degree, so it needs to be confirmed. Moves the mouse over the map, which may enlarge it.
///
/// # Errors
/// When the session fails.
pub async fn shown(page: &Page, tile_size: f64) -> Result<Option<StartView>> {
    observe::begin(page).await?;
    let Some((picture, canvas)) = picture(page).await? else { return Ok(None) };
    let found = tokio::task::spawn_blocking(move || {
        let screenshot = MapScreenshot::new(&picture, canvas);
        let fit = screenshot.search().filter(|fit| fit.share >= MIN_SHARE);
        fit.map(|fit| screenshot.rounded(&fit, tile_size))
    });
    Ok(found.await?)
}

/// Whether the coasts of the map, which shows another view than `initial` by now, put a place where its pin is.
pub(super) async fn coasts_confirm(page: &Page, initial: &Projection, place: LatLng) -> Result<bool> {
    let Some((picture, canvas)) = picture(page).await? else { return Ok(false) };
    let Some(pin) = observe::look(page).await?.and_then(|seen| seen.pin) else { return Ok(false) };
    let found = tokio::task::spawn_blocking(move || MapScreenshot::new(&picture, canvas).search());
    let Some(fit) = found.await?.filter(|fit| fit.share >= MIN_SHARE) else { return Ok(false) };
    let there = fit.projection.pixel(place, pin);
    let off = (there.x - pin.x).hypot(there.y - pin.y);
    let zoomed = fit.projection.world / initial.world;
    tracing::debug!(share = fit.share, off, zoomed, "another view of the map");
    Ok(off <= OFF_PX && (zoomed - 1.0).abs() > MIN_ZOOMED)
}

/// A screenshot of the map, when two in a row are identical or the time limit is reached, and its box.
async fn picture(page: &Page) -> Result<Option<(RgbImage, Rect)>> {
    let Some(map) = page.find(&page.profile().map.canvas).await? else { return Ok(None) };
    let (start, mut png) = (Instant::now(), page.picture(&map).await?);
    while start.elapsed() < SETTLE_TIMEOUT {
        input::pause(120).await;
        let next = page.picture(&map).await?;
        let rests = next == png;
        png = next;
        if rests {
            break;
        }
    }
    let canvas = page.rect(&page.profile().map.canvas, "guess map").await?;
    let picture = preprocess::from_bytes(&png).context("the screenshot of the browser cannot be decoded")?;
    Ok(Some((picture, canvas)))
}
