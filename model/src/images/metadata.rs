//! The metadata of an image that decoding needs, for all formats.

use std::io::Cursor;

use super::exif::Tiff;
use crate::metadata;

/// Size, orientation and colour profile of an image, read without decoding it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Width in pixels, as stored: before the orientation is applied.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    /// The EXIF orientation, 1 to 8; 0 if none was found.
    pub(super) orientation: u8,
    /// The ICC profile.
    pub(super) icc: Option<Vec<u8>>,
}

impl Metadata {
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Takes the orientation from the first EXIF block of a JPEG, PNG or WebP file that has one.
    pub(super) fn read_orientation(&mut self, bytes: &[u8]) {
        // Reading from memory does not fail, and a truncated file has the blocks before the cut.
        let blocks = metadata::Metadata::read(&mut Cursor::new(bytes)).unwrap_or_default();
        self.orientation = blocks.exif.iter().find_map(|exif| Tiff::new(exif)?.orientation()).unwrap_or(0);
    }

    /// The EXIF orientation, 1 to 8.
    pub(super) fn orientation(&self) -> u8 {
        self.orientation.max(1)
    }

    /// Whether the orientation swaps width and height, for which a copy is needed.
    pub(super) fn is_transposed(&self) -> bool {
        self.orientation() >= 5
    }
}
