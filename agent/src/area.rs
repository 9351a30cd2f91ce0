//! The ground that a map takes its places from: what is known of it narrows what the classifier believes.

use anyhow::Result;
use landfall_model::cells::Cell;
use landfall_model::{LatLng, Posterior, countries};
use serde::{Deserialize, Serialize};

use crate::failure::wrong;

/// How much less likely a cell outside is, as a natural logarithm: bounds and borders are rough, so never impossible.
const OUTSIDE: f64 = -7.0;
const METRES_A_DEGREE: f64 = 111_195.0;

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
            Some(code) => Err(wrong(format!("`{code}` is no country's code of two capital letters, as in FR"))),
            None => Ok(()),
        }
    }

    /// The belief of somebody who knows the map.
    pub fn narrow<'a>(&self, posterior: Posterior<'a>) -> Posterior<'a> {
        if self.is_unknown() {
            return posterior;
        }
        let prior = |cell: &Cell| if self.may_hold(cell) { 0.0 } else { OUTSIDE };
        let prior: Vec<f64> = posterior.table.cells.iter().map(prior).collect();
        posterior.with_prior(&prior, 1.0)
    }

    /// Whether places of a cell may be on the map.
    fn may_hold(&self, cell: &Cell) -> bool {
        let is_in_country = || cell.country.as_ref().is_some_and(|country| self.countries.contains(country));
        let is_within = |[[south, west], [north, east]]: [[f64; 2]; 2]| {
            let reach = cell.spread_m / METRES_A_DEGREE;
            let reach_lng = reach / cell.at.lat.to_radians().cos().max(0.01);
            let (after, before) = (cell.at.lng >= west - reach_lng, cell.at.lng <= east + reach_lng);
            let is_between = if west <= east { after && before } else { after || before };
            is_between && (south.min(north) - reach..=north.max(south) + reach).contains(&cell.at.lat)
        };
        (self.countries.is_empty() || is_in_country()) && self.bounds.is_none_or(is_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::{Bundle, MapScale, pin};

    /// Which country the best pin is in when nothing is seen.
    fn pin_country(area: &Area) -> Option<&'static str> {
        let bundle = Bundle::find("pocket").unwrap();
        let logits = vec![0.0f32; bundle.cells.cells.len()];
        let posterior = area.narrow(Posterior::fuse(&bundle.cells, &[logits], 1.0).unwrap());
        let total: f64 = posterior.probabilities().iter().sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        countries::of(pin::best(&posterior, MapScale::WORLD).at).map(|country| country.iso2)
    }

    #[test]
    fn a_country_or_bounds_bring_the_pin_there() {
        let of = |codes: &[&str]| Area { countries: codes.iter().map(|code| (*code).into()).collect(), bounds: None };
        let within = |bounds| Area { bounds: Some(bounds), countries: Vec::new() };
        assert_eq!(pin_country(&of(&["NZ"])), Some("NZ"));
        assert_eq!(pin_country(&within([[36.0, -9.5], [43.5, 3.0]])), Some("ES"));
        // Over the date line: New Zealand to Samoa.
        assert_eq!(pin_country(&within([[-48.0, 166.0], [-10.0, -170.0]])), Some("NZ"));
        assert_ne!(pin_country(&Area::default()), Some("NZ"));
    }

    #[test]
    fn nonsense_is_said() {
        let error = Area { countries: vec!["XQ".into()], bounds: None }.check().unwrap_err();
        assert!(error.to_string().contains("`XQ` is no country"), "{error}");
        assert!(Area { bounds: Some([[91.0, 0.0], [0.0, 0.0]]), countries: Vec::new() }.check().is_err());
    }
}
