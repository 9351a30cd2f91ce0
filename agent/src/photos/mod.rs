//! Locating photos, writing predictions into EXIF data, and an HTML page with a map of all predictions.

pub mod exif;
pub mod locate;
mod map_section;
pub mod page;
