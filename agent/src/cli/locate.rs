//! `locate`: predictions as lines, in files for other programs, on a page, and in copies of the photos.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use console::Term;
use indicatif::ProgressBar;
use landfall_common::exit::{Exit, check_failed};
use landfall_common::fs::write_atomic;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::{LatLng, preprocess};

use crate::cli::args::{DrawingArgs, ModelArgs};
use crate::cli::output::{print_line, print_text};
use crate::error::{describe, exit_code};
use crate::export::{ExportTable, Format};
use crate::inference::CellProbability;
use crate::photos::exif::{CopyOutcome, Guess, copy_with_guess};
use crate::photos::inputs::{NamedImage, find_inputs};
use crate::photos::locate;
use crate::photos::locate::LocatedPhoto;
use crate::photos::page::{Photo, Thumbnail, page};
use crate::terminal::MapMark;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall locate holiday.jpg\n  landfall locate --json --one-place north.jpg east.jpg south.jpg west.jpg\n  landfall locate --out places.html ~/holiday\n  landfall locate --format csv ~/holiday > places.csv\n  landfall locate --write-exif ~/holiday-guessed ~/holiday"
)]
pub(super) struct LocateArgs {
    /// Images or directories of images; `-` is an image on standard input
    ///
    /// JPEG, PNG, WebP, GIF, BMP and TIFF are read, whatever their names are.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Treat all images as views of one place
    #[arg(long, help_heading = "Model")]
    one_place: bool,
    /// Print one JSON object per prediction
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print all predictions in this format
    #[arg(long, value_enum, conflicts_with = "json", help_heading = "Output")]
    format: Option<Format>,
    /// Write all predictions to this file: a page with a map (.html), or .geojson, .csv or .kml
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Write copies of the images with the prediction in their EXIF data to this directory
    ///
    /// Images that already have a GPS position are not copied, and existing files are not overwritten.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    write_exif: Option<PathBuf>,
    #[command(flatten)]
    drawing: DrawingArgs,
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
    let inputs = find_inputs(&args.files)?;
    let pictures = &inputs.images;
    inputs.notes.iter().chain(&inputs.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
    let renderer = args.drawing.on(Term::stdout(), args.json || args.format.is_some())?;
    let classifier = args.model.load()?;
    let places: Vec<&[NamedImage]> =
        if args.one_place { vec![pictures] } else { pictures.iter().map(std::slice::from_ref).collect() };
    let progress = match args.format {
        Some(_) => ProgressBar::new(places.len() as u64),
        None => ProgressBar::hidden(), // the printed lines show the progress
    };
    let (mut answers, mut heat, mut unreadable) = (Vec::new(), Vec::<CellProbability>::new(), 0);
    let mut failed_copies = 0;
    for pictures in &places {
        let files: Vec<&Path> = pictures.iter().map(|picture| picture.file.as_path()).collect();
        match locate::locate(&classifier, &files) {
            Ok(mut located) => {
                located.image = pictures.first().map_or_else(PathBuf::new, |picture| picture.given.clone());
                if args.json {
                    print_text(&serde_json::to_string(&located)?)?;
                } else if args.format.is_none() {
                    print_line(&located)?;
                }
                renderer.files(files)?;
                let of_this = std::mem::take(&mut located.heat);
                match heat.is_empty() {
                    true => heat = of_this,
                    false => heat.iter_mut().zip(of_this).for_each(|(all, one)| all.p += one.p),
                }
                if let Some(folder) = &args.write_exif {
                    failed_copies += copy(pictures, folder, &located);
                }
                answers.push(LocatedPlace { pictures, located });
            }
            Err(error) if exit_code(&error) == Exit::Environment => return Err(error), // no image is at fault
            Err(error) => {
                unreadable += 1;
                eprint_sanitized(format!("landfall: {}", sanitize_line(inputs.with_given_names(&describe(&error)))));
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
        print_text(table(&answers).write(format)?.trim_end())?;
    }
    if let (Some(file), Some(out), false) = (&args.out, out, answers.is_empty()) {
        let left_out = places.len() - answers.len();
        let text = match out {
            OutputFormat::Page => page(&on_page(answers)?, left_out),
            OutputFormat::ExportTable(format) => table(&answers).write(format)?,
        };
        write_atomic(file, text.as_bytes())?;
        eprint_sanitized(format!("wrote {}", file.display()));
    }
    match (unreadable, failed_copies) {
        (0, 0) if inputs.problems.is_empty() => Ok(()),
        (0, 0) => Err(check_failed(format!("{} of the directories could not be read", inputs.problems.len()))),
        (0, _) => Err(check_failed(format!("{failed_copies} of {} could not be copied", pictures.len()))),
        _ => Err(check_failed(format!("{unreadable} of {} could not be located", places.len()))),
    }
}

impl OutputFormat {
    fn by(file: &Path) -> Result<Self> {
        let is_page =
            file.extension().is_some_and(|ending| ["html", "htm"].iter().any(|html| ending.eq_ignore_ascii_case(html)));
        if is_page { Ok(Self::Page) } else { Format::of(file).map(Self::ExportTable) }
    }
}

impl LocatedPlace<'_> {
    fn at(&self) -> LatLng {
        LatLng { lat: self.located.lat, lng: self.located.lng }
    }

    fn name(&self) -> String {
        self.pictures.first().map_or_else(String::new, |picture| picture.name.to_string_lossy().replace('\\', "/"))
    }
}

fn table(answers: &[LocatedPlace<'_>]) -> ExportTable {
    let named: Vec<(String, &LocatedPhoto)> = answers.iter().map(|answer| (answer.name(), &answer.located)).collect();
    ExportTable::of_photos(named.iter().map(|(name, located)| (name.as_str(), *located)))
}

/// The places as the page shows them, each with its first image.
fn on_page(answers: Vec<LocatedPlace<'_>>) -> Result<Vec<Photo>> {
    let photo = |answer: LocatedPlace<'_>| {
        let thumbnail = Thumbnail::new(&preprocess::open(&answer.pictures[0].file)?)?;
        Ok(Photo { name: answer.name(), located: answer.located, thumbnail })
    };
    answers.into_iter().map(photo).collect()
}

/// Copies the images of a place to a directory, with the prediction in EXIF. Returns the number of failures.
fn copy(pictures: &[NamedImage], folder: &Path, located: &LocatedPhoto) -> usize {
    let guess = Guess {
        at: LatLng { lat: located.lat, lng: located.lng },
        error_m: located.radius_km.p90 * 1000.0,
        bundle: &located.bundle,
    };
    let mut failed_copies = 0;
    for NamedImage { file, name } in pictures {
        match copy_with_guess(file, &folder.join(name), &guess) {
            Ok(CopyOutcome::Written) => {}
            Ok(CopyOutcome::HasLocation) => {
                eprint_sanitized(format!("{}: has a GPS position and is not copied", file.display()));
            }
            Err(error) => {
                failed_copies += 1;
                eprint_sanitized(format!("landfall: {}", describe(&error)));
            }
        }
    }
    failed_copies
}
