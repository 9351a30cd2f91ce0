//! Detection of unusable and duplicate images.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use image::DynamicImage;
use image::imageops::FilterType;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::open_append;
use landfall_model::preprocess;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::row::Row;
use crate::io::paths;

/// Images whose grey values have a lower standard deviation are blank. Street View's "no imagery" placeholder, which
/// has a line of text, is below it.
const MIN_DEVIATION: f64 = 4.0;
/// Number of images after which measurements are flushed to the cache.
const FLUSH_EVERY: usize = 256;

/// Measurements of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageStats {
    /// Shorter side in pixels; 0 if the image cannot be read.
    pub(super) side: u32,
    /// Standard deviation of the grey values.
    pub(super) deviation: f64,
    /// Perceptual hash: for each of 8 x 8 positions, whether the image gets brighter to the right.
    pub(super) hash: u64,
}

#[derive(Serialize, Deserialize)]
struct CachedStats {
    file: String,
    side: u32,
    deviation: f64,
    hash: u64,
}

impl ImageStats {
    /// Why an image is unusable; `None` if it is usable.
    pub(super) fn reason(&self, min_side: u32) -> Option<&'static str> {
        match self {
            Self { side: 0, .. } => Some("no picture"),
            Self { side, .. } if *side < min_side => Some("too small"),
            Self { deviation, .. } if *deviation < MIN_DEVIATION => Some("shows nothing"),
            _ => None,
        }
    }

    /// Measures a file in the folder `images`, whose path has no symbolic links.
    ///
    /// # Errors
    /// If the name or a symbolic link leads out of the folder.
    fn of_file(images: &Path, file: &str) -> Result<Self> {
        match paths::resolve(images, Path::new(file)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(error).with_context(|| images.join(file).display().to_string());
            }
            _ => {}
        }
        let Ok(picture) = preprocess::open(images.join(file)) else { return Ok(Self::default()) };
        let (width, height) = picture.dimensions();
        let grey = DynamicImage::ImageRgb8(picture).grayscale().into_luma8();
        let n = f64::from(width) * f64::from(height);
        let (sum, squares) = grey.iter().map(|x| f64::from(*x)).fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        // Difference hash by N. Krawetz (hackerfactor.com, 2013).
        let small = DynamicImage::ImageLuma8(grey).resize_exact(9, 8, FilterType::Triangle).into_luma8();
        let brighter = small.rows().flat_map(|row| {
            let row: Vec<u8> = row.map(|pixel| pixel.0[0]).collect();
            row.windows(2).map(|pair| u64::from(pair[1] > pair[0])).collect::<Vec<_>>()
        });
        Ok(Self {
            side: width.min(height),
            deviation: (squares / n - (sum / n).powi(2)).max(0.0).sqrt(),
            hash: brighter.fold(0, |hash, bit| hash << 1 | bit),
        })
    }
}

/// Measures the images of all rows. Measurements in the file `cache` are reused, and new ones are added to it.
///
/// # Errors
/// If `cache` cannot be read or written, or an image is a link to a file outside `images`.
pub(super) fn measure_all(images: &Path, rows: &[Row], cache: &Path) -> Result<Vec<ImageStats>> {
    let images = &images.canonicalize().with_context(|| format!("cannot read {}", images.display()))?;
    let mut stats: HashMap<String, ImageStats> = HashMap::new();
    let mut complete_bytes = 0;
    if cache.exists() {
        let bytes = std::fs::read(cache).with_context(|| format!("cannot read {}", cache.display()))?;
        // Ignore a partial last line.
        complete_bytes = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in csv::Reader::from_reader(&bytes[..complete_bytes]).deserialize::<CachedStats>() {
            let line =
                line.with_context(|| format!("{} is damaged; remove it and run the command again", cache.display()))?;
            let CachedStats { file, side, deviation, hash } = line;
            stats.insert(file, ImageStats { side, deviation, hash });
        }
    }
    let new: Vec<&Row> = rows.iter().filter(|row| !stats.contains_key(&row.file)).collect();
    let write_failed = || format!("cannot write {}", cache.display());
    let progress = ProgressBar::new(rows.len() as u64)
        .with_style(ProgressStyle::with_template("checking: {wide_bar} {pos}/{len} images, {per_sec}, {eta} left")?)
        .with_position((rows.len() - new.len()) as u64);
    progress.reset_eta();
    let mut out = open_cache(cache, complete_bytes).with_context(write_failed)?;
    for block in new.chunks(FLUSH_EVERY) {
        let measured: Vec<ImageStats> =
            block.par_iter().map(|row| ImageStats::of_file(images, &row.file)).collect::<Result<_>>()?;
        for (row, image) in block.iter().zip(measured) {
            let ImageStats { side, deviation, hash } = image;
            // Do not cache failures: the file may be added later.
            if side > 0 {
                out.serialize(CachedStats { file: row.file.clone(), side, deviation, hash })?;
            }
            stats.insert(row.file.clone(), image);
        }
        out.flush().with_context(write_failed)?;
        progress.inc(block.len() as u64);
    }
    progress.finish_and_clear();
    Ok(rows.iter().map(|row| stats[&row.file]).collect())
}

/// Opens the cache for appending after truncating it to `complete_bytes` bytes; writes a header only if it is empty.
fn open_cache(file: &Path, complete_bytes: usize) -> std::io::Result<csv::Writer<File>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let open = open_append(file)?;
    open.set_len(complete_bytes as u64)?;
    Ok(csv::WriterBuilder::new().has_headers(complete_bytes == 0).from_writer(open))
}

/// For each hash, returns whether an earlier one differs in at most `bits` bits, 0 to 3.
///
/// At least one of the four 16-bit parts of such hashes is equal, so only hashes that share a part are compared.
pub(super) fn near_duplicates(hashes: &[u64], bits: u32) -> Vec<bool> {
    let mut is_repeat = vec![false; hashes.len()];
    let part = |hash: u64, i: u32| (hash >> (16 * i)) as u16;
    for i in 0..4 {
        let mut order: Vec<u32> = (0..hashes.len() as u32).collect();
        order.par_sort_unstable_by_key(|j| (part(hashes[*j as usize], i), *j));
        let buckets: Vec<&[u32]> =
            order.chunk_by(|a, b| part(hashes[*a as usize], i) == part(hashes[*b as usize], i)).collect();
        let found: Vec<u32> = buckets
            .par_iter()
            .flat_map_iter(|bucket| {
                bucket.iter().enumerate().filter_map(|(n, j)| {
                    let same = |k: &u32| (hashes[*k as usize] ^ hashes[*j as usize]).count_ones() <= bits;
                    bucket[..n].iter().any(same).then_some(*j)
                })
            })
            .collect();
        found.into_iter().for_each(|j| is_repeat[j as usize] = true);
    }
    is_repeat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_duplicates_differ_in_a_few_bits_and_come_later() {
        let hash = 0x0123_4567_89ab_cdef_u64;
        let hashes = [hash, !hash, hash ^ 0b111, hash ^ (1 << 63 | 1 << 40 | 1 << 20), hash ^ 0b1111 << 30, !hash ^ 1];
        assert_eq!(near_duplicates(&hashes, 3), [false, false, true, true, false, true]);
        assert_eq!(near_duplicates(&hashes, 0), [false; 6]);
        // The same as a comparison of all pairs.
        let many: Vec<u64> =
            (0..2_000u64).map(|i| (i % 97).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (1 << (i % 64))).collect();
        let slow = |j: usize| many[..j].iter().any(|hash| (hash ^ many[j]).count_ones() <= 3);
        assert_eq!(near_duplicates(&many, 3), (0..many.len()).map(slow).collect::<Vec<_>>());
    }

    #[test]
    fn blank_images_are_detected_and_measurements_cached() {
        let dir = tempfile::tempdir().unwrap();
        let noise = |x: u32, y: u32| image::Rgb([(x * 7919 + y * 104_729) as u8, (x * y) as u8, 90]);
        let view = image::RgbImage::from_fn(300, 260, noise);
        view.save(dir.path().join("view.jpg")).unwrap();
        image::imageops::resize(&view, 150, 130, FilterType::Triangle).save(dir.path().join("small.png")).unwrap();
        image::RgbImage::from_pixel(640, 640, image::Rgb([228, 227, 223])).save(dir.path().join("grey.jpg")).unwrap();
        std::fs::write(dir.path().join("text.jpg"), "not an image").unwrap();
        let rows =
            ["view.jpg", "small.png", "grey.jpg", "text.jpg"].map(|file| Row { file: file.into(), ..Row::default() });
        let cache = dir.path().join("looks.csv");
        let stats = measure_all(dir.path(), &rows, &cache).unwrap();
        let reasons: Vec<_> = stats.iter().map(|stats| stats.reason(200)).collect();
        assert_eq!(reasons, [None, Some("too small"), Some("shows nothing"), Some("no picture")]);
        // After truncation, the last line and unreadable images are measured again; the others are not.
        let bytes = std::fs::read(&cache).unwrap();
        std::fs::write(&cache, &bytes[..bytes.len() - 4]).unwrap();
        std::fs::remove_file(dir.path().join("view.jpg")).unwrap();
        assert_eq!(measure_all(dir.path(), &rows, &cache).unwrap(), stats);
        view.save(dir.path().join("text.jpg.png")).unwrap();
        std::fs::rename(dir.path().join("text.jpg.png"), dir.path().join("text.jpg")).unwrap();
        assert_eq!(measure_all(dir.path(), &rows, &cache).unwrap()[3].side, 260);
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", images.join("a.jpg")).unwrap();
        let rows = [Row { file: "a.jpg".into(), ..Row::default() }];
        let error = measure_all(&images, &rows, &dir.path().join("looks.csv")).unwrap_err();
        assert!(format!("{error:#}").contains("a.jpg: a symbolic link leads out"), "{error:#}");
    }
}
