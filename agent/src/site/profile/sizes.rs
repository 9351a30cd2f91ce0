//! How a site scores: its score formula and the sizes of its maps.

use std::collections::BTreeMap;

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::LatLng;
use landfall_model::score::{Bounds, MAX_POINTS, MapScale};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::record::{Area, Map};
use crate::score::{SIZE_KM, ScoreLaw};
use crate::site::Profile;

/// Score formula: `max_points · exp(−distance / falloff_km)`, or a `law`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreFormula {
    /// Maximum score of a round; 5000 if it is not stated.
    pub max_points: Option<f64>,
    /// Distance in kilometres at which the score falls to 1/e, on maps whose size is not listed.
    pub falloff_km: Option<f64>,
    /// Another formula, of `distance_km`, `size_km` (the size of the map) and `constants`, as in
    /// `max / (1 + distance_km / scale)`. Functions: exp, ln, sqrt, abs, round, floor, ceil, min, max.
    pub law: Option<String>,
    /// Constants of the law.
    pub constants: BTreeMap<String, f64>,
}

impl ScoreFormula {
    /// An error message if the formula is invalid.
    pub(super) fn validation_error(&self) -> Option<String> {
        let falloff = self.falloff_km.is_none_or(|km| (0.001..=1e6).contains(&km));
        let max = self.max_points.is_none_or(|points| (1.0..=1e6).contains(&points));
        let is_plain = self.max_points.is_none() && self.falloff_km.is_none();
        match (&self.law, max, falloff) {
            (_, false, _) => Some("score.max_points must be 1 to 1000000".to_owned()),
            (_, _, false) => Some("score.falloff_km must be 0.001 to 1000000".to_owned()),
            (Some(_), ..) if !is_plain => Some(
                "score.max_points and score.falloff_km do not apply beside score.law; use score.constants".to_owned(),
            ),
            (Some(_), ..) if self.constants.contains_key(SIZE_KM) => {
                Some(format!("score.constants: {SIZE_KM} is the size of the map; use another name"))
            }
            (Some(_), ..) => self.law(MapScale::of_map(None, None)).err().map(|why| format!("score.law: {why}")),
            (None, ..) if !self.constants.is_empty() => Some("score.constants apply to score.law only".to_owned()),
            (None, ..) => None,
        }
    }

    /// The law on a map of this size, if the formula is one.
    ///
    /// # Errors
    /// Why it gives no points on such a map.
    fn law(&self, size: MapScale) -> std::result::Result<Option<ScoreLaw>, String> {
        let Some(formula) = &self.law else { return Ok(None) };
        let mut constants = self.constants.clone();
        constants.insert(SIZE_KM.to_owned(), size.metres() / 1000.0);
        ScoreLaw::new(formula, &constants).map(Some)
    }

    /// Whether the size of the map has an effect.
    fn uses_size(&self) -> bool {
        self.law.as_ref().is_none_or(|law| law.contains(SIZE_KM))
    }
}

impl Profile {
    /// The map with this name or in this path, as the profile scores it. A scale or an area that the user states replaces that
    /// of the profile.
    ///
    /// # Errors
    /// When the profile lists the map with invalid bounds, or a scale is stated that has no effect.
    pub(crate) fn game_map(&self, name: String, path: &str, scale: Option<MapScale>, area: &Area) -> Result<Map> {
        if scale.is_some() && !self.score.uses_size() {
            let id = self.id();
            return Err(usage_error(format!(
                "--scale has no effect: score.law of profile {id} does not use {SIZE_KM}"
            )));
        }
        let scale_m = scale.map_or_else(|| self.scale(&name, path), Ok)?;
        let law = self.score.law(scale_m);
        let score_law = law.map_err(|why| usage_error(format!("profile {}: score.law: {why}", self.id())))?;
        let area = if area.is_unknown() { self.area(&name, path) } else { area.clone() };
        let max_points = match &score_law {
            Some(law) => law.max_points(),
            None => self.score.max_points.unwrap_or(MAX_POINTS),
        };
        Ok(Map { name, scale_m, max_points, score_law, is_scored_by_page: self.expects_points(), area })
    }

    /// Whether the page shows the points of a round: a profile without locators for them expects none.
    pub(crate) fn expects_points(&self) -> bool {
        self.result.points.iter().next().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::BUILT_IN;

    fn profile(score: &str, name: &str) -> Result<Profile> {
        Profile::parse(&format!("{}\n[score]\n{score}", BUILT_IN[0].1), name)
    }

    fn map(profile: &Profile, scale: Option<f64>) -> Result<Map> {
        let scale = scale.map(|metres| MapScale::try_from(metres).unwrap());
        profile.game_map("World".to_owned(), "/", scale, &Area::default())
    }

    #[test]
    fn score_formulas_of_profiles() {
        let plain = map(&profile("max_points = 1000\nfalloff_km = 2000.0", "p").unwrap(), None).unwrap();
        assert_eq!((plain.points(2e6), plain.max_points, plain.score_law.is_none()), (368, 1000.0, true));
        let law = "law = 'round(max / (1 + distance_km / scale))'\nconstants = { max = 5000, scale = 250.0 }";
        let with_law = profile(law, "p").unwrap();
        let by_law = map(&with_law, None).unwrap();
        assert_eq!((by_law.points(0.0), by_law.points(250_000.0), by_law.max_points), (5000, 2500, 5000.0));
        assert!(map(&with_law, Some(1e6)).unwrap_err().to_string().contains("--scale has no effect"));
        let of_size = profile("law = '4000 * exp(-10 * distance_km / size_km)'", "p").unwrap();
        assert_eq!(map(&of_size, Some(1e7)).unwrap().points(1e6), 1472);
        assert_eq!(map(&of_size, None).unwrap().points(2_001_508.6), 1472);
    }

    #[test]
    fn errors_of_score_laws_say_what_to_write() {
        for (score, message) in [
            ("law = 'max * exp(-km)'\nconstants = { max = 10.0 }", "p: score.law: at character 12: `km` is unknown"),
            ("law = '5000 - distance_km'", "write max(0, …)"),
            ("law = '1 - distance_km / 30000'\nmax_points = 3", "do not apply beside score.law"),
            ("constants = { max = 10.0 }", "apply to score.law only"),
            ("law = '1 / (1 + distance_km)'\nconstants = { size_km = 10.0 }", "is the size of the map"),
            ("falloff_km = 0", "score.falloff_km must be"),
        ] {
            let error = profile(score, "p").unwrap_err().to_string();
            assert!(error.contains(message), "{score}: {error}");
        }
    }
}
