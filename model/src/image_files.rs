//! Finding image files in directories.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The image files in a directory and its subdirectories, sorted by path. Symbolic links to directories are not followed,
/// which keeps the search finite.
///
/// # Errors
/// When a directory cannot be read.
pub fn find_images(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    find(dir, &mut files).map_err(|(dir, source)| Error::Read { file: dir, source })?;
    files.sort();
    Ok(files)
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> std::result::Result<(), (PathBuf, std::io::Error)> {
    let failed = |e| (dir.to_owned(), e);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            find(&path, files)?;
        } else if path.extension().and_then(|ext| ext.to_str()).is_some_and(is_image) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_image(extension: &str) -> bool {
    ["jpg", "jpeg", "png", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
