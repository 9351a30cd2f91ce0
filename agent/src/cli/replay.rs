//! `replay`: recorded rounds answered again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use landfall_common::fs::write_json;
use landfall_common::text::sanitize_line;
use landfall_model::Bundle;

use crate::analysis::replay;
use crate::analysis::replay::{Expected, ReplayInput};
use crate::analysis::report::Report;
use crate::cli::args::ModelArgs;
use crate::cli::output::{print_json, print_line};
use crate::cli::stats::print_paired;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall replay runs/2026-11-23T20-15-00_arena_landfall-arena --from logits\n  landfall replay --against fixtures/expected.json fixtures\n  landfall replay --bundle desktop --against pocket fixtures"
)]
pub(super) struct ReplayArgs {
    /// Folder with round.json files in it or below
    dir: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Compute from the pictures, or from the recorded logits
    #[arg(long, value_enum, default_value = "pictures")]
    from: ReplayInput,
    /// What the rounds must score, a file whose name ends in .json; or a second bundle, by name or folder, to be compared
    /// with round by round
    #[arg(long, value_name = "FILE|BUNDLE")]
    against: Option<String>,
    /// Write what the rounds score now into this file, for this bundle
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    write_expected: Option<PathBuf>,
    /// Write answers and logits into the rounds' folders, as if they had been recorded so
    #[arg(long, conflicts_with = "against")]
    record: bool,
    /// Write the replayed rounds as a page to look at
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    // What is wrong with it is said before the work.
    let (expected, rival) = match args.against.as_deref() {
        Some(file) if file.ends_with(".json") => (Some(Expected::read(Path::new(file))?), None),
        Some(bundle) => (None, Some(Bundle::find(bundle)?)),
        None => (None, None),
    };
    let bundle = args.model.find()?;
    let mut result = replay::replay(&args.dir, bundle.clone(), args.from)?;
    if let Some(rival) = rival {
        let rival = replay::replay(&args.dir, rival, args.from)?;
        result.against = Some(result.paired_with(&rival)?);
    }
    if let Some(expected) = &expected {
        result.hold_against(expected, args.from)?;
    }
    if args.record {
        result.record(&args.dir)?;
    }
    if let Some(file) = &args.report {
        Report::of_replay(&args.dir, &result, &bundle).write(file)?;
    }
    if let Some(file) = &args.write_expected {
        let mut expected = if file.exists() { Expected::read(file)? } else { Expected::default() };
        result.expect(&mut expected);
        write_json(file, &expected)?;
    }
    if args.json {
        print_json(&result)?;
    } else {
        for replayed in &result.rounds {
            let round = &replayed.round;
            let far = round.distance_m.map_or_else(|| "?".to_owned(), |metres| format!("{:.0}", metres / 1000.0));
            let (place, points) = (round.place.as_deref().unwrap_or("?"), round.score.unwrap_or_default());
            print_line(format!("{:<40} {place:<44} {far:>6} km  {points:>4}", sanitize_line(&replayed.dir)))?;
        }
        let expected = result.expected.map_or_else(String::new, |points| format!(", expected {points}"));
        print_line(format!("total: {}{expected}", result.score))?;
        if let Some(paired) = &result.against {
            print_paired(&result.bundle, paired)?;
        }
    }
    result.verdict(args.from)
}
