//! What a folder of collected pictures knows about itself: `manifest.jsonl`, a line for each picture that was kept or found
//! missing, and `searched.txt`, a line for each part of the search whose pictures are all settled.
//!
//! Both are appended to, a line at a time and the picture's file first: whatever is cut off is searched, or fetched, again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const MANIFEST: &str = "manifest.jsonl";
const SEARCHED: &str = "searched.txt";

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// Its server no longer has it.
    Missing,
    /// What came is no picture that can be used.
    Broken,
}

/// A picture and all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// Where it comes from, such as `flickr`.
    pub source: String,
    /// Its name there.
    pub id: String,
    /// Its file, relative to the folder.
    pub file: PathBuf,
    /// Degrees; `None` when only the country is known.
    pub lat: Option<f64>,
    /// Degrees.
    pub lng: Option<f64>,
    /// ISO 3166-1 alpha-2 code, where the source says so.
    pub iso2: String,
    /// Degrees clockwise from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<f64>,
    /// When it was taken, as the source says it.
    pub time: String,
    /// Pictures of one group must not be split: a sequence, a panorama, an author's day.
    pub group: String,
    /// Of pictures that share this one is enough: one of a second, one of a sequence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub twin: String,
    /// Who took it.
    pub author: String,
    /// Under which terms it may be used.
    pub licence: String,
    /// Whom to name.
    pub attribution: String,
    /// Its address, without keys.
    pub url: String,
    /// Of the file's bytes.
    pub sha256: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// A folder of collected pictures, open for more.
pub(super) struct Manifest {
    /// The folder.
    pub(super) dir: PathBuf,
    /// Keys of the pictures that are settled or being fetched.
    settled: HashSet<String>,
    /// Pictures that are there.
    pub(super) kept: usize,
    /// Pictures that were asked for.
    pub(super) asked: usize,
    /// Parts of the search that are done.
    pub(super) searched: HashSet<String>,
    items: File,
    parts: File,
}

impl Manifest {
    /// Opens a folder, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be read or written, or a line of it is damaged.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let known = read(dir)?;
        let (searched, _) = whole_lines(&dir.join(SEARCHED))?;
        let mut manifest = Self {
            dir: dir.to_owned(),
            settled: HashSet::new(),
            kept: known.iter().filter(|item| item.status == Some(Status::Ok)).count(),
            asked: known.len(),
            searched: searched.into_iter().collect(),
            items: append(&dir.join(MANIFEST))?,
            parts: append(&dir.join(SEARCHED))?,
        };
        known.iter().for_each(|item| manifest.settled.extend(keys(item)));
        Ok(manifest)
    }

    /// Whether a picture is still to be fetched; it then counts as settled, and so do others that stand for it.
    pub(super) fn claim(&mut self, item: &Item) -> bool {
        let is_new = keys(item).all(|key| !self.settled.contains(&key));
        if is_new {
            self.settled.extend(keys(item));
        }
        is_new
    }

    /// Notes what became of a picture.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn settle(&mut self, item: &Item) -> Result<()> {
        let line = serde_json::to_string(item)? + "\n";
        let written = self.items.write_all(line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(MANIFEST).display()))?;
        self.kept += usize::from(item.status == Some(Status::Ok));
        self.asked += 1;
        Ok(())
    }

    /// Notes that all that a part of the search found is settled.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(&mut self, part: &str) -> Result<()> {
        let written = self.parts.write_all(format!("{part}\n").as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(SEARCHED).display()))
    }
}

/// A file to append to, without what was cut off at its end.
fn append(file: &Path) -> Result<File> {
    let (_, bytes) = whole_lines(file)?;
    let open = OpenOptions::new().create(true).append(true).open(file);
    let shortened = open.and_then(|file| file.set_len(bytes).map(|()| file));
    shortened.with_context(|| format!("cannot write {}", file.display()))
}

/// The pictures of a folder, in the order in which they were settled.
///
/// # Errors
/// When its manifest cannot be read or a line of it is damaged.
pub fn items(dir: &Path) -> Result<impl Iterator<Item = Result<Item>>> {
    let file = dir.join(MANIFEST);
    let cannot = {
        let file = file.clone();
        move || format!("cannot read {}", file.display())
    };
    let empty: Box<dyn BufRead> = Box::new(std::io::empty());
    let reader = if file.exists() { Box::new(BufReader::new(File::open(&file).with_context(&cannot)?)) } else { empty };
    Ok(lines(reader).enumerate().map(move |(i, line)| {
        serde_json::from_str(&line.with_context(&cannot)?).with_context(|| {
            format!("{}, line {}: not a picture's line; remove it and collect again", file.display(), i + 1)
        })
    }))
}

/// All of [`items`].
///
/// # Errors
/// As there.
pub fn read(dir: &Path) -> Result<Vec<Item>> {
    items(dir)?.collect()
}

/// The whole lines, without their ends; not a last one that was cut off.
fn lines(mut reader: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(_) => line.ends_with('\n').then(|| {
                line.pop();
                Ok(line)
            }),
            Err(error) => Some(Err(error)),
        }
    })
}

/// What no two pictures share.
fn keys(item: &Item) -> impl Iterator<Item = String> {
    let twin = (!item.twin.is_empty()).then(|| format!("twin {} {}", item.source, item.twin));
    std::iter::once(format!("{} {}", item.source, item.id)).chain(twin)
}

/// The whole lines of a file, none when it is not there, and how many bytes they are.
fn whole_lines(file: &Path) -> Result<(Vec<String>, u64)> {
    let cannot = || format!("cannot read {}", file.display());
    if !file.exists() {
        return Ok((Vec::new(), 0));
    }
    let open = File::open(file).with_context(cannot)?;
    let lines: Vec<String> = lines(BufReader::new(open)).collect::<std::io::Result<_>>().with_context(cannot)?;
    let bytes = lines.iter().map(|line| line.len() as u64 + 1).sum();
    Ok((lines, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, status: Status) -> Item {
        Item { source: "s".into(), id: id.into(), lat: Some(1.5), status: Some(status), ..Item::default() }
    }

    #[test]
    fn a_line_that_was_cut_off_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        manifest.settle(&item("a", Status::Ok)).unwrap();
        manifest.settle(&item("b", Status::Missing)).unwrap();
        manifest.finish("part 1").unwrap();
        drop(manifest);
        let file = dir.path().join(MANIFEST);
        let whole = std::fs::read(&file).unwrap();
        for cut in [whole.len() - 1, whole.len() - 20] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let mut manifest = Manifest::open(dir.path()).unwrap();
            assert_eq!((manifest.kept, manifest.searched.clone()), (1, HashSet::from(["part 1".to_owned()])));
            assert!(!manifest.claim(&item("a", Status::Ok)) && manifest.claim(&item("b", Status::Ok)));
            manifest.settle(&item("b", Status::Missing)).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        }
        assert_eq!(read(dir.path()).unwrap(), [item("a", Status::Ok), item("b", Status::Missing)]);
    }

    #[test]
    fn of_twins_the_first_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let twin = |id: &str| Item { twin: "sequence 7".into(), ..item(id, Status::Ok) };
        let mut manifest = Manifest::open(dir.path()).unwrap();
        assert!(manifest.claim(&twin("a")) && !manifest.claim(&twin("b")) && manifest.claim(&item("c", Status::Ok)));
        manifest.settle(&twin("a")).unwrap();
        assert!(!Manifest::open(dir.path()).unwrap().claim(&twin("b")));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "{}\nnonsense\n").unwrap();
        let error = format!("{:#}", Manifest::open(dir.path()).err().unwrap());
        assert!(error.contains("manifest.jsonl, line 2"), "{error}");
    }
}
