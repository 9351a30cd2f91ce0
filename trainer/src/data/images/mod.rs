//! Access to images by their names in an index: files in a folder, or members of shards written by `shard`, on disk or
//! in a bucket.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_model::{Error, preprocess};
use serde::{Deserialize, Serialize};

use crate::io::paths;
use crate::io::storage::Storage;
use blocks::Blocks;

mod blocks;

/// Description file of a set of shards; its presence identifies one.
pub(crate) const SHARDS: &str = "shards.json";

/// Location of an image in a shard: a row of the table that accompanies the shard.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Member {
    /// Name of the image in the index.
    pub(crate) file: PathBuf,
    /// Offset of its first byte in the shard.
    pub(crate) offset: u64,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

/// A folder of images or a set of shards.
pub struct Images {
    dir: PathBuf,
    /// The folder without symbolic links in its path.
    real_dir: PathBuf,
    shards: Option<Shards>,
}

struct Shards {
    /// Names of the tar files, sorted.
    tars: Vec<String>,
    members: HashMap<PathBuf, ShardEntry>,
    bytes: ShardReader,
}

/// Location of an image. Sorting by it gives the order of the images in the shards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ShardEntry {
    tar: usize,
    offset: u64,
    bytes: u64,
}

/// Reads byte ranges of tar files.
enum ShardReader {
    Files { folder: PathBuf, open: Mutex<VecDeque<(usize, File)>> },
    Blocks(Blocks),
}

/// Maximum number of open tar files. Opening a file for every image takes longer than reading the image.
const MAX_OPEN_FILES: usize = 64;
/// Maximum size of an image file.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

impl Images {
    /// Opens a folder of images or shards, or shards in a bucket (`s3://bucket/set`). Reads only the tables of shards,
    /// not the images.
    ///
    /// # Errors
    /// If the table of a shard cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let storage = Storage::at(dir)?;
        // A missing folder is reported with the first image.
        let real_dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let is_sharded = storage.has(SHARDS)?;
        if !is_sharded && matches!(storage, Storage::Folder(_)) {
            return Ok(Self { dir: dir.to_owned(), real_dir, shards: None });
        }
        anyhow::ensure!(is_sharded, "{} contains no shards ({SHARDS} is missing)", dir.display());
        let is_table = |name: &String| name.starts_with("shard-") && name.ends_with(".csv");
        let mut tables: Vec<String> = storage.names()?.into_iter().filter(is_table).collect();
        tables.sort();
        let mut members = HashMap::new();
        for (tar, name) in tables.iter().enumerate() {
            let table = storage.read(name)?;
            for (i, member) in csv::Reader::from_reader(table.as_slice()).deserialize().enumerate() {
                let invalid = || format!("{}, line {}: not a valid row of a shard table", storage.name_of(name), i + 2);
                let Member { file, offset, bytes } = member.with_context(invalid)?;
                if bytes > MAX_IMAGE_BYTES || offset.checked_add(bytes).is_none() {
                    return Err(anyhow::anyhow!("the image is larger than 1 GiB").context(invalid()));
                }
                members.insert(file, ShardEntry { tar, offset, bytes });
            }
        }
        let tars = tables.iter().map(|name| name.replace(".csv", ".tar")).collect();
        let bytes = match storage {
            Storage::Folder(_) => ShardReader::Files { folder: real_dir.clone(), open: Mutex::default() },
            Storage::Bucket(bucket) => ShardReader::Blocks(Blocks::of(bucket)),
        };
        Ok(Self { dir: dir.to_owned(), real_dir, shards: Some(Shards { tars, members, bytes }) })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns whether an image exists.
    pub(crate) fn has(&self, file: &Path) -> bool {
        match &self.shards {
            Some(shards) => shards.members.contains_key(file),
            None => paths::resolve(&self.real_dir, file).is_ok(),
        }
    }

    /// Sorts images by their order in the shards, in which they are read fastest. Does nothing for a folder of images.
    pub(crate) fn sort<T>(&self, pictures: &mut [T], file: impl Fn(&T) -> &Path) {
        if let Some(shards) = &self.shards {
            pictures.sort_by_key(|picture| shards.members.get(file(picture)).copied());
        }
    }

    /// Reads the encoded bytes of an image.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub(crate) fn bytes(&self, file: &Path) -> landfall_model::Result<Vec<u8>> {
        let failed = |reason: String| Error::Image { file: self.dir.join(file), source: reason.into() };
        let Some(shards) = &self.shards else {
            let read = || {
                let open = File::open(paths::resolve(&self.real_dir, file)?)?;
                let mut bytes = Vec::new();
                open.take(MAX_IMAGE_BYTES + 1).read_to_end(&mut bytes)?;
                Ok::<_, io::Error>(bytes)
            };
            let bytes = read().map_err(|error| Error::Image { file: self.dir.join(file), source: error.into() })?;
            return if bytes.len() as u64 > MAX_IMAGE_BYTES {
                Err(failed("larger than 1 GiB".into()))
            } else {
                Ok(bytes)
            };
        };
        let place = shards.members.get(file).ok_or_else(|| failed("not in any shard".into()))?;
        shards.read(*place).map_err(|e| failed(format!("cannot read {}: {e}", shards.tars[place.tar])))
    }

    /// Reads and decodes an image, with its EXIF orientation applied.
    ///
    /// # Errors
    /// If it is missing or cannot be decoded.
    pub fn picture(&self, file: &Path) -> landfall_model::Result<RgbImage> {
        if self.shards.is_none() {
            paths::resolve(&self.real_dir, file)
                .map_err(|error| Error::Image { file: self.dir.join(file), source: error.into() })?;
            return preprocess::open(self.dir.join(file));
        }
        preprocess::from_bytes(&self.bytes(file)?)
            .map_err(|error| Error::Image { file: self.dir.join(file), source: error.into() })
    }
}

impl Shards {
    fn read(&self, ShardEntry { tar, offset, bytes }: ShardEntry) -> io::Result<Vec<u8>> {
        let name = &self.tars[tar];
        match &self.bytes {
            ShardReader::Blocks(blocks) => blocks.read(name, offset..offset + bytes),
            ShardReader::Files { folder, open } => {
                let open = || open.lock().unwrap_or_else(PoisonError::into_inner);
                let found = {
                    let mut open = open();
                    let found = open.iter().position(|(of, _)| *of == tar);
                    found.and_then(|i| open.swap_remove_back(i))
                };
                let mut file = match found {
                    Some((_, file)) => file,
                    None => File::open(paths::resolve(folder, Path::new(name))?)?,
                };
                // The size in the table may be wrong, so it is not allocated at once.
                let mut picture = Vec::new();
                file.seek(SeekFrom::Start(offset))?;
                if (&file).take(bytes).read_to_end(&mut picture)? as u64 != bytes {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut open = open();
                open.push_back((tar, file));
                if open.len() > MAX_OPEN_FILES {
                    open.pop_front();
                }
                Ok(picture)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn images_outside_the_folder_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        let inside = image::RgbImage::from_pixel(4, 4, image::Rgb([9; 3]));
        for file in [images.join("a.png"), dir.path().join("secret.png")] {
            inside.save(file).unwrap();
        }
        std::os::unix::fs::symlink("../secret.png", images.join("link.png")).unwrap();
        let opened = Images::open(&images).unwrap();
        assert!(opened.has(Path::new("a.png")) && opened.picture(Path::new("a.png")).is_ok());
        let absolute = dir.path().join("secret.png");
        for name in [Path::new("link.png"), Path::new("../secret.png"), &absolute] {
            assert!(!opened.has(name), "{}", name.display());
            assert!(opened.bytes(name).is_err() && opened.picture(name).is_err(), "{}", name.display());
        }
        let error = opened.picture(Path::new("link.png")).unwrap_err();
        assert!(
            std::error::Error::source(&error).unwrap().to_string().contains("leads out of the directory"),
            "{error}"
        );
    }

    #[test]
    fn tables_of_shards_with_impossible_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SHARDS), "{}").unwrap();
        std::fs::write(dir.path().join("shard-000000.tar"), [7; 2000]).unwrap();
        let open = |offset: u64, bytes: u64| {
            let table = format!("file,offset,bytes\na.jpg,0,5\nb.jpg,{offset},{bytes}\n");
            std::fs::write(dir.path().join("shard-000000.csv"), table).unwrap();
            Images::open(dir.path())
        };
        for (offset, bytes) in [(0, u64::MAX), (u64::MAX, 1), (512, 1 << 40)] {
            let error = open(offset, bytes).err().unwrap();
            assert!(format!("{error:#}").contains("shard-000000.csv, line 3"), "{error:#}");
        }
        let images = open(1990, 20).unwrap();
        assert_eq!(images.bytes(Path::new("a.jpg")).unwrap(), [7; 5]);
        assert!(images.bytes(Path::new("b.jpg")).is_err(), "the shard ends within the image");
    }
}
