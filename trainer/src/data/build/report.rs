//! The report of `index`: numbers of excluded images by reason.

use std::collections::BTreeMap;

use serde::Serialize;

// Reasons for exclusion; these are keys of the JSON report.
pub(super) const GONE: &str = "gone from its source";
pub(super) const NO_PICTURE: &str = "no picture";
pub(super) const NOWHERE: &str = "no place and no country";
pub(super) const TOO_SMALL: &str = "too small";
pub(super) const OF_ONE_COORDINATE: &str = "more of one coordinate";
pub(super) const IN_ONE_CELL: &str = "more in one cell";
pub(super) const TOO_NEAR: &str = "too near a picture held out";

/// Numbers of images found, kept, excluded by reason, and per split.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) found: usize,
    pub(super) kept: usize,
    pub(super) left_out: BTreeMap<&'static str, usize>,
    pub(super) splits: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Keeps the rows for which `reason` returns `None` and counts the others by reason.
    pub(super) fn keep<T>(&mut self, rows: Vec<T>, mut reason: impl FnMut(&T) -> Option<&'static str>) -> Vec<T> {
        let mut left_out = |why| *self.left_out.entry(why).or_default() += 1;
        rows.into_iter().filter(|row| reason(row).map(&mut left_out).is_none()).collect()
    }
}
