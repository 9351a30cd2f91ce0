//! Whether a screenshot shows the finished view, and cropping of black bars.

use image::RgbImage;
use image::imageops::crop_imm;

/// Maximum standard deviation of the brightness, of 255, of a blank image.
const BLANK: f64 = 1.5;
/// Minimum power of the finest detail relative to detail eight times as coarse, below which an image may be an enlarged
/// small one. Of 56 views of 24 recorded rounds 1 lies below it; of the same views enlarged from an eighth of their size, all.
const SOFT: f64 = 0.035;
/// Maximum value of all channels of a pixel that may belong to a black bar.
const BLACK: u8 = 12;
/// Minimum width of a bar as a fraction of the image.
const MIN_BAR_FRACTION: f64 = 0.02;

/// Whether the image is uniform, as a canvas is before it is drawn.
pub(super) fn is_blank(picture: &RgbImage) -> bool {
    let grey = grey(picture);
    let mean = grey.pixels.iter().sum::<f64>() / grey.pixels.len() as f64;
    let variance = grey.pixels.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / grey.pixels.len() as f64;
    variance.sqrt() <= BLANK
}

/// Whether the image lacks fine detail, as a view does that is still loading. Some panoramas are no sharper, so callers
/// should wait only briefly.
pub(super) fn is_soft(picture: &RgbImage) -> bool {
    let (mut grey, mut powers) = (grey(picture), Vec::new());
    for _ in 0..4 {
        if grey.width < 4 || grey.height() < 4 {
            return false;
        }
        let (half, power) = grey.halved();
        powers.push(power);
        grey = half;
    }
    powers[0] < SOFT * powers[3]
}

/// Crops black bars at the edges. An image that is entirely black is not changed.
pub(super) fn without_bars(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let row = |y: u32| (0..width).all(|x| is_black(&picture, x, y));
    let column = |x: u32| (0..height).all(|y| is_black(&picture, x, y));
    let bar = |dark: &dyn Fn(u32) -> bool, side: u32, reversed: bool| {
        let at = |i: u32| if reversed { side - 1 - i } else { i };
        let length = (0..side).take_while(|i| dark(at(*i))).count() as u32;
        if f64::from(length) >= MIN_BAR_FRACTION * f64::from(side) { length } else { 0 }
    };
    let (top, left) = (bar(&row, height, false), bar(&column, width, false));
    if top == height || top + left == 0 && !row(height - 1) && !column(width - 1) {
        return picture;
    }
    let (bottom, right) = (bar(&row, height, true), bar(&column, width, true));
    crop_imm(&picture, left, top, width - left - right, height - top - bottom).to_image()
}

fn is_black(picture: &RgbImage, x: u32, y: u32) -> bool {
    picture.get_pixel(x, y).0.iter().all(|value| *value <= BLACK)
}

/// Brightness values in row-major order.
struct GreyImage {
    width: usize,
    pixels: Vec<f64>,
}

impl GreyImage {
    fn height(&self) -> usize {
        self.pixels.len() / self.width
    }

    /// The image at half the size, by averaging 2 × 2 pixels, and the mean square of the detail that is lost.
    fn halved(&self) -> (Self, f64) {
        let (width, height) = (self.width / 2, self.height() / 2);
        let (mut pixels, mut lost) = (Vec::with_capacity(width * height), 0.0);
        for y in 0..height {
            for x in 0..width {
                let at = 2 * y * self.width + 2 * x;
                let four = [at, at + 1, at + self.width, at + self.width + 1].map(|i| self.pixels[i]);
                let mean = four.iter().sum::<f64>() / 4.0;
                lost += four.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
                pixels.push(mean);
            }
        }
        (Self { width, pixels }, lost / (4 * width * height).max(1) as f64)
    }
}

fn grey(picture: &RgbImage) -> GreyImage {
    let pixels = picture.pixels().map(|pixel| pixel.0.iter().map(|value| f64::from(*value)).sum::<f64>() / 3.0);
    GreyImage { width: picture.width() as usize, pixels: pixels.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use image::imageops::{FilterType, resize};

    fn view() -> RgbImage {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/rounds/brooklyn-elevated-railway/view_000.jpg");
        image::open(file).unwrap().to_rgb8()
    }

    #[test]
    fn detects_blank_images() {
        assert!(is_blank(&RgbImage::from_pixel(64, 48, Rgb([20, 90, 200]))));
        assert!(!is_blank(&view()));
    }

    #[test]
    fn detects_enlarged_images() {
        let view = view();
        let (width, height) = view.dimensions();
        assert!(!is_soft(&view));
        let coarse = resize(&view, width / 8, height / 8, FilterType::Triangle);
        assert!(is_soft(&resize(&coarse, width, height, FilterType::CatmullRom)));
        assert!(!is_soft(&RgbImage::new(3, 3)));
    }

    #[test]
    fn crops_only_bars() {
        let view = view();
        let (width, height) = view.dimensions();
        assert_eq!(without_bars(view.clone()), view);
        let mut boxed = RgbImage::from_pixel(width + 100, height + 60, Rgb([0, 3, 0]));
        image::imageops::replace(&mut boxed, &view, 70, 60);
        assert_eq!(without_bars(boxed), view);
        let night = RgbImage::new(40, 30);
        assert_eq!(without_bars(night.clone()), night);
    }
}
