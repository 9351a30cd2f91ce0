//! What a picture's file says about it, whatever its format.

use super::exif::Tiff;

/// Size, orientation and colours of a picture, read from its file without decoding it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Width in pixels, as stored: before it is turned upright.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    /// The XMP packet.
    pub xmp: Option<Vec<u8>>,
    /// The EXIF orientation, 1 to 8; 0 as long as none was found.
    pub(super) orientation: u8,
    /// The ICC profile.
    pub(super) icc: Option<Vec<u8>>,
}

impl Metadata {
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Takes the orientation from EXIF data, unless an earlier part of the file had one.
    pub(super) fn add_exif(&mut self, exif: &[u8]) {
        if self.orientation == 0 {
            self.orientation = Tiff::new(exif).and_then(|tiff| tiff.orientation()).unwrap_or(0);
        }
    }

    /// The EXIF orientation, 1 to 8.
    pub(super) fn orientation(&self) -> u8 {
        self.orientation.max(1)
    }

    /// Whether turning it upright swaps width and height, for which a copy is needed.
    pub(super) fn is_transposed(&self) -> bool {
        self.orientation() >= 5
    }
}
