//! Packages and files that the user has put into a directory, for machines without a network connection.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_model::bundle::sha256_of;

use super::item::{Archive, Content, Item};
use super::packages::{NPM, NPM_BYTES, NPM_SHA256};

/// The directory's files with their sizes. Their names do not matter: they are recognised by SHA-256.
pub(super) struct Directory {
    path: PathBuf,
    files: Vec<(PathBuf, u64)>,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).with_context(|| usage_error(format!("--offline {}", path.display())))?;
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
            // A link leads where the user wants; a device or a pipe would have no end.
            if let Some(metadata) = file.metadata().ok().filter(std::fs::Metadata::is_file) {
                files.push((file, metadata.len()));
            }
        }
        files.sort();
        Ok(Self { path: path.to_owned(), files })
    }

    /// Installs the item from the directory. Returns the file it was in, or none if it is in no file.
    pub(super) fn install(&self, item: &Item) -> Result<Option<&Path>> {
        for (file, bytes) in &self.files {
            if self.install_from(item, file, *bytes)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    fn install_from(&self, item: &Item, file: &Path, bytes: u64) -> Result<bool> {
        let has_digest = |expected: &str| -> Result<bool> {
            Ok(sha256_of(file).with_context(|| format!("cannot read {}", file.display()))? == expected)
        };
        match (&item.content, item.wheel) {
            (Content::Library, Some(wheel)) if bytes == wheel.bytes && has_digest(wheel.sha256)? => {
                item.install_from(file, Archive::Wheel)?;
            }
            (Content::Library, _) if bytes == NPM_BYTES && has_digest(NPM_SHA256)? => {
                item.install_from(file, Archive::Npm)?;
            }
            (Content::Member { bytes: expected, sha256, .. }, _) if bytes == *expected && has_digest(sha256)? => {
                item.save(&mut File::open(file)?)?;
            }
            (Content::Member { .. }, wheel) if wheel.is_some_and(|wheel| wheel.bytes == bytes) || is_wheel(file) => {
                // Wheels of other packages, and damaged ones, are passed over.
                if let Err(error) = item.install_from(file, Archive::Wheel) {
                    tracing::info!("{}: {error:#}", item.what);
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the user has to put into the directory, one file per line.
    pub(super) fn instructions(&self, missing: &[&Item]) -> String {
        let mut text = format!("put these files into {} and run the command again:", self.path.display());
        for item in missing {
            text += &format!("\n  {}: {}", item.what, wanted(item));
        }
        text
    }
}

/// The file that contains an item, with its package and SHA-256.
fn wanted(item: &Item) -> String {
    match (item.wheel, &item.content) {
        (Some(wheel), _) => {
            format!("{} of the Python package {}, sha256 {}", wheel.file, item.requirement, wheel.sha256)
        }
        (None, Content::Library) => {
            format!("the archive of the npm package {NPM}, sha256 {NPM_SHA256}")
        }
        (None, Content::Member { path, sha256, .. }) => {
            format!("the wheel of the Python package {}, or its file {path}, sha256 {sha256}", item.requirement)
        }
    }
}

fn is_wheel(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::{ABC, abc, wheel};
    use super::*;

    #[test]
    fn files_are_recognised_by_their_contents() {
        let dir = tempfile::tempdir().unwrap();
        let item = abc(&dir.path().join("cache"));
        let offline = dir.path().join("offline");
        std::fs::create_dir(&offline).unwrap();
        let install = || Directory::open(&offline).unwrap().install(&item).unwrap().map(Path::to_owned);
        std::fs::write(offline.join("a.whl"), wheel("a/b.onnx", b"abd")).unwrap();
        std::fs::write(offline.join("damaged.whl"), "no wheel").unwrap();
        std::fs::write(offline.join("b.onnx"), "abd").unwrap();
        std::fs::create_dir(offline.join("folder.whl")).unwrap();
        assert_eq!(install(), None);
        assert!(!item.target.exists());
        for (name, contents) in [("other-name", b"abc".to_vec()), ("good.whl", wheel("a/b.onnx", b"abc"))] {
            let file = offline.join(name);
            std::fs::write(&file, contents).unwrap();
            assert_eq!(install(), Some(file.clone()));
            assert_eq!(std::fs::read(&item.target).unwrap(), b"abc");
            std::fs::remove_file(&item.target).unwrap();
            std::fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn instructions_name_every_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, unknown) = (Item::runtime(dir.path()), abc(dir.path()));
        let text = Directory::open(dir.path()).unwrap().instructions(&[&runtime, &unknown]);
        assert_eq!(text.lines().count(), 3, "{text}");
        let runtime = runtime.wheel.map_or(NPM_SHA256, |wheel| wheel.sha256);
        assert!(
            text.contains("\n  ONNX Runtime: ") && text.contains(" package onnxruntime") && text.contains(runtime),
            "{text}"
        );
        assert!(text.contains("the Python package a==1, or its file a/b.onnx") && text.contains(ABC), "{text}");
        assert!(Directory::open(&dir.path().join("nowhere")).is_err());
    }
}
