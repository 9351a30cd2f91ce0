//! `evaluate`: measures a bundle on pictures whose place is known, on the path that the agent takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::classifier::Encoder;
use landfall_model::{Bundle, LatLng};

use crate::embed::{self, EncoderSpec};
use crate::index::{self, Row};
use crate::metrics::{self, Report};
use crate::samples::{self, Sample};
use crate::session::HeadSession;

/// Measures a bundle on pictures whose place is known.
///
/// All figures are those of the pin that `play` places: the point with the highest expected score on the World map.
/// Under `mode` stand the same figures of the middle of the likeliest peak, which `locate` answers with. Percentages
/// run from 0 to 100. `ece` is the calibration error, in percentage points, of the probability that the place lies
/// within 750 km of the pin. Baselines are the mean points of the best constant pin and of a cell drawn by its number
/// of places. Rows without coordinates are left out.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train evaluate --json --bundle desktop --index index.csv --images photos --split dev --views 4"
)]
pub struct Args {
    /// Name or folder of the bundle
    #[arg(long, default_value = "desktop")]
    bundle: String,
    /// Index of the pictures (csv)
    #[arg(long)]
    index: PathBuf,
    /// Folder that the index's file names are relative to
    #[arg(long, required_unless_present = "features")]
    images: Option<PathBuf>,
    /// Feature folder of the bundle's encoder, to be taken instead of the pictures
    #[arg(long, conflicts_with = "images")]
    features: Option<PathBuf>,
    /// Only this split, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// Only this data set, or these (repeat the option)
    #[arg(long)]
    set: Vec<String>,
    /// 1: every picture is a place of its own; 4: the pictures of a group are views of one place
    #[arg(long, default_value = "1", value_parser = ["1", "4"])]
    views: String,
    /// Print the numbers as json
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the bundle, the index, a picture or the features cannot be used; missing pictures are named with their lines.
pub fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::find(&args.bundle)?;
    let mut rows = index::read_splits(&args.index, &args.split)?;
    rows.retain(|row| row.at.is_some() && (args.set.is_empty() || args.set.contains(&row.set)));
    if rows.is_empty() {
        bail!("{}: no row with coordinates is left to measure; see --set and --split", args.index.display());
    }
    let samples = match (&args.features, &args.images) {
        (Some(folder), _) => from_features(&bundle, rows, folder)?,
        (None, Some(images)) => from_pictures(&bundle, rows, images)?,
        (None, None) => bail!("give --images or --features"),
    };
    let report = measure(&bundle, &samples, args.views.parse()?)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// Measures a bundle's head on samples with places, `views` of a group at a time.
///
/// # Errors
/// When the head cannot be loaded or gives no distribution.
pub fn measure(bundle: &Bundle, samples: &[Sample], views: usize) -> Result<Report> {
    let mut head = HeadSession::load(&bundle.head_path()?)?;
    let mut rounds: Vec<(LatLng, Vec<Vec<f32>>)> = Vec::new();
    for round in samples::rounds(samples, views) {
        let logits = round.iter().map(|sample| head.logits(&sample.variants[0])).collect::<Result<_>>()?;
        rounds.extend(round[0].row.at.map(|truth| (truth, logits)));
    }
    let answers = metrics::answer(&bundle.cells, &rounds, |views| bundle.manifest.temperature_for(views));
    if answers.len() != rounds.len() {
        bail!(
            "{}: the head's output is no distribution over the bundle's cells; export it again",
            bundle.dir.display()
        );
    }
    metrics::report(&bundle.cells, &answers).context("no place was measured")
}

fn from_features(bundle: &Bundle, rows: Vec<Row>, folder: &PathBuf) -> Result<Vec<Sample>> {
    let wanted = rows.len();
    let (spec, samples) = samples::join(rows, std::slice::from_ref(folder))?;
    let own = EncoderSpec { encoder: bundle.manifest.encoder.clone(), preprocess: bundle.manifest.preprocess.clone() };
    if spec.encoder.sha256 != own.encoder.sha256 || spec.preprocess != own.preprocess {
        bail!("{} holds features of another encoder than the bundle's", folder.display());
    }
    if samples.len() < wanted {
        bail!("{} lacks {} of {wanted} pictures; run `landfall-train embed`", folder.display(), wanted - samples.len());
    }
    Ok(samples)
}

fn from_pictures(bundle: &Bundle, rows: Vec<Row>, images: &Path) -> Result<Vec<Sample>> {
    let missing: Vec<&Row> = rows.iter().filter(|row| !images.join(&row.file).is_file()).collect();
    if let Some(first) = missing.first() {
        bail!(
            "{} of {} pictures are not in {}; the first is {} (index line {})",
            missing.len(),
            rows.len(),
            images.display(),
            first.file.display(),
            first.line
        );
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let manifest = &bundle.manifest;
    let encoder =
        Encoder::load(&bundle.encoder_path()?, manifest.encoder.clone(), manifest.preprocess.clone(), workers)?;
    let files: Vec<PathBuf> = rows.iter().map(|row| row.file.clone()).collect();
    let progress = ProgressBar::new(files.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?);
    let mut embeddings = HashMap::new();
    embed::each_embedding(&encoder, images, &files, |file, embedding| {
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

fn print(report: &Report) {
    let quality = &report.quality;
    println!("{:.0} points on average over {} places", quality.geoscore, report.n);
    for (km, percent) in &quality.within_km {
        println!("{percent:6.1} % within {km} km");
    }
    println!(
        "median {:.0} km, mean {:.0} km, right country {:.1} %",
        quality.median_km, quality.mean_km, quality.country
    );
    println!("calibration error {:.1} percentage points", report.ece);
    println!(
        "without looking: {:.0} points constant, {:.0} by chance",
        report.baselines.constant, report.baselines.prior
    );
    for (continent, part) in &report.by_continent {
        let q = &part.quality;
        println!(
            "{continent}: {:.0} points, median {:.0} km, country {:.1} %, n = {}",
            q.geoscore, q.median_km, q.country, part.n
        );
    }
}
