//! How a site scores: its score formula and the sizes of its maps.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::LatLng;
use landfall_model::score::{Bounds, MAX_POINTS, MapScale};
use schemars::JsonSchema;
use serde::Deserialize;

/// Score formula: `max_points · exp(−distance / falloff_km)`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreFormula {
    /// Maximum score of a round.
    pub max_points: f64,
    /// Distance in kilometres at which the score falls to 1/e, on maps whose size is not listed.
    pub falloff_km: Option<f64>,
}

impl Default for ScoreFormula {
    fn default() -> Self {
        Self { max_points: MAX_POINTS, falloff_km: None }
    }
}

impl ScoreFormula {
    /// An error message if the formula is invalid.
    pub(super) fn validation_error(&self) -> Option<&'static str> {
        let falloff = self.falloff_km.is_none_or(|km| (0.001..=1e6).contains(&km));
        match ((1.0..=1e6).contains(&self.max_points), falloff) {
            (true, true) => None,
            (false, _) => Some("score.max_points must be 1 to 1000000"),
            (_, false) => Some("score.falloff_km must be 0.001 to 1000000"),
        }
    }
}

/// The size of one map.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapSize {
    /// Maximum error distance of the map in metres, if known.
    pub max_error_distance_m: Option<f64>,
    /// South-west and north-east corner, each latitude and longitude.
    pub bounds: Option<[[f64; 2]; 2]>,
    /// Countries that contain all places of the map, ISO 3166-1 alpha-2.
    #[serde(default)]
    pub countries: Vec<String>,
}

impl MapSize {
    /// The scale of the map.
    ///
    /// # Errors
    /// When a corner or the distance is invalid.
    pub fn scale(&self) -> Result<MapScale> {
        if self.max_error_distance_m.is_some_and(|metres| !metres.is_finite() || metres < 0.0) {
            return Err(usage_error("max_error_distance_m must be 0 or more"));
        }
        let corner = |[lat, lng]: [f64; 2]| LatLng::new(lat, lng);
        let bounds =
            self.bounds.map(|[min, max]| anyhow::Ok(Bounds { min: corner(min)?, max: corner(max)? })).transpose();
        Ok(MapScale::of_map(self.max_error_distance_m, bounds?))
    }
}
