//! Pictures for fine-tuning: decoded once into a cache, then cropped, scaled and augmented for every batch.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::{open_append, write_atomic};
use landfall_model::preprocess::{self, Crop, Preprocess, Resize, Square};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::images::Images;

/// Side in pixels of the cached pictures: large enough that a square of half that side has the training resolution.
const SIDE: u32 = 320;
/// Size in bytes of a cached picture.
const BYTES: usize = (SIDE * SIDE * 3) as usize;

/// Data augmentation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Augmentation {
    /// Minimum side of a random crop, as a share of the side of the square.
    pub(super) scale: f64,
    /// Brightness, contrast and saturation are each multiplied by a factor from 1 - colour to 1 + colour.
    pub(super) colour: f32,
    /// Share of the pictures with JPEG compression.
    pub(super) jpeg: f64,
    /// Minimum and maximum JPEG quality.
    pub(super) quality: [u8; 2],
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { scale: 1.0, colour: 0.0, jpeg: 0.0, quality: [40, 90] }
    }
}

/// Central squares of pictures, with a side of 320 pixels, in one file. Without it, decoding would take as long as
/// training.
pub(super) struct Cache {
    file: PathBuf,
}

impl Cache {
    /// Opens the cache in `dir`, and writes it if it is missing or is for other pictures.
    ///
    /// # Errors
    /// When a picture cannot be read (the message names it), or the cache cannot be written.
    pub(super) fn open(dir: &Path, images: &Images, pictures: &[&Path]) -> Result<Self> {
        let (names, file) = (dir.join("files.txt"), dir.join("pictures.rgb"));
        let listed: String =
            pictures.iter().map(|picture| format!("{}\n", images.dir().join(picture).display())).collect();
        if fs::read_to_string(&names).is_ok_and(|found| found == listed)
            && fs::metadata(&file).is_ok_and(|found| found.len() == (pictures.len() * BYTES) as u64)
        {
            return Ok(Self { file });
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // The list is written last, so that an incomplete cache has none and is written again.
        if names.exists() {
            fs::remove_file(&names).with_context(|| format!("cannot remove {}", names.display()))?;
        }
        let preprocess = Preprocess {
            size: SIDE,
            resize: Resize::Bicubic,
            crop: Crop::Center,
            details: Vec::new(),
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let decode =
            |picture: &Path| -> Result<Vec<u8>> { Ok(preprocess.resize(&images.picture(picture)?, Square::CENTRAL)) };
        // Random access, so not atomic: the list of names, written last, says that the cache is complete.
        let create = || open_append(&file).and_then(|_| File::create(&file)); // refuses links and pipes
        let mut out = create().with_context(|| format!("cannot write {}", file.display()))?;
        let style = ProgressStyle::with_template("decoding: {wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?;
        let progress = ProgressBar::new(pictures.len() as u64).with_style(style);
        // Pictures are read in storage order, and written at their positions in the list.
        let mut order: Vec<(usize, &Path)> = pictures.iter().copied().enumerate().collect();
        images.sort(&mut order, |(_, picture)| picture);
        for block in order.chunks(64) {
            let decoded: Vec<_> = block.par_iter().map(|(_, picture)| decode(picture)).collect();
            for ((i, _), picture) in block.iter().zip(decoded) {
                let picture = picture?;
                out.seek(SeekFrom::Start((i * BYTES) as u64))?;
                out.write_all(&picture)?;
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        write_atomic(&names, listed.as_bytes())?;
        Ok(Self { file })
    }

    /// A reader of the cached pictures.
    pub(super) fn reader(&self) -> Result<Reader> {
        let file = File::open(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        Ok(Reader { file })
    }
}

/// An open cache.
pub(super) struct Reader {
    file: File,
}

impl Reader {
    /// The cached picture at index `i`.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub(super) fn read(&mut self, i: usize) -> Result<RgbImage> {
        let mut pixels = vec![0; BYTES];
        self.file.seek(SeekFrom::Start((i * BYTES) as u64))?;
        self.file.read_exact(&mut pixels).context("the picture cache is truncated; delete it and run again")?;
        RgbImage::from_raw(SIDE, SIDE, pixels).context("a picture has three bytes per pixel")
    }
}

/// A randomly augmented view of a square, at the size of `preprocess`.
///
/// # Errors
/// When JPEG compression fails.
pub(super) fn augmented_view(
    picture: &RgbImage,
    square: Square,
    preprocess: &Preprocess,
    augment: &Augmentation,
    seed: u64,
) -> Result<RgbImage> {
    let mut random = StdRng::seed_from_u64(seed);
    let side = square.side * (augment.scale + (1.0 - augment.scale) * random.random::<f64>());
    // Start of the crop within the square, converted to a share of the free space, as `Square` expects.
    let mut position = |x: f64| {
        let start = x * (1.0 - square.side) + random.random::<f64>() * (square.side - side);
        if side < 1.0 { (start / (1.0 - side)).clamp(0.0, 1.0) } else { 0.5 }
    };
    let crop = Square { side, x: position(square.x), y: position(square.y) };
    let mut view = preprocess.resize(picture, crop);
    if augment.colour > 0.0 {
        let mut factor = || 1.0 + augment.colour * (2.0 * random.random::<f32>() - 1.0);
        adjust_colours(&mut view, factor(), factor(), factor());
    }
    let size = preprocess.size;
    if random.random::<f64>() < augment.jpeg {
        let (mut bytes, quality) = (Vec::new(), random.random_range(augment.quality[0]..=augment.quality[1]));
        JpegEncoder::new_with_quality(&mut bytes, quality).encode(&view, size, size, ExtendedColorType::Rgb8)?;
        return Ok(preprocess::from_bytes(&bytes)?);
    }
    RgbImage::from_raw(size, size, view).context("a picture has three bytes per pixel")
}

/// Changes brightness, contrast around the mean grey, and saturation.
fn adjust_colours(pixels: &mut [u8], brightness: f32, contrast: f32, saturation: f32) {
    let grey = |rgb: &[u8]| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let mean = pixels.chunks_exact(3).map(grey).sum::<f32>() / (pixels.len() / 3) as f32;
    for rgb in pixels.chunks_exact_mut(3) {
        let grey = grey(rgb);
        for x in rgb {
            let saturated = grey + (f32::from(*x) - grey) * saturation;
            // The cast to u8 saturates at 0 and 255.
            *x = ((mean + (saturated - mean) * contrast) * brightness) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(size: u32) -> Preprocess {
        Preprocess { size, resize: Resize::Bicubic, crop: Crop::Center, details: vec![], mean: [0.0; 3], std: [1.0; 3] }
    }

    /// Red increases to the right, green downwards.
    fn gradient() -> RgbImage {
        RgbImage::from_fn(200, 200, |x, y| image::Rgb([x as u8, y as u8, 90]))
    }

    #[test]
    fn augmented_views_stay_inside_their_square_and_are_reproducible() {
        let augment = Augmentation { scale: 0.5, ..Augmentation::default() };
        let square = Square { side: 0.6, x: 1.0, y: 0.25 };
        let views: Vec<RgbImage> =
            (0..40).map(|seed| augmented_view(&gradient(), square, &preprocess(24), &augment, seed).unwrap()).collect();
        let values = |pick: fn(&image::Rgb<u8>) -> u8| {
            views.iter().flat_map(move |view| view.pixels().map(pick).collect::<Vec<_>>())
        };
        // The square spans 80 to 200 horizontally and 20 to 140 vertically.
        assert!(values(|p| p.0[0]).all(|x| (79..=200).contains(&x)));
        assert!(values(|p| p.0[1]).all(|y| (19..=141).contains(&y)));
        assert!(values(|p| p.0[0]).any(|x| x < 90) && values(|p| p.0[0]).any(|x| x > 190));
        assert_ne!(views[0], views[1]);
        assert_eq!(views[0], augmented_view(&gradient(), square, &preprocess(24), &augment, 0).unwrap());
    }

    #[test]
    fn without_augmentation_a_view_is_the_preprocessed_square() {
        for square in [Square::CENTRAL, Square { side: 0.55, x: 0.0, y: 0.5 }] {
            let view = augmented_view(&gradient(), square, &preprocess(32), &Augmentation::default(), 5).unwrap();
            assert_eq!(view.into_raw(), preprocess(32).resize(&gradient(), square));
        }
    }

    #[test]
    fn colour_and_jpeg_augmentation_change_pixels_slightly() {
        let augment = Augmentation { colour: 0.2, jpeg: 1.0, ..Augmentation::default() };
        let plain = preprocess(64).resize(&gradient(), Square::CENTRAL);
        let view = augmented_view(&gradient(), Square::CENTRAL, &preprocess(64), &augment, 1).unwrap().into_raw();
        let difference =
            plain.iter().zip(&view).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / plain.len() as f64;
        assert!(difference > 1.0 && difference < 60.0, "{difference}");
    }

    #[test]
    fn the_cache_is_written_once_per_set_of_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, images) = (dir.path().join("cache"), dir.path());
        for name in ["a.png", "b.png"] {
            gradient().save(images.join(name)).unwrap();
        }
        let pictures = [Path::new("a.png"), Path::new("b.png")];
        let open = |pictures: &[&Path]| Cache::open(&cache, &Images::open(images).unwrap(), pictures);
        open(&pictures).unwrap();
        // A changed picture with the same name is not noticed: the cache is not rewritten.
        std::fs::remove_file(images.join("b.png")).unwrap();
        let second = open(&pictures).unwrap().reader().unwrap().read(1).unwrap();
        assert_eq!(second.into_raw(), preprocess(SIDE).resize(&gradient(), Square::CENTRAL));
        assert!(open(&pictures[..1]).unwrap().reader().unwrap().read(1).is_err());
        let missing = open(&pictures).err().unwrap().to_string();
        assert!(missing.contains("b.png"), "{missing}");
    }
}
