//! `replay`: predicts recorded rounds again.

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
use crate::cli::output::{check_complete, print_json, print_line};
use crate::cli::stats::print_paired;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall replay runs/2026-11-23T20-15-00_arena_landfall-arena --from logits\n  landfall replay --against fixtures/expected.json fixtures\n  landfall replay --bundle desktop --against pocket fixtures"
)]
pub(super) struct ReplayArgs {
    /// Directory that contains recorded rounds, at any depth
    dir: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Predict from the images or from the recorded logits
    #[arg(long, value_enum, default_value = "pictures", help_heading = "Model")]
    from: ReplayInput,
    /// Expected scores to compare with (a .json file), or a second bundle to compare round by round
    #[arg(long, value_name = "FILE|BUNDLE", help_heading = "Output")]
    against: Option<String>,
    /// Write the scores of this bundle to this file of expected scores
    #[arg(long, value_name = "FILE", conflicts_with = "against", help_heading = "Output")]
    write_expected: Option<PathBuf>,
    /// Write predictions and logits into the directories of the rounds
    #[arg(long, conflicts_with = "against", help_heading = "Output")]
    record: bool,
    /// Write an HTML report on the replayed rounds
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    // Errors in files are reported before the work starts.
    let (expected, rival) = match args.against.as_deref() {
        Some(file) if file.ends_with(".json") => (Some(Expected::read(Path::new(file))?), None),
        Some(bundle) => (None, Some(Bundle::find(bundle)?)),
        None => (None, None),
    };
    let bundle = args.model.find()?;
    let mut result = replay::replay(&args.dir, bundle.clone(), args.from)?;
    if let Some(rival) = rival {
        let rival = replay::replay(&args.dir, rival, args.from)?;
        result.against = Some(result.compare_with(&rival)?);
        let further = rival.left_out.into_iter().filter(|why| !result.left_out.contains(why)).collect::<Vec<_>>();
        result.left_out.extend(further);
    }
    if let Some(expected) = &expected {
        result.compare_with_expected(expected, args.from)?;
    }
    if args.record {
        result.record()?;
    }
    if let Some(file) = &args.report {
        let mut report = Report::of_replay(&args.dir, &result, &bundle);
        report.write(file)?;
        result.left_out.extend_from_slice(report.left_out());
    }
    if let Some(file) = &args.write_expected {
        let mut expected = if file.exists() { Expected::read(file)? } else { Expected::default() };
        result.add_to(&mut expected);
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
    let complete = check_complete(&result.left_out);
    result.check(args.from).and(complete)
}
