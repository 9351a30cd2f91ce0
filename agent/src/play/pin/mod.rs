//! Placing the pin: converts a place to a click on the guess map, and the resulting pin back to a place.

mod canvas;
pub(crate) mod land;
mod observe;
mod placed;
pub(crate) mod projection;
mod raster;
pub(crate) mod tiles;
pub(crate) mod view;
mod wheel;

use anyhow::Result;
use landfall_model::LatLng;
pub use placed::PlacedPin;

use crate::site::MapKind;
use crate::site::page::Page;

/// Places the pin on the guess map of the profile. It is an error if the pin is off by more than `max_error_m` metres.
///
/// # Errors
/// When the map does not match the profile, does not zoom or move, or accepts no pin.
pub async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    match page.profile().map.kind() {
        MapKind::Tiles => raster::place_pin(page, wanted, max_error_m).await,
        MapKind::Canvas(view) => canvas::place_pin(page, view, wanted, max_error_m).await,
    }
}
