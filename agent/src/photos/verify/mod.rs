//! Tests a claim of where a photo was taken, and where the sun stood there.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod calibration;
mod claim;
mod light;
mod measure;
mod sun;
mod table;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use landfall_common::text::sanitize_line;
use landfall_model::images::{self, Decoded};
use landfall_model::{Classifier, Posterior, Prior, RgbImage};
use serde::Serialize;

use crate::inference::{Objective, posterior_for};
use crate::photos::capture_time::{CaptureTime, capture_time, capture_time_in};
use crate::photos::locate::{as_text, percent};
use calibration::{Calibration, Verdict};
use claim::Evidence;
use light::{LightCurve, LightEvidence, brightness};
use sun::{SunPosition, sun_position};

pub(crate) use crate::photos::capture_time::parse_time;
pub(crate) use claim::{Claim, ClaimedCells, DEFAULT_RADIUS_KM};
pub(crate) use measure::measure;
pub(crate) use table::read_known_photos;

/// A tested claim, as printed by `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Verification {
    #[serde(serialize_with = "as_text")]
    pub image: PathBuf,
    pub claim: Claim,
    /// Description of the claimed place.
    pub place: String,
    /// What follows for the claim; `None` if nothing was measured for the bundle.
    pub verdict: Option<Verdict>,
    /// `None` if the bundle knows no place in the circle.
    pub evidence: Option<Evidence>,
    /// The likelihood ratio as measured; `None` if it was not measured for the bundle.
    pub measured_ratio: Option<f64>,
    /// Number of photos that the ratio was measured on.
    pub measured_on: Option<usize>,
    /// The bundle, `name@version`.
    pub bundle: String,
    /// When the photo was taken.
    pub taken: Option<Taken>,
    /// Where the sun stood then at the claimed place.
    pub sun: Option<SunPosition>,
    /// What the brightness says of that.
    pub light: Option<LightEvidence>,
    /// Files of which a part is missing, one line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A time at which a photo was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Taken {
    /// With `Z` if it is in UTC.
    pub time: String,
    pub from: TimeSource,
}

/// Who says when a photo was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeSource {
    /// The user.
    Given,
    Exif,
    /// EXIF data, without an offset from UTC, so that the position of the sun is unknown.
    ExifWithoutZone,
}

/// Tests a claim on a photo. `time` is when it was taken, if that is known better than from its EXIF data.
///
/// # Errors
/// When the image cannot be read; the message names it.
pub(crate) fn verify(
    classifier: &Classifier,
    file: &Path,
    claimed: &ClaimedCells,
    time: Option<DateTime<Utc>>,
) -> Result<Verification> {
    let decoded = images::open_with_warning(file)?;
    verify_decoded(classifier, file.to_owned(), decoded, || capture_time(file), claimed, time)
}

/// As [`verify`], on an image in memory, which is named `name`.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn verify_bytes(
    classifier: &Classifier,
    name: PathBuf,
    bytes: &[u8],
    claimed: &ClaimedCells,
    time: Option<DateTime<Utc>>,
) -> Result<Verification> {
    let decoded = images::decode(bytes)?;
    verify_decoded(classifier, name, decoded, || capture_time_in(&mut Cursor::new(bytes)), claimed, time)
}

fn verify_decoded(
    classifier: &Classifier,
    file: PathBuf,
    Decoded { image, warning }: Decoded,
    capture_time: impl FnOnce() -> Option<CaptureTime>,
    claimed: &ClaimedCells,
    time: Option<DateTime<Utc>>,
) -> Result<Verification> {
    let evidence = claimed.evidence(&posterior_of(classifier, &image)?);
    let bundle = classifier.bundle.manifest.id();
    let calibration = Calibration::of(&bundle);
    let measured_ratio = calibration.map(|calibration| evidence.map_or(1.0, |found| calibration.ratio(&found)));
    let (utc, taken) = match time {
        Some(time) => (Some(time), Some(Taken { time: in_utc(time), from: TimeSource::Given })),
        None => match capture_time() {
            Some(CaptureTime::Known(time)) => (Some(time), Some(Taken { time: in_utc(time), from: TimeSource::Exif })),
            Some(CaptureTime::Local(time)) => {
                let time = time.format("%Y-%m-%dT%H:%M:%S").to_string();
                (None, Some(Taken { time, from: TimeSource::ExifWithoutZone }))
            }
            None => (None, None),
        },
    };
    let sun = utc.and_then(|time| sun_position(claimed.claim.at, time));
    Ok(Verification {
        claim: claimed.claim,
        place: landfall_model::place::describe(claimed.claim.at).description,
        verdict: measured_ratio.map(Verdict::of),
        evidence,
        measured_ratio,
        measured_on: calibration.map(|calibration| calibration.photos),
        bundle,
        taken,
        sun,
        light: sun.and_then(|sun| LightCurve::measured().evidence(brightness(&image), &sun)),
        warnings: warning.map(|warning| format!("{}: {warning}", file.display())).into_iter().collect(),
        image: file,
    })
}

fn in_utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn posterior_of<'a>(classifier: &'a Classifier, image: &RgbImage) -> Result<Posterior<'a>> {
    let logits = classifier.logits(std::slice::from_ref(image))?;
    posterior_for(&classifier.bundle, &logits, Objective::Photo(Prior::Photo))
}

/// A ratio for people.
fn ratio(x: f64) -> String {
    match x {
        ..0.0095 => "less than 0.01".to_owned(),
        ..0.095 => format!("{x:.2}"),
        ..9.5 => format!("{x:.1}"),
        ..999.5 => format!("{x:.0}"),
        _ => "more than 1000".to_owned(),
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Claim { at, radius_km } = self.claim;
        let verdict = self.verdict.map_or("no verdict on", Verdict::words);
        let image = sanitize_line(self.image.display());
        write!(f, "{image}: {verdict} {} ({at}; {radius_km} km)", self.place)?;
        match self.evidence {
            Some(Evidence { p, prior_p, likelihood_ratio }) => {
                write!(
                    f,
                    "\n  {} of the probability is within {radius_km} km, {} without the image; likelihood ratio {}",
                    percent(p),
                    percent(prior_p),
                    ratio(likelihood_ratio)
                )?;
                match (self.measured_ratio, self.measured_on) {
                    (Some(measured), Some(n)) => write!(f, ", which is {} as measured on {n} photos", ratio(measured))?,
                    _ => write!(f, ", of which nothing was measured for the bundle {}", sanitize_line(&self.bundle))?,
                }
            }
            None => write!(f, "\n  the bundle knows no place within {radius_km} km")?,
        }
        if let Some(Taken { time, from }) = &self.taken {
            match from {
                TimeSource::Given => write!(f, "\n  taken {time}")?,
                TimeSource::Exif => write!(f, "\n  taken {time} (EXIF)")?,
                TimeSource::ExifWithoutZone => {
                    write!(f, "\n  taken {time} (EXIF), a local time: the sun's position needs --time in UTC")?;
                }
            }
        }
        if let Some(sun) = &self.sun {
            write!(f, ": {sun}")?;
        }
        if let Some(light) = &self.light {
            write!(f, "\n  {light}")?;
        }
        Ok(())
    }
}
