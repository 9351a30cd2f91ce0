//! The map that a game is played on, and where its places are.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::score::MAX_POINTS;
use landfall_model::{LatLng, MapScale, countries};
use serde::{Deserialize, Serialize};

/// The map a round is played on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// As the page names it.
    pub name: String,
    /// How quickly points fall.
    pub scale_m: MapScale,
    /// Most points a round can bring, where that is not the usual number.
    #[serde(default = "usual_points", skip_serializing_if = "is_usual")]
    pub max_points: f64,
    /// Where its places are, as far as that is known.
    #[serde(default, skip_serializing_if = "Area::is_unknown")]
    pub area: Area,
}

fn usual_points() -> f64 {
    MAX_POINTS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_usual(points: &f64) -> bool {
    *points == MAX_POINTS
}

impl Map {
    /// What points on the usual scale, to 5000, are worth here.
    pub fn worth(&self, points: f64) -> f64 {
        points * (self.max_points / MAX_POINTS)
    }

    /// What points here are worth on the usual scale, to 5000.
    pub fn usual(&self, points: f64) -> f64 {
        points * (MAX_POINTS / self.max_points)
    }

    /// Points for an error of so many metres: a whole number.
    pub fn points(&self, distance_m: f64) -> u32 {
        self.worth(self.scale_m.exact_points(distance_m)).round() as u32
    }
}

/// Bounds, countries, or both; nothing known where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// South-west and north-east corner, each latitude and longitude; from east to west over the date line where the
    /// first longitude is the larger one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[[f64; 2]; 2]>,
    /// ISO 3166-1 alpha-2 codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
}

impl Area {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.bounds.is_none() && self.countries.is_empty()
    }

    /// What is wrong with it, before anything is played.
    ///
    /// # Errors
    /// When a corner is no place on earth or a code no country's.
    pub fn check(&self) -> Result<()> {
        for [lat, lng] in self.bounds.iter().flatten() {
            LatLng::new(*lat, *lng)?;
        }
        match self.countries.iter().find(|code| countries::by_code(code).is_none()) {
            Some(code) => Err(usage_error(format!("`{code}` is no country's code of two capital letters, as in FR"))),
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
        assert!(error.to_string().contains("`XQ` is no country"), "{error}");
        assert!(Area { bounds: Some([[91.0, 0.0], [0.0, 0.0]]), countries: Vec::new() }.check().is_err());
    }
}
