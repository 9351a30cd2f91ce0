//! Priors: where images probably come from before anyone has looked at them, which depends on the question.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The prior over the cells that a prediction assumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// Where people take photographs.
    #[default]
    Photo,
    /// Where rounds of a game lie: where there is Street View.
    Game,
    /// All cells are equally likely.
    Flat,
}

impl Prior {
    /// All priors.
    pub const ALL: [Self; 3] = [Self::Photo, Self::Game, Self::Flat];

    /// The name in `bundle.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Game => "game",
            Self::Flat => "flat",
        }
    }
}

impl fmt::Display for Prior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Prior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|prior| prior.name() == text);
        known.ok_or_else(|| format!("`{text}` is not photo, game or flat"))
    }
}

/// A prior of a bundle, relative to what its head assumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellPrior {
    /// Added to the logarithm of each cell's probability, one number per cell.
    pub log_weights: Vec<f32>,
    /// Softmax temperature by number of views, applied before the weights; empty for the bundle's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub temperature: BTreeMap<usize, f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manifest() {
        for prior in Prior::ALL {
            assert_eq!(serde_json::to_string(&prior).unwrap(), format!("\"{prior}\""));
            assert_eq!(prior.name().parse(), Ok(prior));
        }
        assert!("Photo ".parse::<Prior>().is_err());
    }
}
