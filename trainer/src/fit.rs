//! `fit`: trains a head on cached features, with soft labels by distance.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData, activation};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::bundle::sha256_of;
use landfall_model::{CellTable, LatLng};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::head::{self, Description, Head, Network};
use crate::metrics::{self, Report};
use crate::samples::{self, Sample};
use crate::targets::{Label, Targets};
use crate::{files, index};

/// Trains a head on features.
///
/// Rows that know only their country teach that the place is in it. With several feature folders, a picture that is in
/// more than one is seen through one of them at a time, drawn anew each epoch.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train fit --features features/train --index index.csv --split train --cells cells.json --folds 5 --out head"
)]
pub struct Args {
    /// Feature folder (repeat the option for several variants of the pictures)
    #[arg(long, required = true)]
    features: Vec<PathBuf>,
    /// Index of the pictures (csv)
    #[arg(long)]
    index: PathBuf,
    /// Only this split, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// Cell table, as `partition` writes it
    #[arg(long)]
    cells: PathBuf,
    /// Cross-validate over so many parts of the pictures first: measures, and fits the temperatures
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    folds: Option<u64>,
    /// Stop after the cross-validation (with --folds): to compare settings
    #[arg(long, requires = "folds")]
    only_validate: bool,
    /// Of the --folds, only the first so many
    #[arg(long, requires = "folds")]
    first_folds: Option<u64>,
    /// Folder to write
    #[arg(long, required_unless_present = "only_validate")]
    out: Option<PathBuf>,
    /// Print the held-out quality as json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// How a head is trained.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Settings {
    /// Passes over the pictures
    #[arg(long, default_value_t = 25)]
    pub epochs: usize,
    /// Pictures a step
    #[arg(long, default_value_t = 256)]
    pub batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub rate: f64,
    /// Share of the steps in which the learning rate rises; it then falls as a cosine
    #[arg(long, default_value_t = 0.1)]
    pub warm_up: f64,
    /// Weight decay of AdamW
    #[arg(long, default_value_t = 0.1)]
    pub weight_decay: f32,
    /// Share of the inputs dropped out
    #[arg(long, default_value_t = 0.3)]
    pub dropout: f32,
    /// Units of a hidden layer [default: none, a linear head]
    #[arg(long, default_value_t = 0)]
    pub hidden: usize,
    /// Length of the soft labels in kilometres
    #[arg(long, default_value_t = 150.0)]
    pub tau_km: f64,
    /// Share of each label spread evenly over all cells
    #[arg(long, default_value_t = 0.1)]
    pub smoothing: f32,
    /// Weight of a row that knows only its country; one with a place weighs 1
    #[arg(long, default_value_t = 0.5)]
    pub country_weight: f32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, a setting makes no sense, or the loss stops being a number.
pub fn run(args: &Args) -> Result<()> {
    let settings = &args.settings;
    let table: CellTable = files::read_json(&args.cells, "a cell table")?;
    let (encoder, samples) = samples::join(index::read_splits(&args.index, &args.split)?, &args.features)?;
    let targets = Targets::new(&table, settings.tau_km)?;
    let labelled = label(samples, &targets);
    let (mut temperature, mut held_out) = (BTreeMap::new(), serde_json::Value::Null);
    if let Some(folds) = args.folds {
        let validation = cross_validate(&labelled, &table, &targets, settings, folds as usize, args.first_folds)?;
        for (views, reports) in &validation.reports {
            for (report, folder) in reports.iter().zip(&args.features) {
                let quality = &report.quality;
                eprintln!(
                    "held out, views {views}, {}: {:.0} points, median {:.0} km, country {:.1} %, n = {}",
                    folder.display(),
                    quality.geoscore,
                    quality.median_km,
                    quality.country,
                    report.n
                );
            }
        }
        held_out = serde_json::to_value(&validation.reports)?;
        temperature = validation.temperature;
    }
    if args.json {
        println!("{}", serde_json::json!({ "temperature": temperature, "held_out": held_out }));
    }
    let Some(out) = args.out.as_ref().filter(|_| !args.only_validate) else { return Ok(()) };
    let (mean, deviation) = moments(&labelled.iter().collect::<Vec<_>>());
    let all: Vec<&Labelled> = labelled.iter().collect();
    let network = train(&all, &targets, (&mean, &deviation), table.cells.len(), settings, "training")?;
    let description = Description {
        encoder,
        sizes: sizes(mean.len(), table.cells.len(), settings),
        cells_sha256: sha256_of(&args.cells)?,
        temperature,
        settings: serde_json::to_value(settings)?,
        held_out,
        mean,
        deviation,
    };
    Head { description, network }.save(out)?;
    eprintln!("wrote {}", out.display());
    Ok(())
}

struct Labelled {
    sample: Sample,
    label: Label,
}

fn label(samples: Vec<Sample>, targets: &Targets<'_>) -> Vec<Labelled> {
    let mut without = BTreeMap::new();
    let mut labelled = Vec::new();
    for sample in samples {
        match targets.label(sample.row.at, &sample.row.iso2) {
            Some(label) => labelled.push(Labelled { sample, label }),
            None => *without.entry(sample.row.iso2).or_insert(0) += 1,
        }
    }
    for (country, rows) in without {
        eprintln!("left out {rows} rows without coordinates in `{country}`, a country without cells");
    }
    labelled
}

fn sizes(dim: usize, cells: usize, settings: &Settings) -> Vec<usize> {
    if settings.hidden == 0 { vec![dim, cells] } else { vec![dim, settings.hidden, cells] }
}

fn moments(samples: &[&Labelled]) -> (Vec<f32>, Vec<f32>) {
    let dim = samples.first().map_or(0, |s| s.sample.variants[0].len());
    head::moments(samples.iter().flat_map(|s| s.sample.variants.iter().map(Vec::as_slice)), dim)
}

/// By number of views: temperature, and quality through each feature folder.
struct Validation {
    temperature: BTreeMap<usize, f64>,
    reports: BTreeMap<usize, Vec<Report>>,
}

/// Logits of rounds that were held out, with their truths.
type Rounds = Vec<(LatLng, Vec<Vec<f32>>)>;

/// Trains on all parts but one, in turn, and measures the places of the one, through each feature folder by itself.
/// The temperatures are fitted through the first.
fn cross_validate(
    labelled: &[Labelled],
    table: &CellTable,
    targets: &Targets<'_>,
    settings: &Settings,
    folds: usize,
    first: Option<u64>,
) -> Result<Validation> {
    let variants = labelled.iter().map(|s| s.sample.variants.len()).min().unwrap_or(0);
    let mut rounds: BTreeMap<usize, Vec<Rounds>> = [1, 4].map(|views| (views, vec![Vec::new(); variants])).into();
    for fold in 0..first.map_or(folds, |first| folds.min(first as usize)) {
        let is_out = |s: &&Labelled| samples::fold_of(&s.sample.row, folds) == fold;
        let (out, rest): (Vec<&Labelled>, Vec<&Labelled>) = labelled.iter().partition(is_out);
        let (mean, deviation) = moments(&rest);
        let what = format!("fold {} of {folds}", fold + 1);
        let network = train(&rest, targets, (&mean, &deviation), table.cells.len(), settings, &what)?;
        let out: Vec<Sample> = out.into_iter().map(|s| s.sample.clone()).collect();
        for (views, rounds) in &mut rounds {
            for round in samples::rounds(&out, *views).into_iter().filter(|round| round.len() == *views) {
                let Some(truth) = round[0].row.at else { continue };
                for (variant, rounds) in rounds.iter_mut().enumerate() {
                    let input = |s: &&Sample| head::standardise(&s.variants[variant], &mean, &deviation);
                    let inputs: Vec<Vec<f32>> = round.iter().map(input).collect();
                    rounds.push((truth, head::logits(&network, &inputs, &Device::flex())?));
                }
            }
        }
    }
    let mut validation = Validation { temperature: BTreeMap::new(), reports: BTreeMap::new() };
    for (views, rounds) in rounds {
        let first = rounds.first().filter(|rounds| !rounds.is_empty());
        let Some(t) = first.and_then(|rounds| metrics::fit_temperature(table, rounds)) else { continue };
        let report = |rounds: &Rounds| metrics::report(table, &metrics::answer(table, rounds, |_| t));
        validation.temperature.insert(views, t);
        validation.reports.insert(views, rounds.iter().filter_map(report).collect());
    }
    if validation.temperature.is_empty() {
        bail!("no row with coordinates was held out: there is nothing to cross-validate with");
    }
    Ok(validation)
}

fn train(
    samples: &[&Labelled],
    targets: &Targets<'_>,
    (mean, deviation): (&[f32], &[f32]),
    cells: usize,
    settings: &Settings,
    what: &str,
) -> Result<Network> {
    check(settings)?;
    if samples.is_empty() {
        bail!("there is no picture left to train on");
    }
    let dim = mean.len();
    let inputs: Vec<Vec<Vec<f32>>> = samples
        .iter()
        .map(|s| s.sample.variants.iter().map(|v| head::standardise(v, mean, deviation)).collect())
        .collect();
    let device = Device::flex().autodiff();
    let mut network = Network::new(&sizes(dim, cells, settings), settings.seed, &device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(settings.weight_decay).with_epsilon(1e-8).init();
    let mut random = StdRng::seed_from_u64(settings.seed ^ 0x5eed);
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let steps = samples.len().div_ceil(settings.batch) * settings.epochs;
    let progress = ProgressBar::new(steps as u64)
        .with_style(ProgressStyle::with_template("{prefix}: {wide_bar} loss {msg}, {eta} left")?)
        .with_prefix(what.to_owned());
    let mut step = 0;
    for _ in 0..settings.epochs {
        order.shuffle(&mut random);
        for batch in order.chunks(settings.batch) {
            let labels: Vec<Label> = batch.iter().map(|i| samples[*i].label).collect();
            let mut y = targets.batch(&labels);
            let weights: Vec<f32> = labels.iter().map(|label| weight(label, settings)).collect();
            let mut x: Vec<f32> = Vec::with_capacity(batch.len() * dim);
            for i in batch {
                x.extend(&inputs[*i][random.random_range(0..inputs[*i].len())]);
            }
            drop_out(&mut x, settings.dropout, &mut random);
            let total: f32 = weights.iter().sum();
            let even = settings.smoothing / cells as f32;
            for (row, weight) in y.chunks_exact_mut(cells).zip(&weights) {
                row.iter_mut().for_each(|y| *y = (*y * (1.0 - settings.smoothing) + even) * weight / total.max(1e-9));
            }
            let n = batch.len();
            let tensor =
                |rows: Vec<f32>, width: usize| Tensor::<2>::from_data(TensorData::new(rows, [n, width]), &device);
            let mask = (settings.hidden > 0).then(|| {
                let mut mask = vec![1.0; n * settings.hidden];
                drop_out(&mut mask, settings.dropout, &mut random);
                tensor(mask, settings.hidden)
            });
            let log_p = activation::log_softmax(network.forward(tensor(x, dim), mask), 1);
            let loss = (log_p * tensor(y, cells)).sum().neg();
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                bail!(
                    "the loss is {value} after {step} steps: the learning rate {} is too high for this data",
                    settings.rate
                );
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate_at(step, steps, settings), network, gradients);
            step += 1;
            progress.set_message(format!("{value:.3}"));
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(network.valid())
}

fn check(settings: &Settings) -> Result<()> {
    let share = |x: f32| (0.0..1.0).contains(&x);
    if !share(settings.dropout) || !share(settings.smoothing) || !(0.0..1.0).contains(&settings.warm_up) {
        bail!("dropout, smoothing and warm-up are shares: from 0 to just below 1");
    }
    let sane = settings.rate > 0.0 && settings.weight_decay >= 0.0 && settings.country_weight >= 0.0;
    if !sane || settings.batch == 0 || settings.epochs == 0 {
        bail!("epochs, batch and rate must be above 0; weight decay and country weight not below it");
    }
    Ok(())
}

fn weight(label: &Label, settings: &Settings) -> f32 {
    match label {
        Label::Place(_) => 1.0,
        Label::Country(_) => settings.country_weight,
    }
}

/// A linear rise to the highest rate, then half a cosine down to zero.
fn rate_at(step: usize, steps: usize, settings: &Settings) -> f64 {
    let (done, rise) = ((step as f64 + 1.0) / steps as f64, settings.warm_up);
    if done < rise {
        settings.rate * done / rise
    } else {
        settings.rate * 0.5 * (1.0 + (std::f64::consts::PI * (done - rise) / (1.0 - rise)).cos())
    }
}

fn drop_out(values: &mut [f32], share: f32, random: &mut StdRng) {
    if share > 0.0 {
        let keep = 1.0 - share;
        values.iter_mut().for_each(|x| *x = if random.random::<f32>() < keep { *x / keep } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(args: &[&str]) -> Settings {
        Cli::parse_from(std::iter::once(&"fit").chain(args)).settings
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let settings = settings(&["--rate", "0.01", "--warm-up", "0.1"]);
        let rates: Vec<f64> = (0..100).map(|step| rate_at(step, 100, &settings)).collect();
        let top = rates.iter().position(|rate| (rate - 0.01).abs() < 1e-9).unwrap();
        assert!((8..=10).contains(&top));
        assert!(rates[..top].is_sorted() && rates[top..].iter().rev().is_sorted());
        assert!(rates[99] < 1e-9);
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let mut ones = vec![1.0; 20_000];
        drop_out(&mut ones, 0.3, &mut StdRng::seed_from_u64(3));
        assert!((ones.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn nonsense_settings_are_refused() {
        for bad in [["--dropout", "1.5"], ["--epochs", "0"], ["--rate", "0"], ["--smoothing", "1"]] {
            assert!(check(&settings(&bad)).is_err(), "{bad:?}");
        }
        assert!(check(&settings(&[])).is_ok());
    }
}
