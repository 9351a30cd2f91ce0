//! `locate`: predictions as lines, in files for other programs, on a page, and in copies of the photos.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use console::Term;
use indicatif::ProgressBar;
use landfall_common::cli::prior_parser;
use landfall_common::exit::{Exit, check_failed, usage_error};
use landfall_common::fs::write_atomic;
use landfall_common::gallery::Gallery;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::{LatLng, Prior, preprocess};

use crate::cli::archive::{self, ArchiveArgs};
use crate::cli::args::{DrawingArgs, ModelArgs};
use crate::cli::geotag::{self, ConfidenceArgs, GeotagArgs};
use crate::cli::hints::HintArgs;
use crate::cli::output::{OutputClosed, check_output_dir, check_output_file, print_json_line, print_line, print_text};
use crate::error::{describe, exit_code};
use crate::export::{ExportTable, Format};
use crate::inference::CellProbability;
use crate::photos::explain::write_maps;
use crate::photos::geotag::Geotagger;
use crate::photos::inputs::{NamedImage, find_inputs};
use crate::photos::locate;
use crate::photos::locate::{LocateOptions, LocatedPhoto};
use crate::photos::names::{is_inside, unique_names};
use crate::photos::page::{Photo, Thumbnail, page};
use crate::terminal::MapMark;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall locate holiday.jpg\n  landfall locate --json --one-place north.jpg east.jpg south.jpg west.jpg\n  landfall locate --out places.html ~/holiday\n  landfall locate --top 5 --country FR,BE --exclude 48.86,2.35,100 holiday.jpg\n  landfall locate --top 3 --regions --out places.geojson --hints hints.csv ~/holiday\n  landfall locate --format csv ~/holiday > places.csv\n  landfall locate --write-exif ~/holiday-guessed --min-confidence 0.5 --write ~/holiday\n  landfall locate --manifest photos.jsonl --time-window 30m --track hike.gpx ~/Pictures\n  landfall locate --explain maps ~/holiday\n  landfall locate --gallery holiday.gallery photo.jpg"
)]
pub(super) struct LocateArgs {
    /// Images or directories of images; `-` is an image on standard input
    ///
    /// JPEG, PNG, WebP, GIF, BMP, TIFF and HEIC are read, whatever their names are.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Prior: where people take photos, where rounds of a game lie, or the same everywhere
    #[arg(long, default_value_t, value_parser = prior_parser(), help_heading = "Model")]
    pub(super) prior: Prior,
    /// Treat all images as views of one place
    #[arg(long, help_heading = "Model")]
    one_place: bool,
    #[command(flatten)]
    pub(super) hints: HintArgs,
    /// Show the most similar pictures of this gallery of located pictures, which `landfall-train gallery` makes
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub(super) gallery: Option<PathBuf>,
    /// Give up to N distinct places per photo, each with its probability and radius
    ///
    /// No place lies within the radius of another. The first one is the prediction.
    #[arg(long, value_name = "N", value_parser = candidate_count(), help_heading = "Output")]
    pub(super) top: Option<u16>,
    /// Add the 50 % and 90 % credible regions as polygons to GeoJSON
    #[arg(long, help_heading = "Output")]
    regions: bool,
    /// Print one JSON object per prediction
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Print all predictions in this format
    #[arg(long, value_enum, conflicts_with = "json", help_heading = "Output")]
    pub(super) format: Option<Format>,
    /// Write all predictions to this file: a page with a map (.html), or .geojson, .csv or .kml
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
    /// Find out what in each picture the answer depends on, test it, and write the pictures with maps of it to this directory
    ///
    /// Parts of the picture are covered, and the probability of the answer is computed again: the redder a part of the map,
    /// the more the answer loses without it. The outlined part is then compared with random parts of the same size;
    /// evidence holds up if the answer loses more without the outlined part. Existing files are not overwritten.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) explain: Option<PathBuf>,
    /// Prefix CSV with a byte order mark so that Excel reads it as UTF-8
    #[arg(long, help_heading = "Output")]
    pub(super) bom: bool,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    pub(super) geotag: GeotagArgs,
    #[command(flatten)]
    confidence: ConfidenceArgs,
    #[command(flatten)]
    pub(super) archive: ArchiveArgs,
}

/// The kind of file that `--out` writes.
enum OutputFormat {
    Page,
    ExportTable(Format),
}

/// A place and its images.
struct LocatedPlace<'a> {
    pictures: &'a [NamedImage],
    located: LocatedPhoto,
}

pub(super) fn run(args: &LocateArgs) -> Result<()> {
    // Usage errors are reported before the model is loaded.
    let out = args.out.as_deref().map(OutputFormat::by).transpose()?;
    let is_csv = |out: &OutputFormat| matches!(out, OutputFormat::ExportTable(Format::Csv));
    if args.bom && args.format != Some(Format::Csv) && !out.as_ref().is_some_and(is_csv) {
        return Err(usage_error("--bom is for CSV: give --format csv or --out with a .csv file too"));
    }
    let is_geojson = |out: &OutputFormat| matches!(out, OutputFormat::ExportTable(Format::Geojson));
    if args.regions && args.format != Some(Format::Geojson) && !out.as_ref().is_some_and(is_geojson) {
        return Err(usage_error("--regions is for GeoJSON: give --format geojson or --out with a .geojson file too"));
    }
    args.out.as_deref().map(check_output_file).transpose()?;
    args.explain.as_deref().map(check_output_dir).transpose()?;
    let mut geotagger = args.geotagger()?;
    if let Some(manifest) = &args.archive.manifest {
        return archive::run(args, manifest, geotagger, matches!(out, Some(OutputFormat::Page)));
    }
    let known = args.hints.read()?;
    let gallery = args.gallery.as_deref().map(Gallery::open).transpose()?;
    let mut inputs = find_inputs(&args.files)?;
    inputs.notes.iter().chain(&inputs.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
    if args.geotag.sidecar && inputs.images.iter().any(|picture| picture.file != picture.given) {
        return Err(usage_error("--sidecar writes beside the image, which standard input and pipes do not have"));
    }
    for (folder, option) in [(&args.geotag.write_exif, "--write-exif"), (&args.explain, "--explain")] {
        if let Some(folder) = folder {
            without_copies(&mut inputs.images, folder, option)?;
        }
    }
    let names = unique_names(inputs.images.iter().map(|picture| (picture.file.as_path(), picture.name.as_path())));
    inputs.images.iter_mut().zip(names).for_each(|(picture, name)| picture.name = name);
    let pictures = inputs.images.as_slice();
    let renderer = args.drawing.on(Term::stdout(), args.json || args.format.is_some())?;
    // To explain even a single image takes many runs of the encoder.
    let at_once = if args.explain.is_some() { usize::MAX } else { pictures.len() };
    let classifier = args.model.load_for(at_once)?;
    gallery.as_ref().map(|gallery| gallery.check_encoder(&classifier.bundle.manifest)).transpose()?;
    let places: Vec<&[NamedImage]> =
        if args.one_place { vec![pictures] } else { pictures.iter().map(std::slice::from_ref).collect() };
    let hinted = known.cells(&places, &classifier.bundle.cells)?;
    let progress = match args.format {
        Some(_) => ProgressBar::new(places.len() as u64),
        None => ProgressBar::hidden(), // the printed lines show the progress
    };
    let (mut answers, mut heat, mut unreadable) = (Vec::new(), Vec::<CellProbability>::new(), 0);
    let mut failed_maps = 0;
    let mut left_out = [&inputs.notes[..], &inputs.problems].concat();
    let writes_files = args.out.is_some() || args.geotag.has_target() || args.explain.is_some();
    for (pictures, hinted) in places.iter().zip(&hinted) {
        let options = LocateOptions {
            prior: args.prior,
            hinted: hinted.as_deref(),
            // The confidence is the probability of the first candidate.
            top: args.top.unwrap_or_else(|| args.confidence.min_confidence.is_some().into()).into(),
            regions: args.regions,
            explain: args.explain.is_some(),
            gallery: gallery.as_ref(),
        };
        let files: Vec<&Path> = pictures.iter().map(|picture| picture.file.as_path()).collect();
        match locate::locate(&classifier, &files, options) {
            Ok(mut located) => {
                for warning in &located.warnings {
                    let warning = sanitize_line(inputs.with_given_names(warning));
                    eprint_sanitized(format!("warning: {warning}"));
                }
                for NamedImage { file, name, .. } in pictures.iter().filter(|_| args.geotag.has_target()) {
                    let (geotag, p) = geotag::estimate(&located);
                    geotag::add(&mut geotagger, file, name, &geotag, p);
                }
                if args.top.is_none() {
                    located.candidates = None;
                }
                if let (Some(folder), Some(evidence)) = (&args.explain, &mut located.evidence) {
                    for error in write_maps(pictures, folder, evidence) {
                        failed_maps += 1;
                        eprint_sanitized(format!("landfall: {}", sanitize_line(describe(&error))));
                    }
                }
                located.image = pictures.first().map_or_else(PathBuf::new, |picture| picture.given.clone());
                let printed = match args.format {
                    _ if args.json => print_json_line(&located),
                    None => print_line(&located),
                    Some(_) => Ok(()),
                };
                match printed {
                    // Files are written even if nobody reads the lines.
                    Err(error) if error.is::<OutputClosed>() && writes_files => {}
                    printed => printed?,
                }
                renderer.files(files)?;
                let of_this = std::mem::take(&mut located.heat);
                match heat.is_empty() {
                    true => heat = of_this,
                    false => heat.iter_mut().zip(of_this).for_each(|(all, one)| all.p += one.p),
                }
                answers.push(LocatedPlace { pictures, located });
            }
            Err(error) if exit_code(&error) == Exit::Environment => return Err(error), // no image is at fault
            Err(error) => {
                unreadable += 1;
                let message = inputs.with_given_names(&describe(&error));
                eprint_sanitized(format!("landfall: {}", sanitize_line(&message)));
                left_out.push(message);
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let marks: Vec<(MapMark, LatLng)> = answers.iter().map(|answer| (MapMark::Guess, answer.at())).collect();
    if !marks.is_empty() {
        renderer.map(&heat, &marks)?;
    }
    if let Some(format) = args.format {
        print_text(table(&answers).write(format, args.bom)?.trim_end())?;
    }
    if let (Some(file), Some(out), false) = (&args.out, out, answers.is_empty()) {
        let left_out: Vec<String> = left_out.iter().map(|line| inputs.with_short_names(line)).collect();
        let text = match out {
            OutputFormat::Page => page(&on_page(answers)?, &left_out),
            OutputFormat::ExportTable(format) => table(&answers).write(format, args.bom)?,
        };
        write_atomic(file, text.as_bytes())?;
        eprint_sanitized(format!("wrote {}", sanitize_line(file.display())));
    }
    for row in known.unused(pictures) {
        eprint_sanitized(format!("warning: {}", sanitize_line(row)));
    }
    let not_written = if args.geotag.has_target() { geotag::print_summary(geotagger.summary()) } else { None };
    let failures = [
        (unreadable, format!("{unreadable} of {} could not be located", places.len())),
        (failed_maps, format!("{failed_maps} maps of {} pictures could not be written", pictures.len())),
        (inputs.problems.len(), format!("{} of the files and directories could not be read", inputs.problems.len())),
    ];
    let failures = failures.into_iter().filter(|(n, _)| *n > 0).map(|(_, message)| message);
    let failures: Vec<String> = failures.chain(not_written).collect();
    if failures.is_empty() { Ok(()) } else { Err(check_failed(failures.join("; "))) }
}

impl LocateArgs {
    /// # Errors
    /// When an option for writing locations has no target, or its directory cannot be written.
    fn geotagger(&self) -> Result<Geotagger> {
        let needs_target =
            [(self.geotag.write, "--write"), (self.confidence.min_confidence.is_some(), "--min-confidence")];
        if let Some((_, option)) = needs_target.iter().find(|(is_given, _)| *is_given && !self.geotag.has_target()) {
            return Err(usage_error(format!("{option} is for --write-exif DIR and --sidecar: give one of them too")));
        }
        Ok(Geotagger::new(self.geotag.options(self.confidence.min_confidence)?))
    }
}

impl OutputFormat {
    fn by(file: &Path) -> Result<Self> {
        let is_page =
            file.extension().is_some_and(|ending| ["html", "htm"].iter().any(|html| ending.eq_ignore_ascii_case(html)));
        if is_page {
            return Ok(Self::Page);
        }
        let unknown = |_| usage_error(format!("{}: unknown format: use .html, .geojson, .csv or .kml", file.display()));
        Format::of(file).map(Self::ExportTable).map_err(unknown)
    }
}

impl LocatedPlace<'_> {
    fn at(&self) -> LatLng {
        LatLng { lat: self.located.lat, lng: self.located.lng }
    }

    fn name(&self) -> String {
        let parts = self.pictures.first().into_iter().flat_map(|picture| picture.name.iter());
        parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }
}

/// Reads the number of candidates.
fn candidate_count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=100)
}

/// Leaves out the copies that an earlier run wrote to a directory inside the searched one.
fn without_copies(pictures: &mut Vec<NamedImage>, folder: &Path, option: &str) -> Result<()> {
    let found = pictures.len();
    pictures.retain(|picture| !is_inside(&picture.file, folder));
    let left_out = found - pictures.len();
    let folder = sanitize_line(folder.display());
    if pictures.is_empty() {
        return Err(usage_error(format!(
            "{folder}: the images themselves are in this directory; choose another one for their copies ({option})"
        )));
    }
    if left_out > 0 {
        eprint_sanitized(format!("left out {left_out} images in {folder}, where the copies are written"));
    }
    Ok(())
}

fn table(answers: &[LocatedPlace<'_>]) -> ExportTable {
    let named: Vec<(String, &LocatedPhoto)> = answers.iter().map(|answer| (answer.name(), &answer.located)).collect();
    ExportTable::of_photos(named.iter().map(|(name, located)| (name.as_str(), *located)))
}

/// The places as the page shows them, each with its first image.
fn on_page(answers: Vec<LocatedPlace<'_>>) -> Result<Vec<Photo>> {
    let photo = |answer: LocatedPlace<'_>| {
        let explained = answer.located.evidence.iter().flatten().next().and_then(|evidence| evidence.map.as_ref());
        let thumbnail = Thumbnail::new(&preprocess::open(explained.unwrap_or(&answer.pictures[0].file))?)?;
        Ok(Photo { name: answer.name(), located: answer.located, thumbnail })
    };
    answers.into_iter().map(photo).collect()
}
