//! `verify`: tests a claim of where photos were taken.

use std::path::PathBuf;

use anyhow::Result;
use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::ProgressBar;
use landfall_common::exit::{Exit, check_failed};
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::Classifier;

use crate::cli::args::{ModelArgs, kilometres};
use crate::cli::output::{print_json, print_json_line, print_line};
use crate::error::{describe, exit_code};
use crate::photos::inputs::find_inputs;
use crate::photos::verify::{Claim, ClaimedCells, DEFAULT_RADIUS_KM, measure, parse_time, read_known_photos, verify};

#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("task").required(true)),
    after_help = "The verdict is the result, not a check: the exit code is 0 for each of the three.\n\nExamples:\n  landfall verify --at 48.86,2.35 photo.jpg\n  landfall verify --at 48.86,2.35,50 --time 2024-06-01T10:30Z --json photo.jpg\n  landfall verify --measure places.csv"
)]
pub(super) struct VerifyArgs {
    /// Images or directories of images; `-` is an image on standard input
    #[arg(required_unless_present = "measure", conflicts_with = "measure", value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// The claim: taken within KM kilometres (200 if not given) of this place
    #[arg(long, value_name = "LAT,LNG[,KM]", value_parser = Claim::parse, allow_hyphen_values = true, group = "task")]
    at: Option<Claim>,
    /// When the photos were taken, in UTC, as in 2024-06-01T10:30Z [default: by their EXIF data]
    ///
    /// With it, the position of the sun at the place is printed, and what the brightness of the photo says of it.
    #[arg(long, value_name = "UTC", value_parser = parse_time, requires = "at")]
    time: Option<DateTime<Utc>>,
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON: one object per photo
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Measure how often verdicts are right, on the photos of a CSV table with the columns file, lat and lng
    ///
    /// The place of each photo is a true claim; places of other photos, one in each of four bands of distances, are false
    /// ones.
    #[arg(long, value_name = "TABLE", group = "task", help_heading = "Measuring")]
    measure: Option<PathBuf>,
    /// Directory that the files in the table are relative to [default: that of the table]
    #[arg(long, value_name = "DIR", requires = "measure", help_heading = "Measuring")]
    images: Option<PathBuf>,
    /// Use only this many photos, spread over the table
    #[arg(long, value_name = "N", requires = "measure", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Measuring")]
    limit: Option<u32>,
    /// Radius of the claims in kilometres
    #[arg(long, value_name = "KM", default_value_t = DEFAULT_RADIUS_KM, value_parser = kilometres, requires = "measure", help_heading = "Measuring")]
    radius_km: f64,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    match (&args.measure, args.at) {
        (Some(table), _) => {
            let limit = args.limit.map(|limit| limit as usize);
            let photos = read_known_photos(table, args.images.as_deref(), limit)?;
            let classifier = args.model.load_for(photos.len())?;
            let progress = ProgressBar::new(photos.len() as u64);
            let mut unreadable = 0;
            let measured = measure(&classifier, &photos, args.radius_km, |file, error| {
                if let Some(error) = error {
                    unreadable += 1;
                    eprint_sanitized(format!("landfall: {}: {}", sanitize_line(file.display()), sanitize_line(error)));
                }
                progress.inc(1);
            })?;
            progress.finish_and_clear();
            if args.json {
                print_json(&measured)?
            } else {
                print_line(&measured)?
            }
            complete(unreadable, photos.len())
        }
        (None, Some(claim)) => verify_photos(args, claim, &args.model.load_for(args.files.len())?),
        (None, None) => Ok(()), // clap requires one of the two
    }
}

fn verify_photos(args: &VerifyArgs, claim: Claim, classifier: &Classifier) -> Result<()> {
    let inputs = find_inputs(&args.files)?;
    inputs.notes.iter().chain(&inputs.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
    let claimed = ClaimedCells::new(claim, &classifier.bundle.cells);
    let mut unreadable = inputs.problems.len();
    for image in &inputs.images {
        match verify(classifier, &image.file, &claimed, args.time) {
            Ok(mut verified) => {
                verified.image.clone_from(&image.given);
                for warning in &verified.warnings {
                    eprint_sanitized(format!("warning: {}", sanitize_line(inputs.with_given_names(warning))));
                }
                if args.json { print_json_line(&verified)? } else { print_line(&verified)? }
            }
            Err(error) if exit_code(&error) == Exit::Environment => return Err(error), // no image is at fault
            Err(error) => {
                unreadable += 1;
                let message = inputs.with_given_names(&describe(&error));
                eprint_sanitized(format!("landfall: {}", sanitize_line(message)));
            }
        }
    }
    complete(unreadable, inputs.images.len() + inputs.problems.len())
}

fn complete(unreadable: usize, of: usize) -> Result<()> {
    match unreadable {
        0 => Ok(()),
        _ => Err(check_failed(format!("{unreadable} of {of} could not be read"))),
    }
}
