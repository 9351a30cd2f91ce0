//! A claim, and how a posterior bears on it.

use landfall_model::cells::CellTable;
use landfall_model::{LatLng, Posterior};
use serde::{Deserialize, Serialize};

use crate::photos::hints::{Hint, HintedCells, Hints};

/// Radius of a claim that states none, in kilometres.
pub(crate) const DEFAULT_RADIUS_KM: f64 = 200.0;
/// Probabilities are counted as at least this and at most 1 minus this, so that ratios are finite.
const MIN_P: f64 = 1e-9;

/// A claim: a photo was taken within a circle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    #[serde(flatten)]
    pub at: LatLng,
    pub radius_km: f64,
}

impl Claim {
    /// Reads `LAT,LNG` or `LAT,LNG,KM`.
    ///
    /// # Errors
    /// When the text is not a circle on earth.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not LAT,LNG or LAT,LNG,KM, as in 48.86,2.35,50");
        let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        let (lat, lng, radius_km) = match numbers.ok_or_else(form)?[..] {
            [lat, lng] => (lat, lng, DEFAULT_RADIUS_KM),
            [lat, lng, radius_km] => (lat, lng, radius_km),
            _ => return Err(form()),
        };
        let at = LatLng::new(lat, lng).map_err(|error| error.to_string())?;
        let claim = Self { at, radius_km };
        claim.hint().map(|_| claim)
    }

    fn hint(&self) -> Result<Hint, String> {
        Hint::near(&format!("{},{},{}", self.at.lat, self.at.lng, self.radius_km))
    }
}

/// A claim and the cells of a bundle that it concerns.
pub(crate) struct ClaimedCells {
    pub(super) claim: Claim,
    /// `None` if the bundle has no cell there.
    cells: Option<HintedCells>,
    /// Share of the training places that lie in the circle.
    prior_p: f64,
}

/// What a photo says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Evidence {
    /// Probability that the place lies in the circle.
    pub p: f64,
    /// The same before the photo was looked at: the share of the training places in the circle.
    pub prior_p: f64,
    /// How many times as large the odds of the claim became by looking.
    pub likelihood_ratio: f64,
}

impl ClaimedCells {
    pub(crate) fn new(claim: Claim, table: &CellTable) -> Self {
        let cells = claim.hint().ok().and_then(|hint| HintedCells::find(Hints::new(vec![hint]), table));
        let total: f64 = table.cells.iter().map(|cell| f64::from(cell.count)).sum();
        let shares: Vec<f64> = table.cells.iter().map(|cell| f64::from(cell.count) / total).collect();
        let prior_p = cells.as_ref().map_or(0.0, |cells| cells.mass(&shares));
        Self { claim, cells, prior_p }
    }

    /// `None` if the bundle has no cell in the circle.
    pub(super) fn evidence(&self, posterior: &Posterior<'_>) -> Option<Evidence> {
        let p = self.cells.as_ref()?.mass(&posterior.probabilities()).min(1.0);
        let odds = |p: f64| p.clamp(MIN_P, 1.0 - MIN_P) / (1.0 - p.clamp(MIN_P, 1.0 - MIN_P));
        Some(Evidence { p, prior_p: self.prior_p, likelihood_ratio: odds(p) / odds(self.prior_p) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::Cell;

    #[test]
    fn claims_are_read() {
        let claim = Claim::parse("48.86, 2.35").unwrap();
        assert_eq!((claim.at, claim.radius_km), (LatLng::new(48.86, 2.35).unwrap(), DEFAULT_RADIUS_KM));
        assert_eq!(Claim::parse("-33.9,151.2,50").unwrap().radius_km, 50.0);
        for text in ["", "Paris", "48.86", "1,2,3,4", "91,0", "1,2,0", "1,2,NaN", "1,2,30000"] {
            assert!(Claim::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_odds() {
        let cell = |token: &str, lat, lng, count| Cell {
            token: token.into(),
            level: 5,
            at: LatLng { lat, lng },
            spread_m: 20_000.0,
            count,
            country: None,
        };
        // A tenth of the training places is near Lyon, and the photo says that half of the probability is.
        let table = CellTable::new(vec![cell("47f4", 45.9, 4.7, 10), cell("6b14", -33.7, 150.8, 90)]).unwrap();
        let posterior = Posterior::fuse(&table, &[[0.0, 0.0]], 1.0).unwrap();
        let evidence = |claim: &str| ClaimedCells::new(Claim::parse(claim).unwrap(), &table).evidence(&posterior);
        let near_lyon = evidence("45.9,4.7,1000").unwrap();
        assert!((near_lyon.p - 0.5).abs() < 1e-9 && (near_lyon.prior_p - 0.1).abs() < 1e-9, "{near_lyon:?}");
        assert!((near_lyon.likelihood_ratio - 9.0).abs() < 1e-6, "{near_lyon:?}");
        // A part of the cell, as much smaller before as after.
        let in_lyon = evidence("45.9,4.7,20").unwrap();
        assert!((in_lyon.p / in_lyon.prior_p - 5.0).abs() < 1e-6 && in_lyon.p < 0.2, "{in_lyon:?}");
        assert_eq!(evidence("0,-30,100"), None, "there is no cell");
    }
}
