//! Placing the pin: from a place to a click on the guess map, and back from the pin to the place.

mod canvas;
pub mod land;
mod observe;
mod placed;
pub mod projection;
mod raster;
pub mod tiles;
pub mod view;
mod wheel;

use anyhow::Result;
use landfall_model::LatLng;
pub use placed::PlacedPin;

use crate::site::MapKind;
use crate::site::page::Page;

/// Puts the pin on a place, by whatever kind of map the profile says there is. A pin that stays more than `max_error_m`
/// metres off is an error.
///
/// # Errors
/// When the map is not as the profile says, does not zoom or move, or takes no pin.
pub async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    match page.profile.map.kind() {
        MapKind::Tiles => raster::place_pin(page, wanted, max_error_m).await,
        MapKind::Canvas(view) => canvas::place_pin(page, view, wanted, max_error_m).await,
    }
}
