//! Files that a record names. Records come from other people: a record must not lead to other files of this computer, nor
//! decide how much memory they take.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::usage_error;
use landfall_common::fs::{f32_from_le_bytes, read_regular, sibling_file};
use landfall_model::preprocess;

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
    fn files_outside_the_folder_are_refused() {
        let dir = Path::new("round_1");
        assert_eq!(recorded_file(dir, "view_000.jpg").unwrap(), dir.join("view_000.jpg"));
        for name in ["../x.jpg", "/etc/passwd", "a/b.jpg", "", "..", "."] {
            assert!(recorded_file(dir, name).is_err(), "{name}");
        }
    }
}
