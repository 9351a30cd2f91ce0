//! Finding recorded rounds in directories.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;

/// The directory of a recorded round.
pub(crate) struct RoundDir {
    /// The directory that was searched.
    pub(crate) asked: PathBuf,
    /// The directory of `round.json`.
    pub(crate) folder: PathBuf,
    /// Its canonical path.
    path: PathBuf,
}

impl RoundDir {
    /// The path of `round.json`.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("round.json")
    }

    /// Its path relative to the directory that was searched; `.` if it is the same.
    pub(crate) fn name(&self) -> String {
        let below = self.folder.strip_prefix(&self.asked).unwrap_or(&self.folder);
        let name = below.to_string_lossy().replace('\\', "/");
        if name.is_empty() { ".".to_owned() } else { name }
    }

    /// The directory of its game.
    pub(crate) fn game(&self) -> Option<&Path> {
        self.path.parent().filter(|above| above.join("game.json").is_file())
    }
}

/// All rounds in these directories, at any depth, sorted by path and without duplicates.
///
/// # Errors
/// When a directory cannot be read or contains no round.
pub(crate) fn find_rounds(dirs: &[impl AsRef<Path>]) -> Result<Vec<RoundDir>> {
    let mut rounds = Vec::new();
    let mut seen = HashSet::new();
    for asked in dirs.iter().map(AsRef::as_ref) {
        for folder in round_folders(asked)? {
            let path = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
            if seen.insert(path.clone()) {
                rounds.push(RoundDir { asked: asked.to_owned(), folder, path });
            }
        }
    }
    Ok(rounds)
}

fn round_folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| usage_error(format!("cannot read the directory {}", folder.display())))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "round.json") {
                found.push(folder.clone());
            }
        }
    }
    if found.is_empty() {
        return Err(usage_error(format!("{}: no round.json in this directory, at any depth", dir.display())));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_found_once() {
        let runs = tempfile::tempdir().unwrap();
        let game = runs.path().join("game");
        for round in ["round_1", "round_2"] {
            std::fs::create_dir_all(game.join(round)).unwrap();
            std::fs::write(game.join(round).join("round.json"), "{}").unwrap();
        }
        std::fs::write(game.join("game.json"), "{}").unwrap();
        let ways = [game.join("round_2"), runs.path().to_owned(), game.join("round_1/.."), game.clone()];
        let found = find_rounds(&ways).unwrap();
        assert_eq!(found.iter().map(RoundDir::name).collect::<Vec<_>>(), [".", "game/round_1"]);
        let games: HashSet<_> = found.iter().map(|found| found.game().unwrap()).collect();
        assert_eq!(games.len(), 1);
    }
}
