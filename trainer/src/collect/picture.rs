//! Checking and storing fetched images.

use landfall_common::fs::write_atomic;
use std::path::{Path, PathBuf};

use landfall_model::images::{self, Format, Metadata, Unreadable};
use sha2::{Digest, Sha256};

use super::http::FetchError;
use super::manifest::{Item, Status};

/// Why an image could not be stored.
pub(super) enum StoreError {
    /// It could not be fetched.
    Fetch(FetchError),
    /// It could not be written.
    Disk(anyhow::Error),
}

/// Checks a fetched image, writes it and returns its item with the outcome.
pub(super) fn store_picture(
    mut item: Item,
    fetched: Result<Vec<u8>, FetchError>,
    dir: &Path,
) -> Result<Item, StoreError> {
    let bytes = match fetched {
        Ok(bytes) => bytes,
        Err(FetchError::NotFound(_)) => return Ok(Item { status: Some(Status::Missing), ..item }),
        Err(error) => return Err(StoreError::Fetch(error)),
    };
    let Ok((format, metadata)) = check(&bytes) else {
        return Ok(Item { status: Some(Status::Broken), ..item });
    };
    item.file = file_path(&item.id, format.extension());
    (item.width, item.height) = (metadata.width, metadata.height);
    item.sha256 = crate::io::hash::hex(Sha256::new_with_prefix(&bytes));
    item.status = Some(Status::Ok);
    write_atomic(&dir.join(&item.file), &bytes).map_err(StoreError::Disk)?;
    Ok(item)
}

/// Format and size of an image that can be decoded, as every other command decodes it.
fn check(bytes: &[u8]) -> Result<(Format, Metadata), Unreadable> {
    let checked = (images::format(bytes)?, images::metadata(bytes)?);
    images::from_bytes(bytes)?;
    Ok(checked)
}

/// The path of an image: in one of 256 folders, with a name that is valid on every file system.
fn file_path(id: &str, extension: &str) -> PathBuf {
    let hash = crate::io::hash::hex(Sha256::new_with_prefix(id.as_bytes()));
    let is_portable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut name: String = id.chars().map(|c| if is_portable(c) { c } else { '_' }).take(100).collect();
    if name != id || name.starts_with('.') {
        name = format!("{}-{}", &hash[..8], name.trim_start_matches('.'));
    }
    PathBuf::from(format!("pictures/{}/{name}.{extension}", &hash[..2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_portable_and_unique() {
        let name = |id: &str| file_path(id, "jpg").file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name("a-B_7"), "a-B_7.jpg");
        assert!(name("a/b").ends_with("-a_b.jpg") && name("a/b") != name("a_b") && name("a/b") != name("a:b"));
        assert!(name("../..").ends_with("-_...jpg") || !name("../..").contains('/'), "{}", name("../.."));
    }
}
