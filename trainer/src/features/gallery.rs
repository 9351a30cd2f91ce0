//! `gallery`: an index of the embeddings of located pictures, which `landfall locate --gallery` searches.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::gallery::{Gallery, GalleryBuilder, pooled};
use landfall_common::photo_files::find_photos;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::classifier::Encoder;
use landfall_model::metadata::gps;
use landfall_model::{Bundle, LatLng};
use serde::Deserialize;

use crate::data::images::Images;
use crate::features::embed::for_each_embedding;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::store;
use crate::io::{interrupt, paths, tabular};

/// Make an index of located pictures that `landfall locate --gallery` searches for the nearest ones
///
/// The pictures are those of a directory that have a GPS position in their EXIF data, or the rows of a table with the
/// columns file, lat and lng, such as an index that `landfall-train index` writes. The gallery contains embeddings, positions
/// and file names, no pixels.
///
/// The command can be stopped at any time; the same command resumes. If the gallery exists, only pictures with new names are
/// embedded, and those that are gone are removed from it; delete it to embed all pictures again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  landfall-train gallery --out holiday.gallery ~/holiday\n  landfall-train gallery --bundle pocket --split train --images photos --out train.gallery index.csv"
)]
pub(crate) struct Args {
    /// Directory of pictures, or table (CSV or Parquet) of pictures and their coordinates
    #[arg(value_name = "DIR|FILE")]
    pictures: PathBuf,
    /// Directory that the file names in the table are relative to [default: the table's]
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    images: Option<PathBuf>,
    /// Feature directory of the bundle's encoder, as `embed` writes it, to use instead of the pictures of a table
    #[arg(long, value_name = "DIR", conflicts_with_all = ["images", "workers"], help_heading = "Input")]
    features: Option<PathBuf>,
    /// Use only this split of the table (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Vec<String>,
    /// Bundle whose encoder is used, by name or directory (./DIR); `locate` needs the same
    #[arg(long, value_name = "NAME|DIR", default_value = "desktop", help_heading = "Input")]
    bundle: String,
    /// Gallery to write or to update
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Print the summary as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Images processed in parallel [default: number of CPU cores]
    #[arg(long, value_name = "N", help_heading = "Performance")]
    workers: Option<usize>,
}

/// Time between two copies of the gallery on disk, at least; also this many times the time to write one.
const SAVE_INTERVAL: (Duration, u32) = (Duration::from_secs(30), 20);

/// Located pictures by their names in a directory.
struct Located {
    dir: PathBuf,
    pictures: Vec<(PathBuf, LatLng)>,
    without_position: usize,
}

/// A row of a table. Other columns are ignored.
#[derive(Deserialize)]
struct Row {
    file: PathBuf,
    lat: String,
    lng: String,
    #[serde(default)]
    split: String,
}

/// Runs the command.
///
/// # Errors
/// If the pictures, the bundle or the gallery cannot be used, or a signal was received. Images that cannot be read are
/// reported and skipped; the command then fails after all others are embedded.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::find(&args.bundle)?;
    let located = match args.pictures.is_dir() {
        true => Located::in_directory(&args.pictures)?,
        false => Located::in_table(&args.pictures, args.images.as_deref(), &args.split)?,
    };
    let mut builder = GalleryBuilder::new(&bundle.manifest);
    let mut missing: HashMap<PathBuf, LatLng> = located.pictures.iter().cloned().collect();
    if args.out.exists() {
        let earlier = Gallery::open(&args.out)?;
        earlier.check_encoder(&bundle.manifest).context("the gallery exists; choose another --out")?;
        for row in 0..earlier.len() {
            if let Some(at) = missing.remove(Path::new(&earlier.name(row))) {
                builder.push_from(&earlier, row, at)?;
            }
        }
    }
    let kept = builder.len();
    let images = Images::open(&located.dir)?;
    let mut files: Vec<PathBuf> =
        located.pictures.iter().map(|(file, _)| file.clone()).filter(|file| missing.contains_key(file)).collect();
    images.sort(&mut files, |file| file);
    let failed = match &args.features {
        _ if files.is_empty() => 0,
        Some(folder) => from_features(folder, &bundle, &files, &missing, &mut builder)?,
        None => embed(args, &bundle, &images, &files, &missing, &mut builder)?,
    };
    if builder.is_empty() {
        bail!("{}: no picture with a position that can be read", args.pictures.display());
    }
    builder.write(&args.out)?;
    let (added, bytes) = (builder.len() - kept, std::fs::metadata(&args.out)?.len());
    if args.json {
        let summary = serde_json::json!({
            "pictures": builder.len(), "embedded": added, "without_position": located.without_position, "failed": failed,
            "bytes": bytes,
        });
        println!("{summary}");
    }
    eprint_sanitized(format!(
        "wrote {}: {} pictures, {added} of them new; left out {} without a position",
        sanitize_line(args.out.display()),
        builder.len(),
        located.without_position
    ));
    if failed > 0 {
        bail!("{failed} of {} images could not be embedded; fix or remove them and run again", files.len());
    }
    Ok(())
}

/// Embeds pictures and adds them to a gallery, which is saved from time to time. Returns the number of failures.
fn embed(
    args: &Args,
    bundle: &Bundle,
    images: &Images,
    files: &[PathBuf],
    places: &HashMap<PathBuf, LatLng>,
    builder: &mut GalleryBuilder,
) -> Result<usize> {
    let manifest = &bundle.manifest;
    let workers = args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let encoder =
        Encoder::load(&bundle.encoder_paths()?, manifest.encoder.clone(), manifest.preprocess.clone(), workers)?;
    interrupt::listen()?;
    let progress = ProgressBar::new(files.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} images, {per_sec}, {eta} left")?);
    let (mut failed, mut saved, mut interval) = (0, Instant::now(), SAVE_INTERVAL.0);
    for_each_embedding(&encoder, images, files, |file, embedding| {
        match embedding {
            Ok(embedding) => {
                let at = places.get(file).context("a picture without a position was embedded")?;
                builder.push(&file.to_string_lossy(), *at, &pooled(&embedding, manifest.preprocess.squares()))?;
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprint_sanitized(format!("skipped: {}", sanitize_line(error_chain(error)))));
            }
        }
        progress.inc(1);
        if interrupt::is_stopped() || saved.elapsed() > interval {
            let start = Instant::now();
            builder.write(&args.out)?;
            (saved, interval) = (Instant::now(), SAVE_INTERVAL.0.max(SAVE_INTERVAL.1 * start.elapsed()));
        }
        if interrupt::is_stopped() {
            let message = format!("stopped with {} pictures; the same command continues", builder.len());
            return Err(interrupt::stopped(message));
        }
        Ok(())
    })?;
    progress.finish_and_clear();
    Ok(failed)
}

/// Adds the pictures of a feature directory. Returns the number of those that it lacks.
fn from_features(
    folder: &Path,
    bundle: &Bundle,
    files: &[PathBuf],
    places: &HashMap<PathBuf, LatLng>,
    builder: &mut GalleryBuilder,
) -> Result<usize> {
    let (spec, features) = store::load(folder)?;
    if !spec.is_compatible_with(&EncoderSpec::of(bundle)) {
        bail!("{} contains features of a different encoder than the bundle's", folder.display());
    }
    let mut missing = 0;
    for file in files {
        match (features.get(file), places.get(file)) {
            (Some(embedding), Some(at)) => {
                builder.push(&file.to_string_lossy(), *at, &pooled(embedding, spec.preprocess.squares()))?;
            }
            _ => missing += 1,
        }
    }
    Ok(missing)
}

fn error_chain(error: landfall_model::Error) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

impl Located {
    /// The pictures of a directory that have a position in their EXIF data.
    fn in_directory(dir: &Path) -> Result<Self> {
        let found = find_photos(dir)?;
        found.notes.iter().chain(&found.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
        let (mut pictures, mut without_position) = (Vec::new(), 0);
        for path in found.files {
            match gps::position(&path) {
                Ok(Some(at)) => pictures.push((path.strip_prefix(dir).unwrap_or(&path).to_owned(), at)),
                Ok(None) => without_position += 1,
                Err(error) => {
                    without_position += 1;
                    eprint_sanitized(format!("skipped: {}", sanitize_line(error_chain(error))));
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), pictures, without_position })
    }

    /// The pictures of a table that have coordinates.
    fn in_table(table: &Path, images: Option<&Path>, splits: &[String]) -> Result<Self> {
        let (names, records) = tabular::read(table)?;
        let (mut pictures, mut without_position, mut seen) = (Vec::new(), 0, HashSet::new());
        for (i, record) in records.enumerate() {
            let at_line = || format!("{}, line {}", table.display(), i + 2); // the header is line 1
            let row = record.and_then(|record| Ok(record.deserialize::<Row>(Some(&names))?));
            let row = row.with_context(|| format!("{}: needs the columns file, lat and lng", at_line()))?;
            if !splits.is_empty() && !splits.contains(&row.split) {
                continue;
            }
            if let Err(why) = paths::check_relative(&row.file) {
                bail!("{}: the file name `{}` {why}", at_line(), sanitize_line(row.file.display()));
            }
            if row.lat.is_empty() && row.lng.is_empty() {
                without_position += 1;
                continue;
            }
            let number = |text: &str| text.parse::<f64>().with_context(|| format!("{}: not a number", at_line()));
            let at = LatLng::new(number(&row.lat)?, number(&row.lng)?).with_context(at_line)?;
            if !seen.insert(row.file.clone()) {
                bail!("{}: {} is listed twice", at_line(), sanitize_line(row.file.display()));
            }
            pictures.push((row.file, at));
        }
        let folder = table.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { dir: images.unwrap_or(folder).to_owned(), pictures, without_position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_need_only_names_and_coordinates() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("places.csv");
        let read = |text: &str, splits: &[&str]| {
            std::fs::write(&table, text).unwrap();
            let splits: Vec<String> = splits.iter().map(ToString::to_string).collect();
            Located::in_table(&table, None, &splits)
        };
        let located = read("lat,file,lng,other\n10.5,a/b.jpg,190,x\n,c.jpg,,y\n", &[]).unwrap();
        assert_eq!((located.pictures.len(), located.without_position, located.dir), (1, 1, dir.path().to_owned()));
        assert_eq!(located.pictures[0], ("a/b.jpg".into(), LatLng { lat: 10.5, lng: -170.0 }));
        let text = "file,lat,lng,split\na.jpg,1,2,train\nb.jpg,3,4,dev\n";
        assert_eq!(read(text, &["dev"]).unwrap().pictures, [("b.jpg".into(), LatLng { lat: 3.0, lng: 4.0 })]);
        for (bad, why) in [
            ("file,lat\na.jpg,1\n", "line 2: needs the columns"),
            ("file,lat,lng\na.jpg,95,2\n", "line 2"),
            ("file,lat,lng\na.jpg,1,\n", "line 2: not a number"),
            ("file,lat,lng\n../a.jpg,1,2\n", "leads out of"),
            ("file,lat,lng\na.jpg,1,2\na.jpg,1,2\n", "line 3: a.jpg is listed twice"),
        ] {
            let error = format!("{:#}", read(bad, &[]).err().unwrap());
            assert!(error.contains(why), "{error}");
        }
    }
}
