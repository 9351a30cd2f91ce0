//! Data sets. `index`: collected pictures become the index that training reads: checked, grouped, split, and every one that was left out
//! counted by the reason.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use landfall_model::LatLng;
use landfall_model::countries::{self, Country};
use rayon::prelude::*;
use serde::Serialize;

use crate::split_rules::COAST_M;
use crate::{collect, files, table};

#[cfg(feature = "cluster")]
mod plan;
pub mod shards;
mod split;
pub mod stats;
mod verify;

use split::Splits;
use verify::Look;

// Why pictures are left out.
const GONE: &str = "gone from its source";
const NO_PICTURE: &str = "no picture";
const NOWHERE: &str = "no place and no country";
const TOO_SMALL: &str = "too small";
const OF_ONE_COORDINATE: &str = "more of one coordinate";
const IN_ONE_CELL: &str = "more in one cell";
const TOO_NEAR: &str = "too near a picture held out";

/// Makes an index of collected pictures.
///
/// Looks at every picture once (what it saw is kept beside the index, so that a run that was broken off goes on), leaves out
/// what is of no use, and says how many for which reason.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train index collected/flickr collected/mapillary --images collected --out index.csv"
)]
pub struct Args {
    /// Folders that `collect` wrote
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Folder that the index's file names are relative to; all others must lie in it
    #[arg(long, default_value = ".")]
    images: PathBuf,
    /// Shortest side in pixels that is of use
    #[arg(long, default_value_t = 200)]
    min_side: u32,
    /// Pictures whose perceptual hashes, of 64 bits, differ in at most so many are the same: 0 to 3
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    same_bits: u8,
    /// Do not look at the pictures: their sizes are the manifest's, and what shows nothing or repeats stays in
    #[arg(long)]
    trust: bool,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    engine: crate::cluster::Engine,
    #[command(flatten)]
    splits: Splits,
    /// At most so many pictures of one exact coordinate, which often is a town's; 0 for all
    #[arg(long, default_value_t = 5)]
    cap_per_coordinate: usize,
    /// At most so many pictures in each S2 cell of --cap-level; 0 for all
    #[arg(long, default_value_t = 0)]
    cap_per_cell: usize,
    /// S2 level of the cells that --cap-per-cell counts in
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=30))]
    cap_level: u64,
    /// Index to write: csv, or parquet for large ones
    #[arg(long)]
    out: PathBuf,
    /// Print the report as json
    #[arg(long)]
    json: bool,
}

/// A picture on its way into the index. What many pictures share is kept once: there may be millions.
#[derive(Clone, Debug, Default)]
struct Row {
    set: Arc<str>,
    file: String,
    at: Option<LatLng>,
    country: Option<&'static Country>,
    group: String,
    heading: Option<f64>,
    split: &'static str,
    source: String,
    licence: Arc<str>,
    /// Shorter side in pixels, as its manifest has it.
    side: u32,
}

impl Row {
    /// Its fields in the order of [`HEADER`].
    fn fields(&self) -> [String; 12] {
        let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
        let (lat, lng) = (self.at.map(|at| at.lat), self.at.map(|at| at.lng));
        let (iso2, country) = self.country.map_or(("", ""), |country| (country.iso2, country.name));
        let level = if self.at.is_some() { "coordinate" } else { "country" };
        let (set, file, group, source) = (&*self.set, &self.file, &self.group, &self.source);
        [
            set.into(),
            file.clone(),
            number(lat),
            number(lng),
            iso2.into(),
            country.into(),
            level.into(),
            group.clone(),
            number(self.heading),
            self.split.into(),
            source.clone(),
            (*self.licence).into(),
        ]
    }
}

const HEADER: [&str; 12] =
    ["set", "file", "lat", "lng", "iso2", "country", "label_level", "group", "heading", "split", "source", "licence"];

/// Those of its columns that are numbers.
const NUMBERS: [&str; 3] = ["lat", "lng", "heading"];

/// Why pictures were left out, and how many.
#[derive(Default, Serialize)]
struct Report {
    found: usize,
    kept: usize,
    left_out: BTreeMap<&'static str, usize>,
    splits: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Keeps those rows for which there is no reason against it.
    fn keep<T>(&mut self, rows: Vec<T>, mut reason: impl FnMut(&T) -> Option<&'static str>) -> Vec<T> {
        let mut left_out = |why| *self.left_out.entry(why).or_default() += 1;
        rows.into_iter().filter(|row| reason(row).map(&mut left_out).is_none()).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// When a folder cannot be read or lies elsewhere, the index cannot be written, or no picture is left.
pub fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    let mut rows = rows_of_index(args, &mut report)?.peekable();
    if rows.peek().is_none() {
        bail!("no picture is left: {}", serde_json::to_string(&report.left_out)?);
    }
    let cannot_write = || format!("cannot write {}", args.out.display());
    let mut index = table::Writer::create(&args.out, &HEADER, &NUMBERS).with_context(cannot_write)?;
    for row in rows {
        let row = row?;
        report.kept += 1;
        *report.splits.entry(row.split).or_default() += 1;
        index.push(row.fields()).with_context(cannot_write)?;
    }
    index.finish().with_context(cannot_write)?;
    files::write_json(&beside(&args.out, "report.json"), &report)?;
    tell(args, &report)
}

/// The rows of the index one by one, computed in memory or, when there is a folder for that, on disk.
fn rows_of_index(args: &Args, report: &mut Report) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    #[cfg(feature = "cluster")]
    if let Some(work) = &args.engine.work {
        return Ok(Box::new(plan::rows(args, work, report)?));
    }
    Ok(Box::new(in_memory(args, report)?.into_iter().map(Ok)))
}

/// The rows of the index, in the order in which the pictures were collected.
fn in_memory(args: &Args, report: &mut Report) -> Result<Vec<Row>> {
    let rows = rows(args, report)?;
    let mut rows = if args.trust {
        report.keep(rows, |row| (row.side < args.min_side).then_some(TOO_SMALL))
    } else {
        looked_at(args, rows, report)?
    };
    args.splits.assign(&mut rows, args.cap_per_coordinate);
    for (cap, why, key) in [
        (args.cap_per_coordinate, OF_ONE_COORDINATE, coordinate as fn(&Row, u64) -> Option<u64>),
        (args.cap_per_cell, IN_ONE_CELL, cell),
    ] {
        let mut drawn = split::within_cap(&rows, cap, |row| key(row, args.cap_level)).into_iter();
        rows = report.keep(rows, |_| (!drawn.next().unwrap_or(true)).then_some(why));
    }
    let mut near = args.splits.too_near(&rows).into_iter();
    Ok(report.keep(rows, |_| near.next().unwrap_or(false).then_some(TOO_NEAR)))
}

/// Those that are of use and no repetition, by a look at each picture.
fn looked_at(args: &Args, rows: Vec<Row>, report: &mut Report) -> Result<Vec<Row>> {
    let looks = verify::look_at_all(&args.images, &rows, &beside(&args.out, "looks.csv"))?;
    let pairs: Vec<(Row, Look)> = rows.into_iter().zip(looks).collect();
    let pairs = report.keep(pairs, |(_, look)| look.reason(args.min_side));
    let hashes: Vec<u64> = pairs.iter().map(|(_, look)| look.hash).collect();
    let mut repeats = verify::repeats(&hashes, args.same_bits.into()).into_iter();
    let pairs = report.keep(pairs, |_| repeats.next().unwrap_or(false).then_some("the same as another"));
    Ok(pairs.into_iter().map(|(row, _)| row).collect())
}

/// A file called as the index is, with another ending.
fn beside(out: &Path, ending: &str) -> PathBuf {
    out.with_extension(ending)
}

fn tell(args: &Args, report: &Report) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(report)?);
    }
    for (why, n) in &report.left_out {
        eprintln!("left out {n:>9}: {why}");
    }
    for (split, n) in &report.splits {
        eprintln!("     {split:>8} {n:>9}");
    }
    eprintln!("wrote {}: {} of {} pictures", args.out.display(), report.kept, report.found);
    Ok(())
}

/// The pictures of all folders that are there and say where they are from.
fn rows(args: &Args, report: &mut Report) -> Result<Vec<Row>> {
    let (mut rows, mut texts) = (Vec::new(), Texts::default());
    for folder in &args.folders {
        let prefix = within(&args.images, folder)?;
        let (name, before) = (name_of(folder), report.found);
        for item in collect::items(folder)? {
            let item = item?;
            report.found += 1;
            let why = match item.status {
                Some(collect::Status::Ok) => None,
                Some(collect::Status::Missing) => Some(GONE),
                _ => Some(NO_PICTURE),
            };
            if let Some(why) = why {
                *report.left_out.entry(why).or_default() += 1;
                continue;
            }
            let place = item.lat.zip(item.lng).map(|(lat, lng)| LatLng::new(lat, lng)).transpose();
            rows.push(Row {
                set: texts.shared(&format!("{}_{name}", item.source)),
                file: prefix.join(&item.file).to_string_lossy().replace('\\', "/"),
                at: place.with_context(|| format!("{}: {}", folder.display(), item.id))?,
                country: countries::by_code(&item.iso2.to_uppercase()),
                // A picture by itself is a group by itself.
                group: if item.group.is_empty() { format!("{}:{}", item.source, item.id) } else { item.group },
                heading: item.heading,
                source: if item.attribution.is_empty() { item.url } else { item.attribution },
                licence: texts.shared(&item.licence),
                split: "",
                side: item.width.min(item.height),
            });
        }
        if report.found == before {
            bail!(holds_nothing(folder));
        }
    }
    // The country is where the place is, whatever the source says.
    rows.par_iter_mut().for_each(|row| {
        if let Some(at) = row.at {
            row.country = countries::at_or_near(at, COAST_M);
        }
    });
    Ok(report.keep(rows, |row| (row.at.is_none() && row.country.is_none()).then_some(NOWHERE)))
}

/// The way to a folder from the one that file names are relative to.
fn within(images: &Path, folder: &Path) -> Result<PathBuf> {
    let (images, here) = (std::path::absolute(images)?, std::path::absolute(folder)?);
    let why =
        || format!("{} does not lie in {}; name a folder of both with --images", here.display(), images.display());
    Ok(here.strip_prefix(&images).with_context(why)?.to_owned())
}

/// What a folder's pictures are called after.
fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn holds_nothing(folder: &Path) -> String {
    format!("{} holds no collected pictures (no manifest.jsonl, or an empty one)", folder.display())
}

/// Texts that many rows share.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

fn coordinate(row: &Row, _level: u64) -> Option<u64> {
    cell(row, split::ONE_PLACE)
}

fn cell(row: &Row, level: u64) -> Option<u64> {
    row.at.map(|at| landfall_model::cells::leaf(at).parent(level).0)
}
