//! Finding and locating photos, writing predictions into EXIF data, and an HTML page with a map of all predictions.

pub(crate) mod exif;
pub(crate) mod inputs;
pub(crate) mod locate;
mod map_section;
pub(crate) mod names;
pub(crate) mod page;
