//! `report.html`: a game, a run or a replay as one page to look at: what was seen, what was believed, what came of it.
//!
//! The page stands alone: pictures are embedded, maps are drawn, there is no script and nothing to fetch. It shows no
//! addresses and no paths, and reads of a record only what lies in the record's folder.

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

/// File name of a game's report, beside `game.json`.
pub const FILE_NAME: &str = "report.html";

/// Rounds to report on.
pub struct Report {
    sections: Vec<GameSection>,
    bundles: BundleCache,
    /// What each view was looked at for, a list a round.
    occlusions: Vec<Vec<OcclusionMap>>,
}

impl Report {
    /// The rounds below these folders.
    ///
    /// # Errors
    /// When a folder has no round, or one is broken.
    pub fn read(dirs: &[PathBuf]) -> Result<Self> {
        Ok(Self::of(source::read(dirs)?, BundleCache::default()))
    }

    /// A game that was played with this bundle, which may lie anywhere.
    ///
    /// # Errors
    /// As [`Report::read`].
    pub fn of_game(dir: &Path, bundle: &Bundle) -> Result<Self> {
        Ok(Self::of(source::read(&[dir.to_owned()])?, BundleCache::containing(bundle.clone())))
    }

    /// A replay of the rounds below `dir`, with its answers in place of the recorded ones.
    pub fn of_replay(dir: &Path, replay: &Replay, bundle: &Bundle) -> Self {
        Self::of(vec![source::of_replay(dir, replay)], BundleCache::containing(bundle.clone()))
    }

    fn of(sections: Vec<GameSection>, mut bundles: BundleCache) -> Self {
        bundles.load_for(sections.iter().flat_map(|section| &section.rounds).map(|loaded| &loaded.round));
        Self { sections, bundles, occlusions: Vec::new() }
    }

    /// Number of rounds.
    pub fn rounds(&self) -> usize {
        self.sections.iter().map(|section| section.rounds.len()).sum()
    }

    /// Finds out what each view was looked at for, with the bundles that answered.
    ///
    /// # Errors
    /// When a round names no bundle that is here in its version, or a picture or a network fails.
    pub fn explain(&mut self) -> Result<()> {
        let progress = ProgressBar::new(self.rounds() as u64);
        let mut classifiers: Vec<Classifier> = Vec::new();
        let mut occlusions = Vec::new();
        for loaded in self.sections.iter().flat_map(|section| &section.rounds) {
            let name = loaded.dir.display();
            let bundle = self.bundles.of_round(&loaded.round).with_context(|| match &loaded.round.bundle {
                Some(id) => usage_error(format!(
                    "{name}: was answered by {id}, which is not here: replay it with --record first"
                )),
                None => usage_error(format!("{name}: names no bundle that answered: replay it with --record first")),
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

    /// The page.
    ///
    /// # Errors
    /// When a picture that is there cannot be read.
    pub fn html(&self) -> Result<String> {
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

    /// The rounds with their numbers on the page: those that they have in their one game, else from 1.
    fn numbered(&self) -> Vec<(usize, &LoadedRound)> {
        let all = self.sections.iter().flat_map(|section| &section.rounds);
        let own: Vec<usize> = all.clone().filter_map(|loaded| usize::try_from(loaded.round.n?).ok()).collect();
        let all_differ = own.len() == all.clone().count() && own.iter().collect::<HashSet<_>>().len() == own.len();
        let are_own = self.sections.len() == 1 && all_differ;
        all.enumerate().map(|(i, loaded)| (if are_own { own[i] } else { i + 1 }, loaded)).collect()
    }

    /// Writes the page; its size in bytes.
    ///
    /// # Errors
    /// As [`Report::html`], and when the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<usize> {
        let html = self.html()?;
        write_atomic(file, html.as_bytes())?;
        Ok(html.len())
    }
}

/// Everything that is shown of one round but what it was looked at for.
fn show<'a>(
    number: usize,
    loaded: &'a LoadedRound,
    bundles: &BundleCache,
    allowance: usize,
) -> Result<ReportRound<'a>> {
    let (mut views, mut thumbnail) = (Vec::new(), None);
    for (i, view) in loaded.round.views.iter().enumerate() {
        // What is gone is left out; what is there and damaged is said.
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

/// Most bytes of a small picture.
const THUMBNAIL_MAX_BYTES: usize = 24_000;

#[cfg(test)]
mod tests;
