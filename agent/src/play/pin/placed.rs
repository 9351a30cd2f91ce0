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
/// Maximum metres per pixel accepted on a map that cannot be zoomed in further, unless a larger error is allowed.
const MAX_M_PER_PX: f64 = 25_000.0;

/// Maximum metres per pixel accepted on a map that cannot be zoomed in further.
pub(super) fn max_m_per_px(max_error_m: f64) -> f64 {
    MAX_M_PER_PX.max(max_error_m / 2.0)
}

/// Minimum distance of a clicked target from the edge of the map, as a fraction of its side: controls are at the edges.
pub(super) const MARGIN: f64 = 0.22;
pub(super) const WHEEL_IN: i32 = -120;
