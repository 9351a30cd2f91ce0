//! Files that a record names. Records come from other people: a record must not lead to other files of this computer, nor
//! decide how much memory they take.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::usage_error;
use landfall_common::fs::{f32_from_le_bytes, read_regular, sibling_file};
use landfall_model::{images, preprocess};

/// Maximum size in bytes of an image file. A screenshot has a few megabytes.
const MAX_IMAGE_BYTES: u64 = 256 << 20;

/// The path of a file that a record in `folder` names.
///
/// # Errors
/// When the name points outside the folder, or the file is a symbolic link.
pub(crate) fn recorded_file(folder: &Path, name: &str) -> Result<PathBuf> {
    sibling_file(folder, name).ok_or_else(|| {
        usage_error(format!("`{name}` is not the name of a file beside the record, or it is a symbolic link"))
    })
}

/// An image that a record in `folder` names.
///
/// # Errors
/// As [`recorded_file`], and when it cannot be read or decoded.
pub(crate) fn recorded_image(folder: &Path, name: &str) -> Result<RgbImage> {
    let file = recorded_file(folder, name)?;
    let found = fs::metadata(&file).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
    if !found.is_file() || found.len() > MAX_IMAGE_BYTES {
        let limit = MAX_IMAGE_BYTES >> 20;
        return Err(usage_error(format!("{}: not a file, or larger than {limit} MiB, the limit", file.display())));
    }
    Ok(preprocess::open(&file)?)
}

/// Larger images are processed one at a time. A screenshot of a display with 4K has half as many pixels.
const MAX_PARALLEL_PIXELS: u64 = 16_000_000;
/// How much of a file is read to find out its size in pixels.
const HEADER_BYTES: u64 = 1 << 18;

/// A guard for processing an image: only one thread at a time gets one for a large image, so that the memory for many of
/// them is that for one. Files whose size in pixels is unknown count as large.
pub(crate) fn turn_for(file: &Path) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    is_large(file).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_large(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::symlink_metadata(file).is_ok_and(|found| found.is_file())
        && fs::File::open(file).is_ok_and(|open| open.take(HEADER_BYTES).read_to_end(&mut start).is_ok());
    let size = images::metadata(&start).ok().filter(|_| read);
    size.is_none_or(|size| u64::from(size.width) * u64::from(size.height) > MAX_PARALLEL_PIXELS)
}

/// File name of a view, by its heading in whole degrees.
pub(crate) fn view_file(heading: f64) -> String {
    format!("view_{:03}.jpg", heading.round().rem_euclid(360.0) as u32)
}

/// Reads the logits of a bundle with `cells` cells from a file.
///
/// # Errors
/// When it cannot be read or has another size.
pub(super) fn read_logits(file: &Path, cells: usize) -> Result<Vec<f32>> {
    let expected = 4 * cells as u64;
    let wrong_size = |size: u64| {
        usage_error(format!(
            "{}: truncated, or of another bundle: {size} bytes instead of {expected} for {cells} cells",
            file.display()
        ))
    };
    // The size is compared first, so that a huge file is not read.
    let size = fs::symlink_metadata(file).map_or(expected, |found| found.len());
    if size != expected {
        return Err(wrong_size(size));
    }
    let bytes = read_regular(file, expected)
        .with_context(|| usage_error(format!("cannot read the logits {}", file.display())))?;
    if bytes.len() as u64 != expected {
        return Err(wrong_size(bytes.len() as u64));
    }
    Ok(f32_from_le_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_common::fs::{f32_to_le_bytes, write_atomic};

    #[test]
    fn logits_survive_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("view_000.f32");
        let logits = [1.5f32, -0.0, f32::MIN_POSITIVE, 3.402_823e38];
        write_atomic(&file, &f32_to_le_bytes(&logits)).unwrap();
        let read = read_logits(&file, 4).unwrap();
        assert_eq!(read.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), logits.map(f32::to_bits));
        fs::write(&file, [1, 2, 3]).unwrap();
        assert!(read_logits(&file, 4).unwrap_err().to_string().contains("truncated"));
        // Sparse: a terabyte that takes no space.
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
        assert!(read_logits(&file, 4).unwrap_err().to_string().contains("1099511627776 bytes instead of 16"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, inside) = (dir.path().join("outside"), dir.path().join("round_1"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        RgbImage::new(4, 4).save_with_format(outside.join("private.png"), image::ImageFormat::Png).unwrap();
        std::os::unix::fs::symlink(outside.join("private.png"), inside.join("view.png")).unwrap();
        let error = recorded_image(&inside, "view.png").unwrap_err().to_string();
        assert!(error.contains("`view.png` is not the name of a file beside the record"), "{error}");
        fs::copy(outside.join("private.png"), inside.join("own.png")).unwrap();
        assert_eq!(recorded_image(&inside, "own.png").unwrap().dimensions(), (4, 4));
        // A pipe that nobody writes to would block for ever.
        let made = std::process::Command::new("mkfifo").arg(inside.join("pipe.jpg")).status().unwrap();
        assert!(made.success() && recorded_image(&inside, "pipe.jpg").is_err());
    }

    #[test]
    fn large_images_are_processed_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, width: u32, height: u32| {
            let file = dir.path().join(name);
            RgbImage::new(width, height).save(&file).unwrap();
            file
        };
        let (small, large) = (write("small.jpg", 1920, 1080), write("large.jpg", 8000, 2001));
        assert!(turn_for(&small).is_none());
        let running = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = turn_for(&large);
                    let others = running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(turn.is_some() && others == 0, "{others} others");
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
        });
        // A header that claims many pixels, and files whose size is unknown.
        let mut claims = fs::read(write("claims.png", 9, 9)).unwrap();
        claims[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        fs::write(dir.path().join("claims.png"), claims).unwrap();
        fs::write(dir.path().join("text.jpg"), "text").unwrap();
        for name in ["claims.png", "text.jpg", "missing.jpg"] {
            assert!(turn_for(&dir.path().join(name)).is_some(), "{name}");
        }
    }

    #[test]
    fn files_outside_the_folder_are_refused() {
        let dir = Path::new("round_1");
        assert_eq!(recorded_file(dir, "view_000.jpg").unwrap(), dir.join("view_000.jpg"));
        for name in ["../x.jpg", "/etc/passwd", "a/b.jpg", "", "..", "."] {
            assert!(recorded_file(dir, name).is_err(), "{name}");
        }
    }
}
