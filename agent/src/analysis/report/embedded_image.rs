//! Shrinks images for embedding.

use std::io::Cursor;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage, RgbaImage};
use landfall_common::picture::{fit_within, to_jpeg};

/// Maximum size in bytes of all images of a report, before base64 encoding (four characters for three bytes): a report
/// of a hundred rounds is then smaller than 40 MB.
const TOTAL_BYTES: usize = 26_000_000;
/// Maximum size in bytes of one image.
const MAX_BYTES: usize = 150_000;
/// Maximum number of images in a report. The smallest copies take some ten kilobytes each.
pub(super) const MAX_IMAGES: usize = 10_000;
/// Longer side in pixels and JPEG quality, tried in order until an image is small enough.
const SIZES: [(u32, u8); 6] = [(960, 80), (800, 78), (640, 75), (480, 72), (360, 70), (240, 65)];

/// An embedded image.
pub(crate) struct EmbeddedImage {
    /// Data URL.
    pub(crate) uri: String,
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
}

/// Maximum size in bytes per image, given their number.
pub(crate) fn byte_allowance(pictures: usize) -> usize {
    (TOTAL_BYTES / pictures.max(1)).min(MAX_BYTES)
}

/// The largest copy of an image within a size in bytes.
///
/// # Errors
/// When it cannot be encoded, for example because it is empty.
pub(crate) fn embed(picture: &RgbImage, max_bytes: usize) -> Result<EmbeddedImage> {
    let mut last = None;
    for (side, quality) in SIZES {
        let small = fit_within(picture, (side, side));
        let jpeg = to_jpeg(&small, quality)?;
        let fits = jpeg.len() <= max_bytes;
        last = Some((jpeg, small.dimensions()));
        if fits {
            break;
        }
    }
    let (jpeg, (width, height)) = last.unwrap_or_default();
    Ok(EmbeddedImage { uri: format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)), width, height })
}

/// A small image with transparency, as PNG.
///
/// # Errors
/// When it cannot be encoded.
pub(super) fn embed_png(picture: &RgbaImage) -> Result<String> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An incompressible image.
    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 1u32;
        RgbImage::from_fn(width, height, |_, _| {
            image::Rgb(std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    }

    fn bytes(embedded: &EmbeddedImage) -> Vec<u8> {
        STANDARD.decode(embedded.uri.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap()
    }

    #[test]
    fn a_hundred_rounds_with_eight_views_fit() {
        assert!(byte_allowance(800) * 800 * 4 / 3 < 36_000_000 && byte_allowance(1) == MAX_BYTES);
        let max_bytes = byte_allowance(800);
        let embedded = embed(&noise(800, 800), max_bytes).unwrap();
        let jpeg = bytes(&embedded);
        assert!(jpeg.len() <= max_bytes, "{}", jpeg.len());
        let shown = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((shown.width(), shown.height()), (embedded.width, embedded.height));
        // Compressible images keep their size; none is enlarged.
        let plain = embed(&RgbImage::new(1600, 400), max_bytes).unwrap();
        assert_eq!((plain.width, plain.height), (960, 240));
        assert_eq!(embed(&RgbImage::new(30, 20), max_bytes).unwrap().width, 30);
        assert!(embed(&RgbImage::new(0, 0), max_bytes).is_err());
    }

    #[test]
    fn overlays_keep_their_transparency() {
        let uri = embed_png(&RgbaImage::from_pixel(7, 7, image::Rgba([1, 2, 3, 4]))).unwrap();
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgba8().get_pixel(3, 3).0, [1, 2, 3, 4]);
    }
}
