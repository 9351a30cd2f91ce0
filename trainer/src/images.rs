//! Pictures by the names that an index has for them: files of a folder, or members of the shards that `shard` wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_model::{Error, preprocess};
use serde::{Deserialize, Serialize};

/// What a folder of shards is known by.
pub(crate) const SHARDS: &str = "shards.json";

/// Where in the shards a picture lies: a line of the table beside each.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Member {
    /// Its name in the index.
    pub(crate) file: PathBuf,
    /// First of its bytes in the shard.
    pub(crate) offset: u64,
    /// How many they are.
    pub(crate) bytes: u64,
}

/// A folder of pictures, or of shards of them.
pub struct Images {
    dir: PathBuf,
    /// The shard of each picture, and where in it the picture lies; of a folder of shards.
    members: Option<HashMap<PathBuf, (PathBuf, u64, u64)>>,
}

impl Images {
    /// Opens a folder. Of shards the tables beside them are read, not the pictures.
    ///
    /// # Errors
    /// When a table of shards cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.join(SHARDS).is_file() {
            return Ok(Self { dir: dir.to_owned(), members: None });
        }
        let mut members = HashMap::new();
        let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for entry in entries {
            let table = entry?.path();
            if table.extension().is_none_or(|extension| extension != "csv") {
                continue;
            }
            let shard = table.with_extension("tar");
            let mut reader =
                csv::Reader::from_path(&table).with_context(|| format!("cannot read {}", table.display()))?;
            for member in reader.deserialize() {
                let member: Member = member.with_context(|| format!("{} is no table of a shard", table.display()))?;
                members.insert(member.file, (shard.clone(), member.offset, member.bytes));
            }
        }
        Ok(Self { dir: dir.to_owned(), members: Some(members) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a picture is there.
    pub fn has(&self, file: &Path) -> bool {
        match &self.members {
            Some(members) => members.contains_key(file),
            None => self.dir.join(file).is_file(),
        }
    }

    /// A picture, upright.
    ///
    /// # Errors
    /// When it is not there or cannot be decoded.
    pub fn picture(&self, file: &Path) -> landfall_model::Result<RgbImage> {
        let Some(members) = &self.members else { return preprocess::open(&self.dir.join(file)) };
        let failed = |why: String| Error::Picture { file: self.dir.join(file), why };
        let (shard, offset, bytes) = members.get(file).ok_or_else(|| failed("is in no shard".into()))?;
        let read = || {
            let mut shard = File::open(shard)?;
            shard.seek(SeekFrom::Start(*offset))?;
            let mut picture = Vec::new();
            shard.take(*bytes).read_to_end(&mut picture).map(|_| picture)
        };
        let picture = read().map_err(|e| failed(format!("{} cannot be read: {e}", shard.display())))?;
        preprocess::from_bytes(&picture).map_err(|e| failed(format!("is no picture that can be read: {e}")))
    }
}
