//! Arithmetic on decoded pixels.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, RgbaImage};

/// Blends a pixel with white.
pub(super) fn over_white([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    if alpha == 255 {
        return [red, green, blue]; // nearly always
    }
    let alpha = u16::from(alpha);
    [red, green, blue].map(|value| {
        let sum = u16::from(value) * alpha + 255 * (255 - alpha);
        u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
    })
}

/// Blends with white and removes fully transparent margins. Converts to three bytes per pixel in place.
pub(super) fn opaque(picture: RgbaImage) -> Option<RgbImage> {
    let picture = without_transparent_margins(picture);
    let (width, height) = picture.dimensions();
    let mut bytes = picture.into_raw();
    for i in 0..bytes.len() / 4 {
        let rgb = over_white([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
        bytes[3 * i..3 * i + 3].copy_from_slice(&rgb);
    }
    bytes.truncate(bytes.len() / 4 * 3);
    bytes.shrink_to_fit();
    RgbImage::from_raw(width, height, bytes)
}

/// The smallest rectangle with all pixels that are not fully transparent; the whole image if there are none.
fn without_transparent_margins(picture: RgbaImage) -> RgbaImage {
    let is_visible = |x: u32, y: u32| picture.get_pixel(x, y).0[3] > 0;
    let (width, height) = picture.dimensions();
    let row_is_visible = |y: &u32| (0..width).any(|x| is_visible(x, *y));
    let (Some(top), Some(bottom)) = ((0..height).find(row_is_visible), (0..height).rev().find(row_is_visible)) else {
        return picture;
    };
    let column_is_visible = |x: &u32| (top..=bottom).any(|y| is_visible(*x, y));
    let left = (0..width).find(column_is_visible).unwrap_or(0);
    let right = (0..width).rev().find(column_is_visible).unwrap_or(width - 1);
    if (left, top, right, bottom) == (0, 0, width - 1, height - 1) {
        return picture;
    }
    image::imageops::crop_imm(&picture, left, top, right - left + 1, bottom - top + 1).to_image()
}

/// The upper rows of an image.
pub(super) fn upper(picture: &RgbImage, rows: u32) -> RgbImage {
    image::imageops::crop_imm(picture, 0, 0, picture.width(), rows).to_image()
}

/// Converts a CMYK pixel (255 for full ink) without a profile.
pub(super) fn of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = |ink: u8| u16::from(255 - ink) * u16::from(255 - black);
    [cyan, magenta, yellow].map(|ink| u8::try_from(light(ink) / 255).unwrap_or(u8::MAX))
}

/// Half the width and height, averaging squares of four pixels.
pub(super) fn halve(picture: &RgbImage) -> RgbImage {
    let (right, bottom) = (picture.width() - 1, picture.height() - 1);
    RgbImage::from_fn(picture.width().div_ceil(2), picture.height().div_ceil(2), |x, y| {
        let corners = [(0, 0), (1, 0), (0, 1), (1, 1)];
        let four = corners.map(|(i, j)| picture.get_pixel((2 * x + i).min(right), (2 * y + j).min(bottom)).0);
        image::Rgb([0, 1, 2].map(|channel| {
            let sum: u16 = four.iter().map(|pixel| u16::from(pixel[channel])).sum();
            u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX)
        }))
    })
}

/// Applies the EXIF orientation.
pub(super) fn upright(picture: RgbImage, orientation: u8) -> RgbImage {
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms));
    picture.into_rgb8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_pixels_do_not_change_and_transparent_ones_are_white() {
        for value in 0..=255 {
            assert_eq!(over_white([value, 255 - value, 7, 255]), [value, 255 - value, 7]);
            assert_eq!(over_white([value, 0, 0, 0]), [255; 3]);
        }
        assert_eq!(over_white([0, 100, 255, 128]), [127, 177, 255]);
        let picture = RgbaImage::from_fn(3, 2, |x, y| image::Rgba([x as u8, y as u8, 9, 255 * (1 - x as u8 % 2)]));
        let flat = opaque(picture).unwrap();
        assert_eq!((flat.dimensions(), flat.get_pixel(2, 1).0, flat.get_pixel(1, 1).0), ((3, 2), [2, 1, 9], [255; 3]));
    }

    #[test]
    fn halves_are_averages() {
        let picture = RgbImage::from_fn(3, 3, |x, y| image::Rgb([10 * (x + y) as u8; 3]));
        let half = halve(&picture);
        assert_eq!((half.dimensions(), half.get_pixel(0, 0)[0], half.get_pixel(1, 1)[0]), ((2, 2), 10, 40));
    }
}
