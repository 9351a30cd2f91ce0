//! Evaluation sets: index rows with coordinates, their embeddings, and their grouping into rounds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::cli::prior_parser;
use landfall_model::classifier::{Encoder, Head};
use landfall_model::{Bundle, LatLng, Posterior, Prior};
use rayon::prelude::*;

use crate::data::images::Images;
use crate::data::index::{self, Row};
use crate::eval::metrics::{self, RoundResult};
use crate::features::embed;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};

/// Options that select the rows of an index to evaluate on.
#[derive(clap::Args)]
pub(crate) struct EvalSetArgs {
    /// Index of the pictures (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) index: PathBuf,
    /// Split of the index to use (repeatable) [default: all]
    #[arg(long, help_heading = "Input")]
    pub(crate) split: Vec<String>,
    /// Data set of the index to use (repeatable) [default: all]
    #[arg(long, help_heading = "Input")]
    pub(crate) set: Vec<String>,
    /// Prior over the cells: that of `play`, that of `locate`, or none
    #[arg(long, default_value_t = Prior::Game, value_parser = prior_parser(), help_heading = "Input")]
    pub(crate) prior: Prior,
}

impl EvalSetArgs {
    /// The selected rows with coordinates.
    ///
    /// # Errors
    /// When the index cannot be read or no row is selected.
    pub(crate) fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = index::read_splits(&self.index, &self.split)?;
        rows.retain(|row| row.at.is_some() && (self.set.is_empty() || self.set.contains(&row.set)));
        if rows.is_empty() {
            bail!("{}: no row with coordinates matches --set and --split", self.index.display());
        }
        Ok(rows)
    }

    /// A description of the selection, such as "dev of gsv".
    pub(crate) fn name(&self) -> String {
        let list = |names: &[String]| names.join(" and ");
        match (self.split.is_empty(), self.set.is_empty()) {
            (true, true) => "all pictures with coordinates".to_owned(),
            (false, true) => list(&self.split),
            (true, false) => list(&self.set),
            (false, false) => format!("{} of {}", list(&self.split), list(&self.set)),
        }
    }
}

/// The rows with the embeddings of a bundle's encoder, read from `features` if given, else computed from the pictures
/// in `images`.
///
/// # Errors
/// When neither is given, a picture (named with its line) or a feature is missing, or the features are from a different
/// encoder.
pub(crate) fn samples(
    bundle: &Bundle,
    rows: Vec<Row>,
    images: Option<&Path>,
    features: Option<&Path>,
) -> Result<Vec<Sample>> {
    match (features, images) {
        (Some(folder), _) => from_features(bundle, rows, folder),
        (None, Some(images)) => from_pictures(bundle, rows, images),
        (None, None) => bail!("--images or --features is required"),
    }
}

/// Groups samples into rounds of at most `views` pictures. With more than one view, the pictures of a group are
/// distributed so that the headings in a round are as far apart as possible and every picture is used once: four
/// pictures make two rounds of two opposite views.
///
/// # Errors
/// When the pictures of a group are more than 1 km apart.
pub(crate) fn rounds(samples: &[Sample], views: usize) -> Result<Vec<Vec<&Sample>>> {
    if views == 1 {
        return Ok(samples::rounds(samples, 1));
    }
    let mut rounds = Vec::new();
    for group in samples::rounds(samples, 4) {
        if let Some(sample) = group.iter().find(|sample| !samples::is_one_place(&group[0].row, &sample.row)) {
            bail!(
                "the pictures of group {} are not views of one place: {}, index line {}, is more than 1 km from the \
                first; use --views 1",
                sample.row.group,
                sample.row.file.display(),
                sample.row.line
            );
        }
        let n_rounds = group.len().div_ceil(views);
        rounds.extend((0..n_rounds).map(|i| group.iter().skip(i).step_by(n_rounds).copied().collect::<Vec<_>>()));
    }
    Ok(rounds)
}

/// Predictions of a bundle for rounds, in order, with the same code as the agent.
///
/// # Errors
/// When the head cannot be loaded or its output is not a distribution over the cells.
pub(crate) fn results(bundle: &Bundle, rounds: &[Vec<&Sample>], prior: Prior) -> Result<Vec<RoundResult>> {
    let logits = logits(bundle, rounds)?;
    let results = metrics::predict_with(&bundle.cells, &logits, |logits| bundle.fuse(logits, prior));
    complete(bundle, rounds, results)
}

/// As [`results`], after `refine` changed each posterior by what it knows of the round.
///
/// # Errors
/// As [`results`].
pub(crate) fn results_with(
    bundle: &Bundle,
    rounds: &[Vec<&Sample>],
    prior: Prior,
    refine: impl for<'a> Fn(Posterior<'a>, &[&Sample]) -> Posterior<'a> + Sync,
) -> Result<Vec<RoundResult>> {
    let logits = logits(bundle, rounds)?;
    let result = |(round, logits): (&Vec<&Sample>, &_)| {
        let posterior = |logits: &[Vec<f32>]| Some(refine(bundle.fuse(logits, prior)?, round));
        metrics::predict_with(&bundle.cells, std::slice::from_ref(logits), posterior)
    };
    complete(bundle, rounds, rounds.par_iter().zip(&logits).flat_map(result).collect())
}

/// The true place and the logits of each round.
fn logits(bundle: &Bundle, rounds: &[Vec<&Sample>]) -> Result<Vec<(LatLng, Vec<Vec<f32>>)>> {
    let head = Head::of(bundle)?;
    let logits = |round: &Vec<&Sample>| {
        let truth = round.first().and_then(|sample| sample.row.at).context("a round has no coordinates")?;
        let logits = round.iter().map(|sample| head.logits(&sample.variants[0]));
        Ok((truth, logits.collect::<landfall_model::Result<Vec<_>>>()?))
    };
    rounds.iter().map(logits).collect()
}

fn complete(bundle: &Bundle, rounds: &[Vec<&Sample>], results: Vec<RoundResult>) -> Result<Vec<RoundResult>> {
    if results.len() != rounds.len() {
        bail!(
            "{}: the output of the head is not a distribution over the cells of the bundle; export it again",
            bundle.dir.display()
        );
    }
    Ok(results)
}

fn from_features(bundle: &Bundle, rows: Vec<Row>, folder: &Path) -> Result<Vec<Sample>> {
    let expected = rows.len();
    let (spec, samples) = samples::join(rows, &[folder.to_owned()])?;
    if !spec.is_compatible_with(&EncoderSpec::of(bundle)) {
        bail!("{} contains features of a different encoder than the bundle's", folder.display());
    }
    if samples.len() < expected {
        let missing = expected - samples.len();
        bail!("{} lacks features of {missing} of {expected} pictures; run `landfall-train embed`", folder.display());
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

/// Checks that all pictures exist, before any work is done.
///
/// # Errors
/// When pictures are missing; the first is named with its line.
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

    fn sample(group: &str, heading: u32, at: LatLng) -> Sample {
        let row = serde_json::json!({"set": "s", "file": format!("{group}_{heading}"), "lat": "", "lng": "",
            "iso2": "FR", "group": group, "split": "dev", "heading": heading.to_string()});
        Sample { row: Row { at: Some(at), ..serde_json::from_value(row).unwrap() }, variants: Vec::new() }
    }

    #[test]
    fn views_of_a_round_are_far_apart_and_each_picture_is_used_once() {
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
