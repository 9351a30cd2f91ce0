//! `shard`: an index's pictures in a few large files, in an order by chance, as training reads them fastest.
//!
//! Each shard is a tar as WebDataset has them: for each picture its bytes and a json with its row of the index. A table
//! beside it says where each picture lies, so that any of them can be read by itself; what is learned from and what
//! measures is decided by the index, at run time.

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

/// Packs the pictures of an index into shuffled shards.
///
/// The folder, or the place in a bucket, then stands for the pictures wherever --images is asked for. Broken off, the same
/// command goes on.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  landfall-train shard --index index.csv --images collected --out shards\n  \
                  landfall-train shard --index index.csv --images collected --out s3://bucket/shards")]
pub(crate) struct Args {
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    index: PathBuf,
    /// Folder that the index's file names are relative to, or other shards
    #[arg(long)]
    images: PathBuf,
    /// Pictures of a shard
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    per: u32,
    /// Seed of the order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write, or a place in a bucket: s3://bucket/folder or gs://bucket/folder, with keys in the environment
    #[arg(long)]
    out: PathBuf,
}

/// What shards were made of, in `shards.json`.
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
/// When the index or a picture cannot be read, the folder holds other shards, or Ctrl-C was pressed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = rows(&args.index)?;
    let index_sha256 = sha256_of(&args.index).with_context(|| format!("cannot read {}", args.index.display()))?;
    let description = Description { pictures: rows.len(), per: args.per, seed: args.seed, index_sha256 };
    let (storage, images) = (Storage::at(&args.out)?, Images::open(&args.images)?);
    if storage.has(SHARDS)? && storage.read_json::<Description>(SHARDS, "a description of shards")? != description {
        bail!("{} holds shards of another index, size or seed; choose another --out", args.out.display());
    }
    interrupt::listen()?;
    storage.write(SHARDS, (serde_json::to_string_pretty(&description)? + "\n").as_bytes())?;
    rows.shuffle(&mut StdRng::seed_from_u64(args.seed));
    let progress = ProgressBar::new(rows.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?);
    for (i, chunk) in rows.chunks(args.per as usize).enumerate() {
        let name = format!("shard-{i:06}");
        // The table comes last: a shard that has one is whole.
        if !storage.has(&format!("{name}.csv"))? {
            shard(&storage, &name, &images, i * args.per as usize, chunk)?;
        }
        progress.inc(chunk.len() as u64);
        if interrupt::is_stopped() {
            progress.abandon();
            return Err(interrupt::stopped(format!("stopped after {} shards; the same command continues", i + 1)));
        }
    }
    progress.finish_and_clear();
    eprintln!("wrote {}: {} pictures", args.out.display(), rows.len());
    Ok(())
}

/// The rows of an index with all their columns.
fn rows(index: &Path) -> Result<Vec<Map<String, Value>>> {
    // Read as an index first, which names what is wrong with it.
    let count = crate::data::index::read(index)?.len();
    let mut rows = Vec::with_capacity(count);
    let (names, records) = tabular::read(index)?;
    for record in records {
        rows.push(record?.deserialize(Some(&names))?);
    }
    Ok(rows)
}

/// Writes a shard of rows, the first of which is number `first`, and then its table.
fn shard(storage: &Storage, name: &str, images: &Images, first: usize, rows: &[Map<String, Value>]) -> Result<()> {
    let tar = format!("{name}.tar");
    let cannot = || format!("cannot write {}", storage.name_of(&tar));
    // A block at a time is too little for a bucket.
    let out = std::io::BufWriter::with_capacity(1 << 20, storage.begin(&tar)?);
    let mut builder = tar::Builder::new(out);
    let (mut at, mut table) = (0, csv::Writer::from_writer(Vec::new()));
    for (i, row) in rows.iter().enumerate() {
        let file = PathBuf::from(row["file"].as_str().unwrap_or_default());
        let bytes = images.bytes(&file)?;
        let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let number = format!("{:09}", first + i);
        let json = serde_json::to_vec(row)?;
        table.serialize(Member { file, offset: at + BLOCK, bytes: bytes.len() as u64 })?;
        for (ending, contents) in [(extension.as_str(), &bytes), ("json", &json)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("{number}.{ending}"), contents.as_slice()).with_context(cannot)?;
            at += BLOCK + (contents.len() as u64).next_multiple_of(BLOCK);
        }
    }
    let out = builder.into_inner().with_context(cannot)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(Upload::finish).with_context(cannot)?;
    storage.write(&format!("{name}.csv"), &table.into_inner().context("a table in memory cannot be ended")?)
}
