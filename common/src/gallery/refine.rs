//! Refining a posterior by the places of similar pictures.

use landfall_model::cells::arc_m;
use landfall_model::{LatLng, Posterior};

use crate::gallery::{Gallery, Match};

/// How pictures of a gallery change a posterior.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// Number of pictures that count, the most similar ones.
    pub pictures: usize,
    /// Difference of similarity after which a picture counts a third (1/e) as much.
    pub similarity_scale: f64,
    /// Distance in metres after which a picture counts a third as much for a cell.
    pub length_m: f64,
    /// Odds that a cell gains if all of the pictures are there.
    pub weight: f64,
}

impl Default for Refinement {
    fn default() -> Self {
        Self { pictures: 10, similarity_scale: 0.03, length_m: 100_000.0, weight: 10.0 }
    }
}

impl Refinement {
    /// A posterior in which cells near the places of similar pictures are more likely. Cells that were unlikely remain so: the
    /// probability of a cell changes at most by the factor `1 + weight` against that of another one.
    pub fn apply<'a>(&self, posterior: &Posterior<'a>, gallery: &Gallery, matches: &[Match]) -> Posterior<'a> {
        let matches = &matches[..self.pictures.min(matches.len())];
        let best = matches.iter().map(|found| found.similarity).fold(-1.0, f64::max);
        let vote = |found: &Match| {
            let share = libm::exp((found.similarity - best) / self.similarity_scale);
            Some((gallery.place(found.row)?, share))
        };
        let votes: Vec<(LatLng, f64)> = matches.iter().filter_map(vote).collect();
        let total: f64 = votes.iter().map(|(_, share)| share).sum();
        if votes.is_empty() || total <= 0.0 {
            return posterior.clone();
        }
        let votes: Vec<([f64; 3], f64)> =
            votes.into_iter().map(|(at, share)| (at.to_unit_vector(), share / total)).collect();
        let cells = posterior.table.cells.iter().zip(posterior.table.vectors());
        let log_gain = |(cell, vector): (&landfall_model::Cell, &[f64; 3])| {
            let near = |(at, share): &([f64; 3], f64)| {
                // What lies within the spread of a cell is in the cell.
                let distance_m = (arc_m(*at, *vector) - cell.spread_m).max(0.0);
                share * libm::exp(-distance_m / self.length_m)
            };
            libm::log(1.0 + self.weight * votes.iter().map(near).sum::<f64>())
        };
        posterior.with_prior(&cells.map(log_gain).collect::<Vec<f64>>(), 1.0)
    }
}
