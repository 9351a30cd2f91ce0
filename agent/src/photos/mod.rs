//! Photographs: locating them, writing the answer into EXIF, and a page with a map of all answers.

pub mod exif;
pub mod locate;
mod map_section;
pub mod page;
