//! `report`: recorded rounds as a page to look at.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::analysis::report::{FILE, Report};
use crate::cli::output::{print_json, print_line};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall report runs/2026-11-23T20-15-00_arena_landfall-arena\n  landfall report --out all.html runs\n  landfall report --explain --out fixtures.html fixtures"
)]
pub(super) struct ReportArgs {
    /// Folders with round.json files in them or below: games, runs, fixtures
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// HTML file to write [default: report.html, of one folder in it, of several in this one]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Lay over each view what it was looked at for: 49 parts of it are hidden one after another and the answer is computed
    /// again. On two processor cores this takes the pocket bundle a third of a second a view, the
    /// desktop bundle between four and five seconds
    #[arg(long)]
    explain: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let out = match (&args.out, args.dirs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [dir]) => dir.join(FILE),
        (None, _) => PathBuf::from(FILE),
    };
    let mut report = Report::read(&args.dirs)?;
    if args.explain {
        report.explain()?;
    }
    let bytes = report.write(&out)?;
    if args.json {
        return print_json(&json!({"report": out, "rounds": report.rounds(), "bytes": bytes}));
    }
    print_line(format!("{}: {} rounds, {:.1} MB", out.display(), report.rounds(), bytes as f64 / 1e6))
}
