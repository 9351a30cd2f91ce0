//! `report`: an HTML page on recorded rounds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::analysis::report::{FILE_NAME, Report};
use crate::cli::output::{check_complete, check_output_file, print_json, print_line};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall report runs/2026-11-23T20-15-00_arena_landfall-arena\n  landfall report --out all.html runs\n  landfall report --explain --out fixtures.html fixtures"
)]
pub(super) struct ReportArgs {
    /// Directories that contain recorded rounds, at any depth: games, runs, fixtures
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// HTML file to write [default: report.html, in DIR if there is one, else in the working directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Add occlusion maps: which parts of each view the prediction depends on
    ///
    /// Each of 49 parts of a view is hidden in turn and the prediction repeated. On two processor cores this takes a third of
    /// a second per view with the pocket bundle and four to five seconds with the desktop bundle.
    #[arg(long)]
    explain: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let out = match (&args.out, args.dirs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [dir]) => dir.join(FILE_NAME),
        (None, _) => PathBuf::from(FILE_NAME),
    };
    args.out.as_deref().map(check_output_file).transpose()?;
    let mut report = Report::read(&args.dirs)?;
    check_output_file(&out)?;
    if args.explain {
        report.explain()?;
    }
    let bytes = report.write(&out)?;
    if args.json {
        print_json(&json!({"report": out, "rounds": report.rounds(), "bytes": bytes}))?;
    } else {
        print_line(format!("{}: {} rounds, {:.1} MB", out.display(), report.rounds(), bytes as f64 / 1e6))?;
    }
    check_complete(report.left_out())
}
