//! The manifest of an archive: a header and one line of JSON per answered picture, appended as the answers come.
//!
//! A line is written at once and whole. What a kill leaves of a last line is dropped when the manifest is opened again. A
//! picture whose file changed gets another line, and its last line counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::fs::open_append;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::photos::archive::answer::Answer;
use crate::photos::capture_time::Shot;

/// Version of the format.
pub(crate) const FORMAT: u32 = 1;
/// Maximum length of a line, so that a file of another kind is not read into memory.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// What all answers of a manifest have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub landfall_manifest: u32,
    /// The bundle, `name@version`.
    pub bundle: String,
    /// The directory that paths are relative to.
    pub root: PathBuf,
    /// The options that change answers.
    pub options: BTreeMap<String, Value>,
}

/// A picture, and where it was taken or why that is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Relative to the root, with `/` between directories.
    pub path: String,
    pub size: u64,
    /// Time of the last change, in milliseconds since 1970.
    pub modified_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Shot::is_empty")]
    pub taken: Shot,
    /// Perceptual hash, of pictures that may belong to a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<String>,
    /// Whether EXIF or XMP data state a position.
    #[serde(default)]
    pub has_location: bool,
    /// The picture that the answer was copied from: one with the same content, or of the same burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is kept in memory of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub size: u64,
    pub modified_ms: i64,
    pub offset: u64,
}

/// The part of a line that is needed to resume.
#[derive(Deserialize)]
struct Fingerprint {
    path: String,
    size: u64,
    modified_ms: i64,
    sha256: Option<String>,
}

/// The lines of a manifest, by path and by content.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub by_path: HashMap<String, Line>,
    pub by_content: HashMap<String, u64>,
}

/// A manifest that this process writes.
pub(crate) struct Manifest {
    file: File,
    path: PathBuf,
    end: u64,
}

impl Manifest {
    /// Opens a manifest to go on with it, or creates it.
    ///
    /// # Errors
    /// When the file is no manifest, was made with another bundle or other options, or is being written by another process.
    pub(crate) fn open(path: &Path, header: &Header) -> Result<(Self, Index)> {
        let cannot_open = || environment_error(format!("cannot open the manifest {}", path.display()));
        let file = open_append(path).with_context(cannot_open)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                usage_error(format!("{}: another landfall is writing this manifest", path.display()))
            }
            std::fs::TryLockError::Error(error) => anyhow::Error::new(error).context(cannot_open()),
        })?;
        let mut manifest = Self { file, path: path.to_owned(), end: 0 };
        let mut index = Index::default();
        let found = manifest.read_lines(&mut index)?;
        match found {
            Some(found) => check_same(path, &found, header)?,
            None => manifest.write_header(header)?,
        }
        Ok((manifest, index))
    }

    fn read_lines(&mut self, index: &mut Index) -> Result<Option<Header>> {
        let mut header = None;
        let mut end = 0;
        let read = for_each_line(&self.path, &self.file, MAX_LINE_BYTES, |offset, line| {
            if header.is_none() {
                header = Some(parse_header(&self.path, line)?);
            } else {
                let Fingerprint { path, size, modified_ms, sha256 } = parse_line(&self.path, offset, line)?;
                if let Some(sha256) = sha256 {
                    index.by_content.entry(sha256).or_insert(offset);
                }
                index.by_path.insert(path, Line { size, modified_ms, offset });
            }
            end = offset + line.len() as u64;
            Ok(())
        });
        let torn = read?;
        if header.is_none() && !torn.is_empty() && !is_start_of_header(&torn) {
            return Err(not_a_manifest(&self.path));
        }
        if !torn.is_empty() {
            self.file.set_len(end).with_context(|| self.cannot_write())?;
        }
        self.end = end;
        Ok(header)
    }

    fn write_header(&mut self, header: &Header) -> Result<()> {
        self.write(&(serde_json::to_string(header)? + "\n"))
    }

    /// Appends records, all of them with one write. Returns the offset of the first one.
    ///
    /// # Errors
    /// An environment error when they cannot be written.
    pub(crate) fn append(&mut self, records: &[&Record]) -> Result<u64> {
        let offset = self.end;
        let lines: Result<Vec<String>, _> = records.iter().map(serde_json::to_string).collect();
        self.write(&(lines?.join("\n") + "\n"))?;
        Ok(offset)
    }

    fn write(&mut self, lines: &str) -> Result<()> {
        (&self.file).write_all(lines.as_bytes()).with_context(|| self.cannot_write())?;
        self.end += lines.len() as u64;
        Ok(())
    }

    fn cannot_write(&self) -> anyhow::Error {
        environment_error(format!("cannot write the manifest {}", self.path.display()))
    }

    /// The record whose line begins at this offset.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read_at(&self, offset: u64) -> Result<Record> {
        let cannot_read = || environment_error(format!("cannot read the manifest {}", self.path.display()));
        (&self.file).seek(SeekFrom::Start(offset)).with_context(cannot_read)?;
        let mut line = Vec::new();
        let mut reader = BufReader::new(&self.file).take(MAX_LINE_BYTES);
        reader.read_until(b'\n', &mut line).with_context(cannot_read)?;
        parse_line(&self.path, offset, &line)
    }

    /// Calls a function with the last record of each of these pictures that has one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn for_each_last(&self, files: &[String], mut act: impl FnMut(Record)) -> Result<()> {
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut is_header = true;
        for_each_line(&self.path, &self.file, MAX_LINE_BYTES, |offset, line| {
            if !std::mem::take(&mut is_header) {
                last.insert(parse_line::<Fingerprint>(&self.path, offset, line)?.path, offset);
            }
            Ok(())
        })?;
        for offset in files.iter().filter_map(|path| last.get(path)) {
            act(self.read_at(*offset)?);
        }
        Ok(())
    }

    /// Makes sure that what was written is on the disk.
    ///
    /// # Errors
    /// An environment error.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| self.cannot_write())
    }
}

/// Reads a manifest: its header and the last record of each picture, sorted by path. A line that is being written is left
/// out.
///
/// # Errors
/// When the file cannot be read or is no manifest.
pub(crate) fn read_manifest(path: &Path) -> Result<(Header, Vec<Record>)> {
    let cannot_read = || usage_error(format!("cannot read the manifest {}", path.display()));
    let file = File::open(path).with_context(cannot_read)?;
    let (mut header, mut records) = (None, BTreeMap::new());
    for_each_line(path, &file, MAX_LINE_BYTES, |offset, line| {
        if header.is_none() {
            header = Some(parse_header(path, line)?);
        } else {
            let record: Record = parse_line(path, offset, line)?;
            // The manifest may come from somebody else, and must not lead out of its directory.
            let is_inside = Path::new(&record.path).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside || record.path.is_empty() {
                return Err(usage_error(format!(
                    "{}: the line at byte {offset} names a file outside of the directory",
                    path.display()
                )));
            }
            records.insert(record.path.clone(), record);
        }
        Ok(())
    })?;
    let header = header.ok_or_else(|| not_a_manifest(path))?;
    Ok((header, records.into_values().collect()))
}

/// Calls a function with the offset and the bytes of each whole line. Returns what follows the last one.
pub(super) fn for_each_line(
    path: &Path,
    file: &File,
    max_bytes: u64,
    mut act: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Vec<u8>> {
    let cannot_read = || environment_error(format!("cannot read {}", path.display()));
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0)).with_context(cannot_read)?;
    let (mut offset, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.by_ref().take(max_bytes).read_until(b'\n', &mut line).with_context(cannot_read)?;
        if line.last() != Some(&b'\n') {
            return if (read as u64) < max_bytes { Ok(line) } else { Err(not_a_manifest(path)) };
        }
        act(offset, &line)?;
        offset += read as u64;
    }
}

fn parse_line<T: serde::de::DeserializeOwned>(path: &Path, offset: u64, line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).with_context(|| {
        usage_error(format!("{}: the line at byte {offset} is damaged; delete this line and go on", path.display()))
    })
}

fn parse_header(path: &Path, line: &[u8]) -> Result<Header> {
    let value: Value = serde_json::from_slice(line).map_err(|_| not_a_manifest(path))?;
    match value["landfall_manifest"].as_u64() {
        None => Err(not_a_manifest(path)),
        Some(version) if version != u64::from(FORMAT) => Err(usage_error(format!(
            "{}: a manifest of format {version}, and this landfall has format {FORMAT}: use another file",
            path.display()
        ))),
        Some(_) => serde_json::from_value(value).map_err(|_| not_a_manifest(path)),
    }
}

/// Whether a kill may have left this of a header.
fn is_start_of_header(bytes: &[u8]) -> bool {
    let start = b"{\"landfall_manifest\":";
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn not_a_manifest(path: &Path) -> anyhow::Error {
    usage_error(format!("{}: not a manifest of `landfall locate`; it is left as it is", path.display()))
}

/// Says what differs between the header of a manifest and that of this run.
fn check_same(path: &Path, found: &Header, wanted: &Header) -> Result<()> {
    let mut differences = Vec::new();
    if found.bundle != wanted.bundle {
        differences.push(format!("the bundle {} and not {}", found.bundle, wanted.bundle));
    }
    if found.root != wanted.root {
        differences.push(format!("the directory {} and not {}", found.root.display(), wanted.root.display()));
    }
    let names = found.options.keys().chain(wanted.options.keys()).collect::<std::collections::BTreeSet<_>>();
    for name in names {
        let (of_found, of_wanted) = (found.options.get(name), wanted.options.get(name));
        let text = |value: Option<&Value>| value.map_or_else(|| "not given".to_owned(), ToString::to_string);
        if of_found != of_wanted {
            differences.push(format!("--{name} {} and not {}", text(of_found), text(of_wanted)));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(usage_error(format!(
        "{}: this manifest was made with {}; its answers would not fit: give the same options, or another manifest",
        path.display(),
        differences.join("; ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let options = [("prior".to_owned(), Value::from("photo"))].into();
        Header { landfall_manifest: FORMAT, bundle: "pocket@1".into(), root: "/photos".into(), options }
    }

    fn record(path: &str, size: u64) -> Record {
        Record {
            path: path.into(),
            size,
            modified_ms: 5,
            sha256: Some(format!("hash of {size}")),
            taken: Shot::default(),
            look: None,
            has_location: false,
            same_as: None,
            answer: None,
            error: Some("damaged".into()),
        }
    }

    #[test]
    fn whatever_a_kill_leaves_of_the_last_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let (mut manifest, _) = Manifest::open(&path, &header()).unwrap();
        manifest.append(&[&record("a.jpg", 1)]).unwrap();
        let offset = manifest.append(&[&record("b.jpg", 2), &record("a.jpg", 3)]).unwrap();
        assert_eq!(manifest.read_at(offset).unwrap(), record("b.jpg", 2));
        drop(manifest);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut manifest, index) = Manifest::open(&path, &header()).unwrap();
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let pictures = [0, 0, 1, 2, 2][lines];
            assert_eq!(index.by_path.len(), pictures, "{cut}");
            manifest.append(&[&record("c.jpg", 4)]).unwrap();
            drop(manifest);
            let (_, records) = read_manifest(&path).unwrap();
            assert_eq!(records.len(), pictures + 1, "{cut}");
            if lines == 4 {
                assert_eq!(records[0], record("a.jpg", 3), "the last line counts");
            }
        }
    }

    #[test]
    fn other_files_are_left_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        for text in ["notes", "notes\n", "{}\n", "{\"landfall_manifest\":2}\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Manifest::open(&path, &header()).is_err() && read_manifest(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_manifest_of_another_run_says_what_differs_and_two_writers_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let open = Manifest::open(&path, &header()).unwrap();
        let error = Manifest::open(&path, &header()).err().unwrap().to_string();
        assert!(error.contains("another landfall is writing"), "{error}");
        drop(open);
        let options = [("top".to_owned(), Value::from(3))].into();
        let other = Header { bundle: "desktop@2".into(), options, ..header() };
        let error = Manifest::open(&path, &other).err().unwrap().to_string();
        for part in ["pocket@1 and not desktop@2", "--prior \"photo\" and not not given", "--top not given and not 3"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
