//! Small copies of pictures, and JPEG encoding.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageResult, RgbImage, imageops};

/// A copy that fits into a box of this width and height in pixels, in the same proportions; never enlarged.
pub fn fit_within(picture: &RgbImage, (max_width, max_height): (u32, u32)) -> RgbImage {
    let (width, height) = (f64::from(picture.width().max(1)), f64::from(picture.height().max(1)));
    let scale = (f64::from(max_width) / width).min(f64::from(max_height) / height).min(1.0);
    let side = |length: f64| ((length * scale).round() as u32).max(1);
    if scale < 1.0 { imageops::thumbnail(picture, side(width), side(height)) } else { picture.clone() }
}

/// The picture as a JPEG file. `quality` is 1 to 100.
///
/// # Errors
/// When a side is 0 or longer than 65,535 pixels.
pub fn to_jpeg(picture: &RgbImage, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_their_proportions_and_are_not_enlarged() {
        let size = |width, height| fit_within(&RgbImage::new(width, height), (288, 144)).dimensions();
        assert_eq!(
            [size(600, 400), size(4000, 100), size(10, 10), size(1, 9000)],
            [(216, 144), (288, 7), (10, 10), (1, 144)]
        );
    }
}
