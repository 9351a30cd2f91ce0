//! Writing locations: into EXIF data of copies, and into sidecars. Nothing is written in a dry run, but everything is checked.

use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_common::fs::{write_atomic, write_new};
use landfall_model::metadata::gps;
use serde::Serialize;

use crate::error::describe;
use crate::photos::exif::{Geotag, geotagged_copy};
use crate::photos::sidecar::{SidecarState, sidecar, sidecar_path, sidecar_state};

/// Where locations are written, and which.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeotagOptions {
    /// Directory for copies of the photos.
    pub copies: Option<PathBuf>,
    /// Whether sidecars are written beside the photos.
    pub sidecars: bool,
    /// Whether anything is written; `false` for a dry run.
    pub write: bool,
    /// Least probability of the circle of an estimate.
    pub min_confidence: Option<f64>,
}

/// Writes locations, or only counts what it would write.
#[derive(Debug)]
pub(crate) struct Geotagger {
    options: GeotagOptions,
    summary: GeotagSummary,
}

/// What was written, or would be in a dry run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GeotagSummary {
    pub is_dry_run: bool,
    pub copies: usize,
    pub sidecars: usize,
    /// Photos that have a position already.
    pub have_location: usize,
    pub below_min_confidence: usize,
    /// Photos that have a sidecar of another program.
    pub foreign_sidecars: usize,
    pub failed: usize,
    #[serde(skip)]
    min_confidence: f64,
}

impl GeotagOptions {
    pub(crate) fn has_target(&self) -> bool {
        self.copies.is_some() || self.sidecars
    }
}

impl Geotagger {
    pub(crate) fn new(options: GeotagOptions) -> Self {
        let summary = GeotagSummary {
            is_dry_run: !options.write,
            min_confidence: options.min_confidence.unwrap_or_default(),
            ..GeotagSummary::default()
        };
        Self { options, summary }
    }

    /// Writes the location of the photo `file`, in its copy under `name`. `p` is the probability of an estimate's circle;
    /// `None` for a location that a person confirmed. Returns what went wrong, one line each.
    pub(crate) fn add(&mut self, file: &Path, name: &Path, geotag: &Geotag<'_>, p: Option<f64>) -> Vec<String> {
        if self.options.min_confidence.zip(p).is_some_and(|(least, p)| p < least) {
            self.summary.below_min_confidence += 1;
            return Vec::new();
        }
        if matches!(gps::position(file), Ok(Some(_))) {
            self.summary.have_location += 1;
            return Vec::new();
        }
        let mut problems = Vec::new();
        let mut count = |result: Result<usize>| {
            result.unwrap_or_else(|error| {
                problems.push(describe(&error));
                0
            })
        };
        if let Some(copies) = &self.options.copies {
            self.summary.copies += count(copy(file, &copies.join(name), geotag, self.options.write));
        }
        if self.options.sidecars {
            match sidecar_state(file) {
                SidecarState::Foreign => self.summary.foreign_sidecars += 1,
                SidecarState::Absent | SidecarState::Own => {
                    self.summary.sidecars += count(write_sidecar(file, geotag, self.options.write));
                }
            }
        }
        self.summary.failed += problems.len();
        problems
    }

    pub(crate) fn summary(&self) -> &GeotagSummary {
        &self.summary
    }
}

/// Writes a copy. Returns the number of copies.
fn copy(file: &Path, to: &Path, geotag: &Geotag<'_>, write: bool) -> Result<usize> {
    if to.symlink_metadata().is_ok() {
        return Err(usage_error(format!(
            "{} already exists and is not overwritten; choose another directory",
            to.display()
        )));
    }
    let Some(copy) = geotagged_copy(file, geotag)? else { return Ok(0) };
    if write {
        write_new(to, &copy)?;
    }
    Ok(1)
}

/// Writes a sidecar. Returns the number of sidecars.
fn write_sidecar(photo: &Path, geotag: &Geotag<'_>, write: bool) -> Result<usize> {
    if write {
        write_atomic(&sidecar_path(photo), sidecar(geotag).as_bytes())?;
    }
    Ok(1)
}

impl std::fmt::Display for GeotagSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.is_dry_run { "would write" } else { "wrote" };
        write!(
            f,
            "{verb} {} and {}",
            plural(self.copies, "copy", "copies"),
            plural(self.sidecars, "sidecar", "sidecars")
        )?;
        let below = format!("with a probability below {}", self.min_confidence);
        for (n, reason) in [
            (self.have_location, "with a position"),
            (self.below_min_confidence, below.as_str()),
            (self.foreign_sidecars, "with a sidecar of another program"),
        ] {
            if n > 0 {
                write!(f, "; left out {} {reason}", plural(n, "photo", "photos"))?;
            }
        }
        if self.failed > 0 {
            write!(f, "; {} failed", self.failed)?;
        }
        if self.is_dry_run {
            f.write_str(". Nothing was written: add --write")?;
        }
        Ok(())
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::exif::{GeotagSource, is_copy};
    use image::{ImageFormat, RgbImage};
    use landfall_model::LatLng;

    const AT: LatLng = LatLng { lat: 45.764, lng: 4.8357 };

    fn geotag() -> Geotag<'static> {
        Geotag { at: AT, error_m: Some(9000.0), bundle: "pocket@1", source: GeotagSource::Picture }
    }

    fn run(dir: &Path, write: bool, min_confidence: Option<f64>) -> (GeotagSummary, Vec<String>) {
        let copies = Some(dir.join("copies"));
        let mut geotagger = Geotagger::new(GeotagOptions { copies, sidecars: true, write, min_confidence });
        let names = [("a.jpg", 0.9), ("b.jpg", 0.2), ("c.jpg", 0.9)];
        let problems =
            names.iter().flat_map(|(name, p)| geotagger.add(&dir.join(name), Path::new(name), &geotag(), Some(*p)));
        let problems = problems.collect();
        (geotagger.summary().clone(), problems)
    }

    #[test]
    fn a_dry_run_promises_what_a_run_writes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "b.jpg", "c.jpg"] {
            RgbImage::new(8, 8).save_with_format(dir.path().join(name), ImageFormat::Jpeg).unwrap();
        }
        std::fs::write(dir.path().join("c.jpg.xmp"), "<of-another-program/>").unwrap();
        let (dry, problems) = run(dir.path(), false, Some(0.5));
        assert!(problems.is_empty() && !dir.path().join("copies").exists() && !dir.path().join("a.jpg.xmp").exists());
        assert_eq!(
            dry.to_string(),
            "would write 2 copies and 1 sidecar; left out 1 photo with a probability below 0.5; left out 1 photo with a \
             sidecar of another program. Nothing was written: add --write"
        );
        let (done, problems) = run(dir.path(), true, Some(0.5));
        assert!(problems.is_empty(), "{problems:?}");
        assert!(done.to_string().starts_with("wrote 2 copies and 1 sidecar; left out 1 photo with"), "{done}");
        assert!(is_copy(&dir.path().join("copies/a.jpg")) && !dir.path().join("copies/b.jpg").exists());
        assert_eq!(sidecar_state(&dir.path().join("a.jpg")), SidecarState::Own);
        assert_eq!(std::fs::read_to_string(dir.path().join("c.jpg.xmp")).unwrap(), "<of-another-program/>");
        // Copies are never overwritten; own sidecars are.
        let (again, problems) = run(dir.path(), true, None);
        assert_eq!((again.copies, again.sidecars, again.failed, problems.len()), (1, 2, 2, 2));
        assert!(problems[0].contains("already exists"), "{problems:?}");
        let mut of_copy = Geotagger::new(GeotagOptions { sidecars: true, write: true, ..GeotagOptions::default() });
        of_copy.add(&dir.path().join("copies/a.jpg"), Path::new("a.jpg"), &geotag(), None);
        assert_eq!((of_copy.summary().have_location, of_copy.summary().sidecars), (1, 0));
    }
}
