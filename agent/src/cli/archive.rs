//! `locate --manifest`: locates the pictures of a directory and keeps the answers in a manifest, which another run resumes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{FixedOffset, TimeDelta};
use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use landfall_common::cli::parse_duration;
use landfall_common::exit::{check_failed, usage_error};
use landfall_common::fs::write_atomic;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::geotag;
use crate::cli::locate::LocateArgs;
use crate::cli::output::{print_json, print_text};
use crate::export::{ExportTable, Format};
use crate::inference;
use crate::photos::archive::manifest::{FORMAT, Header, Manifest, Record};
use crate::photos::archive::{ArchiveTask, Event, Neighbours, Priors, locate_archive, pending, sha256};
use crate::photos::geotag::{GeotagSummary, Geotagger};
use crate::photos::inputs::find_inputs;
use crate::photos::locate::LocatedPhoto;

/// Maximum number of failures that are printed at the end; the others are in the manifest.
const MAX_FAILURES: usize = 50;
/// Time between two lines of progress where there is no terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Args)]
#[command(next_help_heading = "Archives")]
pub(super) struct ArchiveArgs {
    /// Locate all images of one directory and append the answers to this file, one line of JSON per image
    ///
    /// Give the same command again to go on after an interruption: images that have a line are left out, unless their file
    /// changed. Files with the same content, and bursts (the same camera, at most 2 s apart, looking alike), are answered once.
    /// `landfall review` shows the answers on a map.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["one_place", "regions", "explain", "gallery"])]
    pub(super) manifest: Option<PathBuf>,
    /// Number of images that are located in parallel [default: the number of processor cores]
    #[arg(long, value_name = "N", requires = "manifest", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Restrict an image without a position to the surroundings of one with a position that was taken within this time
    ///
    /// The circle has a radius of 2 km, and 2 km more for each minute apart. The answer says so in `given`. Times without an
    /// offset from UTC are compared as local times.
    #[arg(long, value_name = "DURATION", requires = "manifest", value_parser = time_window)]
    time_window: Option<TimeDelta>,
    /// Use the positions of this GPS track (GPX), too
    #[arg(long, value_name = "FILE", requires = "time_window")]
    track: Option<PathBuf>,
    /// Offset from UTC of images whose EXIF data do not state it, as in +02:00
    #[arg(long, value_name = "OFFSET", requires = "time_window", allow_hyphen_values = true)]
    time_offset: Option<FixedOffset>,
}

/// What a run did, as printed by `--json`.
#[derive(Default, Serialize)]
struct ArchiveSummary {
    manifest: PathBuf,
    /// Images of the directory.
    images: usize,
    /// Images that had a line already.
    known: usize,
    /// Images that were answered in this run, without those whose answer was copied.
    answered: usize,
    /// Images that got the answer of another one.
    same: usize,
    /// Of the answered images, those for which a neighbour in time, or what else was known, was used.
    with_hints: usize,
    /// Images without an answer, also of earlier runs.
    failed: usize,
    seconds: f64,
    images_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<GeotagSummary>,
}

pub(super) fn run(args: &LocateArgs, path: &Path, mut geotagger: Geotagger, is_page: bool) -> Result<()> {
    let options = &args.archive;
    if is_page {
        return Err(usage_error(
            "--out makes no page of a manifest: `landfall review` shows it, or give .geojson, .csv or .kml",
        ));
    }
    let [root] = &args.files[..] else {
        return Err(usage_error("--manifest is for the images of one directory: give one directory"));
    };
    if !root.is_dir() {
        return Err(usage_error(format!("{}: not a directory; --manifest is for the images of one", root.display())));
    }
    let root = &root.canonicalize().with_context(|| usage_error(format!("cannot read {}", root.display())))?;
    let (of_all, table) = args.hints.read()?.into_parts();
    let bundle = args.model.find()?;
    let header = Header {
        landfall_manifest: FORMAT,
        bundle: bundle.manifest.id(),
        root: root.clone(),
        options: options_json(args)?,
    };
    // Before the directory is searched, so that the wrong manifest is reported at once.
    let (mut manifest, index) = Manifest::open(path, &header)?;
    let files = find_files(root, args)?;
    let started = Instant::now();
    let pending = pending(root, &files, &index);
    let neighbours = match options.time_window {
        Some(window) if !pending.is_empty() => {
            eprint_sanitized(format!("reading the times and positions of {} images", files.len()));
            Some(Neighbours::find(root, &files, window, options.time_offset, options.track.as_deref())?)
        }
        _ => None,
    };
    let priors = Priors::new(root, of_all, table, neighbours, &bundle.cells)?;
    priors.check(&files, &bundle.cells)?;
    let mut summary = ArchiveSummary { known: files.len() - pending.len(), ..ArchiveSummary::default() };
    let mut unreadable = Vec::new();
    if !pending.is_empty() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = options.jobs.map_or(cores, usize::from).min(pending.len());
        let classifier = inference::load_with_workers(bundle, jobs)?;
        let top = args.top.unwrap_or(1).into();
        let task =
            ArchiveTask { classifier: &classifier, root, files: &files, priors: &priors, prior: args.prior, top };
        let progress = Progress::new(pending.len());
        let counts = Mutex::new((&mut summary, &mut unreadable));
        locate_archive(&task, &pending, &mut manifest, index, &|event| {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Warning(warning) => return progress.print(&format!("warning: {}", sanitize_line(warning))),
                Event::Unreadable(message) => counts.1.push(message.to_owned()),
                Event::Located(record) => counts.0.count(record),
            }
            progress.advance();
        })?;
        progress.finish();
        summary.seconds = started.elapsed().as_secs_f64();
        summary.images_per_second = pending.len() as f64 / summary.seconds.max(1e-9);
    }
    (summary.manifest, summary.images) = (path.to_owned(), files.len());
    finish(args, &header, &manifest, &files, summary, unreadable, &priors, &mut geotagger)
}

#[allow(clippy::too_many_arguments, reason = "the last step of one function")]
fn finish(
    args: &LocateArgs,
    header: &Header,
    manifest: &Manifest,
    files: &[String],
    mut summary: ArchiveSummary,
    unreadable: Vec<String>,
    priors: &Priors,
    geotagger: &mut Geotagger,
) -> Result<()> {
    let root = &header.root;
    let mut failures = unreadable;
    let mut located: Vec<(String, LocatedPhoto)> = Vec::new();
    let exports = args.out.is_some() || args.format.is_some();
    manifest.for_each_last(files, |record| {
        let Record { path, answer, error, .. } = record;
        if let Some(error) = error {
            failures.push(format!("{path}: {error}"));
        }
        let Some(answer) = answer else { return };
        let file = root.join(&path);
        let photo = answer.into_located(
            file.clone(),
            &header.bundle,
            args.prior,
            args.top.is_some() || args.geotag.has_target(),
        );
        if args.geotag.has_target() {
            let (geotag, p) = geotag::estimate(&photo);
            geotag::add(geotagger, &file, Path::new(&path), &geotag, p);
        }
        if exports {
            let candidates = photo.candidates.clone().filter(|_| args.top.is_some());
            located.push((path, LocatedPhoto { candidates, ..photo }));
        }
    })?;
    if exports {
        let table = ExportTable::of_photos(located.iter().map(|(name, photo)| (name.as_str(), photo)));
        if let Some(format) = args.format {
            print_text(table.write(format, args.bom)?.trim_end())?;
        }
        if let Some(out) = &args.out {
            write_atomic(out, table.write(Format::of(out)?, args.bom)?.as_bytes())?;
            eprint_sanitized(format!("wrote {}", sanitize_line(out.display())));
        }
    }
    for row in priors.unused(files) {
        eprint_sanitized(format!("warning: {}", sanitize_line(row)));
    }
    for failure in failures.iter().take(MAX_FAILURES) {
        eprint_sanitized(format!("landfall: {}", sanitize_line(failure)));
    }
    if failures.len() > MAX_FAILURES {
        eprint_sanitized(format!("and {} more, see `error` in the manifest", failures.len() - MAX_FAILURES));
    }
    summary.failed = failures.len();
    eprint_sanitized(sanitize_line(&summary));
    let mut not_written = None;
    if args.geotag.has_target() {
        not_written = geotag::print_summary(geotagger.summary());
        summary.written = Some(geotagger.summary().clone());
    }
    if args.json {
        print_json(&summary)?;
    }
    let not_located =
        (!failures.is_empty()).then(|| format!("{} of {} could not be located", failures.len(), files.len()));
    match [not_located, not_written].into_iter().flatten().collect::<Vec<_>>() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(check_failed(failures.join("; "))),
    }
}

/// The images of the directory, by their paths in it, without the copies that are written.
fn find_files(root: &Path, args: &LocateArgs) -> Result<Vec<String>> {
    let inputs = find_inputs(std::slice::from_ref(&root.to_owned()))?;
    inputs.notes.iter().chain(&inputs.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
    let copies = args.geotag.write_exif.as_deref().and_then(|dir| dir.canonicalize().ok());
    if copies.as_deref() == Some(root) {
        return Err(usage_error("the images themselves are in the directory of --write-exif: choose another one"));
    }
    let images = inputs.images.iter().filter(|image| copies.as_ref().is_none_or(|dir| !image.file.starts_with(dir)));
    let mut files = Vec::with_capacity(inputs.images.len());
    for image in images {
        let parts: Option<Vec<&str>> = image.name.iter().map(|part| part.to_str()).collect();
        match parts {
            Some(parts) => files.push(parts.join("/")),
            None => eprint_sanitized(format!(
                "left out {}: its name is not Unicode: rename it",
                sanitize_line(image.file.display())
            )),
        }
    }
    files.sort();
    Ok(files)
}

/// The options that change answers.
fn options_json(args: &LocateArgs) -> Result<BTreeMap<String, Value>> {
    let mut options = args.hints.as_json();
    options.insert("prior".to_owned(), json!(args.prior.name()));
    if let Some(top) = args.top {
        options.insert("top".to_owned(), json!(top));
    }
    if let Some(window) = args.archive.time_window {
        options.insert("time-window".to_owned(), json!(format!("{} s", window.num_seconds())));
    }
    if let Some(offset) = args.archive.time_offset {
        options.insert("time-offset".to_owned(), json!(offset.to_string()));
    }
    if let Some(track) = &args.archive.track {
        let bytes = std::fs::read(track).with_context(|| usage_error(format!("cannot read {}", track.display())))?;
        options.insert("track".to_owned(), json!(sha256(&bytes)));
    }
    Ok(options)
}

fn time_window(text: &str) -> Result<TimeDelta, String> {
    let window = parse_duration(text)?;
    let window = TimeDelta::from_std(window).ok().filter(|window| *window <= TimeDelta::days(1));
    window.ok_or_else(|| format!("`{text}` is more than a day"))
}

impl ArchiveSummary {
    fn count(&mut self, record: &Record) {
        match (&record.answer, &record.same_as) {
            (Some(answer), None) => {
                self.answered += 1;
                self.with_hints += usize::from(answer.given.is_some());
            }
            (Some(_), Some(_)) => self.same += 1,
            (None, _) => {}
        }
    }
}

impl std::fmt::Display for ArchiveSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { images, known, answered, same, with_hints, failed, seconds, images_per_second, manifest, .. } = self;
        write!(f, "{}: {images} images, of which {known} had a line already; {answered} located", manifest.display())?;
        if *with_hints > 0 {
            write!(f, " ({with_hints} with the help of what else is known)")?;
        }
        write!(f, ", {same} are the same as another one or of a burst, {failed} failed")?;
        if *seconds > 0.0 {
            write!(f, "; {images_per_second:.1} images per second")?;
        }
        Ok(())
    }
}

/// The progress of a run: a bar on a terminal, else a line per minute.
struct Progress {
    bar: ProgressBar,
    total: usize,
    done: AtomicUsize,
    started: Instant,
    last: Mutex<Instant>,
}

impl Progress {
    fn new(total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} images, {per_sec}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = Instant::now();
        Self { bar, total, done: AtomicUsize::new(0), started: now, last: Mutex::new(now) }
    }

    fn advance(&self) {
        self.bar.inc(1);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && last.elapsed() >= PROGRESS_INTERVAL {
            *last = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            let left = HumanDuration(Duration::from_secs_f64((self.total - done) as f64 / rate));
            eprint_sanitized(format!("{done} of {} images, {rate:.1} per second, {left} left", self.total));
        }
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| eprint_sanitized(line));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
