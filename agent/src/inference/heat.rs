//! The posterior as a list of cells, for drawing heat maps.

use landfall_model::{LatLng, Posterior};

/// A cell and its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellProbability {
    /// Mean location of the cell.
    pub at: LatLng,
    /// Spread of its places around the mean location, in metres.
    pub spread_m: f64,
    /// Probability, 0 to 1.
    pub p: f64,
}

/// The probability of every cell.
pub(crate) fn cell_probabilities(posterior: &Posterior<'_>) -> Vec<CellProbability> {
    let cells = posterior.table.cells.iter().zip(posterior.probabilities());
    cells.map(|(cell, p)| CellProbability { at: cell.at, spread_m: cell.spread_m, p }).collect()
}
