//! From a belief to an answer: what play, replay, locate and the page say of a place.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::countries::{self, Country};
use crate::latlng::LatLng;
use crate::pin::{self, Pin};
use crate::place::{self, Place};
use crate::posterior::Posterior;

/// A cell and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopCell {
    /// S2 token.
    pub cell: String,
    /// Mean location of the cell.
    #[serde(flatten)]
    pub at: LatLng,
    /// Probability.
    pub p: f64,
}

/// An answer and what it rests on.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Where, and what it promises.
    pub pin: Pin,
    /// In words.
    pub place: Place,
    /// The likeliest cells.
    pub top: Vec<TopCell>,
    /// Radius in metres around the pin that holds half of the probability, and nine tenths.
    pub radius_m: [f64; 2],
}

/// Radii in whole kilometres, as people are told them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RadiusKm {
    /// Holds half of the probability.
    pub p50: f64,
    /// Holds nine tenths.
    pub p90: f64,
}

const TOP: usize = 10;

impl Answer {
    /// The answer with this pin.
    pub fn with_pin(posterior: &Posterior<'_>, pin: Pin) -> Self {
        let cell = |(i, p): (usize, f64)| {
            let cell = &posterior.table.cells[i];
            TopCell { cell: cell.token.clone(), at: cell.at, p }
        };
        Self {
            pin,
            place: place::describe(pin.at),
            top: posterior.top(TOP).into_iter().map(cell).collect(),
            radius_m: [posterior.radius_m(pin.at, 0.5), posterior.radius_m(pin.at, 0.9)],
        }
    }

    /// The answer for a photograph that no map asks about: the middle of the likeliest peak.
    pub fn of_photo(posterior: &Posterior<'_>) -> Self {
        Self::with_pin(posterior, pin::mode(posterior))
    }

    /// The radii for people.
    pub fn radius_km(&self) -> RadiusKm {
        let [p50, p90] = self.radius_m.map(|metres| (metres / 1000.0).round());
        RadiusKm { p50, p90 }
    }
}

/// The likeliest `k` countries with their probabilities, likeliest first: each holds what its cells hold.
pub fn top_countries(posterior: &Posterior<'_>, k: usize) -> Vec<(&'static Country, f64)> {
    let mut held: HashMap<&str, f64> = HashMap::new();
    for (cell, p) in posterior.table.cells.iter().zip(posterior.probabilities()) {
        if let Some(iso2) = &cell.country {
            *held.entry(iso2).or_default() += p;
        }
    }
    let known = |(iso2, p): (&str, f64)| Some((countries::by_code(iso2)?, p));
    let mut shares: Vec<_> = held.into_iter().filter_map(known).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.iso2.cmp(b.0.iso2)));
    shares.truncate(k);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posterior::tests::table_of;

    #[test]
    fn a_country_holds_what_its_cells_hold() {
        let mut table = table_of(&[(48.0, 2.0), (52.0, 13.0), (45.0, 4.0), (0.0, -30.0)]);
        for (cell, iso2) in table.cells.iter_mut().zip(["FR", "DE", "FR"]) {
            cell.country = Some(iso2.into());
        }
        let logits = [0.3f32.ln(), 0.4f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
        let shares = top_countries(&posterior, 5);
        assert_eq!(shares.iter().map(|(country, _)| country.iso2).collect::<Vec<_>>(), ["FR", "DE"]);
        assert!((shares[0].1 - 0.5).abs() < 1e-6);
        assert_eq!(Answer::of_photo(&posterior).place.country, Some("DE"));
    }
}
