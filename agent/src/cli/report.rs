//! `report`: recorded rounds as a page to look at.

use std::path::PathBuf;

use anyhow::Result;
use landfall_agent::report::{FILE, Report};
use serde_json::json;

use super::ReportArgs;
use super::print::{print_json, print_line};

pub(super) fn report(args: &ReportArgs) -> Result<()> {
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
