//! `embed`: the encoder's features of every picture in an index, kept on disk so that heads train in minutes.
//!
//! A feature folder holds `encoder.json` (which encoder and preprocessing made it), `files.txt` (one picture a line)
//! and `rows.f32` (as many embeddings, little-endian). Both grow together; after Ctrl-C the next run cuts off what is
//! half written and goes on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::Bundle;
use landfall_model::bundle::{EncoderFile, sha256_of};
use landfall_model::classifier::Encoder;
use landfall_model::preprocess::Preprocess;
use serde::{Deserialize, Serialize};

use crate::images::Images;
use crate::{files, index};

/// An encoder and the preprocessing it wants: what a bundle's head is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSpec {
    /// The network's file and interface.
    pub encoder: EncoderFile,
    /// How pictures are made into its input.
    pub preprocess: Preprocess,
}

impl EncoderSpec {
    /// Reads a description such as `trainer/encoders/clip-vit-b16.json`, or the same fields of a `bundle.json`.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a field, or describes a preprocessing that cannot be.
    pub fn read(file: &Path) -> Result<Self> {
        let spec: Self = files::read_json(file, "the description of an encoder")?;
        match spec.preprocess.check() {
            Ok(()) => Ok(spec),
            Err(what) => bail!("{} {what}", file.display()),
        }
    }

    /// The same for a network that was written to `file` and comes from no package.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of_file(self, file: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", file.display());
        let encoder = EncoderFile {
            file: "encoder.onnx".into(),
            sha256: sha256_of(file).with_context(cannot)?,
            bytes: fs::metadata(file).with_context(cannot)?.len(),
            from: None,
            adapter: None,
            ..self.encoder
        };
        Ok(Self { encoder, ..self })
    }

    /// What a bundle's pictures go through.
    pub fn of(bundle: &Bundle) -> Self {
        Self { encoder: bundle.manifest.encoder.clone(), preprocess: bundle.manifest.preprocess.clone() }
    }

    /// Length of the embedding of a picture.
    pub fn width(&self) -> usize {
        self.encoder.dim * self.preprocess.squares()
    }

    /// Whether both give the same embeddings.
    pub fn agrees(&self, other: &Self) -> bool {
        let network = |spec: &Self| {
            let EncoderFile { sha256, output, activations, adapter, .. } = spec.encoder.clone();
            (sha256, output, activations, adapter.map(|adapter| adapter.sha256))
        };
        network(self) == network(other) && self.preprocess == other.preprocess
    }
}

/// Embeds pictures with the encoder that a file describes.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train embed --index index.csv --images photos --split train --out features/train"
)]
pub struct Args {
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
    /// Only one part of so many of the pictures, as in 2/8: for many machines at once. Their folders stand side by side
    /// wherever features are asked for, or become one with `merge`
    #[arg(long, value_name = "I/N", value_parser = part)]
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

fn part(text: &str) -> Result<(usize, usize)> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).context("must be I/N with I from 1 to N, as in 2/8")
}

/// Runs the command.
///
/// # Errors
/// When the index, the encoder or the folder cannot be used. A picture that cannot be read is named, counted and left
/// out; the command then fails at its end, with all others embedded.
pub fn run(args: &Args) -> Result<()> {
    let mut spec = EncoderSpec::read(&args.encoder)?;
    if args.whole {
        spec.preprocess.details.clear();
    }
    let mut folder = Folder::open(&args.out, &spec)?;
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
    each_embedding(&encoder, &images, &wanted, |file, embedding| {
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
pub fn each_embedding(
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

/// A feature folder that is written.
pub(crate) struct Folder {
    /// What made the features in it.
    pub(crate) spec: EncoderSpec,
    /// The pictures that it has.
    pub(crate) done: HashSet<PathBuf>,
    files: File,
    rows: File,
}

impl Folder {
    /// Opens a folder to go on with, without what is half written; makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be written or holds features of another encoder.
    pub(crate) fn open(dir: &Path, spec: &EncoderSpec) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let description = dir.join("encoder.json");
        if description.exists() {
            if EncoderSpec::read(&description)? != *spec {
                bail!("{} holds features of another encoder or preprocessing; choose another --out", dir.display());
            }
        } else {
            files::write_json(&description, spec)?;
        }
        let append = |name: &str| {
            let path = dir.join(name);
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        let (files, rows) = (append("files.txt")?, append("rows.f32")?);
        // Keep what both files hold whole.
        let mut lines: Vec<String> = Vec::new();
        let mut reader = BufReader::new(File::open(dir.join("files.txt"))?);
        let mut line = Vec::new();
        // As bytes: the last may be cut off within a letter.
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            lines.push(String::from_utf8(std::mem::take(&mut line)).context("files.txt is no text")?);
        }
        let row_bytes = spec.width() as u64 * 4;
        let whole = lines.len().min(usize::try_from(rows.metadata()?.len() / row_bytes)?);
        lines.truncate(whole);
        files.set_len(lines.iter().map(|line| line.len() as u64).sum())?;
        rows.set_len(whole as u64 * row_bytes)?;
        let done = lines.iter().map(|line| PathBuf::from(line.trim_end_matches('\n'))).collect();
        Ok(Self { spec: spec.clone(), done, files, rows })
    }

    /// Adds a picture's embedding.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn append(&mut self, file: &Path, embedding: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.rows.write_all(&bytes)?;
        self.files.write_all(format!("{}\n", file.display()).as_bytes())?;
        Ok(())
    }
}

/// The features in a folder: which encoder made them, and each picture's embedding by its file name.
///
/// # Errors
/// When the folder is none, or is cut off (run `embed` again to mend it).
pub fn load(dir: &Path) -> Result<(EncoderSpec, HashMap<PathBuf, Vec<f32>>)> {
    let spec = EncoderSpec::read(&dir.join("encoder.json"))?;
    let files =
        fs::read_to_string(dir.join("files.txt")).with_context(|| format!("no features in {}", dir.display()))?;
    let rows = fs::read(dir.join("rows.f32")).with_context(|| format!("no features in {}", dir.display()))?;
    if rows.len() != files.lines().count() * spec.width() * 4 {
        bail!("{}: files.txt and rows.f32 do not match; run `landfall-train embed` again", dir.display());
    }
    let rows = rows.chunks_exact(spec.width() * 4).map(files::floats);
    Ok((spec, files.lines().map(PathBuf::from).zip(rows).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_folder_is_mended_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let spec: EncoderSpec = serde_json::from_str(
            r#"{"encoder":{"file":"e","sha256":"","bytes":0,"input":"i","output":"o","dim":2},
                "preprocess":{"size":4,"resize":"bicubic","crop":"center","mean":[0,0,0],"std":[1,1,1]}}"#,
        )
        .unwrap();
        let mut folder = Folder::open(dir.path(), &spec).unwrap();
        for (file, embedding) in [("a.jpg", [1.0, 2.0]), ("b.jpg", [3.0, 4.0]), ("c.jpg", [5.0, 6.0])] {
            folder.append(Path::new(file), &embedding).unwrap();
        }
        drop(folder);
        // As after a crash: the third row half written, a fourth name without its line end.
        let rows = OpenOptions::new().write(true).open(dir.path().join("rows.f32")).unwrap();
        rows.set_len(2 * 8 + 5).unwrap();
        let mut names = OpenOptions::new().append(true).open(dir.path().join("files.txt")).unwrap();
        names.write_all("d-é".as_bytes().split_last().unwrap().1).unwrap();
        assert!(load(dir.path()).is_err());

        let mut folder = Folder::open(dir.path(), &spec).unwrap();
        assert_eq!(folder.done, ["a.jpg", "b.jpg"].map(PathBuf::from).into());
        folder.append(Path::new("c.jpg"), &[7.0, 8.0]).unwrap();
        let (_, features) = load(dir.path()).unwrap();
        assert_eq!(features[Path::new("b.jpg")], [3.0, 4.0]);
        assert_eq!(features[Path::new("c.jpg")], [7.0, 8.0]);
        assert_eq!(features.len(), 3);

        let other = EncoderSpec { encoder: EncoderFile { sha256: "other".into(), ..spec.encoder.clone() }, ..spec };
        assert!(Folder::open(dir.path(), &other).is_err());
    }
}
