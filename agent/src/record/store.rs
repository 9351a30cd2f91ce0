//! Finding recorded rounds in directories.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_common::text::{eprint_sanitized, sanitize_line};

use crate::error::describe;
use crate::record::round::Round;

/// Maximum size of all records together, in bytes: a hundred thousand rounds as the agent records them.
const MAX_TOTAL_BYTES: u64 = 256 << 20;

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
        let name = below.to_string_lossy();
        // Elsewhere a backslash is part of a name.
        let name = if cfg!(windows) { name.replace('\\', "/") } else { name.into_owned() };
        if name.is_empty() { ".".to_owned() } else { name }
    }

    /// The directory of its game.
    pub(crate) fn game(&self) -> Option<&Path> {
        self.path.parent().filter(|above| above.join("game.json").is_file())
    }
}

/// All rounds in these directories, at any depth, sorted by path and without duplicates; and, one sentence each, what was
/// left out because it cannot be read.
///
/// Symbolic links below the directories are not followed: they could lead to records, or to any other files, of this
/// computer, or back to where the search began.
///
/// # Errors
/// When a directory cannot be read or contains no round.
pub(crate) fn find_rounds(dirs: &[impl AsRef<Path>]) -> Result<(Vec<RoundDir>, Vec<String>)> {
    let (mut rounds, mut left_out) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for asked in dirs.iter().map(AsRef::as_ref) {
        for folder in round_folders(asked, &mut left_out)? {
            let path = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
            if seen.insert(path.clone()) {
                rounds.push(RoundDir { asked: asked.to_owned(), folder, path });
            }
        }
    }
    Ok((rounds, left_out))
}

fn round_folders(dir: &Path, left_out: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound => usage_error(format!(
            "there is no directory {}; `landfall play` records games in runs/, or in the directory of --runs",
            dir.display()
        )),
        _ => anyhow::Error::new(error).context(usage_error(format!("cannot read the directory {}", dir.display()))),
    })?;
    let (mut found, mut folders, earlier) = (Vec::new(), Vec::new(), left_out.len());
    list(entries, dir, &mut found, &mut folders, left_out);
    while let Some(folder) = folders.pop() {
        match std::fs::read_dir(&folder) {
            Ok(entries) => list(entries, &folder, &mut found, &mut folders, left_out),
            Err(error) => left_out.push(format!("cannot read the directory {}: {error}", folder.display())),
        }
    }
    if found.is_empty() {
        let reason = left_out.get(earlier).map_or_else(String::new, |why| format!(" ({why})"));
        return Err(usage_error(format!("{}: no round.json in this directory, at any depth{reason}", dir.display())));
    }
    found.sort();
    Ok(found)
}

/// Adds a directory to `found` if it has a `round.json`, and its subdirectories to `folders`.
fn list(
    entries: ReadDir,
    folder: &Path,
    found: &mut Vec<PathBuf>,
    folders: &mut Vec<PathBuf>,
    left_out: &mut Vec<String>,
) {
    for entry in entries {
        let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry.path())));
        let (kind, path) = match kind {
            Ok(known) => known,
            Err(error) => {
                left_out.push(format!("cannot read the directory {}: {error}", folder.display()));
                return;
            }
        };
        let is_round = path.file_name().is_some_and(|name| name == "round.json");
        if kind.is_dir() {
            folders.push(path);
        } else if is_round && kind.is_file() {
            found.push(folder.to_owned());
        } else if is_round {
            left_out.push(format!("{}: a symbolic link or no regular file, which is not read", path.display()));
        } else if kind.is_symlink() && path.is_dir() {
            let path = sanitize_line(path.display());
            eprint_sanitized(format!("landfall: {path} is a symbolic link to a directory: not followed"));
        }
    }
}

/// Rounds with their directories; and, one sentence each, what was left out.
pub(crate) type ReadRounds = (Vec<(RoundDir, Round)>, Vec<String>);

/// Reads the records of rounds, up to a joint size. Those that cannot be read are added to `left_out`, which is returned
/// too.
///
/// # Errors
/// When none can be read.
pub(crate) fn read_rounds(found: Vec<RoundDir>, left_out: Vec<String>) -> Result<ReadRounds> {
    read_rounds_up_to(MAX_TOTAL_BYTES, found, left_out)
}

fn read_rounds_up_to(max_bytes: u64, found: Vec<RoundDir>, mut left_out: Vec<String>) -> Result<ReadRounds> {
    let (mut rounds, mut first_error) = (Vec::new(), None);
    let (mut bytes, total) = (0_u64, found.len());
    for (i, found) in found.into_iter().enumerate() {
        let file = found.file();
        match Round::read(&file) {
            Ok(round) => {
                bytes = bytes.saturating_add(std::fs::metadata(&file).map_or(0, |record| record.len()));
                if bytes > max_bytes {
                    left_out.push(format!(
                        "{} records from {} on: all together are larger than {} MiB; give fewer directories",
                        total - i,
                        file.display(),
                        max_bytes >> 20
                    ));
                    break;
                }
                rounds.push((found, round));
            }
            Err(error) => {
                left_out.push(describe(&error));
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error.filter(|_| rounds.is_empty()) {
        Some(error) => Err(error),
        None => Ok((rounds, left_out)),
    }
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
        let (found, left_out) = find_rounds(&ways).unwrap();
        assert_eq!(left_out, [""; 0]);
        assert_eq!(found.iter().map(RoundDir::name).collect::<Vec<_>>(), [".", "game/round_1"]);
        let games: HashSet<_> = found.iter().map(|found| found.game().unwrap()).collect();
        assert_eq!(games.len(), 1);
    }

    #[test]
    fn records_are_read_up_to_a_joint_size() {
        let dir = tempfile::tempdir().unwrap();
        let record = r#"{"format":1,"map":{"name":"World","scale_m":1},"views":[]}"#;
        for round in ["round_1", "round_2", "round_3", "round_4"] {
            std::fs::create_dir(dir.path().join(round)).unwrap();
            std::fs::write(dir.path().join(round).join("round.json"), record).unwrap();
        }
        for (limit, expected) in [(4 * record.len(), 4), (4 * record.len() - 1, 3), (2 * record.len(), 2)] {
            let (found, left_out) = find_rounds(&[dir.path()]).unwrap();
            let (rounds, left_out) = read_rounds_up_to(limit as u64, found, left_out).unwrap();
            assert_eq!((rounds.len(), left_out.len()), (expected, usize::from(expected < 4)));
            let next = format!("{} records from {}", 4 - expected, dir.path().display());
            assert!(left_out.iter().all(|why| why.starts_with(&next)), "{left_out:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed_and_what_cannot_be_read_is_left_out() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (runs, outside) = (dir.path().join("runs"), dir.path().join("outside"));
        for folder in [&runs.join("good"), &runs.join("linked"), &outside] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for folder in [&runs.join("good"), &outside] {
            std::fs::write(folder.join("round.json"), "{}").unwrap();
        }
        symlink(outside.join("round.json"), runs.join("linked/round.json")).unwrap();
        symlink(&outside, runs.join("elsewhere")).unwrap();
        symlink(&runs, runs.join("good/loop")).unwrap();
        let (found, left_out) = find_rounds(&[&runs]).unwrap();
        assert_eq!(found.iter().map(RoundDir::name).collect::<Vec<_>>(), ["good"]);
        assert!(left_out.len() == 1 && left_out[0].contains("linked/round.json: a symbolic link"), "{left_out:?}");
        let Err(error) = find_rounds(&[runs.join("linked")]) else { panic!("a link is not a record") };
        assert!(error.to_string().contains("no round.json") && error.to_string().contains("symbolic link"), "{error}");
        // The directories that are asked for may be links.
        assert_eq!(find_rounds(&[runs.join("elsewhere")]).unwrap().0.len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn names_with_backslashes_are_no_paths() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("runs").join("..\\..\\outside");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("round.json"), "{}").unwrap();
        let (found, _) = find_rounds(&[dir.path().join("runs")]).unwrap();
        assert_eq!((found[0].name().as_str(), &found[0].folder), ("..\\..\\outside", &folder));
    }
}
