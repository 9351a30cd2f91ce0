//! Commands that build data sets. `index` checks, groups and splits collected images, writes the index that training
//! reads, and reports the number of excluded images by reason.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use landfall_common::fs::write_json;
use landfall_common::text::sanitize_line;

use crate::io::{paths, tabular};

mod args;
pub(crate) mod clean;
mod collected;
mod in_memory;
#[cfg(feature = "cluster")]
mod plan;
mod report;
mod row;
pub(crate) mod shards;
mod split;
pub(crate) mod stats;
mod verify;

pub(crate) use args::Args;
use report::Report;
use row::{HEADER, NUMBERS, Row};

/// Runs the command.
///
/// # Errors
/// If a folder cannot be read or is outside --images, the index cannot be written, or no image is left.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    let mut rows = rows_of_index(args, &mut report)?.peekable();
    if rows.peek().is_none() {
        bail!("all images were excluded: {}", serde_json::to_string(&report.left_out)?);
    }
    let cannot_write = || format!("cannot write {}", args.out.display());
    let mut index = tabular::Writer::create(&args.out, &HEADER, &NUMBERS).with_context(cannot_write)?;
    for row in rows {
        let row = row?;
        paths::check_relative(Path::new(&row.file))
            .map_err(|why| anyhow!("the file name `{}` {why}", sanitize_line(&row.file)))?;
        report.kept += 1;
        *report.splits.entry(row.split.into()).or_default() += 1;
        index.push(row.fields()).with_context(cannot_write)?;
    }
    index.finish().with_context(cannot_write)?;
    write_json(&args.out.with_extension("report.json"), &report)?;
    report.print(args.json, &args.out)
}

/// Computes the rows of the index, in memory or, with --work, on disk.
fn rows_of_index(args: &Args, report: &mut Report) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    #[cfg(feature = "cluster")]
    if let Some(work) = &args.engine.work {
        return Ok(Box::new(plan::rows(args, work, report)?));
    }
    Ok(Box::new(in_memory::index(args, report)?.into_iter().map(Ok)))
}
