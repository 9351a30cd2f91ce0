//! `analyse`: where a bundle errs, as one page to look at: the worst rounds with their pictures, confused countries,
//! cells that are never right, and whether its probabilities keep their word.

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

/// Shows where a bundle errs, as one HTML file: the worst rounds with their pictures, confused countries, cells that
/// are never right or wrongly guessed, the reliability of its probabilities.
///
/// The file needs nothing else to be looked at. It holds small copies of the worst rounds' pictures: mind their terms
/// before you pass it on.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train analyse --bundle desktop --index index.csv --images photos --split dev --out analysis.html"
)]
pub(crate) struct Args {
    /// Name or folder of the bundle
    #[arg(long, default_value = "desktop")]
    bundle: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the index's file names are relative to
    #[arg(long)]
    images: PathBuf,
    /// Feature folder of the bundle's encoder: the pictures are then only shown, not embedded again
    #[arg(long)]
    features: Option<PathBuf>,
    /// 1: every picture is a place of its own; 2 or 4: the pictures of a group are views of one place
    #[arg(long, default_value = "1", value_parser = ["1", "2", "4"])]
    views: String,
    /// HTML file to write
    #[arg(long)]
    out: PathBuf,
    /// Print the findings as json too
    #[arg(long)]
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
    let results = eval_set::results(&bundle, &rounds)?;
    let report = metrics::report(&bundle.cells, &results).context("no place was measured")?;
    let findings = tally::findings(&bundle.cells, &rounds, &results);
    let page = Page {
        heading: "Where it errs",
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

/// What a page says that it shows.
pub(crate) fn title(bundle: &Bundle, source: &EvalSetArgs, views: &str) -> String {
    let views = if views == "1" { "one view".to_owned() } else { format!("{views} views") };
    format!("{} on {}, {views} a place", bundle.manifest.id(), source.name())
}
