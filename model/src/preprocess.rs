//! Images become the encoder's input here, and only here: for the trainer, the agent and the page.
//!
//! The central square of the image is resized in a single antialiased step and normalised. The resize works in
//! integers (8-bit pixels, fixed-point Catmull-Rom weights, like Pillow's `BICUBIC` except for rounding), so that all
//! processors and WebAssembly give the same bytes; the golden files in `tests/golden` check this.

use fast_image_resize::images::{Image, TypedImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, pixels::U8x3};
use image::RgbImage;
use serde::{Deserialize, Serialize};

pub use crate::images::{from_bytes, open};

/// The preprocessing of a bundle's encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square input in pixels.
    pub size: u32,
    /// The interpolation.
    pub resize: Resize,
    /// The part of the image that is used.
    pub crop: Crop,
    /// Smaller squares that are encoded in addition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Square>,
    /// Subtracted from each channel (red, green, blue; 0 to 1).
    pub mean: [f32; 3],
    /// Each channel is divided by this after the mean is subtracted.
    pub std: [f32; 3],
}

/// The interpolation of the resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Catmull-Rom (a = -0.5), widened when shrinking.
    Bicubic,
    /// Triangle filter, widened when shrinking.
    Bilinear,
}

/// The part of the image that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The largest square around the centre.
    Center,
}

/// A square of an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Square {
    /// Its side as a fraction of the image's shorter side.
    pub side: f64,
    /// Position from the left edge (0) to the right edge (1) of the image.
    pub x: f64,
    /// Position from the upper edge (0) to the lower edge (1) of the image.
    pub y: f64,
}

impl Square {
    /// The largest square around the centre.
    pub const CENTRAL: Self = Self { side: 1.0, x: 0.5, y: 0.5 };

    /// Whether it lies inside every image.
    pub fn is_inside(&self) -> bool {
        self.side > 0.0 && [self.side, self.x, self.y].iter().all(|share| (0.0..=1.0).contains(share))
    }
}

impl Preprocess {
    /// Checks the values.
    ///
    /// # Errors
    /// The reason, when the size or a standard deviation is out of range, or a square lies outside the image.
    pub fn check(&self) -> std::result::Result<(), &'static str> {
        let finite = |numbers: &[f32]| numbers.iter().all(|x| x.is_finite());
        if !(1..=4096).contains(&self.size) || !finite(&self.mean) || !finite(&self.std) || self.std.contains(&0.0) {
            return Err("preprocess: the size must be 1 to 4096, the means finite and the standard deviations not 0");
        }
        if !self.details.iter().all(Square::is_inside) {
            return Err(
                "preprocess: a square lies outside the image; side, x and y must be at most 1 and the side above 0",
            );
        }
        Ok(())
    }

    /// Number of squares per image that are encoded.
    pub fn squares(&self) -> usize {
        1 + self.details.len()
    }

    /// The encoder's inputs for one image, the central square first, then the details: tensors of shape `[3, size, size]`.
    pub fn tensors(&self, picture: &RgbImage) -> impl Iterator<Item = Vec<f32>> {
        (0..self.squares()).map(|index| self.tensor(picture, index))
    }

    /// The element `index` of [`Self::tensors`].
    pub(crate) fn tensor(&self, picture: &RgbImage, index: usize) -> Vec<f32> {
        let Crop::Center = self.crop;
        let square = if index == 0 { Square::CENTRAL } else { self.details[index - 1] };
        let pixels = self.resize(picture, square);
        let area = (self.size * self.size) as usize;
        let mut tensor = vec![0.0; 3 * area];
        for (channel, plane) in tensor.chunks_exact_mut(area).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let normalised: [f32; 256] = std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
            for (out, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
                *out = normalised[usize::from(pixel[channel])];
            }
        }
        tensor
    }

    /// A square of the image resized to `size × size` pixels, as interleaved RGB bytes.
    pub fn resize(&self, picture: &RgbImage, square: Square) -> Vec<u8> {
        let (width, height) = picture.dimensions();
        let side = square.side * f64::from(width.min(height));
        let (left, top) = (square.x * (f64::from(width) - side), square.y * (f64::from(height) - side));
        let filter = match self.resize {
            Resize::Bicubic => FilterType::CatmullRom,
            Resize::Bilinear => FilterType::Bilinear,
        };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(left, top, side, side)
            .use_alpha(false);
        // The untyped `resize` would compile the convolutions of all pixel types.
        let source = TypedImageRef::<U8x3>::from_buffer(width, height, picture);
        let source = source.expect("an RgbImage holds w × h × 3 bytes");
        let mut resized = Image::new(self.size, self.size, PixelType::U8x3);
        let mut target = resized.typed_image_mut::<U8x3>().expect("of the type given above");
        Resizer::new().resize_typed(&source, &mut target, &options).expect("the crop lies inside the picture");
        resized.into_vec()
    }
}

/// Scales an embedding to length 1, which heads expect.
pub fn normalise(embedding: &mut [f32]) {
    let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    embedding.iter_mut().for_each(|x| *x /= length);
}
