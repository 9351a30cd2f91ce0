//! A pin on the page's map, and how fine the map must be for it.

use landfall_model::LatLng;
use serde::Serialize;

use crate::geometry::Pixel;

/// A pin on the page's map.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlacedPin {
    /// Where the pin is, read back from the page.
    pub at: LatLng,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres that a pixel spans there.
    pub metres_per_pixel: f64,
}

/// A pixel may span this many metres when the pin is set: well under what a classifier of a thousand cells errs by.
pub(super) const FINE_M: f64 = 6_000.0;
/// A map that zooms no closer is used as it is while a pixel spans no more than this many metres.
pub(super) const COARSE_M: f64 = 25_000.0;
/// The target is brought this far inside the map's box (a fraction of its side) before it is clicked, clear of
/// buttons at the edges.
pub(super) const MARGIN: f64 = 0.22;
pub(super) const WHEEL_IN: i32 = -120;
