//! The pictures of a manifest, in the cache directory under their hashes. They are fetched only when that is asked for.

use std::path::PathBuf;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_model::bundle::{cache_dir, sha256_of};

use crate::benchmark::manifest::{ManifestRound, ManifestView};
use crate::setup::fetch_file;

/// The directory of fetched pictures.
///
/// # Errors
/// When there is no cache directory.
pub(crate) fn picture_dir() -> Result<PathBuf> {
    let cache = cache_dir()
        .ok_or_else(|| environment_error("there is no directory for pictures: set LANDFALL_CACHE to one, or HOME"))?;
    Ok(cache.join("bench"))
}

/// The file of a picture, if it was fetched and is undamaged.
///
/// # Errors
/// When there is no cache directory.
pub(super) fn cached(view: &ManifestView) -> Result<Option<PathBuf>> {
    let file = picture_dir()?.join(&view.sha256);
    let is_whole = file.metadata().is_ok_and(|found| found.is_file() && found.len() == view.bytes);
    Ok((is_whole && sha256_of(&file).is_ok_and(|found| found == view.sha256)).then_some(file))
}

/// The pictures of a set that are not here yet.
#[derive(Debug)]
pub(crate) struct FetchPlan {
    pub missing: Vec<ManifestView>,
    /// Number of pictures of the set.
    pub all: usize,
}

impl FetchPlan {
    /// # Errors
    /// When there is no cache directory.
    pub(crate) fn of(rounds: &[ManifestRound]) -> Result<Self> {
        let mut missing = Vec::new();
        let views: Vec<&ManifestView> = rounds.iter().flat_map(|round| &round.views).collect();
        for view in &views {
            if cached(view)?.is_none() && !missing.contains(*view) {
                missing.push((*view).clone());
            }
        }
        Ok(Self { missing, all: views.len() })
    }

    /// Size of what is missing.
    pub(crate) fn bytes(&self) -> u64 {
        self.missing.iter().map(|view| view.bytes).sum()
    }

    /// Fetches the missing pictures. Those that cannot be fetched do not stop the others.
    ///
    /// # Errors
    /// When the directory cannot be written. `Ok` has one sentence per picture that is still missing.
    pub(crate) async fn fetch(&self, mut on_done: impl FnMut(usize)) -> Result<Vec<String>> {
        let dir = picture_dir()?;
        let mut failures = Vec::new();
        for (n, view) in self.missing.iter().enumerate() {
            match fetch_file(&view.url, &view.sha256, view.bytes, &dir).await {
                Ok(part) => {
                    let file = dir.join(&view.sha256);
                    std::fs::rename(&part, &file)
                        .with_context(|| environment_error(format!("cannot write {}", file.display())))?;
                }
                Err(error) => failures.push(crate::error::describe(&error)),
            }
            on_done(n + 1);
        }
        Ok(failures)
    }
}
