//! A prediction as a manifest keeps it.

use std::path::PathBuf;

use landfall_model::prediction::RadiusKm;
use landfall_model::{LatLng, Prior, countries};
use serde::{Deserialize, Serialize};

use crate::photos::candidates::Candidate;
use crate::photos::locate::{Given, LocatedPhoto};

/// Where a picture was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub at: LatLng,
    /// Probability of the circle around the location with the radius `circle_km`.
    pub p: f64,
    pub circle_km: f64,
    /// Radii of the circles with 50 % and 90 % of the probability.
    pub radius_km: Radii,
    pub country: Option<String>,
    pub place: String,
    /// Expected score on the World map.
    pub expected_score: f64,
    /// What was known of the place apart from the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// Other places, the most likely one first, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Radii {
    pub p50: f64,
    pub p90: f64,
}

/// Another place that the picture may show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Other {
    #[serde(flatten)]
    pub at: LatLng,
    pub p: f64,
    pub radius_km: f64,
    pub country: Option<String>,
    pub place: String,
}

impl Answer {
    /// `located` must have candidates.
    pub(crate) fn new(located: LocatedPhoto) -> Self {
        let mut candidates = located.candidates.unwrap_or_default().into_iter();
        let (p, circle_km) = candidates.next().map_or((0.0, 0.0), |first| (first.p, first.radius_km));
        let other = |Candidate { at, p, radius_km, country, place }: Candidate| Other {
            at,
            p,
            radius_km,
            country: country.map(str::to_owned),
            place,
        };
        Self {
            at: LatLng { lat: located.lat, lng: located.lng },
            p,
            circle_km,
            radius_km: Radii { p50: located.radius_km.p50, p90: located.radius_km.p90 },
            country: located.country.map(str::to_owned),
            place: located.place,
            expected_score: located.expected_score,
            given: located.given,
            others: candidates.map(other).collect(),
        }
    }

    /// As `locate` prints and exports it; `with_candidates` if several places were asked for.
    pub(crate) fn into_located(
        self,
        image: PathBuf,
        bundle: &str,
        prior: Prior,
        with_candidates: bool,
    ) -> LocatedPhoto {
        let iso2 = |code: &str| countries::by_code(code).map(|country| country.iso2);
        let country = self.country.as_deref().and_then(iso2);
        let first = Candidate { at: self.at, p: self.p, radius_km: self.circle_km, country, place: self.place.clone() };
        let others = self.others.into_iter().map(|other| Candidate {
            at: other.at,
            p: other.p,
            radius_km: other.radius_km,
            country: other.country.as_deref().and_then(iso2),
            place: other.place,
        });
        LocatedPhoto {
            image,
            lat: self.at.lat,
            lng: self.at.lng,
            expected_score: self.expected_score,
            country,
            place: self.place,
            radius_km: RadiusKm { p50: self.radius_km.p50, p90: self.radius_km.p90 },
            top: Vec::new(),
            bundle: bundle.to_owned(),
            prior,
            given: self.given,
            neighbours: None,
            evidence: None,
            candidates: with_candidates.then(|| std::iter::once(first).chain(others).collect()),
            regions: Vec::new(),
            heat: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
