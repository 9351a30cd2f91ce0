//! `embed`: the encoder's features of every picture in an index, kept on disk so that heads train in minutes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::classifier::Encoder;

use crate::data::images::Images;
use crate::data::index;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::store::FeatureFolder;

/// Embeds pictures with the encoder that a file describes.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train embed --index index.csv --images photos --split train --out features/train"
)]
pub(crate) struct Args {
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    index: PathBuf,
    /// Folder that the index's file names are relative to, or of shards
    #[arg(long)]
    images: PathBuf,
    /// Only this split, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// Description of the encoder
    #[arg(long, default_value = "trainer/encoders/clip-vit-b16.json")]
    encoder: PathBuf,
    /// Embed only part I of N of the images, as in 2/8, to use several machines. Their directories are placed side by side
    /// wherever features are asked for, or become one with `merge`
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<(usize, usize)>,
    /// Look at the whole of each picture alone, not at its details
    #[arg(long)]
    whole: bool,
    /// Feature folder to write or to complete
    #[arg(long)]
    out: PathBuf,
    /// Pictures worked on at once [default: one a processor core]
    #[arg(long)]
    workers: Option<usize>,
}

fn parse_part(text: &str) -> Result<(usize, usize)> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).context("must be I/N with I from 1 to N, as in 2/8")
}

/// Runs the command.
///
/// # Errors
/// When the index, the encoder or the folder cannot be used. A picture that cannot be read is named, counted and left
/// out; the command then fails at its end, with all others embedded.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut spec = EncoderSpec::read(&args.encoder)?;
    if args.whole {
        spec.preprocess.details.clear();
    }
    let mut folder = FeatureFolder::open(&args.out, &spec)?;
    let images = Images::open(&args.images)?;
    let rows = index::read_splits(&args.index, &args.split)?;
    let mut wanted: Vec<PathBuf> = rows.into_iter().map(|row| row.file).collect();
    images.sort(&mut wanted, |file| file);
    if let Some((part, of)) = args.part {
        // What lies together stays together: a part reads its own shards.
        wanted = wanted[wanted.len() * (part - 1) / of..wanted.len() * part / of].to_vec();
    }
    wanted.retain(|file| !folder.done.contains(file));
    let progress = ProgressBar::new((wanted.len() + folder.done.len()) as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left")?)
        .with_position(folder.done.len() as u64);
    progress.reset_eta();
    let workers = args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let paths = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    let encoder = Encoder::load(&paths, spec.encoder.clone(), spec.preprocess.clone(), workers)?;

    let mut broken = 0;
    for_each_embedding(&encoder, &images, &wanted, |file, embedding| {
        match embedding {
            Ok(embedding) => folder.append(file, &embedding)?,
            Err(error) => {
                broken += 1;
                progress.suspend(|| eprintln!("left out: {error}"));
            }
        }
        progress.inc(1);
        Ok(())
    })?;
    progress.finish();
    if broken > 0 {
        bail!("{broken} of {} pictures could not be embedded; mend or remove them and run again", wanted.len());
    }
    Ok(())
}

/// Embeds pictures on all the encoder's sessions at once and hands each to `take`, on this thread, in the order in
/// which they are done. Stops at the first error of `take`.
///
/// # Errors
/// The error of `take`.
pub(crate) fn for_each_embedding(
    encoder: &Encoder,
    images: &Images,
    files: &[PathBuf],
    mut take: impl FnMut(&Path, landfall_model::Result<Vec<f32>>) -> Result<()>,
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
                        break; // the receiver failed and says why
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().try_for_each(|(file, embedding)| take(file, embedding))
    })
}
