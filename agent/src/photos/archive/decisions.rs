//! What a person decided on the answers of a manifest: a journal beside it, to which each decision is appended.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::fs::open_append;
use landfall_model::LatLng;
use serde::{Deserialize, Serialize};

use crate::photos::archive::manifest::for_each_line;

/// Maximum length of a line: a decision on some hundred thousand pictures.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// The confirmed location of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    #[serde(flatten)]
    pub at: LatLng,
    /// Whether a person chose the location instead of accepting the estimate.
    pub is_corrected: bool,
}

/// A picture of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decided {
    pub path: String,
    #[serde(flatten)]
    pub decision: Decision,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Decide(Vec<Decided>),
    /// Takes the last decision back that was not taken back yet.
    Undo,
}

/// All decisions on a manifest.
#[derive(Debug)]
pub(crate) struct Decisions {
    journal: File,
    path: PathBuf,
    by_path: HashMap<String, Decision>,
    /// For each decision that can be taken back, what was decided before.
    undo: Vec<Vec<(String, Option<Decision>)>>,
}

impl Decisions {
    /// Opens the journal of a manifest, `MANIFEST.review`, or creates it.
    ///
    /// # Errors
    /// When it cannot be read, or another process has it open.
    pub(crate) fn open(manifest: &Path) -> Result<Self> {
        let mut name = manifest.as_os_str().to_owned();
        name.push(".review");
        let path = PathBuf::from(name);
        let cannot_open = || environment_error(format!("cannot open {}, where decisions are kept", path.display()));
        let journal = open_append(&path).with_context(cannot_open)?;
        journal.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                usage_error(format!("{}: another landfall has it open", path.display()))
            }
            std::fs::TryLockError::Error(error) => anyhow::Error::new(error).context(cannot_open()),
        })?;
        let mut entries = Vec::new();
        let mut end = 0;
        let torn = for_each_line(&path, &journal, MAX_LINE_BYTES, |offset, line| {
            let damaged = || usage_error(format!("{}: the line at byte {offset} is damaged", path.display()));
            entries.push(serde_json::from_slice::<Entry>(line).with_context(damaged)?);
            end = offset + line.len() as u64;
            Ok(())
        })?;
        // What a kill left of the last decision.
        if !torn.is_empty() {
            let is_own = end > 0 || torn.starts_with(b"{\"decide\":") || b"{\"decide\":".starts_with(&torn[..]);
            if !is_own {
                return Err(usage_error(format!(
                    "{}: not a journal of decisions; it is left as it is",
                    path.display()
                )));
            }
            journal.set_len(end).with_context(cannot_open)?;
        }
        let mut decisions = Self { journal, path: path.clone(), by_path: HashMap::new(), undo: Vec::new() };
        for entry in entries {
            decisions.apply(entry);
        }
        Ok(decisions)
    }

    pub(crate) fn of(&self, path: &str) -> Option<Decision> {
        self.by_path.get(path).copied()
    }

    /// Number of decisions that can be taken back.
    pub(crate) fn undoable(&self) -> usize {
        self.undo.len()
    }

    /// Records one decision on some pictures.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is decided.
    pub(crate) fn decide(&mut self, pictures: Vec<Decided>) -> Result<()> {
        if pictures.is_empty() { Ok(()) } else { self.append(Entry::Decide(pictures)) }
    }

    /// Takes the last decision back. Returns the pictures that it was on.
    ///
    /// # Errors
    /// When it cannot be written; then the decision stays.
    pub(crate) fn undo(&mut self) -> Result<Vec<String>> {
        let Some(last) = self.undo.last() else { return Ok(Vec::new()) };
        let pictures = last.iter().map(|(path, _)| path.clone()).collect();
        self.append(Entry::Undo)?;
        Ok(pictures)
    }

    fn append(&mut self, entry: Entry) -> Result<()> {
        let line = serde_json::to_string(&entry)? + "\n";
        let written = self.journal.write_all(line.as_bytes()).and_then(|()| self.journal.sync_data());
        written.with_context(|| environment_error(format!("cannot write {}", self.path.display())))?;
        self.apply(entry);
        Ok(())
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Decide(pictures) => {
                let replace = |Decided { path, decision }| {
                    let before = self.by_path.insert(String::clone(&path), decision);
                    (path, before)
                };
                let before = pictures.into_iter().map(replace).collect();
                self.undo.push(before);
            }
            Entry::Undo => {
                // In reverse, should a picture be in a decision twice.
                for (path, before) in self.undo.pop().unwrap_or_default().into_iter().rev() {
                    match before {
                        Some(before) => _ = self.by_path.insert(path, before),
                        None => _ = self.by_path.remove(&path),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(path: &str, lat: f64, is_corrected: bool) -> Decided {
        Decided { path: path.into(), decision: Decision { at: LatLng { lat, lng: 7.0 }, is_corrected } }
    }

    #[test]
    fn decisions_are_kept_and_taken_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("m.jsonl");
        let mut decisions = Decisions::open(&manifest).unwrap();
        assert!(Decisions::open(&manifest).unwrap_err().to_string().contains("another landfall"));
        decisions.decide(vec![decided("a.jpg", 1.0, false), decided("b.jpg", 2.0, false)]).unwrap();
        decisions.decide(vec![decided("a.jpg", 3.0, true)]).unwrap();
        decisions.decide(vec![decided("c.jpg", 4.0, false)]).unwrap();
        assert_eq!(decisions.undo().unwrap(), ["c.jpg"]);
        drop(decisions);

        // A kill in the middle of the last line.
        let journal = dir.path().join("m.jsonl.review");
        let whole = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, whole.clone() + "{\"decide\":[{\"path\":\"d.j").unwrap();
        let mut decisions = Decisions::open(&manifest).unwrap();
        let lat = |decisions: &Decisions, path: &str| decisions.of(path).map(|decision| decision.at.lat);
        assert_eq!((lat(&decisions, "a.jpg"), lat(&decisions, "b.jpg")), (Some(3.0), Some(2.0)));
        assert_eq!((lat(&decisions, "c.jpg"), lat(&decisions, "d.jpg"), decisions.undoable()), (None, None, 2));
        decisions.undo().unwrap();
        assert_eq!(lat(&decisions, "a.jpg"), Some(1.0));
        decisions.undo().unwrap();
        assert_eq!((lat(&decisions, "a.jpg"), decisions.undo().unwrap().len()), (None, 0));
    }

    #[test]
    fn another_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("m.jsonl.review");
        for text in ["notes", "notes\n"] {
            std::fs::write(&journal, text).unwrap();
            assert!(Decisions::open(&dir.path().join("m.jsonl")).is_err());
            assert_eq!(std::fs::read_to_string(&journal).unwrap(), text);
        }
    }
}
