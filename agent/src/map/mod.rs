//! Placing the pin: from a place to a click on the guess map, and back from the pin to the place.

mod canvas;
pub mod land;
pub mod projection;
mod raster;
pub mod tiles;
pub mod view;
mod wheel;

use anyhow::Result;
use landfall_model::LatLng;
use serde::Serialize;

use crate::hands::Pixel;
use crate::site::MapKind;
use crate::site::page::Page;

/// A pin on the page's map.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Placed {
    /// Where the pin is, read back from the page.
    pub at: LatLng,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres that a pixel spans there.
    pub metres_per_pixel: f64,
}

/// A pixel may span this many metres when the pin is set: well under what a classifier of a thousand cells errs by.
const FINE_M: f64 = 6_000.0;
/// A map that zooms no closer is used as it is while a pixel spans no more than this many metres.
const COARSE_M: f64 = 25_000.0;
/// The target is brought this far inside the map's box (a fraction of its side) before it is clicked, clear of
/// buttons at the edges.
const MARGIN: f64 = 0.22;
const WHEEL_IN: i32 = -120;

/// Puts the pin on a place, by whatever kind of map the profile says there is. A pin that stays more than `max_error_m`
/// metres off is an error.
///
/// # Errors
/// When the map is not as the profile says, does not zoom or move, or takes no pin.
pub async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<Placed> {
    match page.profile.map.kind() {
        MapKind::Tiles => raster::place_pin(page, wanted, max_error_m).await,
        MapKind::Canvas(view) => canvas::place_pin(page, view, wanted, max_error_m).await,
    }
}
