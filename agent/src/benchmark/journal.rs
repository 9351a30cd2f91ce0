//! The answers of a run: a header and one line of JSON per answer, appended at once, so that a killed run is continued.
//!
//! A line has what the player said and no truth; points are computed when the run is summarised. What a kill leaves of a last
//! line is dropped when the journal is opened again. The last line of a round counts.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::fs::open_append;
use landfall_model::LatLng;
use serde::{Deserialize, Serialize};

use crate::benchmark::protocol::{Guess, Reply};

/// Version of the format.
const FORMAT: u32 = 1;
/// Maximum size of a journal in bytes, so that a file of another kind is not read into memory.
const MAX_BYTES: u64 = 256 << 20;
/// How a journal begins.
const HEADER_START: &[u8] = b"{\"landfall_bench\":";

/// Who plays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlayerId {
    /// `constant`, `prior`, `bundle`, `command`, `http`, `mcp` or `person`.
    pub kind: String,
    /// Name in tables.
    pub name: String,
    /// What else decides the answers: name and version of a bundle, or a hash of a command or URL, which may contain keys.
    pub detail: String,
}

/// What all answers of a run have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub landfall_bench: u32,
    pub set: String,
    pub set_sha256: String,
    pub rounds: usize,
    pub player: PlayerId,
    /// `direct`, or `browser` through the arena.
    pub through: String,
    pub time_limit_s: f64,
    pub retries: u32,
}

impl Header {
    pub(crate) fn new(set: &super::RoundSet, player: PlayerId, through: &str, time_limit_s: f64, retries: u32) -> Self {
        Self {
            landfall_bench: FORMAT,
            set: set.name.clone(),
            set_sha256: set.sha256.clone(),
            rounds: set.rounds.len(),
            player,
            through: through.to_owned(),
            time_limit_s,
            retries,
        }
    }

    /// What differs between two headers.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let Self { landfall_bench: _, set, set_sha256, rounds, player, through, time_limit_s, retries } = self;
        let same = [
            ("the set of rounds", (set, set_sha256, rounds) == (&other.set, &other.set_sha256, &other.rounds)),
            ("the player", *player == other.player),
            ("the way of playing (--browser)", *through == other.through),
            ("--time-limit", *time_limit_s == other.time_limit_s),
            ("--retries", *retries == other.retries),
        ];
        same.into_iter().find_map(|(what, is_same)| (!is_same).then_some(what))
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Answered,
    Refused,
    Error,
}

/// The answer of a player to a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub id: String,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<LatLng>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_km: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Why there is no guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of times the player was asked.
    pub attempts: u32,
    /// Time over all attempts.
    pub seconds: f64,
}

impl Answered {
    pub(super) fn new(id: &str, reply: Result<Reply, String>, attempts: u32, seconds: f64) -> Self {
        let empty = Self {
            id: id.to_owned(),
            outcome: Outcome::Error,
            guess: None,
            confidence: None,
            radius_km: None,
            cost_usd: None,
            reason: None,
            attempts,
            seconds: (seconds * 1e3).round() / 1e3,
        };
        match reply {
            Ok(Reply::Guess(Guess { at, confidence, radius_km, cost_usd })) => {
                Self { outcome: Outcome::Answered, guess: Some(at), confidence, radius_km, cost_usd, ..empty }
            }
            Ok(Reply::Refused { reason, cost_usd }) => {
                Self { outcome: Outcome::Refused, reason: Some(reason), cost_usd, ..empty }
            }
            Err(why) => Self { reason: Some(why), ..empty },
        }
    }
}

/// A journal that this process writes.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    by_id: HashMap<String, Answered>,
}

impl Journal {
    /// Opens a journal to go on with it, or creates it.
    ///
    /// # Errors
    /// When the file is no journal, belongs to another run, or is being written by another process.
    pub(crate) fn open(path: &Path, header: &Header) -> Result<Self> {
        let cannot_open = || environment_error(format!("cannot open {}", path.display()));
        let file = open_append(path).with_context(cannot_open)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                usage_error(format!("{}: another landfall is writing it", path.display()))
            }
            std::fs::TryLockError::Error(error) => anyhow::Error::new(error).context(cannot_open()),
        })?;
        let mut journal = Self { file, path: path.to_owned(), by_id: HashMap::new() };
        if !journal.read(header)? {
            journal.write(header)?;
        }
        Ok(journal)
    }

    /// Deletes a journal, if there is one.
    ///
    /// # Errors
    /// When the file is something else, or cannot be deleted.
    pub(crate) fn discard(path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let mut start = Vec::new();
        let read = open_append(path).and_then(|file| file.take(HEADER_START.len() as u64).read_to_end(&mut start));
        read.with_context(|| environment_error(format!("cannot read {}", path.display())))?;
        if !HEADER_START.starts_with(&start) {
            return Err(usage_error(format!("{}: not a journal of `bench`; it is left as it is", path.display())));
        }
        std::fs::remove_file(path).with_context(|| environment_error(format!("cannot delete {}", path.display())))
    }

    /// Reads what is there. Returns whether there is a header.
    fn read(&mut self, header: &Header) -> Result<bool> {
        let shown = self.path.display().to_string();
        let foreign = || usage_error(format!("{shown}: not a journal of `bench`; it is left as it is"));
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(0))?;
        let (mut found, mut end, mut line, mut by_id) = (false, 0u64, Vec::new(), HashMap::new());
        let mut reader = reader.take(MAX_BYTES);
        for n in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            end += read as u64;
            if !found {
                let theirs: Header = serde_json::from_slice(&line).map_err(|_| foreign())?;
                if theirs.landfall_bench != FORMAT {
                    return Err(usage_error(format!("{shown}: of another version of `bench`; give another --out")));
                }
                if let Some(what) = theirs.difference(header) {
                    return Err(usage_error(format!(
                        "{shown}: of a run in which {what} was different; give another --out, or --restart to begin anew"
                    )));
                }
                found = true;
                continue;
            }
            let damaged = || usage_error(format!("{shown}, line {n}: damaged; delete this line and go on"));
            let answered: Answered = serde_json::from_slice(&line).with_context(damaged)?;
            by_id.insert(answered.id.clone(), answered);
        }
        if !line.is_empty() {
            if !found && !line.iter().zip(HEADER_START).all(|(a, b)| a == b) {
                return Err(foreign());
            }
            // What a kill left of the last line.
            self.file.set_len(end).with_context(|| environment_error(format!("cannot write {shown}")))?;
        }
        self.by_id = by_id;
        Ok(found)
    }

    fn write(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| environment_error(format!("cannot write {}", self.path.display())))
    }

    /// Appends an answer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn append(&mut self, answered: Answered) -> Result<()> {
        self.write(&answered)?;
        self.by_id.insert(answered.id.clone(), answered);
        Ok(())
    }

    pub(crate) fn of(&self, id: &str) -> Option<&Answered> {
        self.by_id.get(id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            landfall_bench: FORMAT,
            set: "fixtures".into(),
            set_sha256: "00".into(),
            rounds: 2,
            player: PlayerId { kind: "bundle".into(), name: "pocket".into(), detail: "pocket@1".into() },
            through: "direct".into(),
            time_limit_s: 60.0,
            retries: 1,
        }
    }

    pub(crate) fn answered(id: &str, lat: f64) -> Answered {
        Answered::new(id, Ok(Reply::Guess(Guess::at(LatLng { lat, lng: 7.0 }))), 1, 0.5)
    }

    #[test]
    fn a_killed_run_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("answers.jsonl");
        let mut journal = Journal::open(&file, &header()).unwrap();
        assert!(Journal::open(&file, &header()).unwrap_err().to_string().contains("another landfall"));
        journal.append(answered("a", 1.0)).unwrap();
        journal.append(answered("b", 2.0)).unwrap();
        journal.append(answered("a", 3.0)).unwrap();
        drop(journal);
        let whole = std::fs::read(&file).unwrap();
        // A kill at any byte of the last line loses this line only.
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in [last, last + 1, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let journal = Journal::open(&file, &header()).unwrap();
            assert_eq!((journal.of("a"), journal.of("b")), (Some(&answered("a", 1.0)), Some(&answered("b", 2.0))));
            assert_eq!(std::fs::read(&file).unwrap(), &whole[..last]);
        }
        // Or within the header.
        std::fs::write(&file, &whole[..9]).unwrap();
        assert!(Journal::open(&file, &header()).unwrap().of("a").is_none());
    }

    #[test]
    fn other_runs_and_other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("answers.jsonl");
        drop(Journal::open(&file, &header()).unwrap());
        let other_player = PlayerId { detail: "pocket@2".into(), ..header().player };
        for (changed, what) in [
            (Header { set_sha256: "11".into(), ..header() }, "the set of rounds"),
            (Header { rounds: 3, ..header() }, "the set of rounds"),
            (Header { player: other_player, ..header() }, "the player"),
            (Header { through: "browser".into(), ..header() }, "--browser"),
            (Header { time_limit_s: 9.0, ..header() }, "--time-limit"),
            (Header { retries: 0, ..header() }, "--retries"),
        ] {
            let error = Journal::open(&file, &changed).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("--restart"), "{error}");
        }
        for text in ["notes", "notes\n", "{}\n"] {
            std::fs::write(&file, text).unwrap();
            assert!(Journal::open(&file, &header()).unwrap_err().to_string().contains("not a journal"), "{text}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
