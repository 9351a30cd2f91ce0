//! `embed`: computes the encoder's features of every image in an index and stores them, so that heads train in minutes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::text::eprint_sanitized;
use landfall_model::classifier::Encoder;

use crate::data::images::Images;
use crate::data::index;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::store::FeatureFolder;

/// Compute and store the encoder's features of images
///
/// Features that the directory already contains are not computed again.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train embed --index index.csv --images photos --split train --out features/train"
)]
pub(crate) struct Args {
    /// Index of the images (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Directory that the file names in the index are relative to, or directory or bucket of shards
    #[arg(long, value_name = "DIR|URL", help_heading = "Input")]
    images: PathBuf,
    /// Use only this split of the index (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Vec<String>,
    /// Description of the encoder (JSON), or a bundle.json
    #[arg(long, value_name = "FILE", default_value = "trainer/encoders/clip-vit-b16.json", help_heading = "Input")]
    encoder: PathBuf,
    /// Embed only part I of N of the images, as in 2/8, to use several machines
    ///
    /// Pass all resulting directories to the commands that read features, or combine them with `merge`.
    #[arg(long, value_name = "I/N", value_parser = parse_part, help_heading = "Input")]
    part: Option<(usize, usize)>,
    /// Embed only the whole image, without the detail crops
    #[arg(long, help_heading = "Input")]
    whole: bool,
    /// Feature directory to write or to complete
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the summary as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Images processed in parallel [default: number of CPU cores]
    #[arg(long, value_name = "N", help_heading = "Performance")]
    workers: Option<usize>,
}

fn parse_part(text: &str) -> Result<(usize, usize)> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).context("must be I/N with I from 1 to N, as in 2/8")
}

/// Runs the command.
///
/// # Errors
/// If the index, the encoder or the feature folder cannot be used. Images that cannot be read are reported and skipped;
/// the command then fails after all others are embedded.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut spec = EncoderSpec::read(&args.encoder)?;
    if args.whole {
        spec.preprocess.details.clear();
    }
    let mut folder = FeatureFolder::open(&args.out, &spec)?;
    let images = Images::open(&args.images)?;
    let rows = index::read_splits(&args.index, &args.split)?;
    let mut files: Vec<PathBuf> = rows.iter().map(|row| row.file.clone()).collect();
    images.sort(&mut files, |file| file);
    if let Some((part, of)) = args.part {
        // Contiguous in the order of the shards, so that each part reads only its own shards.
        files = files[files.len() * (part - 1) / of..files.len() * part / of].to_vec();
    }
    files.retain(|file| !folder.done.contains(file));
    let progress = ProgressBar::new((files.len() + folder.done.len()) as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} images, {per_sec}, {eta} left")?)
        .with_position(folder.done.len() as u64);
    progress.reset_eta();
    let workers = args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let paths = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    let encoder = Encoder::load(&paths, spec.encoder.clone(), spec.preprocess.clone(), workers)?;

    let (mut embedded, mut failed) = (0, 0);
    for_each_embedding(&encoder, &images, &files, |file, embedding| {
        match embedding {
            Ok(embedding) => {
                folder.append(file, &embedding)?;
                embedded += 1;
            }
            Err(error) => {
                failed += 1;
                let line = rows.iter().find(|row| row.file == file).map_or(0, |row| row.line);
                let error = anyhow::Error::new(error);
                progress.suspend(|| eprint_sanitized(format!("skipped: index line {line}: {error:#}")));
            }
        }
        progress.inc(1);
        Ok(())
    })?;
    progress.finish();
    if args.json {
        let summary =
            serde_json::json!({ "pictures": folder.done.len() + embedded, "embedded": embedded, "failed": failed });
        println!("{summary}");
    }
    if failed > 0 {
        bail!("{failed} of {} images could not be embedded; fix or remove them and run again", files.len());
    }
    Ok(())
}

/// Embeds images in parallel, one per session of the encoder, and passes each result to `on_embedding` on the calling
/// thread, in order of completion. Stops at the first error of `on_embedding`.
///
/// # Errors
/// The error of `on_embedding`.
pub(crate) fn for_each_embedding(
    encoder: &Encoder,
    images: &Images,
    files: &[PathBuf],
    mut on_embedding: impl FnMut(&Path, landfall_model::Result<Vec<f32>>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::sync_channel(4 * encoder.workers());
    std::thread::scope(|scope| {
        for worker in 0..encoder.workers() {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let embedding = images.picture(file).and_then(|picture| encoder.embed(worker, &picture));
                    if send.send((file, embedding)).is_err() {
                        break; // the receiver reports its own error
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().try_for_each(|(file, embedding)| on_embedding(file, embedding))
    })
}
