//! Locates photos.

use std::path::{Path, PathBuf};

use anyhow::Result;
use image::RgbImage;
use landfall_common::text::sanitize_line;
use landfall_model::images::{self, Decoded};
use landfall_model::prediction::{RadiusKm, TopCell};
use landfall_model::{Classifier, Prior};
use serde::{Serialize, Serializer};

use crate::inference;
use crate::inference::{CellProbability, Objective, posterior_for};

/// A prediction, as printed by `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct LocatedPhoto {
    /// The image; the first one if there are several views of one place.
    #[serde(serialize_with = "as_text")]
    pub image: PathBuf,
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lng: f64,
    /// Expected score on the World map.
    pub expected_score: f64,
    /// ISO 3166-1 alpha-2 code; `None` at sea.
    pub country: Option<&'static str>,
    /// Description of the place.
    pub place: String,
    /// Credible radii of 50 % and 90 % around the prediction.
    pub radius_km: RadiusKm,
    /// The most likely cells.
    pub top: Vec<TopCell>,
    /// The bundle, `name@version`.
    pub bundle: String,
    /// The prior over the cells.
    pub prior: Prior,
    /// The posterior, for maps.
    #[serde(skip)]
    pub heat: Vec<CellProbability>,
    /// Files of which a part is missing, one line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// JSON is Unicode, and file names need not be.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Locates one place from its views.
///
/// # Errors
/// When an image cannot be read; the message names it.
pub(crate) fn locate(classifier: &Classifier, files: &[&Path], prior: Prior) -> Result<LocatedPhoto> {
    let (mut pictures, mut warnings) = (Vec::new(), Vec::new());
    for file in files {
        let Decoded { image, warning } = images::open_with_warning(file)?;
        warnings.extend(warning.map(|warning| format!("{}: {warning}", file.display())));
        pictures.push(image);
    }
    let first = files.first().map(|file| file.to_path_buf()).unwrap_or_default();
    Ok(LocatedPhoto { warnings, ..of_pictures(classifier, first, &pictures, prior)? })
}

/// Locates one place from decoded images; `image` is their name in the result.
///
/// # Errors
/// When inference fails.
pub(crate) fn of_pictures(
    classifier: &Classifier,
    image: PathBuf,
    pictures: &[RgbImage],
    prior: Prior,
) -> Result<LocatedPhoto> {
    let logits = classifier.logits(pictures)?;
    let posterior = posterior_for(&classifier.bundle, &logits, Objective::Photo(prior))?;
    let prediction = inference::predict_from(&posterior, Objective::Photo(prior));
    Ok(LocatedPhoto {
        image,
        lat: prediction.point.lat,
        lng: prediction.point.lng,
        expected_score: prediction.expected_score,
        country: prediction.country,
        radius_km: prediction.radius_km(),
        place: prediction.place,
        top: prediction.candidates,
        bundle: classifier.bundle.manifest.id(),
        prior,
        heat: inference::cell_probabilities(&posterior),
        warnings: Vec::new(),
    })
}

impl std::fmt::Display for LocatedPhoto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} ({:.4}, {:.4}; half of the probability within {:.0} km, nine tenths within {:.0} km)",
            sanitize_line(self.image.display()),
            self.place,
            self.lat,
            self.lng,
            self.radius_km.p50,
            self.radius_km.p90
        )
    }
}
