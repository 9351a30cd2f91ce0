//! The pictures that an encoder is fine-tuned on: decoded once into a cache, then cut, scaled and varied anew for every
//! batch.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::write_atomic;
use landfall_model::preprocess::{self, Crop, Preprocess, Resize, Square};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::images::Images;

/// Side in pixels of the cached pictures: a detail of half of it is still as large as what the network trains on.
const SIDE: u32 = 320;
/// Bytes of a cached picture.
const BYTES: usize = (SIDE * SIDE * 3) as usize;

/// How pictures are varied.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Augmentation {
    /// The smallest square that is cut, as a share of the side of the square that the encoder would see.
    pub(super) scale: f64,
    /// Brightness, contrast and saturation are multiplied by up to so much more or less than 1.
    pub(super) colour: f32,
    /// Share of the pictures that go through a JPEG encoder.
    pub(super) jpeg: f64,
    /// Lowest and highest quality of that.
    pub(super) quality: [u8; 2],
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { scale: 1.0, colour: 0.0, jpeg: 0.0, quality: [40, 90] }
    }
}

/// Central squares of pictures, 320 pixels a side, in one file: decoding them takes as long as training on them.
pub(super) struct Cache {
    file: PathBuf,
}

impl Cache {
    /// The cache in `dir` of these `pictures` of `images`; it is made, or made anew where it is of other pictures.
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
        // The list comes last: without it the cache is made again.
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
        let mut out = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        let style = ProgressStyle::with_template("decoding: {wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?;
        let progress = ProgressBar::new(pictures.len() as u64).with_style(style);
        // Read in the order in which they lie, written each to its place in the list.
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

    /// Reads pictures by their places in the list.
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
    /// The cached picture at place `i` of the list.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub(super) fn read(&mut self, i: usize) -> Result<RgbImage> {
        let mut pixels = vec![0; BYTES];
        self.file.seek(SeekFrom::Start((i * BYTES) as u64))?;
        self.file.read_exact(&mut pixels).context("the cache of pictures is cut off; remove it and run again")?;
        RgbImage::from_raw(SIDE, SIDE, pixels).context("a picture has three bytes a pixel")
    }
}

/// A square of a picture at the size that `preprocess` names, varied by what `seed` draws.
///
/// # Errors
/// When JPEG cannot be written or read.
pub(super) fn augmented_view(
    picture: &RgbImage,
    square: Square,
    preprocess: &Preprocess,
    augment: &Augmentation,
    seed: u64,
) -> Result<RgbImage> {
    let mut random = StdRng::seed_from_u64(seed);
    let side = square.side * (augment.scale + (1.0 - augment.scale) * random.random::<f64>());
    // From an edge of the square to where the smaller one begins, and from there to a share of the room it has.
    let mut place = |x: f64| {
        let begin = x * (1.0 - square.side) + random.random::<f64>() * (square.side - side);
        if side < 1.0 { (begin / (1.0 - side)).clamp(0.0, 1.0) } else { 0.5 }
    };
    let smaller = Square { side, x: place(square.x), y: place(square.y) };
    let mut view = preprocess.resize(picture, smaller);
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
    RgbImage::from_raw(size, size, view).context("a picture has three bytes a pixel")
}

/// Brightness, contrast around the mean grey, and saturation.
fn adjust_colours(pixels: &mut [u8], brightness: f32, contrast: f32, saturation: f32) {
    let grey = |rgb: &[u8]| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let mean = pixels.chunks_exact(3).map(grey).sum::<f32>() / (pixels.len() / 3) as f32;
    for rgb in pixels.chunks_exact_mut(3) {
        let grey = grey(rgb);
        for x in rgb {
            let saturated = grey + (f32::from(*x) - grey) * saturation;
            // A cast to u8 stops at 0 and 255.
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

    /// Red grows to the right, green downwards.
    fn slope() -> RgbImage {
        RgbImage::from_fn(200, 200, |x, y| image::Rgb([x as u8, y as u8, 90]))
    }

    #[test]
    fn augmented_views_stay_inside_their_square_and_repeat() {
        let augment = Augmentation { scale: 0.5, ..Augmentation::default() };
        let square = Square { side: 0.6, x: 1.0, y: 0.25 };
        let views: Vec<RgbImage> =
            (0..40).map(|seed| augmented_view(&slope(), square, &preprocess(24), &augment, seed).unwrap()).collect();
        let of = |pick: fn(&image::Rgb<u8>) -> u8| {
            views.iter().flat_map(move |view| view.pixels().map(pick).collect::<Vec<_>>())
        };
        // The square reaches from 80 to 200 across and from 20 to 140 down.
        assert!(of(|p| p.0[0]).all(|x| (79..=200).contains(&x)) && of(|p| p.0[1]).all(|y| (19..=141).contains(&y)));
        assert!(of(|p| p.0[0]).any(|x| x < 90) && of(|p| p.0[0]).any(|x| x > 190));
        assert_ne!(views[0], views[1]);
        assert_eq!(views[0], augmented_view(&slope(), square, &preprocess(24), &augment, 0).unwrap());
    }

    #[test]
    fn without_augmentation_a_view_is_what_the_encoder_sees() {
        for square in [Square::CENTRAL, Square { side: 0.55, x: 0.0, y: 0.5 }] {
            let view = augmented_view(&slope(), square, &preprocess(32), &Augmentation::default(), 5).unwrap();
            assert_eq!(view.into_raw(), preprocess(32).resize(&slope(), square));
        }
    }

    #[test]
    fn colour_and_jpeg_augmentation_change_pixels_slightly() {
        let augment = Augmentation { colour: 0.2, jpeg: 1.0, ..Augmentation::default() };
        let plain = preprocess(64).resize(&slope(), Square::CENTRAL);
        let view = augmented_view(&slope(), Square::CENTRAL, &preprocess(64), &augment, 1).unwrap().into_raw();
        let apart = plain.iter().zip(&view).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / plain.len() as f64;
        assert!(apart > 1.0 && apart < 60.0, "{apart}");
    }

    #[test]
    fn the_cache_is_written_once_per_set_of_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, images) = (dir.path().join("cache"), dir.path());
        for name in ["a.png", "b.png"] {
            slope().save(images.join(name)).unwrap();
        }
        let pictures = [Path::new("a.png"), Path::new("b.png")];
        let open = |pictures: &[&Path]| Cache::open(&cache, &Images::open(images).unwrap(), pictures);
        open(&pictures).unwrap();
        // Another picture under an old name is not seen: the cache is the first time's.
        std::fs::remove_file(images.join("b.png")).unwrap();
        let second = open(&pictures).unwrap().reader().unwrap().read(1).unwrap();
        assert_eq!(second.into_raw(), preprocess(SIDE).resize(&slope(), Square::CENTRAL));
        assert!(open(&pictures[..1]).unwrap().reader().unwrap().read(1).is_err());
        let missing = open(&pictures).err().unwrap().to_string();
        assert!(missing.contains("b.png"), "{missing}");
    }
}
