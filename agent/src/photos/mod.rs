//! Finding and locating photos, testing claims about them, writing predictions into EXIF data, and an HTML page with a
//! map of all predictions.

pub(crate) mod archive;
pub(crate) mod candidates;
pub(crate) mod capture_time;
pub(crate) mod exif;
pub(crate) mod explain;
pub(crate) mod gallery;
pub(crate) mod geotag;
pub(crate) mod hints;
pub(crate) mod inputs;
pub(crate) mod locate;
mod map_section;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod regions;
pub(crate) mod sidecar;
pub(crate) mod verify;
