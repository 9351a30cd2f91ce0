//! Placing the pin: converts a place to a click on the guess map, and the resulting pin back to a place.

mod anchor;
mod canvas;
mod compare;
pub(crate) mod land;
mod observe;
mod placed;
pub(crate) mod projection;
mod registration;
mod relocate;
pub(crate) mod tile_projection;
mod tiles;
pub(crate) mod view;
mod wheel;
mod zoom;

pub(crate) use anchor::check_view;
use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_model::LatLng;
pub use placed::PlacedPin;
use placed::TooCoarse;

use crate::site::MapKind;
use crate::site::page::Page;

/// Places the pin on the guess map of the profile. It is an error if the pin is off by more than `max_error_m` metres.
///
/// # Errors
/// When the map does not match the profile, does not zoom or move, or accepts no pin.
pub async fn place_pin(page: &Page, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    match page.profile().map.kind() {
        MapKind::Tiles => tiles::place_pin(page, wanted, max_error_m).await,
        MapKind::Canvas(view) => canvas::place_pin(page, view, wanted, max_error_m).await,
    }
}

/// The error of the pin in kilometres that has to be allowed, if a pin was not placed because the map is too coarse.
pub(crate) fn needed_error_km(error: &anyhow::Error) -> Option<u32> {
    error.chain().find_map(|cause| cause.downcast_ref::<TooCoarse>()).map(TooCoarse::needed_km)
}

/// Reads the pin back from the page right before the guess is sent: maps move, and pages replace pins.
///
/// # Errors
/// When the pin is gone, or on a map of tiles when it is off by more than `max_error_m` metres.
pub(crate) async fn confirm(page: &Page, placed: PlacedPin, wanted: LatLng, max_error_m: f64) -> Result<PlacedPin> {
    match page.profile().map.kind() {
        MapKind::Tiles => {
            let (at, metres_per_pixel) = tiles::read_back(page).await?;
            let error_m = at.distance_m(wanted);
            if error_m > max_error_m {
                return Err(environment_error(format!(
                    "the pin has moved since it was placed and is now {:.0} km off; the guess was not sent",
                    error_m / 1000.0
                )));
            }
            Ok(PlacedPin { at, metres_per_pixel, ..placed })
        }
        // Its place follows from the click, whatever the map has done since.
        MapKind::Canvas(_) => match observe::wait_until_still(page).await?.pin {
            Some(_) => Ok(placed),
            None => Err(environment_error("the pin disappeared from the guess map before the guess was sent")),
        },
    }
}
