//! What is believed, cell by cell, for whatever draws it.

use landfall_model::{LatLng, Posterior};

/// A cell and how likely it is: what the heat on a map is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Its middle.
    pub at: LatLng,
    /// How far its places lie around that, in metres.
    pub spread_m: f64,
    /// Probability.
    pub p: f64,
}

/// What is believed, cell by cell.
pub fn heat(posterior: &Posterior<'_>) -> Vec<Spot> {
    let cells = posterior.table.cells.iter().zip(posterior.probabilities());
    cells.map(|(cell, p)| Spot { at: cell.at, spread_m: cell.spread_m, p }).collect()
}
