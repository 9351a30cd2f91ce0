//! Options for writing locations, which are dry runs unless `--write` is given.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::LatLng;

use crate::cli::output::check_output_dir;
use crate::photos::exif::{Geotag, GeotagSource};
use crate::photos::geotag::{GeotagOptions, GeotagSummary, Geotagger};
use crate::photos::locate::LocatedPhoto;

#[derive(Args)]
#[command(next_help_heading = "Writing locations")]
pub(super) struct GeotagArgs {
    /// Make copies of the images with the location in their EXIF data in this directory
    ///
    /// A dry run, which counts what would be written, unless --write is given. Images that already have a GPS position are not
    /// copied, and existing files are not overwritten.
    #[arg(long, value_name = "DIR")]
    pub(super) write_exif: Option<PathBuf>,
    /// Write an XMP sidecar beside each image, as in photo.jpg.xmp
    ///
    /// A dry run, which counts what would be written, unless --write is given. Images that already have a GPS position or a
    /// sidecar of another program are left out.
    #[arg(long)]
    pub(super) sidecar: bool,
    /// Really write what --write-exif and --sidecar name
    #[arg(long)]
    pub(super) write: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Writing locations")]
pub(super) struct ConfidenceArgs {
    /// Write only estimates of at least this probability, from 0 to 1: that of the circle of the first candidate (--top)
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) min_confidence: Option<f64>,
}

impl GeotagArgs {
    pub(super) fn has_target(&self) -> bool {
        self.write_exif.is_some() || self.sidecar
    }

    /// # Errors
    /// When the directory for copies cannot be written.
    pub(super) fn options(&self, min_confidence: Option<f64>) -> Result<GeotagOptions> {
        let Self { write_exif, sidecar, write } = self;
        write_exif.as_deref().map(check_output_dir).transpose()?;
        Ok(GeotagOptions { copies: write_exif.clone(), sidecars: *sidecar, write: *write, min_confidence })
    }
}

fn probability(text: &str) -> Result<f64, String> {
    let p = text.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
    p.ok_or_else(|| format!("`{text}` is not a probability from 0 to 1"))
}

/// The estimate for a photo, and the probability of its circle.
pub(super) fn estimate(located: &LocatedPhoto) -> (Geotag<'_>, Option<f64>) {
    let geotag = Geotag {
        at: LatLng { lat: located.lat, lng: located.lng },
        error_m: Some(located.radius_km.p90 * 1000.0),
        bundle: &located.bundle,
        source: if located.given.is_some() { GeotagSource::PictureAndHints } else { GeotagSource::Picture },
    };
    (geotag, located.candidates.iter().flatten().next().map(|first| first.p))
}

/// Writes a location and prints what went wrong.
pub(super) fn add(geotagger: &mut Geotagger, file: &Path, name: &Path, geotag: &Geotag<'_>, p: Option<f64>) {
    for problem in geotagger.add(file, name, geotag, p) {
        eprint_sanitized(format!("landfall: {}", sanitize_line(problem)));
    }
}

/// Prints what was written. Returns the failures as a message, if there were any.
pub(super) fn print_summary(summary: &GeotagSummary) -> Option<String> {
    eprint_sanitized(sanitize_line(summary));
    (summary.failed > 0).then(|| format!("{} locations could not be written", summary.failed))
}
