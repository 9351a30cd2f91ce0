//! `shard`: packs the images of an index into a few large files in random order, which training reads fastest.
//!
//! Each shard is a tar file in WebDataset format: for each image its bytes and a JSON file with its index row. A table
//! next to the shard lists the offset of each image, so that images can be read individually; the split is determined
//! by the index at run time.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::bundle::sha256_of;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::images::{Images, Member, SHARDS};
use crate::io::interrupt;
use crate::io::storage::{Storage, Upload};
use crate::io::tabular;

/// Block size of tar files in bytes.
const BLOCK: u64 = 512;

/// Pack the images of an index into shuffled shards
///
/// Pass the directory or bucket URL as --images to other commands. Run the same command again to continue an
/// interrupted run.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  landfall-train shard --index index.csv --images collected --out shards\n  \
                  landfall-train shard --index index.csv --images collected --out s3://bucket/shards")]
pub(crate) struct Args {
    /// Index of the images (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Directory that the file names in the index are relative to, or directory or bucket of other shards
    #[arg(long, value_name = "DIR|URL", help_heading = "Input")]
    images: PathBuf,
    /// Number of images per shard
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Output"
    )]
    per: u32,
    /// Random seed for the order
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Output")]
    seed: u64,
    /// Directory or bucket URL to write: s3://bucket/folder or gs://bucket/folder, with credentials in the environment
    #[arg(long, value_name = "DIR|URL", help_heading = "Output")]
    out: PathBuf,
    /// Print the summary as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Contents of `shards.json`: the parameters of a set of shards.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Description {
    pictures: usize,
    per: u32,
    seed: u64,
    index_sha256: String,
}

/// Runs the command.
///
/// # Errors
/// If the index or an image cannot be read, the destination contains other shards, or a signal was received.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = rows(&args.index)?;
    let index_sha256 = sha256_of(&args.index).with_context(|| format!("cannot read {}", args.index.display()))?;
    let description = Description { pictures: rows.len(), per: args.per, seed: args.seed, index_sha256 };
    let (storage, images) = (Storage::at(&args.out)?, Images::open(&args.images)?);
    if storage.has(SHARDS)? && storage.read_json::<Description>(SHARDS, "a description of shards")? != description {
        bail!("{} contains shards of another index, size or seed; choose another --out", args.out.display());
    }
    interrupt::listen()?;
    storage.write(SHARDS, (serde_json::to_string_pretty(&description)? + "\n").as_bytes())?;
    rows.shuffle(&mut StdRng::seed_from_u64(args.seed));
    let progress = ProgressBar::new(rows.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} images, {per_sec}, {eta} left")?);
    for (i, chunk) in rows.chunks(args.per as usize).enumerate() {
        let name = format!("shard-{i:06}");
        // The table is written last: a shard with a table is complete.
        if !storage.has(&format!("{name}.csv"))? {
            shard(&storage, &name, &images, i * args.per as usize, chunk)?;
        }
        progress.inc(chunk.len() as u64);
        if interrupt::is_stopped() {
            progress.abandon();
            return Err(interrupt::stopped(format!(
                "stopped after {} shards; run the same command again to continue",
                i + 1
            )));
        }
    }
    progress.finish_and_clear();
    if args.json {
        let shards = rows.len().div_ceil(args.per as usize);
        println!("{}", serde_json::json!({ "shards": shards, "pictures": rows.len() }));
    }
    eprintln!("wrote {}: {} images", args.out.display(), rows.len());
    Ok(())
}

/// A row of the index with all columns, and its line.
type IndexRow = (usize, Map<String, Value>);

/// Reads the rows of an index.
fn rows(index: &Path) -> Result<Vec<IndexRow>> {
    // `index::read` checks the index and reports errors with line numbers.
    let count = crate::data::index::read(index)?.len();
    let mut rows = Vec::with_capacity(count);
    let (names, records) = tabular::read(index)?;
    for (i, record) in records.enumerate() {
        rows.push((i + 2, record?.deserialize(Some(&names))?));
    }
    Ok(rows)
}

/// The extension of an image in a shard: that of the file if it has up to 8 ASCII letters and digits, else `image`. A
/// longer name would need further blocks in the shard, and `json` is that of the rows.
fn extension(file: &Path) -> String {
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_plain = extension.len() <= 8 && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain && extension != "json" { extension } else { "image".into() }
}

/// Writes a shard and then its table; `first` is the number of the first row.
fn shard(storage: &Storage, name: &str, images: &Images, first: usize, rows: &[IndexRow]) -> Result<()> {
    let tar = format!("{name}.tar");
    let write_failed = || format!("cannot write {}", storage.name_of(&tar));
    // Single tar blocks are too small for writes to a bucket.
    let out = std::io::BufWriter::with_capacity(1 << 20, storage.begin(&tar)?);
    let mut builder = tar::Builder::new(out);
    let (mut offset, mut table) = (0, csv::Writer::from_writer(Vec::new()));
    for (i, (line, row)) in rows.iter().enumerate() {
        let file = PathBuf::from(row["file"].as_str().unwrap_or_default());
        let bytes = images.bytes(&file).with_context(|| format!("index line {line}"))?;
        let extension = extension(&file);
        let number = format!("{:09}", first + i);
        let json = serde_json::to_vec(row)?;
        table.serialize(Member { file, offset: offset + BLOCK, bytes: bytes.len() as u64 })?;
        for (ending, contents) in [(extension.as_str(), &bytes), ("json", &json)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, format!("{number}.{ending}"), contents.as_slice())
                .with_context(write_failed)?;
            offset += BLOCK + (contents.len() as u64).next_multiple_of(BLOCK);
        }
    }
    let out = builder.into_inner().with_context(write_failed)?;
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .and_then(Upload::finish)
        .with_context(write_failed)?;
    storage.write(&format!("{name}.csv"), &table.into_inner().context("cannot write the table")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_in_shards_are_plain() {
        for (file, expected) in [
            ("a.JPG", "jpg"),
            ("a", ""),
            ("a.json", "image"),
            ("a.a b", "image"),
            (&"a.b".repeat(90), "b"),
            ("a.é", "image"),
        ] {
            assert_eq!(extension(Path::new(file)), expected, "{file}");
        }
        assert_eq!(extension(Path::new(&format!("a.{}", "b".repeat(90)))), "image");
    }
}
