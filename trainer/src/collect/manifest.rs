//! What a folder of collected pictures knows about itself: `manifest.jsonl`, a line for each picture that was kept or found
//! missing, and `searched.txt`, a line for each batch whose pictures are all settled.
//!
//! Both are appended to, a line at a time and the picture's file first: whatever is cut off is searched, or fetched, again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
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
    /// Of the pictures that share this key one is kept: one per second, one per sequence. Empty for none.
    #[serde(rename = "twin", skip_serializing_if = "String::is_empty")]
    pub dedup_key: String,
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
    /// Pictures that are settled or being fetched.
    settled: HashSet<String>,
    /// Deduplication keys of pictures that are there or being fetched.
    dedup_keys: HashSet<String>,
    /// Pictures that are there.
    pub(super) kept: usize,
    /// Batches that are done, by their names.
    pub(super) searched: HashSet<String>,
    items: File,
    batches: File,
}

impl Manifest {
    /// Opens a folder, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be read or written, another run works on it, or a line of it is damaged.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let file = dir.join(MANIFEST);
        let items = OpenOptions::new().create(true).append(true).open(&file);
        let items = items.with_context(|| format!("cannot write {}", file.display()))?;
        match items.try_lock() {
            Err(TryLockError::WouldBlock) => {
                bail!("another run collects into {}; wait for it, or choose another --out", dir.display())
            }
            Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => {
                return Err(error).with_context(|| format!("cannot lock {}", file.display()));
            }
            _ => {}
        }
        remove_partial_files(dir);
        let known = read(dir)?;
        let searched = complete_lines(&dir.join(SEARCHED))?;
        let mut manifest = Self {
            dir: dir.to_owned(),
            settled: known.iter().map(key).collect(),
            dedup_keys: HashSet::new(),
            kept: 0,
            searched: searched.into_iter().collect(),
            items: without_partial_line(items, &file)?,
            batches: append(&dir.join(SEARCHED))?,
        };
        for item in known.iter().filter(|item| item.status == Some(Status::Ok)) {
            manifest.dedup_keys.extend(dedup_key(item));
            manifest.kept += 1;
        }
        Ok(manifest)
    }

    /// Whether a picture is to be fetched; it then counts as settled, and others with its deduplication key as duplicates.
    pub(super) fn claim(&mut self, item: &Item) -> Claim {
        if self.settled.contains(&key(item)) {
            return Claim::Known;
        }
        if dedup_key(item).is_some_and(|key| self.dedup_keys.contains(&key)) {
            return Claim::Duplicate;
        }
        self.settled.insert(key(item));
        self.dedup_keys.extend(dedup_key(item));
        Claim::New
    }

    /// Records what became of a picture.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn record(&mut self, item: &Item) -> Result<()> {
        let line = serde_json::to_string(item)? + "\n";
        let written = self.items.write_all(line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(MANIFEST).display()))?;
        if item.status == Some(Status::Ok) {
            self.kept += 1;
        } else if let Some(key) = dedup_key(item) {
            self.dedup_keys.remove(&key); // the next one may be there
        }
        Ok(())
    }

    /// Records that all pictures of a batch are settled.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(&mut self, batch: &str) -> Result<()> {
        let written = self.batches.write_all(format!("{batch}\n").as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(SEARCHED).display()))
    }
}

/// What becomes of a picture that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Claim {
    /// It is to be fetched.
    New,
    /// It is settled, or being fetched.
    Known,
    /// Another picture with the same deduplication key is there, or being fetched.
    Duplicate,
}

/// Removes what a kill left of pictures that were being written.
fn remove_partial_files(dir: &Path) {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in entries(&dir.join("pictures")).flat_map(|folder| entries(&folder).collect::<Vec<_>>()) {
        if file.extension().is_some_and(|extension| extension == "part") {
            let _ = std::fs::remove_file(file); // it is in nobody's way
        }
    }
}

/// A file to append to, without what was cut off at its end.
pub(super) fn append(file: &Path) -> Result<File> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    without_partial_line(open.with_context(|| format!("cannot write {}", file.display()))?, file)
}

/// An open file without what was cut off at its end.
fn without_partial_line(open: File, file: &Path) -> Result<File> {
    let shorten = || -> std::io::Result<()> {
        let mut reader = File::open(file)?;
        let mut end = reader.metadata()?.len();
        let mut block = [0; 4096];
        while end > 0 {
            let start = end.saturating_sub(block.len() as u64);
            let tail = &mut block[..(end - start) as usize];
            reader.seek(SeekFrom::Start(start))?;
            reader.read_exact(tail)?;
            if let Some(last) = tail.iter().rposition(|byte| *byte == b'\n') {
                return open.set_len(start + last as u64 + 1);
            }
            end = start;
        }
        open.set_len(0)
    };
    shorten().with_context(|| format!("cannot write {}", file.display()))?;
    Ok(open)
}

/// The pictures of a folder, in the order in which they were settled.
///
/// # Errors
/// When its manifest cannot be read or a line of it is damaged.
pub(crate) fn items(dir: &Path) -> Result<impl Iterator<Item = Result<Item>>> {
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

/// Reads all items of a manifest.
///
/// # Errors
/// As there.
pub fn read(dir: &Path) -> Result<Vec<Item>> {
    items(dir)?.collect()
}

/// The whole lines, without their ends; not a last one that was cut off, maybe within a letter.
fn lines(mut reader: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        if let Err(error) = reader.read_until(b'\n', &mut line) {
            return Some(Err(error));
        }
        line.pop_if(|last| *last == b'\n')?;
        Some(String::from_utf8(line).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error)))
    })
}

/// What no two pictures share.
fn key(item: &Item) -> String {
    format!("{} {}", item.source, item.id)
}

/// What pictures share of which one is kept.
fn dedup_key(item: &Item) -> Option<String> {
    (!item.dedup_key.is_empty()).then(|| format!("{} {}", item.source, item.dedup_key))
}

/// The whole lines of a file, none when it is not there.
fn complete_lines(file: &Path) -> Result<Vec<String>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let cannot = || format!("cannot read {}", file.display());
    lines(BufReader::new(File::open(file).with_context(cannot)?)).collect::<std::io::Result<_>>().with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, status: Status) -> Item {
        let author = "Zoé".into();
        Item { source: "s".into(), id: id.into(), lat: Some(1.5), author, status: Some(status), ..Item::default() }
    }

    #[test]
    fn a_truncated_line_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        manifest.record(&item("a", Status::Ok)).unwrap();
        manifest.record(&item("b", Status::Missing)).unwrap();
        manifest.finish("part 1").unwrap();
        drop(manifest);
        let file = dir.path().join(MANIFEST);
        let whole = std::fs::read(&file).unwrap();
        // Behind its first line, in the middle of a letter of the second, before its end.
        let of_letter = whole.windows(2).rposition(|pair| pair == "é".as_bytes()).unwrap() + 1;
        for cut in [whole.len() - 1, of_letter, whole.len() - 20] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let mut manifest = Manifest::open(dir.path()).unwrap();
            assert_eq!((manifest.kept, manifest.searched.clone()), (1, HashSet::from(["part 1".to_owned()])));
            assert_eq!(manifest.claim(&item("a", Status::Ok)), Claim::Known);
            assert_eq!(manifest.claim(&item("b", Status::Ok)), Claim::New);
            manifest.record(&item("b", Status::Missing)).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        }
        assert_eq!(read(dir.path()).unwrap(), [item("a", Status::Ok), item("b", Status::Missing)]);
    }

    #[test]
    fn one_picture_per_dedup_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let frame = |id: &str| Item { dedup_key: "sequence 7".into(), ..item(id, Status::Ok) };
        let mut manifest = Manifest::open(dir.path()).unwrap();
        let claims = [frame("a"), frame("b"), item("c", Status::Ok), frame("a")].map(|item| manifest.claim(&item));
        assert_eq!(claims, [Claim::New, Claim::Duplicate, Claim::New, Claim::Known]);
        // One that is not there stands for none, in this run and the next.
        manifest.record(&Item { status: Some(Status::Missing), ..frame("a") }).unwrap();
        drop(manifest);
        let mut manifest = Manifest::open(dir.path()).unwrap();
        assert_eq!(manifest.claim(&frame("b")), Claim::New);
        manifest.record(&frame("b")).unwrap();
        drop(manifest);
        assert_eq!(Manifest::open(dir.path()).unwrap().claim(&frame("d")), Claim::Duplicate);
    }

    #[test]
    fn a_folder_is_locked_by_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let first = Manifest::open(dir.path()).unwrap();
        let error = Manifest::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("another run collects into"), "{error}");
        drop(first);
        let cut_off = dir.path().join("pictures/00/.a.jpg.7.part");
        std::fs::create_dir_all(cut_off.parent().unwrap()).unwrap();
        std::fs::write(&cut_off, "half").unwrap();
        Manifest::open(dir.path()).unwrap();
        assert!(!cut_off.exists());
    }

    #[test]
    fn errors_name_the_damaged_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "{}\nnonsense\n").unwrap();
        let error = format!("{:#}", Manifest::open(dir.path()).err().unwrap());
        assert!(error.contains("manifest.jsonl, line 2"), "{error}");
    }
}
