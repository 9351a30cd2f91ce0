//! The placed pin, and the map resolution required to place it.

use landfall_model::LatLng;
use serde::Serialize;

use crate::geometry::Pixel;

/// A pin on the page's map.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlacedPin {
    /// Where the pin is: as the page shows it on a tile map, as computed from the click on a drawn map.
    pub at: LatLng,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres per pixel at the pin.
    pub metres_per_pixel: f64,
}

/// Target resolution in metres per pixel: well below the errors of predictions.
pub(super) const TARGET_M_PER_PX: f64 = 6_000.0;
/// Length of the equator in Web Mercator.
const EQUATOR_M: f64 = 2.0 * std::f64::consts::PI * 6_378_137.0;
/// Maximum metres per pixel accepted on a map that cannot be zoomed in further, unless a larger error is allowed.
const MAX_M_PER_PX: f64 = 25_000.0;

/// Maximum metres per pixel accepted on a map that cannot be zoomed in further.
pub(super) fn max_m_per_px(max_error_m: f64) -> f64 {
    MAX_M_PER_PX.max(max_error_m / 2.0)
}

/// The map zooms in, but not as close as the pin needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the guess map zooms in no closer than {:.0} km per pixel; to play on it as it is, pass --max-pin-error {}",
    .metres_per_pixel / 1000.0,
    self.needed_km()
)]
pub(super) struct TooCoarse {
    metres_per_pixel: f64,
}

impl TooCoarse {
    /// For a map that shows the world this many pixels wide.
    pub(super) fn new(world: f64) -> Self {
        Self { metres_per_pixel: EQUATOR_M / world }
    }

    /// The error of the pin, in whole kilometres, that has to be allowed on this map.
    pub(super) fn needed_km(&self) -> u32 {
        (2.0 * self.metres_per_pixel / 1000.0).ceil() as u32
    }
}

/// Minimum distance of a clicked target from the edge of the map, as a fraction of its side: controls are at the edges.
pub(super) const MARGIN: f64 = 0.22;
pub(super) const WHEEL_IN: i32 = -120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_a_coarse_map_needs_is_enough() {
        let coarse = TooCoarse::new(1024.0);
        assert!(max_m_per_px(f64::from(coarse.needed_km()) * 1000.0) >= coarse.metres_per_pixel);
        let message = coarse.to_string();
        assert!(message.contains("39 km per pixel") && message.ends_with("--max-pin-error 79"), "{message}");
    }
}
