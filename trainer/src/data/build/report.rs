//! The report of `index`: numbers of excluded images by reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

// Reasons for exclusion; these are keys of the JSON report.
pub(super) const GONE: &str = "gone from its source";
pub(super) const NO_PICTURE: &str = "no picture";
pub(super) const NOWHERE: &str = "no place and no country";
pub(super) const TOO_SMALL: &str = "too small";
pub(super) const OF_ONE_COORDINATE: &str = "more of one coordinate";
pub(super) const IN_ONE_CELL: &str = "more in one cell";
pub(super) const SAME: &str = "the same as another";
pub(super) const TOO_NEAR: &str = "too near a picture held out";

/// Numbers of images found, kept, excluded by reason, and per split.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) found: usize,
    pub(super) kept: usize,
    pub(super) left_out: BTreeMap<&'static str, usize>,
    pub(super) splits: BTreeMap<Cow<'static, str>, usize>,
}

impl Report {
    /// Prints the numbers to standard error and, if `json`, to standard output.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub(super) fn print(&self, json: bool, index: &Path) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        }
        for (why, n) in &self.left_out {
            eprintln!("excluded {n:>9}: {why}");
        }
        for (split, n) in &self.splits {
            eprintln!("     {split:>8} {n:>9}");
        }
        eprintln!("wrote {}: {} of {} images", index.display(), self.kept, self.found);
        Ok(())
    }

    /// Keeps the rows for which `reason` returns `None` and counts the others by reason.
    pub(super) fn keep<T>(&mut self, rows: Vec<T>, mut reason: impl FnMut(&T) -> Option<&'static str>) -> Vec<T> {
        let mut left_out = |why| *self.left_out.entry(why).or_default() += 1;
        rows.into_iter().filter(|row| reason(row).map(&mut left_out).is_none()).collect()
    }
}
