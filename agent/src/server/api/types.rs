//! What the service reads and writes. The OpenAPI document is generated from these types.

use landfall_model::Prior;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::photos::candidates::Candidate;
use crate::photos::hints::{Hint, Hints};
use crate::photos::locate::{Given, LocatedPhoto};

/// Maximum number of images in a request.
pub(super) const MAX_IMAGES: usize = 64;
/// Maximum number of characters of an image's name.
pub(super) const MAX_NAME_CHARS: usize = 256;

/// Images to locate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocateRequest {
    #[schema(min_items = 1, max_items = 64)]
    pub images: Vec<ImageData>,
    #[serde(default)]
    pub options: LocateSettings,
}

/// An image file: JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageData {
    /// A name for the answer. Without it, the images are numbered from 1.
    #[schema(max_length = 256)]
    pub name: Option<String>,
    /// The bytes of the file in Base64.
    #[schema(content_encoding = "base64", example = "/9j/4AAQSkZJRg==")]
    pub data: String,
}

/// `multipart/form-data`: image files and, optionally, options.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes a request that is read part by part")]
pub(super) struct LocateForm {
    /// The image files, 1 to 64. Their file names are used in the answer.
    #[schema(content_media_type = "application/octet-stream", min_items = 1, max_items = 64)]
    image: Vec<Vec<u8>>,
    options: Option<LocateSettings>,
}

/// How to locate.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::server) struct LocateSettings {
    /// Name of the bundle; by default the first one of the service.
    pub bundle: Option<String>,
    /// The prior: where people take photos, where rounds of a game lie, or the same everywhere.
    pub prior: PriorName,
    /// Whether all images are views of one place, which is then located once.
    pub one_place: bool,
    /// Maximum number of distinct candidates.
    #[schema(minimum = 1, maximum = 100)]
    pub top: Option<u16>,
    /// What is known of the place.
    pub known: Known,
}

/// A prior over the cells of a bundle.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::server) enum PriorName {
    #[default]
    Photo,
    Game,
    Flat,
}

/// What is known of a place. All of it holds.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::server) struct Known {
    /// It is in one of these countries, ISO 3166-1 alpha-2 codes.
    pub country: Vec<String>,
    pub near: Option<Circle>,
    pub bounds: Option<Bounds>,
    /// It is in none of these areas.
    #[schema(max_items = 64)]
    pub exclude: Vec<Area>,
}

/// An area: countries, a circle or a box.
#[derive(Debug, Deserialize, Serialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(in crate::server) enum Area {
    /// ISO 3166-1 alpha-2 codes.
    Country(Vec<String>),
    Near(Circle),
    Bounds(Bounds),
}

/// A circle on the earth.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Circle {
    /// Latitude of the centre in degrees.
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    /// Longitude of the centre in degrees.
    #[schema(minimum = -180, maximum = 180)]
    pub lng: f64,
    /// Radius in kilometres.
    #[schema(exclusive_minimum = 0)]
    pub km: f64,
}

/// A box between two latitudes and two longitudes in degrees; over the date line if `west` is greater than `east`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Bounds {
    #[schema(minimum = -90, maximum = 90)]
    pub south: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub west: f64,
    #[schema(minimum = -90, maximum = 90)]
    pub north: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub east: f64,
}

impl From<PriorName> for Prior {
    fn from(name: PriorName) -> Self {
        match name {
            PriorName::Photo => Self::Photo,
            PriorName::Game => Self::Game,
            PriorName::Flat => Self::Flat,
        }
    }
}

impl From<Prior> for PriorName {
    fn from(prior: Prior) -> Self {
        match prior {
            Prior::Photo => Self::Photo,
            Prior::Game => Self::Game,
            Prior::Flat => Self::Flat,
        }
    }
}

impl Circle {
    /// As on the command line.
    fn text(self) -> Result<String, String> {
        let Self { lat, lng, km } = self;
        check_longitudes(&[lng])?;
        Ok(format!("{lat},{lng},{km}"))
    }
}

impl Bounds {
    /// As on the command line.
    fn text(self) -> Result<String, String> {
        let Self { south, west, north, east } = self;
        check_longitudes(&[west, east])?;
        Ok(format!("{south},{west},{north},{east}"))
    }
}

/// The command line also takes longitudes beyond the date line.
fn check_longitudes(longitudes: &[f64]) -> Result<(), String> {
    match longitudes.iter().find(|lng| !(-180.0..=180.0).contains(*lng)) {
        Some(lng) => Err(format!("longitude {lng} is not from -180 to 180")),
        None => Ok(()),
    }
}

impl Known {
    /// # Errors
    /// What is wrong with an area.
    pub(super) fn hints(&self) -> Result<Hints, String> {
        let mut hints = Vec::new();
        if !self.country.is_empty() {
            hints.push(Hint::country(&self.country.join(","))?);
        }
        if let Some(circle) = self.near {
            hints.push(Hint::near(&circle.text()?)?);
        }
        if let Some(bounds) = self.bounds {
            hints.push(Hint::bounds(&bounds.text()?)?);
        }
        for area in &self.exclude {
            hints.push(Hint::exclude(&match area {
                Area::Country(codes) => codes.join(","),
                Area::Near(circle) => circle.text()?,
                Area::Bounds(bounds) => bounds.text()?,
            })?);
        }
        Ok(Hints::new(hints))
    }
}

/// Predictions, in the order of the images.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct LocateResponse {
    /// Name and version of the bundle.
    pub bundle: String,
    /// Name and version of the engine that ran it.
    pub engine: String,
    /// One per image, or one for all with `one_place`.
    pub results: Vec<LocateResult>,
}

/// A prediction, or why there is none.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
#[serde(untagged)]
pub(in crate::server) enum LocateResult {
    Located(Box<Located>),
    Failed(Failed),
}

/// An image that could not be located.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct Failed {
    /// Name of the image.
    pub image: String,
    /// What is wrong with it.
    pub error: String,
}

/// A prediction.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct Located {
    /// Name of the image; of the first one with `one_place`.
    pub image: String,
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lng: f64,
    /// Description of the place, with a town nearby.
    pub place: String,
    /// ISO 3166-1 alpha-2 code; `null` at sea.
    pub country: Option<&'static str>,
    /// Expected score on the World map of the game.
    pub expected_score: f64,
    pub radius_km: CredibleRadii,
    /// The most likely cells, the most likely one first.
    pub top: Vec<CellMass>,
    pub prior: PriorName,
    /// What was known of the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenAreas>,
    /// Distinct places, the prediction first, if `top` asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<CandidatePlace>>,
    /// What is missing of truncated files.
    pub warnings: Vec<String>,
}

/// Radii of the circles around the prediction that hold 50 % and 90 % of the probability, in kilometres.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct CredibleRadii {
    pub p50: f64,
    pub p90: f64,
}

/// A cell of the bundle.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct CellMass {
    /// S2 token.
    pub cell: String,
    /// Latitude of the training places in the cell, in degrees.
    pub lat: f64,
    /// Their longitude in degrees.
    pub lng: f64,
    /// Probability of the cell.
    pub p: f64,
}

/// What was known of the place apart from the image.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct GivenAreas {
    /// The areas, as in `country FR`.
    pub hints: Vec<String>,
    /// Probability that all of it holds, judged from the image only.
    pub p: f64,
}

/// A place that the image may show.
#[derive(Debug, Serialize, JsonSchema, ToSchema)]
pub(in crate::server) struct CandidatePlace {
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lng: f64,
    /// Probability that the place is within the radius, and not nearer to another candidate.
    pub p: f64,
    /// Radius in kilometres. No other candidate is within it.
    pub radius_km: f64,
    /// ISO 3166-1 alpha-2 code; `null` at sea.
    pub country: Option<&'static str>,
    /// Description of the place, with a town nearby.
    pub place: String,
}

impl LocateResult {
    pub(super) fn failed(image: String, error: String) -> Self {
        Self::Failed(Failed { image, error })
    }

    pub(super) fn located(image: String, photo: LocatedPhoto, warnings: Vec<String>) -> Self {
        let candidate = |Candidate { at, p, radius_km, country, place }| CandidatePlace {
            lat: at.lat,
            lng: at.lng,
            p,
            radius_km,
            country,
            place,
        };
        let top = photo.top.into_iter();
        Self::Located(Box::new(Located {
            image,
            lat: photo.lat,
            lng: photo.lng,
            place: photo.place,
            country: photo.country,
            expected_score: photo.expected_score,
            radius_km: CredibleRadii { p50: photo.radius_km.p50, p90: photo.radius_km.p90 },
            top: top.map(|it| CellMass { cell: it.cell, lat: it.at.lat, lng: it.at.lng, p: it.p }).collect(),
            prior: photo.prior.into(),
            given: photo.given.map(|Given { hints, p }| GivenAreas { hints, p }),
            candidates: photo.candidates.map(|all| all.into_iter().map(candidate).collect()),
            warnings,
        }))
    }
}

/// The state of the service.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// Names and versions of the bundles, the default first.
    pub bundles: Vec<String>,
}
