//! Computes the index of a data set that fits in memory.

use anyhow::Result;

use super::args::Args;
use super::collected::rows;
use super::report::{IN_ONE_CELL, OF_ONE_COORDINATE, Report, SAME, TOO_NEAR, TOO_SMALL};
use super::row::Row;
use super::split;
use super::verify::{self, ImageStats};

/// Computes the rows of the index, in the order in which the images were collected.
pub(super) fn index(args: &Args, report: &mut Report) -> Result<Vec<Row>> {
    let rows = rows(args, report)?;
    let mut rows = if args.trust {
        report.keep(rows, |row| (row.side < args.min_side).then_some(TOO_SMALL))
    } else {
        without_unusable(args, rows, report)?
    };
    args.splits.assign(&mut rows, args.cap_per_coordinate);
    for (cap, why, key) in [
        (args.cap_per_coordinate, OF_ONE_COORDINATE, coordinate as fn(&Row, u64) -> Option<u64>),
        (args.cap_per_cell, IN_ONE_CELL, cell),
    ] {
        let mut is_within_cap = split::within_cap(&rows, cap, |row| key(row, args.cap_level)).into_iter();
        rows = report.keep(rows, |_| (!is_within_cap.next().unwrap_or(true)).then_some(why));
    }
    let mut is_too_near = args.splits.too_near(&rows).into_iter();
    Ok(report.keep(rows, |_| is_too_near.next().unwrap_or(false).then_some(TOO_NEAR)))
}

/// Opens every image and removes unusable ones and duplicates.
fn without_unusable(args: &Args, rows: Vec<Row>, report: &mut Report) -> Result<Vec<Row>> {
    let stats = verify::measure_all(&args.images, &rows, &args.out.with_extension("looks.csv"))?;
    let pairs: Vec<(Row, ImageStats)> = rows.into_iter().zip(stats).collect();
    let pairs = report.keep(pairs, |(_, stats)| stats.reason(args.min_side));
    let hashes: Vec<u64> = pairs.iter().map(|(_, stats)| stats.hash).collect();
    let mut near_duplicates = verify::near_duplicates(&hashes, args.same_bits.into()).into_iter();
    let pairs = report.keep(pairs, |_| near_duplicates.next().unwrap_or(false).then_some(SAME));
    Ok(pairs.into_iter().map(|(row, _)| row).collect())
}

fn coordinate(row: &Row, _level: u64) -> Option<u64> {
    cell(row, split::PLACE_LEVEL)
}

fn cell(row: &Row, level: u64) -> Option<u64> {
    row.at.map(|at| landfall_model::cells::leaf(at).parent(level).0)
}
