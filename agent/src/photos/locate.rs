//! Locates photos.

use std::path::{Path, PathBuf};

use anyhow::Result;
use image::RgbImage;
use landfall_common::gallery::Gallery;
use landfall_common::text::sanitize_line;
use landfall_model::images::{self, Decoded};
use landfall_model::prediction::{RadiusKm, TopCell};
use landfall_model::{Bundle, Classifier, LatLng, Posterior, Prediction, Prior};
use serde::{Deserialize, Serialize, Serializer};

use crate::inference;
use crate::inference::{CellProbability, Objective, posterior_for};
use crate::photos::candidates::{Candidate, candidates};
use crate::photos::explain::{Answer, PictureEvidence, explain_pictures, region};
use crate::photos::gallery::{Neighbour, SHOWN, neighbours};
use crate::photos::hints::{HintedCells, best_location};
use crate::photos::regions::{CredibleRegion, credible_regions};

/// How to locate, apart from the images.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LocateOptions<'a> {
    /// The prior over the cells.
    pub prior: Prior,
    /// The cells that are possible by what else is known; `None` for all.
    pub hinted: Option<&'a HintedCells>,
    /// Number of distinct candidates; 0 for none.
    pub top: usize,
    /// Whether to compute the outlines of the credible regions.
    pub regions: bool,
    /// Whether to find out what in the pictures the answer depends on.
    pub explain: bool,
    /// Located pictures to show the most similar ones of.
    pub gallery: Option<&'a Gallery>,
}

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
    /// What else was known of the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// Distinct places, the prediction first, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<Candidate>>,
    /// The most similar pictures of the gallery, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Vec<Neighbour>>,
    /// What in each picture the answer depends on, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<PictureEvidence>>,
    /// The credible regions of 50 and 90 %, if they were asked for.
    #[serde(skip)]
    pub regions: Vec<CredibleRegion>,
    /// The posterior, for maps.
    #[serde(skip)]
    pub heat: Vec<CellProbability>,
    /// Files of which a part is missing, one line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// What was known of the place apart from the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The options that state it.
    pub hints: Vec<String>,
    /// Probability that all of it holds, judged from the image only.
    pub p: f64,
}

/// JSON is Unicode, and file names need not be.
pub(super) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Locates one place from its views.
///
/// # Errors
/// When an image cannot be read; the message names it.
pub(crate) fn locate(classifier: &Classifier, files: &[&Path], options: LocateOptions<'_>) -> Result<LocatedPhoto> {
    let (mut pictures, mut warnings) = (Vec::new(), Vec::new());
    for file in files {
        let Decoded { image, warning } = images::open_with_warning(file)?;
        warnings.extend(warning.map(|warning| format!("{}: {warning}", file.display())));
        pictures.push(image);
    }
    let first = files.first().map(|file| file.to_path_buf()).unwrap_or_default();
    Ok(LocatedPhoto { warnings, ..of_pictures(classifier, first, &pictures, options)? })
}

/// Locates one place from decoded images; `image` is their name in the result.
///
/// # Errors
/// When inference fails.
pub(crate) fn of_pictures(
    classifier: &Classifier,
    image: PathBuf,
    pictures: &[RgbImage],
    options: LocateOptions<'_>,
) -> Result<LocatedPhoto> {
    let embeddings = classifier.encoder().embed_all(pictures)?;
    let logits = embeddings.iter().map(|embedding| classifier.head(embedding)).collect::<Result<Vec<_>, _>>()?;
    let evidence = |posterior: &Posterior<'_>, prediction: &Prediction| {
        let answer = Answer { options, region: region(posterior, prediction) };
        explain_pictures(classifier, pictures, &embeddings, &logits, &answer)
    };
    let located = answer(&classifier.bundle, image, &logits, options, options.explain.then_some(evidence))?;
    let at = LatLng { lat: located.lat, lng: located.lng };
    let nearest = |gallery: &Gallery| neighbours(gallery, &gallery.nearest_to_views(&embeddings, SHOWN), at);
    Ok(LocatedPhoto { neighbours: options.gallery.map(nearest), ..located })
}

/// Locates one place from the logits of its views; `image` is their name in the result. What needs the images, evidence and
/// neighbours, is left out.
///
/// # Errors
/// When the logits do not fit the bundle.
pub(crate) fn of_logits(
    bundle: &Bundle,
    image: PathBuf,
    logits: &[Vec<f32>],
    options: LocateOptions<'_>,
) -> Result<LocatedPhoto> {
    type NoEvidence = fn(&Posterior<'_>, &Prediction) -> Result<Vec<PictureEvidence>>;
    answer(bundle, image, logits, options, None::<NoEvidence>)
}

fn answer(
    bundle: &Bundle,
    image: PathBuf,
    logits: &[Vec<f32>],
    options: LocateOptions<'_>,
    evidence: Option<impl FnOnce(&Posterior<'_>, &Prediction) -> Result<Vec<PictureEvidence>>>,
) -> Result<LocatedPhoto> {
    let LocateOptions { prior, hinted, top, regions, .. } = options;
    let unhinted = posterior_for(bundle, logits, Objective::Photo(prior))?;
    let narrowed = hinted.and_then(|cells| Some((cells, cells.narrow(&unhinted)?)));
    let posterior = narrowed.as_ref().map_or(&unhinted, |(_, posterior)| posterior);
    let is_allowed = |at| hinted.is_none_or(|cells| cells.allow(at));
    let mut prediction = inference::predict_from(posterior, Objective::Photo(prior));
    if !is_allowed(prediction.point)
        && let Some(pin) = best_location(posterior, is_allowed)
    {
        prediction = Prediction::at_pin(posterior, pin);
    }
    let evidence = evidence.map(|evidence| evidence(posterior, &prediction)).transpose()?;
    let candidates = (top > 0).then(|| candidates(posterior, prediction.point, top, is_allowed));
    Ok(LocatedPhoto {
        image,
        lat: prediction.point.lat,
        lng: prediction.point.lng,
        expected_score: prediction.expected_score,
        country: prediction.country,
        radius_km: prediction.radius_km(),
        place: prediction.place,
        top: prediction.candidates,
        bundle: bundle.manifest.id(),
        prior,
        given: hinted.map(|cells| Given { hints: cells.texts(), p: cells.mass(&unhinted.probabilities()) }),
        candidates,
        neighbours: None,
        evidence,
        regions: if regions { credible_regions(posterior, hinted) } else { Vec::new() },
        heat: match &narrowed {
            Some((cells, posterior)) => cells.heat(posterior, unhinted.table),
            None => inference::cell_probabilities(&unhinted),
        },
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
        )?;
        if let Some(Given { hints, p }) = &self.given {
            let hints = sanitize_line(hints.join("; "));
            write!(f, "\n  given {hints} ({} of the probability without it)", percent(*p))?;
        }
        for (i, candidate) in self.candidates.iter().flatten().enumerate() {
            let Candidate { at, p, radius_km, place, .. } = candidate;
            write!(f, "\n  {}. {} within {radius_km:.0} km: {place} ({at})", i + 1, percent(*p))?;
        }
        for neighbour in self.neighbours.iter().flatten() {
            write!(f, "\n  similar: {neighbour}")?;
        }
        for evidence in self.evidence.iter().flatten() {
            write!(f, "\n  {evidence}")?;
        }
        Ok(())
    }
}

/// A probability for people.
pub(crate) fn percent(p: f64) -> String {
    match 100.0 * p {
        percent if percent >= 9.5 => format!("{percent:.0} %"),
        percent if percent >= 0.1 => format!("{percent:.1} %"),
        _ => "less than 0.1 %".to_owned(),
    }
}
