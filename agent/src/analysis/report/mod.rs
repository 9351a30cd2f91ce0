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
use landfall_model::{Bundle, Classifier};
use rayon::prelude::*;

use crate::analysis::replay::Replay;
use crate::error::describe;
use crate::inference;
use crate::record::{recorded_image, turn_for};

pub(crate) mod embedded_image;
pub(crate) mod format;
pub(crate) mod map;
mod occlusion;
pub(crate) mod page;
mod parts;
mod posterior_summary;
mod reference_scores;
mod round_section;
mod source;
mod summary;

use embedded_image::EmbeddedImage;
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
    /// What cannot be read, one sentence each.
    left_out: Vec<String>,
}

impl Report {
    /// Reads the rounds under these directories. What cannot be read is left out.
    ///
    /// # Errors
    /// When a directory has no rounds, or none can be read.
    pub(crate) fn read(dirs: &[PathBuf]) -> Result<Self> {
        let (sections, left_out) = source::read(dirs)?;
        Ok(Self { left_out, ..Self::of(sections, BundleCache::default()) })
    }

    /// Reads a game that was played with this bundle, which may be in any directory.
    ///
    /// # Errors
    /// As [`Report::read`].
    pub(crate) fn of_game(dir: &Path, bundle: &Bundle) -> Result<Self> {
        let (sections, left_out) = source::read(&[dir.to_owned()])?;
        Ok(Self { left_out, ..Self::of(sections, BundleCache::containing(bundle.clone())) })
    }

    /// A replay of the rounds under `dir`, with its predictions in place of the recorded ones.
    pub(crate) fn of_replay(dir: &Path, replay: &Replay, bundle: &Bundle) -> Self {
        Self::of(vec![source::of_replay(dir, replay)], BundleCache::containing(bundle.clone()))
    }

    fn of(sections: Vec<GameSection>, mut bundles: BundleCache) -> Self {
        bundles.load_for(sections.iter().flat_map(|section| &section.rounds).map(|loaded| &loaded.round));
        Self { sections, bundles, occlusions: Vec::new(), left_out: Vec::new() }
    }

    /// What cannot be read and is not on the page, one sentence each.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
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
                    classifiers.push(inference::load(bundle.clone())?);
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

    /// Renders the page. Images and logits that exist but cannot be read are left out.
    pub(crate) fn html(&mut self) -> String {
        let (html, left_out) = self.render();
        self.left_out.extend(left_out);
        html
    }

    /// The page, and what cannot be read.
    fn render(&self) -> (String, Vec<String>) {
        let views: usize =
            self.sections.iter().flat_map(|section| &section.rounds).map(|loaded| loaded.round.views.len()).sum();
        let allowance = embedded_image::byte_allowance(views + self.rounds());
        let numbered = self.numbered();
        let with_images = rounds_with_images(&numbered, embedded_image::MAX_IMAGES);
        let (shown, left_out): (Vec<ReportRound<'_>>, Vec<Vec<String>>) = numbered
            .par_iter()
            .enumerate()
            .map(|(i, (number, loaded))| {
                let occlusions = self.occlusions.get(i).map(Vec::as_slice).unwrap_or_default();
                let (shown, left_out) = show(*number, loaded, &self.bundles, allowance, i < with_images);
                (ReportRound { occlusions, ..shown }, left_out)
            })
            .unzip();
        let mut shown = shown.into_iter();
        let sections: Vec<(&GameSection, Vec<ReportRound<'_>>)> = self
            .sections
            .iter()
            .map(|section| (section, shown.by_ref().take(section.rounds.len()).collect()))
            .collect();
        let mut left_out = left_out.concat();
        if let Some((number, _)) = numbered.get(with_images) {
            let max = embedded_image::MAX_IMAGES;
            left_out.push(format!("the images from round {number} on: a report has at most {max}"));
        }
        (page::page(&sections), left_out)
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
    /// When the file cannot be written.
    pub(crate) fn write(&mut self, file: &Path) -> Result<usize> {
        let html = self.html();
        write_atomic(file, html.as_bytes())?;
        Ok(html.len())
    }
}

/// The number of rounds, from the first, that have at most `max` images together.
fn rounds_with_images(rounds: &[(usize, &LoadedRound)], max: usize) -> usize {
    let mut images = 0;
    let fits = |(_, loaded): &&(usize, &LoadedRound)| {
        images += loaded.round.views.len() + 1; // and a thumbnail
        images <= max
    };
    rounds.iter().take_while(fits).count()
}

/// Collects the content of a round, without occlusion maps, and what of it cannot be read.
fn show<'a>(
    number: usize,
    loaded: &'a LoadedRound,
    bundles: &BundleCache,
    allowance: usize,
    has_images: bool,
) -> (ReportRound<'a>, Vec<String>) {
    let (mut views, mut thumbnail, mut left_out) = (Vec::new(), None, Vec::new());
    for (i, view) in loaded.round.views.iter().enumerate() {
        let mut embedded = || -> Result<Option<EmbeddedImage>> {
            // Images that are missing or outside the record are omitted without a word.
            let file = sibling_file(&loaded.dir, &view.file).filter(|file| has_images && file.exists());
            let Some(file) = file else { return Ok(None) };
            let _turn = turn_for(&file);
            let picture = recorded_image(&loaded.dir, &view.file)?;
            if i == 0 {
                thumbnail = Some(embedded_image::embed(&picture, THUMBNAIL_MAX_BYTES.min(allowance))?);
            }
            embedded_image::embed(&picture, allowance).map(Some)
        };
        views.push(embedded().unwrap_or_else(|error| {
            left_out.push(describe(&error));
            None
        }));
    }
    let bundle = bundles.of_round(&loaded.round);
    let logits = bundle.and_then(|bundle| loaded.logits(bundle).transpose()).transpose().unwrap_or_else(|error| {
        left_out.push(describe(&error));
        None
    });
    let posterior = PosteriorSummary::of(&loaded.round, logits.as_deref(), bundle);
    (ReportRound { number, loaded, posterior, views, thumbnail, occlusions: &[] }, left_out)
}

/// Maximum size of a thumbnail in bytes.
const THUMBNAIL_MAX_BYTES: usize = 24_000;

#[cfg(test)]
mod tests;
