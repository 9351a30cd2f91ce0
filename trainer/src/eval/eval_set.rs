//! What a bundle is measured on: index rows with a place, their embeddings, and how they make rounds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::Bundle;
use landfall_model::classifier::{Encoder, Head};

use crate::data::images::Images;
use crate::data::index::{self, Row};
use crate::eval::metrics::{self, RoundResult};
use crate::features::embed;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};

/// Which rows of an index are measured on.
#[derive(clap::Args)]
pub(crate) struct EvalSetArgs {
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    pub(crate) index: PathBuf,
    /// Only this split, or these (repeat the option)
    #[arg(long)]
    pub(crate) split: Vec<String>,
    /// Only this data set, or these (repeat the option)
    #[arg(long)]
    pub(crate) set: Vec<String>,
}

impl EvalSetArgs {
    /// The rows with a place.
    ///
    /// # Errors
    /// When the index cannot be read or no such row is left.
    pub(crate) fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = index::read_splits(&self.index, &self.split)?;
        rows.retain(|row| row.at.is_some() && (self.set.is_empty() || self.set.contains(&row.set)));
        if rows.is_empty() {
            bail!("{}: no row with coordinates is left to measure; see --set and --split", self.index.display());
        }
        Ok(rows)
    }

    /// The rows in words, such as "dev of gsv".
    pub(crate) fn name(&self) -> String {
        let list = |names: &[String]| names.join(" and ");
        match (self.split.is_empty(), self.set.is_empty()) {
            (true, true) => "all pictures with a place".to_owned(),
            (false, true) => list(&self.split),
            (true, false) => list(&self.set),
            (false, false) => format!("{} of {}", list(&self.split), list(&self.set)),
        }
    }
}

/// The rows with the embeddings of a bundle's encoder: taken from `features` where given, else computed from the
/// pictures in `images`.
///
/// # Errors
/// When neither is given, a picture or a feature is missing (named with its line), or the features are another
/// encoder's.
pub(crate) fn samples(
    bundle: &Bundle,
    rows: Vec<Row>,
    images: Option<&Path>,
    features: Option<&Path>,
) -> Result<Vec<Sample>> {
    match (features, images) {
        (Some(folder), _) => from_features(bundle, rows, folder),
        (None, Some(images)) => from_pictures(bundle, rows, images),
        (None, None) => bail!("give --images or --features"),
    }
}

/// Samples as rounds of at most `views` pictures. With more than one view, the pictures of a group are dealt out so
/// that each round's headings lie as far apart as can be and every picture is used once: four views make two rounds of
/// two opposite ones.
///
/// # Errors
/// When the pictures of a group do not lie within a kilometre of each other.
pub(crate) fn rounds(samples: &[Sample], views: usize) -> Result<Vec<Vec<&Sample>>> {
    if views == 1 {
        return Ok(samples::rounds(samples, 1));
    }
    let mut rounds = Vec::new();
    for group in samples::rounds(samples, 4) {
        if let Some(sample) = group.iter().find(|sample| !samples::is_one_place(&group[0].row, &sample.row)) {
            bail!(
                "the pictures of group {} are not views of one place ({}, index line {}, lies more than 1 km from the \
                 first); measure them with --views 1",
                sample.row.group,
                sample.row.file.display(),
                sample.row.line
            );
        }
        let hands = group.len().div_ceil(views);
        rounds.extend((0..hands).map(|hand| group.iter().skip(hand).step_by(hands).copied().collect::<Vec<_>>()));
    }
    Ok(rounds)
}

/// A bundle's results for rounds, in their order, by the same code that the agent uses.
///
/// # Errors
/// When the head cannot be loaded or gives no distribution over the cells.
pub(crate) fn results(bundle: &Bundle, rounds: &[Vec<&Sample>]) -> Result<Vec<RoundResult>> {
    let head = Head::of(bundle)?;
    let logits = |round: &Vec<&Sample>| {
        let truth = round.first().and_then(|sample| sample.row.at).context("a round without a place")?;
        let logits = round.iter().map(|sample| head.logits(&sample.variants[0]));
        Ok((truth, logits.collect::<landfall_model::Result<Vec<_>>>()?))
    };
    let logits = rounds.iter().map(logits).collect::<Result<Vec<_>>>()?;
    let results = metrics::predict(&bundle.cells, &logits, |views| bundle.manifest.temperature_for(views));
    if results.len() != rounds.len() {
        bail!(
            "{}: the head's output is no distribution over the bundle's cells; export it again",
            bundle.dir.display()
        );
    }
    Ok(results)
}

fn from_features(bundle: &Bundle, rows: Vec<Row>, folder: &Path) -> Result<Vec<Sample>> {
    let wanted = rows.len();
    let (spec, samples) = samples::join(rows, &[folder.to_owned()])?;
    if !spec.is_compatible_with(&EncoderSpec::of(bundle)) {
        bail!("{} holds features of another encoder than the bundle's", folder.display());
    }
    if samples.len() < wanted {
        bail!("{} lacks {} of {wanted} pictures; run `landfall-train embed`", folder.display(), wanted - samples.len());
    }
    Ok(samples)
}

fn from_pictures(bundle: &Bundle, rows: Vec<Row>, images: &Path) -> Result<Vec<Sample>> {
    let images = &Images::open(images)?;
    require_pictures(&rows, images)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let manifest = &bundle.manifest;
    let encoder =
        Encoder::load(&bundle.encoder_paths()?, manifest.encoder.clone(), manifest.preprocess.clone(), workers)?;
    let files: Vec<PathBuf> = rows.iter().map(|row| row.file.clone()).collect();
    let progress = ProgressBar::new(files.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?);
    let mut embeddings = HashMap::new();
    embed::for_each_embedding(&encoder, images, &files, |file, embedding| {
        let line = || rows.iter().find(|row| row.file == file).map_or(0, |row| row.line);
        let embedding = embedding.with_context(|| format!("index line {}", line()))?;
        embeddings.insert(file.to_owned(), embedding);
        progress.inc(1);
        Ok(())
    })?;
    progress.finish_and_clear();
    let sample = |row: Row| Some(Sample { variants: vec![embeddings.get(&row.file)?.clone()], row });
    Ok(rows.into_iter().filter_map(sample).collect())
}

/// Checks that all pictures are there before any work is done.
///
/// # Errors
/// When one is missing; the first is named with its line.
pub(crate) fn require_pictures(rows: &[Row], images: &Images) -> Result<()> {
    let missing: Vec<&Row> = rows.iter().filter(|row| !images.has(&row.file)).collect();
    if let Some(first) = missing.first() {
        bail!(
            "{} of {} pictures are not in {}; the first is {} (index line {})",
            missing.len(),
            rows.len(),
            images.dir().display(),
            first.file.display(),
            first.line
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::LatLng;

    fn sample(group: &str, heading: u32, at: LatLng) -> Sample {
        let row = serde_json::json!({"set": "s", "file": format!("{group}_{heading}"), "lat": "", "lng": "",
            "iso2": "FR", "group": group, "split": "dev", "heading": heading.to_string()});
        Sample { row: Row { at: Some(at), ..serde_json::from_value(row).unwrap() }, variants: Vec::new() }
    }

    #[test]
    fn views_of_a_round_are_far_apart_and_used_once() {
        let at = LatLng::new(45.76, 4.83).unwrap();
        let mut samples: Vec<Sample> = [0, 90, 180, 270].map(|heading| sample("a", heading, at)).into();
        samples.push(sample("b", 0, at));
        let files = |views| -> Vec<Vec<String>> {
            let name = |sample: &&Sample| sample.row.file.display().to_string();
            rounds(&samples, views).unwrap().iter().map(|round| round.iter().map(name).collect()).collect()
        };
        assert_eq!(files(1).len(), 5);
        assert_eq!(files(2), [vec!["a_0", "a_180"], vec!["a_90", "a_270"], vec!["b_0"]]);
        assert_eq!(files(4), [vec!["a_0", "a_90", "a_180", "a_270"], vec!["b_0"]]);
    }

    #[test]
    fn pictures_of_an_author_are_not_views_of_one_place() {
        let at = LatLng::new(45.76, 4.83).unwrap();
        let samples = [sample("author", 0, at), sample("author", 90, at.destination(0.0, 1500.0))];
        assert_eq!(rounds(&samples, 1).unwrap().len(), 2);
        let error = rounds(&samples, 4).unwrap_err().to_string();
        assert!(error.contains("author_90") && error.contains("--views 1"), "{error}");
    }
}
