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

impl Images {
    /// Opens a folder of images or shards, or shards in a bucket (`s3://bucket/set`). Reads only the tables of shards,
    /// not the images.
    ///
    /// # Errors
    /// If the table of a shard cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let storage = Storage::at(dir)?;
        let is_sharded = storage.has(SHARDS)?;
        if !is_sharded && matches!(storage, Storage::Folder(_)) {
            return Ok(Self { dir: dir.to_owned(), shards: None });
        }
        anyhow::ensure!(is_sharded, "{} contains no shards ({SHARDS} is missing)", dir.display());
        let is_table = |name: &String| name.starts_with("shard-") && name.ends_with(".csv");
        let mut tables: Vec<String> = storage.names()?.into_iter().filter(is_table).collect();
        tables.sort();
        let mut members = HashMap::new();
        for (tar, name) in tables.iter().enumerate() {
            let table = storage.read(name)?;
            for member in csv::Reader::from_reader(table.as_slice()).deserialize() {
                let invalid = || format!("{} is not a valid shard table", storage.name_of(name));
                let Member { file, offset, bytes } = member.with_context(invalid)?;
                members.insert(file, ShardEntry { tar, offset, bytes });
            }
        }
        let tars = tables.iter().map(|name| name.replace(".csv", ".tar")).collect();
        let bytes = match storage {
            Storage::Folder(folder) => ShardReader::Files { folder, open: Mutex::default() },
            Storage::Bucket(bucket) => ShardReader::Blocks(Blocks::of(bucket)),
        };
        Ok(Self { dir: dir.to_owned(), shards: Some(Shards { tars, members, bytes }) })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns whether an image exists.
    pub(crate) fn has(&self, file: &Path) -> bool {
        match &self.shards {
            Some(shards) => shards.members.contains_key(file),
            None => self.dir.join(file).is_file(),
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
            return std::fs::read(self.dir.join(file))
                .map_err(|error| Error::Image { file: self.dir.join(file), source: error.into() });
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
                    None => File::open(folder.join(name))?,
                };
                let mut picture = Vec::with_capacity(usize::try_from(bytes).map_err(io::Error::other)?);
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
