//! Locating an archive: many pictures of one directory, with a manifest that is resumed after an interruption.

mod answer;
pub(crate) mod decisions;
pub(crate) mod manifest;
mod neighbours;
mod pipeline;
mod prepare;
mod similar;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::{CellTable, Classifier, Prior};

pub(crate) use answer::Answer;
use manifest::{Index, Manifest, Record};
pub(crate) use neighbours::Neighbours;
use pipeline::Pipeline;
use prepare::fingerprint;
pub(crate) use prepare::sha256;

use crate::photos::hints::{HintTable, HintedCells, Hints};

/// What is to be located, and how.
pub(crate) struct ArchiveTask<'a> {
    pub classifier: &'a Classifier,
    pub root: &'a Path,
    /// Paths relative to the root, with `/` between directories, sorted.
    pub files: &'a [String],
    pub priors: &'a Priors,
    pub prior: Prior,
    /// Number of places per picture.
    pub top: usize,
}

/// What is known of the places of the pictures apart from their pixels.
pub(crate) struct Priors {
    root: PathBuf,
    of_all: Hints,
    cells_of_all: Option<Arc<HintedCells>>,
    table: HintTable,
    neighbours: Option<Neighbours>,
}

/// What happens during a run.
pub(crate) enum Event<'a> {
    /// A line was written.
    Located(&'a Record),
    /// A file cannot be read now.
    Unreadable(&'a str),
    /// A file of which a part is missing.
    Warning(&'a str),
}

impl Priors {
    /// # Errors
    /// A usage error when the hints for all pictures contradict each other.
    pub(crate) fn new(
        root: &Path,
        of_all: Hints,
        table: HintTable,
        neighbours: Option<Neighbours>,
        cells: &CellTable,
    ) -> Result<Self> {
        let cells_of_all =
            if of_all.is_empty() { None } else { Some(Arc::new(HintedCells::new(of_all.clone(), cells)?)) };
        Ok(Self { root: root.to_owned(), of_all, cells_of_all, table, neighbours })
    }

    /// Checks the hints of those pictures that have a row of their own, so that a mistake is reported before the work.
    ///
    /// # Errors
    /// A usage error that names the picture whose hints contradict each other.
    pub(crate) fn check(&self, files: &[String], cells: &CellTable) -> Result<()> {
        for path in files {
            if let Some(row) = self.table.of(&self.root.join(path)) {
                let checked = HintedCells::new(self.of_all.and(row), cells);
                checked.map_err(|error| usage_error(format!("{path}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Rows of the table whose picture is not in the archive, one line each.
    pub(crate) fn unused(&self, files: &[String]) -> Vec<String> {
        let paths: Vec<PathBuf> = files.iter().map(|path| self.root.join(path)).collect();
        self.table.unused(paths.iter().map(PathBuf::as_path))
    }

    /// Whether a picture has a row of its own in the table. It is then answered itself.
    fn has_row(&self, path: &str) -> bool {
        self.table.of(&self.root.join(path)).is_some()
    }

    /// The cells that are possible for a picture; `None` for all.
    fn cells(&self, record: &Record, cells: &CellTable) -> Result<Option<Arc<HintedCells>>> {
        let row = self.table.of(&self.root.join(&record.path));
        let known = match row {
            Some(row) => Some(Arc::new(HintedCells::new(self.of_all.and(row), cells)?)),
            None => self.cells_of_all.clone(),
        };
        // What the user states is certain. A neighbour that contradicts it is not used.
        let neighbour = self.neighbours.as_ref().filter(|_| !record.has_location);
        let Some(hint) = neighbour.and_then(|neighbours| neighbours.hint(&record.taken)) else { return Ok(known) };
        let stated = row.map_or_else(|| self.of_all.clone(), |row| self.of_all.and(row));
        let narrowed = HintedCells::find(stated.and(&Hints::new(vec![hint])), cells);
        Ok(narrowed.map(Arc::new).or(known))
    }
}

/// The pictures that a manifest lacks, or whose files changed since, as indices into the files; and those that are answered.
pub(crate) fn pending(root: &Path, files: &[String], index: &Index) -> Vec<usize> {
    let is_answered = |path: &String| {
        let line = index.by_path.get(path)?;
        let (size, modified_ms) = fingerprint(&root.join(path)).ok()?;
        Some(line.size == size && line.modified_ms == modified_ms)
    };
    (0..files.len()).filter(|i| !is_answered(&files[*i]).unwrap_or(false)).collect()
}

/// Locates the pending pictures and appends their answers to the manifest.
///
/// # Errors
/// When the encoder fails or the manifest cannot be written. Pictures that cannot be located are no error.
pub(crate) fn locate_archive(
    task: &ArchiveTask<'_>,
    pending: &[usize],
    manifest: &mut Manifest,
    index: Index,
    on_event: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    Pipeline::new(task, pending, manifest, index, on_event).run()
}
