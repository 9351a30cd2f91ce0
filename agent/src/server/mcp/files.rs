//! Pictures in calls: in Base64, or as files below directories that the user allows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_common::exit::usage_error;
use landfall_model::images;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ToolError;
use crate::server::api::{ImageFile, name};

/// Maximum size of the files of a call together, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A picture: JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC. Give either `path` or `base64`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Picture {
    /// A file below one of the directories that the user of the server allows.
    pub path: Option<String>,
    /// The bytes of the file in Base64.
    pub base64: Option<String>,
    /// A name for the answer, of at most 256 characters. By default the path, or the number of the picture.
    pub name: Option<String>,
}

/// Directories below which clients may name files.
#[derive(Clone)]
pub(super) struct AllowedDirs(Vec<PathBuf>);

impl AllowedDirs {
    /// # Errors
    /// When one of them is not a directory.
    pub(super) fn new(dirs: &[PathBuf]) -> Result<Self> {
        let canonical = |dir: &PathBuf| {
            let unusable = || usage_error(format!("{}: not a directory that can be read", dir.display()));
            let canonical = dir.canonicalize().with_context(unusable)?;
            if canonical.is_dir() { Ok(canonical) } else { Err(unusable()) }
        };
        dirs.iter().map(canonical).collect::<Result<_>>().map(Self)
    }

    /// The file that a client means. Whether there is a file elsewhere is not told.
    fn find(&self, path: &str) -> Result<PathBuf, ToolError> {
        if self.0.is_empty() {
            let why =
                "This server reads no files: send the picture as `base64`, or start `landfall mcp --allow-dir DIR`.";
            return Err(ToolError(why.to_owned()));
        }
        let inside = |dir: &PathBuf| {
            let file = dir.join(path).canonicalize().ok()?;
            (file.starts_with(dir) && file.is_file()).then_some(file)
        };
        self.0
            .iter()
            .find_map(inside)
            .ok_or_else(|| ToolError("There is no such file below the directories that --allow-dir names.".to_owned()))
    }

    /// Reads the pictures of a call.
    ///
    /// # Errors
    /// Which of them is not given as described, or is not an allowed file.
    pub(super) fn read(&self, pictures: Vec<Picture>) -> Result<Vec<ImageFile>, ToolError> {
        let mut left = MAX_FILE_BYTES;
        let read = |(i, picture): (usize, Picture)| {
            let bytes = match (&picture.path, &picture.base64) {
                (Some(path), None) => {
                    let file = self.find(path)?;
                    let size = file.metadata().map_or(0, |found| found.len());
                    left = left.checked_sub(size).ok_or_else(|| {
                        ToolError(format!("The files of a call may have up to {} MB together.", MAX_FILE_BYTES >> 20))
                    })?;
                    read_file(&file, i)?
                }
                (None, Some(text)) => {
                    let bytes = STANDARD.decode(text);
                    bytes.map_err(|why| ToolError(format!("`base64` of picture {} is not Base64: {why}.", i + 1)))?
                }
                _ => return Err(ToolError(format!("Give picture {} as either `path` or `base64`.", i + 1))),
            };
            Ok(ImageFile { name: name(picture.name.or(picture.path), i)?, bytes: bytes.into() })
        };
        pictures.into_iter().enumerate().map(read).collect()
    }
}

fn read_file(file: &Path, index: usize) -> Result<Vec<u8>, ToolError> {
    images::read(file).map_err(|why| ToolError(format!("Picture {} cannot be read: {why}.", index + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_path(path: &str) -> Vec<Picture> {
        vec![Picture { path: Some(path.to_owned()), base64: None, name: None }]
    }

    #[test]
    fn only_files_below_the_allowed_directories_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let allowed = dir.path().join("allowed");
        std::fs::create_dir_all(allowed.join("more")).unwrap();
        for name in ["secret.jpg", "allowed/a.jpg", "allowed/more/b.jpg", "allowed-too.jpg"] {
            image::RgbImage::new(4, 4).save(dir.path().join(name)).unwrap();
        }
        let dirs = AllowedDirs::new(std::slice::from_ref(&allowed)).unwrap();
        let absolute = allowed.join("more/b.jpg");
        for path in ["a.jpg", "more/b.jpg", "./more/../a.jpg", absolute.to_str().unwrap()] {
            assert_eq!(dirs.read(by_path(path)).unwrap()[0].name, path);
        }
        let secret = dir.path().join("secret.jpg");
        let sibling = format!("{}-too.jpg", allowed.display());
        #[cfg(unix)]
        std::os::unix::fs::symlink(&secret, allowed.join("link.jpg")).unwrap();
        let mut messages = Vec::new();
        for path in [
            "../secret.jpg",
            secret.to_str().unwrap(),
            &sibling,
            "link.jpg",
            "gone.jpg",
            "more",
            "",
            "/dev/zero",
            "a\0.jpg",
        ] {
            let Err(ToolError(why)) = dirs.read(by_path(path)) else { panic!("{path} was read") };
            messages.push(why);
        }
        messages.dedup();
        assert_eq!(messages, ["There is no such file below the directories that --allow-dir names."]);

        let none = AllowedDirs::new(&[]).unwrap();
        let Err(ToolError(why)) = none.read(by_path("a.jpg")) else { panic!("a file was read") };
        assert!(why.contains("--allow-dir DIR"), "{why}");
        assert!(AllowedDirs::new(&[secret]).is_err());
    }

    #[test]
    fn a_picture_is_given_in_one_way() {
        let dirs = AllowedDirs::new(&[]).unwrap();
        let read = |base64: &str| dirs.read(vec![Picture { path: None, base64: Some(base64.to_owned()), name: None }]);
        assert_eq!(read("AAEC").unwrap()[0].bytes[..], [0, 1, 2]);
        assert!(read("!").err().is_some_and(|ToolError(why)| why.contains("picture 1 is not Base64")));
        let both = Picture { path: Some("a".into()), base64: Some("AAEC".into()), name: None };
        for picture in [both, Picture { path: None, base64: None, name: None }] {
            assert!(dirs.read(vec![picture]).is_err());
        }
    }
}
