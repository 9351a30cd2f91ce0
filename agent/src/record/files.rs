//! Files that a record names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::{f32_from_le_bytes, sibling_file};

/// The path of a file that a record in `folder` names.
///
/// # Errors
/// When the name points outside the folder.
pub(crate) fn recorded_file(folder: &Path, name: &str) -> Result<PathBuf> {
    sibling_file(folder, name)
        .ok_or_else(|| usage_error(format!("`{name}` is not the name of a file beside the record")))
}

/// File name of a view, by its heading in whole degrees.
pub(crate) fn view_file(heading: f64) -> String {
    format!("view_{:03}.jpg", heading.round().rem_euclid(360.0) as u32)
}

/// Reads logits from a file.
///
/// # Errors
/// When it cannot be read or is truncated.
pub(crate) fn read_logits(file: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(file).with_context(|| usage_error(format!("cannot read the logits {}", file.display())))?;
    if !bytes.len().is_multiple_of(4) {
        return Err(usage_error(format!(
            "{}: truncated: {} bytes are not a whole number of f32",
            file.display(),
            bytes.len()
        )));
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
        let read = read_logits(&file).unwrap();
        assert_eq!(read.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), logits.map(f32::to_bits));
        fs::write(&file, [1, 2, 3]).unwrap();
        assert!(read_logits(&file).unwrap_err().to_string().contains("truncated"));
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
