//! HEIC files, as iPhones write them.

use super::error::Unreadable;
use super::metadata::Metadata;

const NAME: &str = "HEIC";

#[cfg(feature = "heic")]
pub(super) use decoder::{decode, read};

/// Reads the size; without the decoder, no file can be read.
#[cfg(not(feature = "heic"))]
pub(super) fn read(_bytes: &[u8]) -> Result<Metadata, Unreadable> {
    Err(Unreadable::Unsupported(NAME))
}

#[cfg(not(feature = "heic"))]
pub(super) fn decode(_bytes: &[u8]) -> Result<image::RgbImage, Unreadable> {
    Err(Unreadable::Unsupported(NAME))
}

#[cfg(feature = "heic")]
mod decoder {
    use heifer::heifer_isobmff::boxes::Property;
    use heifer::heifer_isobmff::{Error as ContainerError, HeifFile};
    use heifer::{Error, Options};
    use image::{RgbImage, RgbaImage};

    use super::{Metadata, NAME, Unreadable};
    use crate::images::error::MAX_PIXELS;
    use crate::images::pixels;

    /// Reads size and colour profile. The size is that of the upright picture: the container states how to turn it, and the
    /// orientation in EXIF is not applied once more.
    pub(in crate::images) fn read(bytes: &[u8]) -> Result<Metadata, Unreadable> {
        let file = HeifFile::parse(bytes).map_err(|error| unreadable(&error.into()))?;
        let picture = file.primary_id;
        let size = file.image_size(picture).map_err(|error| unreadable(&error.into()))?;
        let (mut width, mut height) = size.ok_or(Unreadable::Damaged(NAME))?;
        for property in file.item_properties(picture).map_err(|error| unreadable(&error.into()))? {
            match property {
                Property::CleanAperture { width: (w, of_w), height: (h, of_h), .. } => {
                    width = w.checked_div(*of_w).unwrap_or(width).min(width);
                    height = h.checked_div(*of_h).unwrap_or(height).min(height);
                }
                Property::Rotation(1 | 3) => (width, height) = (height, width),
                _ => {}
            }
        }
        if width == 0 || height == 0 {
            return Err(Unreadable::Damaged(NAME));
        }
        let icc = file.icc_profile(picture).ok().flatten().map(<[u8]>::to_vec);
        Ok(Metadata { width, height, icc, ..Metadata::default() })
    }

    /// Decodes, upright and blended with white.
    pub(in crate::images) fn decode(bytes: &[u8]) -> Result<RgbImage, Unreadable> {
        let options = Options { max_pixels: MAX_PIXELS, ..Options::default() };
        let decoded = heifer::decode_rgba8(bytes, &options).map_err(|error| unreadable(&error))?;
        let (width, height) = (decoded.width, decoded.height);
        let picture = match decoded.has_alpha {
            true => RgbaImage::from_raw(width, height, decoded.data).and_then(pixels::opaque),
            false => RgbImage::from_raw(width, height, decoded.into_rgb8()),
        };
        picture.filter(|picture| picture.width() > 0 && picture.height() > 0).ok_or(Unreadable::Damaged(NAME))
    }

    fn unreadable(error: &Error) -> Unreadable {
        match error {
            Error::Container(ContainerError::UnexpectedEof) => Unreadable::CutOff(NAME),
            Error::Container(ContainerError::MissingBox(_) | ContainerError::Unimplemented(_))
            | Error::Hevc(heifer::heifer_hevc_dec::Error::Unimplemented(_))
            | Error::Unsupported(_) => Unreadable::Unsupported("this kind of HEIC"),
            _ => Unreadable::Damaged(NAME),
        }
    }
}
