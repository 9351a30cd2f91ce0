//! The map of a game and its area.

use std::ops::RangeInclusive;

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::score::MAX_POINTS;
use landfall_model::{LatLng, MapScale, countries};
use serde::{Deserialize, Serialize};

use crate::record::check::{check_amount, check_count, check_text};
use crate::score::ScoreLaw;

/// Maximum number of countries of an area: there are 249.
const MAX_COUNTRIES: usize = 300;

/// The map of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// Name, as the page shows it.
    pub name: String,
    /// Scale of the score formula.
    pub scale_m: MapScale,
    /// Maximum score of a round, if it is not 5000.
    #[serde(default = "standard_max_points", skip_serializing_if = "is_standard")]
    pub max_points: f64,
    /// Score law of the page, if it is not GeoGuessr's formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_law: Option<ScoreLaw>,
    /// Whether the page shows points. Without them, all scores are computed here.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub is_scored_by_page: bool,
    /// Area that contains all places, as far as it is known.
    #[serde(default, skip_serializing_if = "Area::is_unknown")]
    pub area: Area,
}

fn standard_max_points() -> f64 {
    MAX_POINTS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_standard(points: &f64) -> bool {
    *points == MAX_POINTS
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_true(value: &bool) -> bool {
    *value
}

impl Map {
    /// Checks the values of a map from a record.
    ///
    /// # Errors
    /// Which value no map has.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_points < 1.0 {
            return Err(format!("{} is not the maximum score of a map", self.max_points));
        }
        check_amount(self.max_points)?;
        check_count(self.area.countries.len(), MAX_COUNTRIES, "countries")?;
        check_text(&self.name)
    }

    /// Converts points of 5000 to points of this map.
    pub(crate) fn to_map_points(&self, points: f64) -> f64 {
        points * (self.max_points / MAX_POINTS)
    }

    /// Converts points of this map to points of 5000.
    pub(crate) fn to_standard_points(&self, points: f64) -> f64 {
        points * (MAX_POINTS / self.max_points)
    }

    /// Score of a guess at this distance, rounded to a whole number.
    pub fn points(&self, distance_m: f64) -> u32 {
        let exact = match &self.score_law {
            Some(law) => law.exact_points(distance_m),
            None => self.to_map_points(self.scale_m.exact_points(distance_m)),
        };
        exact.round() as u32
    }

    /// The lowest and highest score of a guess whose distance is known within `within_m` metres.
    pub(crate) fn points_within(&self, distance_m: f64, within_m: f64) -> RangeInclusive<u32> {
        let (near, far) = (self.points((distance_m - within_m).max(0.0)), self.points(distance_m + within_m));
        near.min(far)..=near.max(far)
    }
}

/// Area of a map: bounds, countries, or both. Unknown if empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// South-west and north-east corner, each as latitude and longitude. The area crosses the date line if the first
    /// longitude is larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[[f64; 2]; 2]>,
    /// ISO 3166-1 alpha-2 codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
}

impl Area {
    /// Whether the area is unknown.
    pub fn is_unknown(&self) -> bool {
        self.bounds.is_none() && self.countries.is_empty()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// When a corner or a country code is invalid.
    pub fn check(&self) -> Result<()> {
        for [lat, lng] in self.bounds.iter().flatten() {
            LatLng::new(*lat, *lng)?;
        }
        match self.countries.iter().find(|code| countries::by_code(code).is_none()) {
            Some(code) => {
                Err(usage_error(format!("`{code}` is not an ISO country code of two capital letters, as in FR")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_said() {
        let error = Area { countries: vec!["XQ".into()], bounds: None }.check().unwrap_err();
        assert!(error.to_string().contains("`XQ` is not an ISO country"), "{error}");
        assert!(Area { bounds: Some([[91.0, 0.0], [0.0, 0.0]]), countries: Vec::new() }.check().is_err());
    }
}
