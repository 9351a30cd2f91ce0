//! Writing the record of a game while it is played.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::write_json;

use crate::record::game::FailedRound;

/// Maximum length in bytes of the name of a site or map in the name of a directory. File systems allow 255 for all of it.
const MAX_SLUG_BYTES: usize = 96;

/// The directory that a game is recorded in.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    /// The directory.
    pub dir: PathBuf,
}

impl Recorder {
    /// Creates a directory under `runs`, named after time, site and map.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn create(runs: &Path, site: &str, map: &str) -> Result<Self> {
        let (site, map) = (slug(site, &['-', '_', '.']), slug(map, &[]).to_ascii_lowercase());
        let stem = format!("{}_{site}_{map}", chrono::Local::now().format("%Y-%m-%dT%H-%M-%S"));
        let names = std::iter::once(stem.clone()).chain((2..100).map(|n| format!("{stem}_{n}")));
        let made = |dir: &PathBuf| fs::create_dir_all(runs).and_then(|()| fs::create_dir(dir));
        for dir in names.map(|name| runs.join(name)) {
            match made(&dir) {
                Ok(()) => return Ok(Self { dir }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(environment_error(format!("cannot create {}: {error}", dir.display()))),
            }
        }
        Err(environment_error(format!("cannot create a directory for the record in {}", runs.display())))
    }

    /// The directory of a round, created if missing.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn round_dir(&self, n: u32) -> Result<PathBuf> {
        let dir = self.dir.join(format!("round_{n}"));
        fs::create_dir_all(&dir).with_context(|| environment_error(format!("cannot create {}", dir.display())))?;
        Ok(dir)
    }

    /// Moves the files of a failed attempt, with its error, to `failed_N`, where no round is read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn failed(&self, failed: &FailedRound) -> Result<()> {
        let names =
            std::iter::once(format!("failed_{}", failed.n)).chain((2..).map(|i| format!("failed_{}_{i}", failed.n)));
        let mut free = names.map(|name| self.dir.join(name)).filter(|dir| !dir.exists());
        let (Some(dir), round) = (free.next(), self.round_dir(failed.n)?) else { return Ok(()) };
        let moved =
            fs::rename(&round, &dir).with_context(|| environment_error(format!("cannot create {}", dir.display())));
        moved.and_then(|()| write_json(&dir.join("failed.json"), failed))?;
        let half = dir.join("round.json");
        if half.exists() {
            fs::rename(&half, dir.join("unfinished.json")).context(environment_error("cannot rename round.json"))?;
        }
        Ok(())
    }
}

/// Part of a file name: letters, digits and the characters in `also`. Profiles and pages name sites and maps, and a name
/// must neither be a path nor too long for a file system.
fn slug(name: &str, also: &[char]) -> String {
    let kept = |c: char| if c.is_alphanumeric() || also.contains(&c) { c } else { '-' };
    let mut slug: String = name.chars().take(MAX_SLUG_BYTES).map(kept).collect();
    slug.truncate(slug.floor_char_boundary(MAX_SLUG_BYTES));
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn games_in_the_same_second_get_different_directories() {
        let dir = tempfile::tempdir().unwrap();
        let a = Recorder::create(dir.path(), "arena", "Landfall Arena").unwrap();
        let b = Recorder::create(dir.path(), "arena", "Landfall Arena").unwrap();
        assert_ne!(a.dir, b.dir);
        assert!(a.dir.file_name().unwrap().to_string_lossy().contains("_arena_landfall-arena"));
        // A profile or a page of somebody else.
        let c = Recorder::create(dir.path(), "../../x", &"東/..".repeat(1000)).unwrap();
        assert!(c.dir.parent() == Some(dir.path()) && c.dir.to_string_lossy().contains("_..-..-x_東---東"));
    }
}
