//! The manifest of a folder of collected images: `manifest.jsonl`, one line per image that was stored or found missing
//! or broken, and `searched.txt`, one line per batch whose images are all processed.
//!
//! Both are appended to one line at a time, after the image file is written. Whatever an interrupted run did not record
//! is searched or fetched again.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use landfall_common::fs::open_append;
use serde::{Deserialize, Serialize};

use crate::io::paths;

const MANIFEST: &str = "manifest.jsonl";
const SEARCHED: &str = "searched.txt";
/// Maximum length of a line.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The outcome for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Stored.
    Ok,
    /// No longer on the server.
    Missing,
    /// Not a readable image.
    Broken,
}

/// An image and its metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// Name of the source, such as `flickr`.
    pub source: String,
    /// Id in the source.
    pub id: String,
    /// Image file, relative to the folder.
    pub file: PathBuf,
    /// Latitude in degrees; `None` if only the country is known.
    pub lat: Option<f64>,
    /// Longitude in degrees.
    pub lng: Option<f64>,
    /// ISO 3166-1 alpha-2 code, if the source has one.
    pub iso2: String,
    /// Heading in degrees clockwise from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<f64>,
    /// Capture time in the format of the source.
    pub time: String,
    /// Images of one group must not be split: a sequence, a panorama, an author's day.
    pub group: String,
    /// Only one image is kept per key, such as one per sequence or per second. Empty if there is no key.
    #[serde(rename = "twin", skip_serializing_if = "String::is_empty")]
    pub dedup_key: String,
    /// Author.
    pub author: String,
    /// Licence.
    pub licence: String,
    /// Attribution text.
    pub attribution: String,
    /// URL without API keys.
    pub url: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The manifest of a folder, open for appending.
pub(super) struct Manifest {
    /// The folder.
    pub(super) dir: PathBuf,
    /// Keys of images that are processed or being fetched.
    known_keys: HashSet<String>,
    /// Deduplication keys of images that are stored or being fetched.
    dedup_keys: HashSet<String>,
    /// Number of stored images.
    pub(super) kept: usize,
    /// Names of completed batches.
    pub(super) searched: HashSet<String>,
    items: File,
    batches: File,
}

impl Manifest {
    /// Opens and locks a folder; creates it if missing.
    ///
    /// # Errors
    /// If it cannot be read or written, another run has locked it, or a line of the manifest is damaged.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let file = dir.join(MANIFEST);
        let items = open_for_appending(&file)?;
        match items.try_lock() {
            Err(TryLockError::WouldBlock) => {
                bail!("another run is writing to {}; wait for it to finish, or choose another --out", dir.display())
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
            known_keys: known.iter().map(key).collect(),
            dedup_keys: HashSet::new(),
            kept: 0,
            searched: searched.into_iter().collect(),
            items: without_partial_line(items, &file)?,
            batches: without_partial_line(open_for_appending(&dir.join(SEARCHED))?, &dir.join(SEARCHED))?,
        };
        for item in known.iter().filter(|item| item.status == Some(Status::Ok)) {
            manifest.dedup_keys.extend(dedup_key(item));
            manifest.kept += 1;
        }
        Ok(manifest)
    }

    /// Claims an image for fetching. It then counts as known, and others with its deduplication key as duplicates.
    pub(super) fn claim(&mut self, item: &Item) -> Claim {
        if self.known_keys.contains(&key(item)) {
            return Claim::Known;
        }
        if dedup_key(item).is_some_and(|key| self.dedup_keys.contains(&key)) {
            return Claim::Duplicate;
        }
        self.known_keys.insert(key(item));
        self.dedup_keys.extend(dedup_key(item));
        Claim::New
    }

    /// Records the outcome for an image.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn record(&mut self, item: &Item) -> Result<()> {
        let line = serde_json::to_string(item)? + "\n";
        let written = self.items.write_all(line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(MANIFEST).display()))?;
        if item.status == Some(Status::Ok) {
            self.kept += 1;
        } else if let Some(key) = dedup_key(item) {
            self.dedup_keys.remove(&key); // another image with this key may exist
        }
        Ok(())
    }

    /// Records that a batch is complete.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn finish(&mut self, batch: &str) -> Result<()> {
        let written = self.batches.write_all(format!("{batch}\n").as_bytes());
        written.with_context(|| format!("cannot write {}", self.dir.join(SEARCHED).display()))
    }
}

/// The result of [`Manifest::claim`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Claim {
    /// The image has to be fetched.
    New,
    /// The image is already processed or being fetched.
    Known,
    /// Another image with the same deduplication key is stored or being fetched.
    Duplicate,
}

/// Removes partially written images of a killed run. Folders elsewhere, behind symbolic links, are left alone.
fn remove_partial_files(dir: &Path) {
    let is_folder = |dir: &Path| std::fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir());
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = Some(dir.join("pictures")).filter(|dir| is_folder(dir)).into_iter().flat_map(|dir| entries(&dir));
    for file in folders.filter(|dir| is_folder(dir)).flat_map(|folder| entries(&folder).collect::<Vec<_>>()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".part") {
            let _ = std::fs::remove_file(file); // a leftover is harmless
        }
    }
}

/// Opens a file for appending; creates it if missing. Symbolic links are refused, since a folder from elsewhere could
/// have one to any file.
pub(super) fn open_for_appending(file: &Path) -> Result<File> {
    if std::fs::symlink_metadata(file).is_ok_and(|found| !found.is_file()) {
        bail!("{} is not a regular file; move it away, or choose another --out", file.display());
    }
    open_append(file).with_context(|| format!("cannot write {}", file.display()))
}

/// Removes a partial last line from an open file.
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

/// Iterates over the images of a folder, in the order in which they were recorded.
///
/// # Errors
/// If the manifest cannot be read or a line of it is damaged.
pub(crate) fn items(dir: &Path) -> Result<impl Iterator<Item = Result<Item>>> {
    let file = dir.join(MANIFEST);
    let read_failed = {
        let file = file.clone();
        move || format!("cannot read {}", file.display())
    };
    let empty: Box<dyn BufRead> = Box::new(std::io::empty());
    let reader =
        if file.exists() { Box::new(BufReader::new(File::open(&file).with_context(&read_failed)?)) } else { empty };
    Ok(lines(reader).enumerate().map(move |(i, line)| {
        let at = || format!("{}, line {}", file.display(), i + 1);
        let item: Item = serde_json::from_str(&line.with_context(&read_failed)?)
            .with_context(|| format!("{}: not a valid entry; remove the line and collect again", at()))?;
        // The manifest may come from elsewhere, and `index` copies the names of files.
        paths::check_relative(&item.file).map_err(|why| anyhow!("{}: the file name {why}", at()))?;
        Ok(item)
    }))
}

/// Reads all items of a manifest.
///
/// # Errors
/// If the manifest cannot be read or a line of it is damaged.
pub fn read(dir: &Path) -> Result<Vec<Item>> {
    items(dir)?.collect()
}

/// Iterates over complete lines, without line ends. A partial last line, which may end within a UTF-8 character, is
/// skipped.
fn lines(mut reader: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        if let Err(error) = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            return Some(Err(error));
        }
        if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
            return Some(Err(std::io::Error::new(ErrorKind::InvalidData, "a line is longer than 1 MiB")));
        }
        line.pop_if(|last| *last == b'\n')?;
        Some(String::from_utf8(line).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error)))
    })
}

/// The unique key of an image.
fn key(item: &Item) -> String {
    format!("{} {}", item.source, item.id)
}

/// The deduplication key of an image, qualified by its source.
fn dedup_key(item: &Item) -> Option<String> {
    (!item.dedup_key.is_empty()).then(|| format!("{} {}", item.source, item.dedup_key))
}

/// Reads the complete lines of a file; none if it does not exist.
fn complete_lines(file: &Path) -> Result<Vec<String>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let read_failed = || format!("cannot read {}", file.display());
    lines(BufReader::new(File::open(file).with_context(read_failed)?))
        .collect::<std::io::Result<_>>()
        .with_context(read_failed)
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
        let complete = std::fs::read(&file).unwrap();
        // Before the last line end, within a UTF-8 character, and within the second line.
        let within_character = complete.windows(2).rposition(|pair| pair == "é".as_bytes()).unwrap() + 1;
        for cut in [complete.len() - 1, within_character, complete.len() - 20] {
            std::fs::write(&file, &complete[..cut]).unwrap();
            let mut manifest = Manifest::open(dir.path()).unwrap();
            assert_eq!((manifest.kept, manifest.searched.clone()), (1, HashSet::from(["part 1".to_owned()])));
            assert_eq!(manifest.claim(&item("a", Status::Ok)), Claim::Known);
            assert_eq!(manifest.claim(&item("b", Status::Ok)), Claim::New);
            manifest.record(&item("b", Status::Missing)).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), complete);
        }
        assert_eq!(read(dir.path()).unwrap(), [item("a", Status::Ok), item("b", Status::Missing)]);
    }

    #[test]
    fn one_image_per_dedup_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let frame = |id: &str| Item { dedup_key: "sequence 7".into(), ..item(id, Status::Ok) };
        let mut manifest = Manifest::open(dir.path()).unwrap();
        let claims = [frame("a"), frame("b"), item("c", Status::Ok), frame("a")].map(|item| manifest.claim(&item));
        assert_eq!(claims, [Claim::New, Claim::Duplicate, Claim::New, Claim::Known]);
        // A missing image does not block others with its key, in this run and the next.
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
        assert!(error.contains("another run is writing to"), "{error}");
        drop(first);
        let partial_file = dir.path().join("pictures/00/.a.jpg.7.part");
        std::fs::create_dir_all(partial_file.parent().unwrap()).unwrap();
        std::fs::write(&partial_file, "half").unwrap();
        Manifest::open(dir.path()).unwrap();
        assert!(!partial_file.exists());
    }

    #[test]
    fn errors_name_the_damaged_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "{}\nnonsense\n").unwrap();
        let error = format!("{:#}", Manifest::open(dir.path()).err().unwrap());
        assert!(error.contains("manifest.jsonl, line 2"), "{error}");
    }

    #[test]
    fn a_manifest_cannot_name_files_outside_or_grow_without_limit() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["/etc/passwd", "pictures/../../x", "C:/x", r"..\\x"] {
            std::fs::write(dir.path().join(MANIFEST), format!("{{}}\n{{\"file\":\"{name}\"}}\n")).unwrap();
            let error = format!("{:#}", read(dir.path()).unwrap_err());
            assert!(error.contains("manifest.jsonl, line 2: the file name"), "{error}");
        }
        std::fs::write(dir.path().join(MANIFEST), "x".repeat(3 << 20)).unwrap();
        let error = format!("{:#}", read(dir.path()).unwrap_err());
        assert!(error.contains("longer than 1 MiB"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_neither_written_nor_cleaned_through() {
        let dir = tempfile::tempdir().unwrap();
        let (out, elsewhere) = (dir.path().join("out"), dir.path().join("elsewhere"));
        std::fs::create_dir_all(out.join("pictures")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join(".a.part"), "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, out.join("pictures/00")).unwrap();
        Manifest::open(&out).unwrap();
        assert!(elsewhere.join(".a.part").exists());
        for name in [MANIFEST, SEARCHED] {
            std::fs::remove_file(out.join(name)).unwrap();
            std::os::unix::fs::symlink(elsewhere.join(".a.part"), out.join(name)).unwrap();
            let error = Manifest::open(&out).err().unwrap().to_string();
            assert!(error.contains(name) && error.contains("is not a regular file"), "{error}");
            std::fs::remove_file(out.join(name)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(elsewhere.join(".a.part")).unwrap(), "kept");
    }
}
