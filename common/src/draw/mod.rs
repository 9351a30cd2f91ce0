//! Drawing maps, for reports, exported pages and the terminal: one implementation each of great circles, SVG paths,
//! clipping, Web Mercator and the land layer.

pub mod clip;
pub mod geodesic;
pub mod land;
pub mod mercator;
pub mod svg;

/// A point of a drawing: x to the right and y downwards, in the drawing's units.
pub type Point = (f64, f64);
