//! `clean`: combines indexes into one, without duplicates and unusable images, and holds out a part of the places.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_model::cells::leaf;

use super::report::{Report, SAME};
use super::row::{HEADER, NUMBERS, Row};
use super::split::{Groups, HELD_OUT, TRAIN};
use super::verify;
use crate::data::index;
use crate::data::split_rules::hash_fraction;
use crate::io::args::parse_fraction;
use crate::io::tabular;

/// Combine indexes into one, without duplicates
///
/// Excludes images that cannot be used and duplicates, within an index and across indexes. Images of evaluation splits
/// are always kept; of other duplicates the first is kept. Then it assigns a part of the `train` images of the
/// --hold-out indexes to the split `held_out`. Groups with images in one S2 cell stay together. The results of the
/// checks are cached next to the index, so that an interrupted run continues.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train clean streets.csv --hold-out travel.csv --images photos --out index.csv"
)]
pub(crate) struct Args {
    /// Indexes whose images keep their splits (CSV or Parquet)
    #[arg(value_name = "INDEX", required_unless_present = "hold_out")]
    indexes: Vec<PathBuf>,
    /// Index of which a part is held out (repeatable)
    #[arg(long, value_name = "INDEX", help_heading = "Input")]
    hold_out: Vec<PathBuf>,
    /// Directory that the file names in the indexes are relative to
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Input")]
    images: PathBuf,
    /// Minimum length of the shorter side in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 150, help_heading = "Input")]
    min_side: u32,
    /// Maximum number of differing bits, of 64, between perceptual hashes of duplicates: 0 to 3
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    #[arg(help_heading = "Input")]
    same_bits: u8,
    /// Fraction of the groups that is held out
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1, value_parser = parse_fraction)]
    #[arg(help_heading = "Training")]
    held_out: f64,
    /// S2 level of the cells whose groups stay together
    #[arg(long, value_name = "LEVEL", default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=30))]
    #[arg(help_heading = "Training")]
    held_out_level: u64,
    /// Random seed for the held-out part
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    seed: u64,
    /// Index to write: CSV, or Parquet if the name ends in .parquet
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Print the report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// A row of an input index, with all its columns.
struct Record {
    row: index::Row,
    fields: [String; HEADER.len()],
    is_from_hold_out: bool,
}

/// Position of the column `split`.
const SPLIT: usize = 9;

impl Record {
    fn is_train(&self) -> bool {
        self.row.split == TRAIN
    }
}

/// Runs the command.
///
/// # Errors
/// If an index is invalid, an image cannot be read, or the index cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut records = Vec::new();
    for (files, is_from_hold_out) in [(&args.indexes, false), (&args.hold_out, true)] {
        for file in files {
            records.extend(read(file, is_from_hold_out)?);
        }
    }
    // A stable sort: images of evaluation splits first, so that their duplicates are the ones to go.
    records.sort_by_key(Record::is_train);
    let mut report = Report { found: records.len(), ..Report::default() };
    let mut records = without_duplicates(args, records, &mut report)?;
    assign_held_out(args, &mut records);
    if records.is_empty() {
        bail!("all images were excluded: {}", serde_json::to_string(&report.left_out)?);
    }
    let cannot_write = || format!("cannot write {}", args.out.display());
    let mut table = tabular::Writer::create(&args.out, &HEADER, &NUMBERS).with_context(cannot_write)?;
    for Record { fields, .. } in records {
        report.kept += 1;
        *report.splits.entry(fields[SPLIT].clone().into()).or_default() += 1;
        table.push(fields).with_context(cannot_write)?;
    }
    table.finish().with_context(cannot_write)?;
    report.print(args.json, &args.out)
}

fn read(file: &Path, is_from_hold_out: bool) -> Result<Vec<Record>> {
    let rows = index::read(file)?;
    let (names, records) = tabular::read(file)?;
    let columns = HEADER.map(|column| names.iter().position(|name| name == column));
    rows.into_iter()
        .zip(records)
        .map(|(row, record)| {
            let record = record?;
            let field = |column: Option<usize>| column.and_then(|i| record.get(i)).unwrap_or_default().to_owned();
            Ok(Record { row, fields: columns.map(field), is_from_hold_out })
        })
        .collect()
}

fn without_duplicates(args: &Args, records: Vec<Record>, report: &mut Report) -> Result<Vec<Record>> {
    let rows: Vec<Row> = records
        .iter()
        .map(|record| Row { file: record.row.file.to_string_lossy().into_owned(), ..Row::default() })
        .collect();
    let stats = verify::measure_all(&args.images, &rows, &args.out.with_extension("looks.csv"))?;
    let pairs: Vec<_> = records.into_iter().zip(stats).collect();
    let pairs = report.keep(pairs, |(record, stats)| stats.reason(args.min_side).filter(|_| record.is_train()));
    let hashes: Vec<u64> = pairs.iter().map(|(_, stats)| stats.hash).collect();
    let mut is_repeat = verify::near_duplicates(&hashes, args.same_bits.into()).into_iter();
    let pairs = report.keep(pairs, |(record, _)| {
        let is_repeat = is_repeat.next().unwrap_or_default();
        (is_repeat && record.is_train()).then_some(SAME)
    });
    Ok(pairs.into_iter().map(|(record, _)| record).collect())
}

/// Assigns a part of the groups to the split `held_out`; groups that share a cell are one.
fn assign_held_out(args: &Args, records: &mut [Record]) {
    let mut groups = Groups::default();
    let candidates = || |record: &&mut Record| record.is_from_hold_out && record.is_train();
    let place = |record: &Record| record.row.at.map(|at| leaf(at).parent(args.held_out_level).0);
    let numbers: Vec<usize> = records
        .iter_mut()
        .filter(candidates())
        .map(|record| groups.add(record.row.group.clone(), place(record)))
        .collect();
    for (record, number) in records.iter_mut().filter(candidates()).zip(numbers) {
        if hash_fraction(args.seed, "group", groups.name(number)) < args.held_out {
            record.fields[SPLIT] = HELD_OUT.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    const COLUMNS: &str = "set,file,lat,lng,iso2,country,label_level,group,heading,split,source,licence\n";

    /// Writes an image whose brightness varies in a way that depends on `seed`.
    fn write_image(dir: &Path, name: &str, seed: u32, shift: u8) {
        let value = |x: u32, y: u32| {
            let block = (x / 32 * 7 + y / 32 * 13 + seed * 31).wrapping_mul(2_654_435_761) >> 24;
            u8::try_from(block).unwrap_or_default().saturating_add(shift)
        };
        RgbImage::from_fn(288, 256, |x, y| Rgb([value(x, y); 3])).save(dir.join(name)).unwrap();
    }

    fn args(dir: &Path, indexes: &[&str], hold_out: &[&str]) -> Args {
        let files = |names: &[&str]| names.iter().map(|name| dir.join(name)).collect();
        Args {
            indexes: files(indexes),
            hold_out: files(hold_out),
            images: dir.to_owned(),
            min_side: 150,
            same_bits: 3,
            held_out: 0.5,
            held_out_level: 6,
            seed: 1,
            out: dir.join("out/index.csv"),
            json: false,
        }
    }

    #[test]
    fn evaluation_images_are_kept_and_their_duplicates_in_other_indexes_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (name, seed, shift) in [("a.png", 1, 0), ("b.png", 2, 0), ("c.png", 1, 1), ("d.png", 3, 0)] {
            write_image(dir, name, seed, shift);
        }
        RgbImage::new(40, 40).save(dir.join("small.png")).unwrap();
        std::fs::write(
            dir.join("one.csv"),
            format!("{COLUMNS}s,c.png,1,2,FR,France,exact,g1,90,train,me,CC0\ns,b.png,1,2,FR,,exact,g2,,train,,\n"),
        )
        .unwrap();
        std::fs::write(
            dir.join("two.csv"),
            format!("{COLUMNS}t,a.png,1,2,FR,,exact,g3,,dev,,\nt,d.png,9,9,NG,,city,g4,,train,,\nt,small.png,,,NG,,country,g5,,train,,\n"),
        )
        .unwrap();
        run(&args(dir, &["one.csv", "two.csv"], &[])).unwrap();
        let kept = std::fs::read_to_string(dir.join("out/index.csv")).unwrap();
        let lines: Vec<&str> = kept.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "t,a.png,1,2,FR,,exact,g3,,dev,,",
                "s,b.png,1,2,FR,,exact,g2,,train,,",
                "t,d.png,9,9,NG,,city,g4,,train,,"
            ]
        );
    }

    #[test]
    fn groups_that_share_a_cell_are_held_out_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut records: Vec<Record> = (0..200)
            .map(|i| {
                // Two groups in each of 100 places.
                let row = serde_json::json!({"set": "s", "file": format!("{i}.jpg"), "lat": "", "lng": "", "iso2": "FR",
                    "group": format!("g{i}"), "split": "train"});
                let mut row: index::Row = serde_json::from_value(row).unwrap();
                row.at = landfall_model::LatLng::new(f64::from(i / 2) - 50.0, 20.0).ok();
                Record { row, fields: std::array::from_fn(|_| String::new()), is_from_hold_out: i < 190 }
            })
            .collect();
        assign_held_out(&args(dir.path(), &[], &[]), &mut records);
        let is_held_out = |i: usize| records[i].fields[SPLIT] == HELD_OUT;
        assert!((0..100).all(|place| is_held_out(2 * place) == is_held_out(2 * place + 1)));
        let n = (0..200).filter(|i| is_held_out(*i)).count();
        assert!((60..130).contains(&n) && !(190..200).any(is_held_out), "{n}");
    }
}
