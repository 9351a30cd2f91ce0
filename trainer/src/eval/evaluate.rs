//! `evaluate`: evaluates a bundle on pictures with known coordinates, with the same code as the agent.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use landfall_common::fs::write_atomic;
use landfall_common::gallery::{Gallery, Refinement};
use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_model::{Bundle, Prior};

use crate::data::images::Images;
use crate::data::index;
use crate::eval::analyse::{self, Page};
use crate::eval::eval_set::{self, EvalSetArgs};
use crate::eval::metrics::neighbour::Neighbours;
use crate::eval::metrics::{self, Quality, Report, RoundResult, WithGallery};
use crate::features::samples::Sample;

/// Evaluate a bundle on pictures with known coordinates
///
/// The main metrics are those of the pin that `play` places: the point with the highest expected score on the World
/// map. `mode` has the same metrics for the centre of the most likely peak, which is the answer of `locate`.
/// Percentages are from 0 to 100.
///
/// `ece` is the expected calibration error, in percentage points, of the probability that the place lies within 750 km
/// of the pin. `calibration` has reliability diagrams for this and other probabilities, and the coverage of the 50 %
/// and 90 % credible regions. `cells` is the accuracy of the classifier over cells; `oracle` is the score of a
/// classifier that always predicts the correct cell.
///
/// Baselines are the mean points of the best constant pin, of a random cell drawn by its number of places, of the mean
/// of all places and, with --neighbours, of the place of the most similar training picture. Rows without coordinates
/// are skipped.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train evaluate --json --bundle desktop --index index.csv --images photos --split dev --views 4"
)]
pub(crate) struct Args {
    /// Bundle, by name or folder (./FOLDER)
    #[arg(long, value_name = "NAME|DIR", default_value = "desktop", help_heading = "Input")]
    bundle: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the file names in the index are relative to
    #[arg(long, value_name = "DIR", required_unless_present = "features", help_heading = "Input")]
    images: Option<PathBuf>,
    /// Feature folder of the bundle's encoder, to use instead of the pictures
    #[arg(long, value_name = "DIR", conflicts_with = "images", help_heading = "Input")]
    features: Option<PathBuf>,
    /// Number of views per round, or several numbers to evaluate each
    ///
    /// With 1, every picture is a round. With 2 or 4, the pictures of a group are views of one place. With several
    /// numbers, as in `--views 1 2 4`, the JSON output is an object with one report per number.
    #[arg(long, value_name = "N", default_value = "1", num_args = 1.., value_delimiter = ',')]
    #[arg(value_parser = ["1", "2", "4"], help_heading = "Input")]
    views: Vec<String>,
    /// Feature folder of training pictures, for the nearest-neighbour baseline
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    neighbours: Option<PathBuf>,
    /// Split of the index with the training pictures (repeatable)
    #[arg(long, value_name = "SPLIT", default_value = "train", requires = "neighbours", help_heading = "Input")]
    neighbours_split: Vec<String>,
    /// Gallery of located pictures, as `gallery` writes it: adds what answers refined by similar pictures would be
    ///
    /// `landfall locate --gallery` only shows similar pictures. None of the evaluated pictures should be in the gallery, nor
    /// others of the same places.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    gallery: Option<PathBuf>,
    /// Write an HTML report, as `analyse` does
    ///
    /// It shows all rounds on a map, and the worst rounds with their pictures if --images is given.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the bundle, the index, a picture or the features cannot be used; missing pictures are named with their lines.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.report.is_some() && args.views.len() > 1 {
        bail!("--report needs a single number of --views");
    }
    let bundle = Bundle::find(&args.bundle)?;
    let gallery = args.gallery.as_deref().map(Gallery::open).transpose()?;
    gallery.as_ref().map(|gallery| gallery.check_encoder(&bundle.manifest)).transpose()?;
    let neighbours = neighbours(args, &bundle)?;
    let samples = eval_set::samples(&bundle, args.eval_set.rows()?, args.images.as_deref(), args.features.as_deref())?;
    let mut reports = serde_json::Map::new();
    for views in &args.views {
        let rounds = eval_set::rounds(&samples, views.parse()?)?;
        let results = eval_set::results(&bundle, &rounds, args.eval_set.prior)?;
        let mut report = report(&bundle, &rounds, &results, neighbours.as_ref())?;
        if let Some(gallery) = &gallery {
            report.with_gallery = Some(with_gallery(&bundle, &rounds, args.eval_set.prior, &results, gallery)?);
        }
        if let Some(file) = &args.report {
            let page = Page {
                heading: "Evaluation",
                title: &analyse::title(&bundle, &args.eval_set, views),
                table: &bundle.cells,
                report: &report,
                findings: &analyse::findings(&bundle.cells, &rounds, &results),
                results: &results,
            };
            let images = args.images.as_deref().map(Images::open).transpose()?;
            write_atomic(file, page.html(images.as_ref())?.as_bytes())?;
        }
        if !args.json {
            println!("{views} {} per place", if views == "1" { "view" } else { "views" });
            print(&report);
        }
        reports.insert(views.clone(), serde_json::to_value(&report)?);
    }
    if args.json {
        // With a single number of views, the report is not wrapped in an object.
        let single = if reports.len() == 1 { reports.values().next() } else { None };
        println!("{}", single.map_or_else(|| serde_json::to_string(&reports), serde_json::to_string)?);
    }
    Ok(())
}

fn report(
    bundle: &Bundle,
    rounds: &[Vec<&Sample>],
    results: &[RoundResult],
    neighbours: Option<&Neighbours>,
) -> Result<Report> {
    let mut report = metrics::report(&bundle.cells, results).context("no rounds to evaluate")?;
    if let Some(neighbours) = neighbours {
        let pairs = neighbours.places(rounds).into_iter().zip(results);
        let pairs: Vec<_> = pairs.filter_map(|(place, result)| Some((result.truth, place?))).collect();
        report.baselines.nearest_neighbour = metrics::quality(&pairs);
    }
    Ok(report)
}

/// The answers of `locate`, refined by similar pictures of a gallery.
fn with_gallery(
    bundle: &Bundle,
    rounds: &[Vec<&Sample>],
    prior: Prior,
    without: &[RoundResult],
    gallery: &Gallery,
) -> Result<WithGallery> {
    let refinement = Refinement::default();
    let results = eval_set::results_with(bundle, rounds, prior, |posterior, round| {
        let views: Vec<&[f32]> = round.iter().map(|sample| sample.variants[0].as_slice()).collect();
        refinement.apply(&posterior, gallery, &gallery.nearest_to_views(&views, refinement.pictures))
    })?;
    let groups = Groups::new(rounds.iter().map(|round| &round[0].row.group));
    WithGallery::new(&results, without, &groups, gallery.len()).context("no rounds to evaluate")
}

fn neighbours(args: &Args, bundle: &Bundle) -> Result<Option<Neighbours>> {
    let Some(folder) = &args.neighbours else { return Ok(None) };
    let rows = index::read_splits(&args.eval_set.index, &args.neighbours_split)?;
    let rows: Vec<_> = rows.into_iter().filter(|row| row.at.is_some()).collect();
    if rows.is_empty() {
        bail!(
            "{}: no row of split {} has coordinates",
            args.eval_set.index.display(),
            args.neighbours_split.join(" or ")
        );
    }
    let samples = eval_set::samples(bundle, rows, None, Some(folder))?;
    Ok(Some(Neighbours::new(&samples)?))
}

fn print(report: &Report) {
    let line = |q: &Quality| {
        let within = q.within_km.iter().map(|(km, percent)| format!("{percent:.1} % within {km}"));
        let within = within.collect::<Vec<_>>().join(", ");
        format!("{:.0} points, median {:.0} km, mean {:.0} km, {within} km", q.geoscore, q.median_km, q.mean_km)
    };
    let Report { n, quality, baselines, cells, calibration, oracle, .. } = report;
    println!("  {}, correct country {:.1} %, n = {n}", line(quality), quality.country);
    println!("  most likely peak instead of the pin: {}", line(&report.mode));
    for (continent, part) in &report.by_continent {
        let q = &part.quality;
        println!(
            "  {continent}: {:.0} points, median {:.0} km, country {:.1} %, n = {}",
            q.geoscore, q.median_km, q.country, part.n
        );
    }
    println!("  calibration error {:.1} percentage points", report.ece);
    for (percent, regions) in &calibration.regions {
        println!(
            "  {percent} % credible regions: coverage {:.1} %, {:.0} cells, {:.2} million km2; \
            credible radius {:.0} km, coverage {:.1} %",
            regions.holds,
            regions.mean_cells,
            regions.mean_area_km2 / 1e6,
            regions.mean_radius_km,
            regions.circle_holds
        );
    }
    println!(
        "  correct cell {:.1} %, top 5 {:.1} %, top 10 {:.1} %; {:.1} % of the places lie in a cell; {:.2} nats",
        cells.top1, cells.top5, cells.top10, cells.coverage, cells.nll
    );
    println!(
        "  baselines: {:.0} points for a constant pin, {:.0} for a random cell, {:.0} for the mean place",
        baselines.constant, baselines.prior, baselines.mean_place
    );
    if let Some(neighbour) = &baselines.nearest_neighbour {
        println!("  nearest neighbour: {}", line(neighbour));
    }
    if let Some(gallery) = &report.with_gallery {
        let Interval { value, low, high } = gallery.gain;
        let interval = low.zip(high).map_or_else(String::new, |(low, high)| format!(" ({low:+.0} to {high:+.0})"));
        println!(
            "  most likely peak with the gallery of {} pictures: {}; {value:+.0} points{interval}",
            gallery.pictures,
            line(&gallery.mode)
        );
    }
    for (answer, errors) in [
        ("its centre", oracle.containing_centre.as_ref()),
        ("its mean place", oracle.containing_mean.as_ref()),
        ("the nearest mean place", Some(&oracle.nearest_mean)),
        ("the nearest centre", Some(&oracle.nearest_centre)),
    ] {
        if let Some(errors) = errors {
            println!(
                "  correct cell, answered with {answer}: {:.0} points, median {:.0} km, n = {}",
                errors.geoscore, errors.median_km, errors.n
            );
        }
    }
}
