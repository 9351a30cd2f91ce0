//! A score law: a formula, its constants, and its points by distance.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use landfall_model::score::{ScoreFunction, ScoreTable};
use serde::{Deserialize, Serialize};

use crate::score::expression::{DISTANCE_KM, Expression};

/// The constant that holds the size of the map in kilometres: its maximum error distance.
pub(crate) const SIZE_KM: &str = "size_km";
/// Maximum number of constants, and length of their names in bytes.
const MAX_CONSTANTS: usize = 50;
const MAX_NAME_BYTES: usize = 60;
/// Maximum score of a round.
const MAX_POINTS: f64 = 1e6;
/// The largest distance on earth in kilometres.
const LARGEST_DISTANCE_KM: f64 = 20_015.1;
/// Number of distances at which a law is checked.
const CHECKS: usize = 256;

/// Points by distance, as a formula.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "LawText", into = "LawText")]
pub struct ScoreLaw {
    text: LawText,
    expression: Arc<Expression>,
    /// Computed when it is first needed.
    table: Arc<OnceLock<ScoreTable>>,
    max_points: f64,
}

/// A law as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LawText {
    formula: String,
    #[serde(default)]
    constants: BTreeMap<String, f64>,
}

impl ScoreLaw {
    /// Parses a formula of `distance_km` and these constants, and checks the points that it gives.
    ///
    /// # Errors
    /// Why it is not the score law of a game.
    pub(crate) fn new(formula: &str, constants: &BTreeMap<String, f64>) -> Result<Self, String> {
        if constants.len() > MAX_CONSTANTS {
            return Err(format!("more than {MAX_CONSTANTS} constants"));
        }
        let is_name = |name: &&String| {
            let mut chars = name.chars();
            let is_start = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            is_start && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') && name.len() <= MAX_NAME_BYTES
        };
        if let Some(name) = constants.keys().find(|name| !is_name(name) || *name == DISTANCE_KM) {
            return Err(format!(
                "a constant cannot be called `{}`",
                name.chars().take(MAX_NAME_BYTES).collect::<String>()
            ));
        }
        if let Some((name, value)) = constants.iter().find(|(_, value)| !value.is_finite()) {
            return Err(format!("the constant `{name}` is {value}"));
        }
        let expression = Expression::parse(formula, constants)?;
        let distances =
            (0..=CHECKS).map(|i| LARGEST_DISTANCE_KM * (i as f64 / CHECKS as f64) * (i as f64 / CHECKS as f64));
        let points: Vec<(f64, f64)> = distances.map(|km| (km, expression.at(km))).collect();
        if let Some((km, points)) = points.iter().find(|(_, points)| !(0.0..=MAX_POINTS).contains(points)) {
            let advice = if *points < 0.0 { "; write max(0, …)" } else { "" };
            return Err(format!("it gives {points:.3} points at {km:.0} km, not 0 to {MAX_POINTS}{advice}"));
        }
        let (first, last) = (points[0].1, points[CHECKS].1);
        if first < 1.0 || first <= last {
            return Err(format!(
                "points must fall with the distance: it gives {first:.3} at 0 km and {last:.3} far away"
            ));
        }
        let max_points = points.iter().fold(0.0_f64, |most, (_, points)| most.max(*points));
        let text = LawText { formula: formula.to_owned(), constants: constants.clone() };
        Ok(Self { text, expression: Arc::new(expression), table: Arc::default(), max_points })
    }

    /// Points of a guess that is this far off, before they are rounded to a whole number.
    pub(crate) fn exact_points(&self, distance_m: f64) -> f64 {
        let points = self.expression.at(distance_m / 1000.0);
        if points.is_nan() { 0.0 } else { points.clamp(0.0, MAX_POINTS) }
    }

    /// Points of a guess without error.
    pub(crate) fn max_points(&self) -> f64 {
        self.max_points
    }

    /// The law for choosing a pin, which asks for the points at thousands of distances.
    pub(crate) fn table(&self) -> &impl ScoreFunction {
        self.table.get_or_init(|| ScoreTable::new(|distance_m| self.exact_points(distance_m)))
    }
}

impl PartialEq for ScoreLaw {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<LawText> for ScoreLaw {
    type Error = String;
    fn try_from(text: LawText) -> Result<Self, String> {
        Self::new(&text.formula, &text.constants).map_err(|why| format!("not a score law: {why}"))
    }
}

impl From<ScoreLaw> for LawText {
    fn from(law: ScoreLaw) -> Self {
        law.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(formula: &str) -> Result<ScoreLaw, String> {
        ScoreLaw::new(formula, &BTreeMap::from([("max".to_owned(), 5000.0), ("scale".to_owned(), 250.0)]))
    }

    #[test]
    fn points_of_a_law() {
        let law = law("max / (1 + distance_km / scale)").unwrap();
        assert_eq!((law.max_points(), law.exact_points(250_000.0)), (5000.0, 2500.0));
        for distance_m in [0.0, 900.0, 250_000.0, 9_000_000.0] {
            let difference = law.table().exact_points(distance_m) - law.exact_points(distance_m);
            assert!(difference.abs() < 0.1, "{difference} at {distance_m} m");
        }
        let json = serde_json::to_string(&law).unwrap();
        assert_eq!(serde_json::from_str::<ScoreLaw>(&json).unwrap(), law, "{json}");
        assert!(serde_json::from_str::<ScoreLaw>(&json.replace("/ scale", "/ x")).is_err());
    }

    #[test]
    fn laws_that_no_game_has_are_errors() {
        for (formula, message) in [
            ("max - distance_km", "points at 5"),
            ("max - distance_km", "write max(0, …)"),
            ("distance_km", "points must fall with the distance"),
            ("max", "points must fall with the distance"),
            ("1 / distance_km", "it gives inf points at 0 km"),
            ("sqrt(-1 - distance_km)", "it gives NaN points"),
            ("1e9 * exp(-distance_km)", "not 0 to 1000000"),
        ] {
            let error = law(formula).map(|_| ()).unwrap_err();
            assert!(error.contains(message), "{formula}: {error}");
        }
        let named = |name: &str| ScoreLaw::new("1 - distance_km / 30000", &BTreeMap::from([(name.to_owned(), 1.0)]));
        assert!(named("a_1").is_ok());
        for name in ["", "1a", "a b", "distance_km"] {
            assert!(named(name).is_err(), "{name}");
        }
    }
}
