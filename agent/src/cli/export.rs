//! `export`: recorded rounds for other programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::exit::usage_error;
use landfall_common::fs::write_atomic;
use landfall_common::text::{eprint_sanitized, sanitize_line};

use crate::cli::output::{check_complete, check_output_file, print_text};
use crate::export::{ExportTable, Format};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall export --out rounds.geojson\n  landfall export --format csv runs more-runs | head\n  landfall export --out game.kml runs/2026-11-23T20-15-00_arena_landfall-arena"
)]
pub(super) struct ExportArgs {
    /// Directories that contain recorded rounds, at any depth
    #[arg(value_name = "DIR", default_value = "runs")]
    dirs: Vec<PathBuf>,
    /// Format [default: by the extension of --out, else geojson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print GeoJSON, as --format geojson
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Prefix CSV with a byte order mark so that Excel reads it as UTF-8
    #[arg(long)]
    bom: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    let format = match (args.format.or(args.json.then_some(Format::Geojson)), &args.out) {
        (Some(format), _) => format,
        (None, Some(file)) => Format::of(file)?,
        (None, None) => Format::Geojson,
    };
    if args.bom && format != Format::Csv {
        return Err(usage_error("--bom is for CSV: give --format csv or --out with a .csv file too"));
    }
    args.out.as_deref().map(check_output_file).transpose()?;
    let (table, left_out) = ExportTable::of_rounds(&args.dirs)?;
    let text = table.write(format, args.bom)?;
    match &args.out {
        Some(file) => {
            write_atomic(file, text.as_bytes())?;
            eprint_sanitized(format!("wrote {}", sanitize_line(file.display())));
        }
        None => print_text(text.trim_end())?,
    }
    check_complete(&left_out)
}
