//! `report.html`: a page about a game, several games or a replay, with the views, the posterior and the result of each
//! round.
//!
//! The page is self-contained: images are embedded, maps are inline SVG, and there are no scripts or requests. It shows
//! no URLs or paths, and reads only files in the directory of a record.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use landfall_common::exit::usage_error;
use landfall_common::fs::{sibling_file, write_atomic};
use landfall_model::{Bundle, Classifier, preprocess};
use rayon::prelude::*;

use crate::analysis::replay::Replay;

mod embedded_image;
mod format;
mod map;
mod occlusion;
mod page;
mod parts;
mod posterior_summary;
mod reference_scores;
mod round_section;
mod source;
mod summary;

use occlusion::OcclusionMap;
use parts::ReportRound;
use posterior_summary::PosteriorSummary;
use source::{BundleCache, GameSection, LoadedRound};

/// File name of the report of a game, next to `game.json`.
pub(crate) const FILE_NAME: &str = "report.html";

/// A report on rounds.
pub(crate) struct Report {
    sections: Vec<GameSection>,
    bundles: BundleCache,
    /// Occlusion maps per round, one per view.
    occlusions: Vec<Vec<OcclusionMap>>,
}

impl Report {
    /// Reads the rounds under these directories.
    ///
    /// # Errors
    /// When a directory has no rounds, or one is invalid.
    pub(crate) fn read(dirs: &[PathBuf]) -> Result<Self> {
        Ok(Self::of(source::read(dirs)?, BundleCache::default()))
    }

    /// Reads a game that was played with this bundle, which may be in any directory.
    ///
    /// # Errors
    /// As [`Report::read`].
    pub(crate) fn of_game(dir: &Path, bundle: &Bundle) -> Result<Self> {
        Ok(Self::of(source::read(&[dir.to_owned()])?, BundleCache::containing(bundle.clone())))
    }

    /// A replay of the rounds under `dir`, with its predictions in place of the recorded ones.
    pub(crate) fn of_replay(dir: &Path, replay: &Replay, bundle: &Bundle) -> Self {
        Self::of(vec![source::of_replay(dir, replay)], BundleCache::containing(bundle.clone()))
    }

    fn of(sections: Vec<GameSection>, mut bundles: BundleCache) -> Self {
        bundles.load_for(sections.iter().flat_map(|section| &section.rounds).map(|loaded| &loaded.round));
        Self { sections, bundles, occlusions: Vec::new() }
    }

    /// Number of rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.sections.iter().map(|section| section.rounds.len()).sum()
    }

    /// Computes occlusion maps with the bundles that made the predictions.
    ///
    /// # Errors
    /// When the bundle of a round is not installed in the same version, an image cannot be read, or inference fails.
    pub(crate) fn explain(&mut self) -> Result<()> {
        let progress = ProgressBar::new(self.rounds() as u64);
        let mut classifiers: Vec<Classifier> = Vec::new();
        let mut occlusions = Vec::new();
        for loaded in self.sections.iter().flat_map(|section| &section.rounds) {
            let name = loaded.dir.display();
            let bundle = self.bundles.of_round(&loaded.round).with_context(|| match &loaded.round.bundle {
                Some(id) => usage_error(format!(
                    "{name}: recorded with {id}, which is not installed; replay it with --record first"
                )),
                None => usage_error(format!("{name}: the record names no bundle; replay it with --record first")),
            })?;
            let known = classifiers.iter().position(|classifier| classifier.bundle.dir == bundle.dir);
            let classifier = match known {
                Some(i) => &classifiers[i],
                None => {
                    classifiers.push(Classifier::load(bundle.clone())?);
                    &classifiers[classifiers.len() - 1]
                }
            };
            occlusions.push(occlusion::explain(classifier, loaded).with_context(|| format!("{name}"))?);
            progress.inc(1);
        }
        progress.finish_and_clear();
        self.occlusions = occlusions;
        Ok(())
    }

    /// Renders the page.
    ///
    /// # Errors
    /// When an existing image cannot be read.
    pub(crate) fn html(&self) -> Result<String> {
        let views: usize =
            self.sections.iter().flat_map(|section| &section.rounds).map(|loaded| loaded.round.views.len()).sum();
        let allowance = embedded_image::byte_allowance(views + self.rounds());
        let numbered = self.numbered();
        let shown: Vec<Result<ReportRound<'_>>> = numbered
            .par_iter()
            .enumerate()
            .map(|(i, (number, loaded))| {
                let occlusions = self.occlusions.get(i).map(Vec::as_slice).unwrap_or_default();
                Ok(ReportRound { occlusions, ..show(*number, loaded, &self.bundles, allowance)? })
            })
            .collect();
        let mut shown = shown.into_iter().collect::<Result<Vec<_>>>()?.into_iter();
        let sections: Vec<(&GameSection, Vec<ReportRound<'_>>)> = self
            .sections
            .iter()
            .map(|section| (section, shown.by_ref().take(section.rounds.len()).collect()))
            .collect();
        Ok(page::page(&sections))
    }

    /// The rounds with their numbers on the page: those of the game if there is only one, else counted from 1.
    fn numbered(&self) -> Vec<(usize, &LoadedRound)> {
        let all = self.sections.iter().flat_map(|section| &section.rounds);
        let own: Vec<usize> = all.clone().filter_map(|loaded| usize::try_from(loaded.round.n?).ok()).collect();
        let all_differ = own.len() == all.clone().count() && own.iter().collect::<HashSet<_>>().len() == own.len();
        let are_own = self.sections.len() == 1 && all_differ;
        all.enumerate().map(|(i, loaded)| (if are_own { own[i] } else { i + 1 }, loaded)).collect()
    }

    /// Writes the page and returns its size in bytes.
    ///
    /// # Errors
    /// As [`Report::html`], and when the file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<usize> {
        let html = self.html()?;
        write_atomic(file, html.as_bytes())?;
        Ok(html.len())
    }
}

/// Collects the content of a round, without occlusion maps.
fn show<'a>(
    number: usize,
    loaded: &'a LoadedRound,
    bundles: &BundleCache,
    allowance: usize,
) -> Result<ReportRound<'a>> {
    let (mut views, mut thumbnail) = (Vec::new(), None);
    for (i, view) in loaded.round.views.iter().enumerate() {
        // Missing images are omitted; damaged ones are errors.
        let file = sibling_file(&loaded.dir, &view.file).filter(|file| file.is_file());
        let picture = file.map(|file| preprocess::open(&file)).transpose()?;
        if i == 0 {
            thumbnail = picture
                .as_ref()
                .map(|picture| embedded_image::embed(picture, THUMBNAIL_MAX_BYTES.min(allowance)))
                .transpose()?;
        }
        views.push(picture.map(|picture| embedded_image::embed(&picture, allowance)).transpose()?);
    }
    let posterior = PosteriorSummary::of(loaded, bundles.of_round(&loaded.round));
    Ok(ReportRound { number, loaded, posterior, views, thumbnail, occlusions: &[] })
}

/// Maximum size of a thumbnail in bytes.
const THUMBNAIL_MAX_BYTES: usize = 24_000;

#[cfg(test)]
mod tests;
