//! `export`: packages an encoder, a head and its cell table as a bundle.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::exit::check_failed;
use landfall_common::fs::{read_json, write_atomic, write_json};
use landfall_model::CellTable;
use landfall_model::bundle::{CellPrior, CellsFile, EncoderFile, HeadFile, Manifest, Prior, sha256_of};
use landfall_model::classifier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cells::prior;
use crate::data::index;
use crate::eval::metrics;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples;
use crate::head::model::Head;
use crate::head::onnx_writer;
use crate::onnx;
use crate::onnx::Precision;

/// Export an encoder, a head and its cell table as a bundle
///
/// The logits of the exported head are compared with burn. If they differ by more than 1e-4 (1e-2 with 16-bit weights,
/// 2 % of the largest logit with 8-bit weights), nothing is written and the exit code is 1.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train export --head head --encoder encoder.json --cells cells.json --name desktop --version 2026.11.1 --out bundles/desktop"
)]
pub(crate) struct Args {
    /// Folder of the head, written by `fit`
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    head: PathBuf,
    /// Description of the encoder
    #[arg(long, value_name = "FILE", help_heading = "Input", default_value = "trainer/encoders/clip-vit-b16.json")]
    encoder: PathBuf,
    /// Cell table that the head was trained for
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: PathBuf,
    /// Name of the bundle
    #[arg(long, help_heading = "Output")]
    name: String,
    /// Version of the bundle, such as 2026.11.1
    #[arg(long, help_heading = "Output")]
    version: String,
    /// One-sentence description of the bundle
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    #[arg(default_value = "Street-level and travel photographs to S2 cells")]
    description: String,
    /// Licence of the bundle
    #[arg(long, default_value = "MIT OR Apache-2.0", help_heading = "Output")]
    licence: String,
    /// Fit the temperatures on this feature folder instead of using those of the cross-validation
    #[arg(long, value_name = "DIR", requires = "index", help_heading = "Input")]
    calibrate: Option<PathBuf>,
    /// Set the temperature for a number of views, as in 4=0.8 (repeatable)
    ///
    /// It replaces the temperature of the cross-validation, which is overconfident if the encoder was trained on the
    /// same pictures.
    #[arg(long, value_name = "VIEWS=T", value_parser = views_and_temperature, conflicts_with = "calibrate")]
    #[arg(help_heading = "Input")]
    temperature: Vec<(usize, f64)>,
    /// Points where people take photographs (CSV with the columns lat and lng), for the prior of `locate`
    ///
    /// Without it, `locate` has the prior of `play`.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    photo_points: Option<PathBuf>,
    /// Weight of the log-probability of --photo-points
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = weight, help_heading = "Input")]
    #[arg(requires = "photo_points")]
    photo_weight: f64,
    /// Set the temperature for a number of views with the prior of `locate` (repeatable) [default: as for `play`]
    #[arg(long, value_name = "VIEWS=T", value_parser = views_and_temperature, requires = "photo_points")]
    #[arg(help_heading = "Input")]
    photo_temperature: Vec<(usize, f64)>,
    /// Index of the pictures for --calibrate (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: Option<PathBuf>,
    /// Split of the index for --calibrate, which the head was not trained on (repeatable) [default: all]
    #[arg(long, help_heading = "Input")]
    split: Vec<String>,
    /// Add an evaluation to bundle.json, from a file with the output of `evaluate --json` (repeatable)
    #[arg(long, value_name = "NAME=FILE", help_heading = "Input")]
    evaluation: Vec<String>,
    /// Storage format of the weights of the head
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    precision: Precision,
    /// Folder of the bundle
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

fn views_and_temperature(text: &str) -> Result<(usize, f64)> {
    let parts = text.split_once('=').and_then(|(views, t)| Some((views.parse().ok()?, t.parse().ok()?)));
    parts
        .filter(|(views, t): &(usize, f64)| *views > 0 && t.is_finite() && *t > 0.0)
        .context("must be a number of views and a temperature above 0, as in 4=0.8")
}

fn weight(text: &str) -> Result<f64> {
    let weight: f64 = text.parse()?;
    if !(0.0..=10.0).contains(&weight) {
        bail!("must be a number from 0 to 10");
    }
    Ok(weight)
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, files do not match, or the exported head and burn disagree.
pub(crate) fn run(args: &Args) -> Result<()> {
    let head = Head::load(&args.head)?;
    let spec = EncoderSpec::read(&args.encoder)?;
    if spec != head.description.encoder {
        bail!("{} is not the encoder whose features the head was trained on", args.encoder.display());
    }
    let cells_sha256 = sha256_of(&args.cells).with_context(|| format!("cannot read {}", args.cells.display()))?;
    if cells_sha256 != head.description.cells_sha256 {
        bail!("{} is not the cell table that the head was trained for; run `fit` again with it", args.cells.display());
    }
    let table: CellTable = read_json(&args.cells, "a cell table")?;
    let bytes = onnx_writer::head(&head.description, head.layers()?, args.precision);
    let difference = check(&head, &bytes, args.precision)?;
    let manifest = Manifest {
        name: args.name.clone(),
        version: args.version.clone(),
        description: args.description.clone(),
        licence: args.licence.clone(),
        encoder: spec.encoder,
        preprocess: spec.preprocess,
        head: HeadFile {
            file: "head.onnx".into(),
            sha256: String::new(),
            bytes: None,
            outputs: vec![onnx::LOGITS.into()],
        },
        cells: CellsFile { file: "cells.json".into(), sha256: cells_sha256, count: table.cells.len() },
        temperature: temperature(args, &head, &table)?,
        priors: priors(args, &table)?,
        evaluation: evaluation(&args.evaluation)?,
    };
    let summary = serde_json::json!({
        "bundle": manifest.id(),
        "out": args.out.display().to_string(),
        "temperature": manifest.temperature,
        "max_difference": difference,
    });
    let encoder_dir = args.encoder.parent().unwrap_or(Path::new("."));
    write(&args.out, manifest, &bytes, &args.cells, encoder_dir)?;
    eprintln!("wrote {}; maximum difference between ONNX Runtime and burn: {difference:.1e}", args.out.display());
    if args.json {
        println!("{summary}");
    }
    Ok(())
}

/// Compares ONNX Runtime with burn on random embeddings and returns the largest difference of a logit; with 8-bit
/// weights it is relative to the largest logit.
///
/// # Errors
/// When the difference exceeds the tolerance of the precision, or ONNX Runtime is missing or cannot load the head.
pub(crate) fn check(head: &Head, onnx: &[u8], precision: Precision) -> Result<f32> {
    let mut random = StdRng::seed_from_u64(7);
    let dim = head.description.mean.len();
    // Realistic embeddings: within a few standard deviations of the mean, and of various lengths.
    let moments = || head.description.mean.iter().zip(&head.description.deviation);
    let mut embedding = |scale: f32| -> Vec<f32> {
        moments().map(|(m, s)| scale * (m + s * 4.0 * (random.random::<f32>() - 0.5))).collect()
    };
    let mut embeddings: Vec<Vec<f32>> = (0..64).map(|i| embedding(0.5 + i as f32 / 4.0)).collect();
    embeddings.push(vec![0.0; dim]);
    let mut file = tempfile::Builder::new().prefix("landfall-head-").suffix(".onnx").tempfile()?;
    file.write_all(onnx)?;
    let cells = head.description.sizes.last().copied().unwrap_or(0);
    let compared = classifier::Head::load(file.path(), onnx::LOGITS, cells)
        .and_then(|theirs| embeddings.iter().map(|embedding| theirs.logits(embedding)).collect::<Result<Vec<_>, _>>());
    let (theirs, ours) = (compared?.concat(), head.logits(&embeddings)?.concat());
    // The error of 8-bit weights is proportional to the largest weight.
    let largest = ours.iter().map(|x| x.abs()).fold(1.0, f32::max);
    let scale = if precision == Precision::Int8 { largest } else { 1.0 };
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
    let tolerance = precision.tolerance();
    // The comparison is written so that NaN fails too.
    if ours.len() != theirs.len() || !ours.iter().chain(&theirs).all(|x| x.is_finite()) || difference > tolerance {
        let why = format!(
            "ONNX Runtime and burn differ by {difference:.1e} on the exported head; the tolerance is {tolerance:.0e}"
        );
        return Err(check_failed(why));
    }
    Ok(difference)
}

fn temperature(args: &Args, head: &Head, table: &CellTable) -> Result<BTreeMap<usize, f64>> {
    if !args.temperature.is_empty() {
        return Ok(args.temperature.iter().copied().collect());
    }
    let (Some(features), Some(index)) = (&args.calibrate, &args.index) else {
        if head.description.temperature.is_empty() {
            eprintln!("the head has no fitted temperature (run `fit` with --folds, or pass --calibrate): using 1");
        }
        return Ok(head.description.temperature.clone());
    };
    let rows = index::read_splits(index, &args.split)?;
    let (_, samples) = samples::join(rows, std::slice::from_ref(features))?;
    let mut fitted = BTreeMap::new();
    for views in [1, 4] {
        let mut rounds = Vec::new();
        for round in samples::rounds(&samples, views).into_iter().filter(|round| round.len() == views) {
            let embeddings: Vec<Vec<f32>> = round.iter().map(|sample| sample.variants[0].clone()).collect();
            rounds.extend(
                round[0].row.at.map(|truth| head.logits(&embeddings).map(|logits| (truth, logits))).transpose()?,
            );
        }
        fitted.extend(metrics::fit_temperature(table, &rounds).map(|t| (views, t)));
    }
    if fitted.is_empty() {
        bail!("{}: no row with coordinates to calibrate on", index.display());
    }
    Ok(fitted)
}

fn priors(args: &Args, table: &CellTable) -> Result<BTreeMap<Prior, CellPrior>> {
    let Some(points) = &args.photo_points else { return Ok(BTreeMap::new()) };
    let log_weights = prior::log_weights(points, args.photo_weight, table)?;
    let temperature = args.photo_temperature.iter().copied().collect();
    Ok(BTreeMap::from([(Prior::Photo, CellPrior { log_weights, temperature })]))
}

pub(crate) fn evaluation(pairs: &[String]) -> Result<serde_json::Value> {
    let mut all = serde_json::Map::new();
    for pair in pairs {
        let (name, file) = pair.split_once('=').with_context(|| format!("--evaluation {pair}: must be NAME=FILE"))?;
        all.insert(name.to_owned(), read_json(Path::new(file), "the output of `evaluate --json`")?);
    }
    Ok(all.into())
}

/// Writes the files, including those of the encoder that are not part of a package, and then `bundle.json` with their
/// checksums.
fn write(dir: &Path, mut manifest: Manifest, onnx: &[u8], cells: &Path, encoder: &Path) -> Result<()> {
    let EncoderFile { file, from, derived, adapter, .. } = &manifest.encoder;
    let is_own = from.is_none() && derived.is_none();
    let moments = derived.as_ref().map(|derived| &derived.moments.file);
    let of_adapter = adapter.as_ref().map(|adapter| &adapter.file);
    let copied = is_own.then_some(file).into_iter().chain(of_adapter).chain(moments);
    let copied: Vec<&String> = copied.collect();
    if !copied.is_empty() {
        manifest.encoder.locate(encoder)?; // verifies the files before they are copied
    }
    for file in copied {
        let source = encoder.join(file);
        let bytes = std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        write_atomic(&dir.join(file), &bytes)?;
    }
    let head = dir.join(&manifest.head.file);
    write_atomic(&head, onnx)?;
    manifest.head.sha256 = sha256_of(&head)?;
    write_atomic(&dir.join(&manifest.cells.file), &std::fs::read(cells)?)?;
    write_json(&dir.join("bundle.json"), &manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::model::{HeadDescription, Network};
    use burn::tensor::Device;
    use landfall_common::exit::{Exit, exit_code};

    /// A head with random weights and moments.
    fn random_head(sizes: &[usize]) -> Head {
        let mut random = StdRng::seed_from_u64(11);
        let mut numbers =
            |n: usize, scale: f32| -> Vec<f32> { (0..n).map(|_| scale * (random.random::<f32>() - 0.5)).collect() };
        let layers = sizes.windows(2).map(|pair| (numbers(pair[0] * pair[1], 0.5), numbers(pair[1], 0.5))).collect();
        let network = Network::new(layers, &Device::flex());
        let encoder = serde_json::from_str(
            r#"{"encoder":{"file":"e","sha256":"","bytes":0,"input":"i","output":"o","dim":8},
                "preprocess":{"size":4,"resize":"bicubic","crop":"center","mean":[0,0,0],"std":[1,1,1]}}"#,
        )
        .unwrap();
        let description = HeadDescription {
            encoder,
            sizes: sizes.to_vec(),
            cells_sha256: String::new(),
            temperature: BTreeMap::new(),
            settings: serde_json::Value::Null,
            held_out: serde_json::Value::Null,
            mean: numbers(sizes[0], 0.4),
            deviation: numbers(sizes[0], 0.1).into_iter().map(|x| x.abs() + 0.02).collect(),
        };
        Head { description, network }
    }

    #[test]
    fn onnx_runtime_agrees_with_burn() {
        for sizes in [&[64, 200][..], &[64, 48, 200]] {
            let head = random_head(sizes);
            let [full, half, int8] = [Precision::F32, Precision::F16, Precision::Int8].map(|precision| {
                let bytes = onnx_writer::head(&head.description, head.layers().unwrap(), precision);
                (check(&head, &bytes, precision).unwrap(), bytes.len())
            });
            assert!(full.0 < 1e-4 && half.0 > full.0 && int8.0 > 0.0, "{full:?} {half:?} {int8:?}");
            assert!(half.1 < full.1 && int8.1 < half.1);
        }
    }

    #[test]
    fn a_head_that_differs_from_burn_is_refused() {
        let head = random_head(&[8, 20]);
        let mut layers = head.layers().unwrap();
        layers[0].0[3] += 0.1;
        let error =
            check(&head, &onnx_writer::head(&head.description, layers, Precision::F32), Precision::F32).unwrap_err();
        assert_eq!(exit_code(&error, |_| None), Exit::CheckFailed, "{error}");
    }

    #[test]
    fn a_head_is_restored_from_its_folder() {
        let (head, dir) = (random_head(&[8, 16, 20]), tempfile::tempdir().unwrap());
        head.save(dir.path()).unwrap();
        let again = Head::load(dir.path()).unwrap();
        assert_eq!(again.layers().unwrap(), head.layers().unwrap());
        std::fs::write(dir.path().join("weights.f32"), [0; 12]).unwrap();
        assert!(Head::load(dir.path()).is_err());
    }
}
