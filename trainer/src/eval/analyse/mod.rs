//! `analyse`: an HTML report on the errors of a bundle: the worst rounds with their pictures, confused countries, cells
//! with low accuracy, and calibration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use landfall_common::fs::write_atomic;
use landfall_model::Bundle;

use crate::data::images::Images;
use crate::eval::eval_set::{self, EvalSetArgs};
use crate::eval::metrics;

mod chart;
mod page;
mod tally;
mod world;

pub(crate) use page::Page;
pub(crate) use tally::findings;

/// Write an HTML report on the errors of a bundle
///
/// It shows the worst rounds with their pictures, confused countries, cells that are rarely correct or often wrongly
/// predicted, and reliability diagrams. The file is self-contained. It includes thumbnails of the worst rounds: check
/// the licences of the pictures before you share it.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train analyse --bundle desktop --index index.csv --images photos --split dev --out analysis.html"
)]
pub(crate) struct Args {
    /// Bundle, by name or folder (./FOLDER)
    #[arg(long, value_name = "NAME|DIR", default_value = "desktop", help_heading = "Input")]
    bundle: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the file names in the index are relative to
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    images: PathBuf,
    /// Feature folder of the bundle's encoder, to avoid embedding the pictures again
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    features: Option<PathBuf>,
    /// Number of views per round
    ///
    /// With 1, every picture is a round. With 2 or 4, the pictures of a group are views of one place.
    #[arg(long, value_name = "N", default_value = "1", value_parser = ["1", "2", "4"], help_heading = "Input")]
    views: String,
    /// HTML file to write
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Print the findings as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the bundle, the index, a picture or the features cannot be used, or the file cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::find(&args.bundle)?;
    let rows = args.eval_set.rows()?;
    let images = Images::open(&args.images)?;
    eval_set::require_pictures(&rows, &images)?;
    let samples = eval_set::samples(&bundle, rows, Some(&args.images), args.features.as_deref())?;
    let rounds = eval_set::rounds(&samples, args.views.parse()?)?;
    let results = eval_set::results(&bundle, &rounds, args.eval_set.prior)?;
    let report = metrics::report(&bundle.cells, &results).context("no rounds to evaluate")?;
    let findings = tally::findings(&bundle.cells, &rounds, &results);
    let page = Page {
        heading: "Error analysis",
        title: &title(&bundle, &args.eval_set, &args.views),
        table: &bundle.cells,
        report: &report,
        findings: &findings,
        results: &results,
    };
    write_atomic(&args.out, page.html(Some(&images))?.as_bytes())?;
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    }
    eprintln!("wrote {}", args.out.display());
    Ok(())
}

/// The subtitle of a report: bundle, evaluation set and number of views.
pub(crate) fn title(bundle: &Bundle, source: &EvalSetArgs, views: &str) -> String {
    let views = if views == "1" { "one view".to_owned() } else { format!("{views} views") };
    format!("{} on {}, {views} per place", bundle.manifest.id(), source.name())
}
