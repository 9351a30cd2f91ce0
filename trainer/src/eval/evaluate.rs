//! `evaluate`: measures a bundle on pictures whose place is known, on the path that the agent takes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use landfall_common::fs::write_atomic;
use landfall_model::Bundle;

use crate::data::images::Images;
use crate::data::index;
use crate::eval::analyse::{self, Page};
use crate::eval::eval_set::{self, EvalSetArgs};
use crate::eval::metrics::neighbour::Neighbours;
use crate::eval::metrics::{self, Quality, Report, RoundResult};
use crate::features::samples::Sample;

/// Measures a bundle on pictures whose place is known.
///
/// All figures are those of the pin that `play` places: the point with the highest expected score on the World map.
/// Under `mode` stand the same figures of the middle of the likeliest peak, which `locate` answers with. Percentages
/// run from 0 to 100. `ece` is the calibration error, in percentage points, of the probability that the place lies
/// within 750 km of the pin; `calibration` has the reliability of that and other promises, and how many truths the
/// regions of 50 % and 90 % of the probability hold. `cells` is the accuracy of the classifier over its cells; `oracle`
/// what a classifier that always named the right cell would score. Baselines are the mean points of the best constant
/// pin, of a cell drawn by its number of places, of the mean of all places, and with --neighbours of the place of the
/// most similar training picture. Rows without coordinates are left out.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train evaluate --json --bundle desktop --index index.csv --images photos --split dev --views 4"
)]
pub(crate) struct Args {
    /// Name or folder of the bundle
    #[arg(long, default_value = "desktop")]
    bundle: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the index's file names are relative to
    #[arg(long, required_unless_present = "features")]
    images: Option<PathBuf>,
    /// Feature folder of the bundle's encoder, to be taken instead of the pictures
    #[arg(long, conflicts_with = "images")]
    features: Option<PathBuf>,
    /// 1: every picture is a place of its own; 2 or 4: the pictures of a group are views of one place, taken by so
    /// many. With several numbers, as in `--views 1 2 4`, the answer is an object with a report for each
    #[arg(long, default_value = "1", num_args = 1.., value_delimiter = ',', value_parser = ["1", "2", "4"])]
    views: Vec<String>,
    /// Feature folder of training pictures, for the baseline of the nearest neighbour
    #[arg(long)]
    neighbours: Option<PathBuf>,
    /// Split of the index that the training pictures are of, or these (repeat the option)
    #[arg(long, default_value = "train", requires = "neighbours")]
    neighbours_split: Vec<String>,
    /// Write the numbers as a page to look at, as `analyse` does: all rounds on a map, and the worst with their pictures
    /// where --images has them
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the numbers as json
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the bundle, the index, a picture or the features cannot be used; missing pictures are named with their lines.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.report.is_some() && args.views.len() > 1 {
        bail!("a --report shows one number of views: give one to --views");
    }
    let bundle = Bundle::find(&args.bundle)?;
    let neighbours = neighbours(args, &bundle)?;
    let samples = eval_set::samples(&bundle, args.eval_set.rows()?, args.images.as_deref(), args.features.as_deref())?;
    let mut reports = serde_json::Map::new();
    for views in &args.views {
        let rounds = eval_set::rounds(&samples, views.parse()?)?;
        let results = eval_set::results(&bundle, &rounds)?;
        let report = report(&bundle, &rounds, &results, neighbours.as_ref())?;
        if let Some(file) = &args.report {
            let page = Page {
                heading: "How good it is",
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
            println!("{views} {} a place", if views == "1" { "view" } else { "views" });
            print(&report);
        }
        reports.insert(views.clone(), serde_json::to_value(&report)?);
    }
    if args.json {
        // One number of views prints its report as it is.
        let alone = if reports.len() == 1 { reports.values().next() } else { None };
        println!("{}", alone.map_or_else(|| serde_json::to_string(&reports), serde_json::to_string)?);
    }
    Ok(())
}

fn report(
    bundle: &Bundle,
    rounds: &[Vec<&Sample>],
    results: &[RoundResult],
    neighbours: Option<&Neighbours>,
) -> Result<Report> {
    let mut report = metrics::report(&bundle.cells, results).context("no place was measured")?;
    if let Some(neighbours) = neighbours {
        let pairs = neighbours.places(rounds).into_iter().zip(results);
        let pairs: Vec<_> = pairs.filter_map(|(place, result)| Some((result.truth, place?))).collect();
        report.baselines.nearest_neighbour = metrics::quality(&pairs);
    }
    Ok(report)
}

fn neighbours(args: &Args, bundle: &Bundle) -> Result<Option<Neighbours>> {
    let Some(folder) = &args.neighbours else { return Ok(None) };
    let rows = index::read_splits(&args.eval_set.index, &args.neighbours_split)?;
    let rows: Vec<_> = rows.into_iter().filter(|row| row.at.is_some()).collect();
    if rows.is_empty() {
        bail!("{}: no row of split {} has a place", args.eval_set.index.display(), args.neighbours_split.join(" or "));
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
    println!("  {}, right country {:.1} %, n = {n}", line(quality), quality.country);
    println!("  the likeliest peak instead: {}", line(&report.mode));
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
            "  regions of {percent} %: hold {:.1} % of the truths, {:.0} cells, {:.2} million km2; circles of {:.0} km hold {:.1} %",
            regions.holds,
            regions.mean_cells,
            regions.mean_area_km2 / 1e6,
            regions.mean_radius_km,
            regions.circle_holds
        );
    }
    println!(
        "  right cell {:.1} %, in the first 5 {:.1} %, in 10 {:.1} %; {:.1} % lie in a cell; {:.2} nats",
        cells.top1, cells.top5, cells.top10, cells.coverage, cells.nll
    );
    println!(
        "  without looking: {:.0} points constant, {:.0} by chance, {:.0} at the mean place",
        baselines.constant, baselines.prior, baselines.mean_place
    );
    if let Some(neighbour) = &baselines.nearest_neighbour {
        println!("  nearest neighbour: {}", line(neighbour));
    }
    for (how, errors) in [
        ("its centre", oracle.containing_centre.as_ref()),
        ("its mean place", oracle.containing_mean.as_ref()),
        ("the nearest mean place", Some(&oracle.nearest_mean)),
        ("the nearest centre", Some(&oracle.nearest_centre)),
    ] {
        if let Some(errors) = errors {
            println!(
                "  the right cell, answered with {how}: {:.0} points, median {:.0} km, n = {}",
                errors.geoscore, errors.median_km, errors.n
            );
        }
    }
}
