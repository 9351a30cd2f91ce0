//! Players that see no pictures: a constant point, and places drawn from the density of photographs.

use landfall_model::{Bundle, LatLng, MapScale, Posterior, pin};
use sha2::{Digest, Sha256};

use crate::benchmark::protocol::{Guess, Reply};

/// A rule that needs no pictures.
#[derive(Clone, Debug)]
pub(crate) enum Baseline {
    /// The same point in every round.
    Constant(LatLng),
    /// A cell, drawn with the probability of its number of training places, and there the mean of these places.
    Prior { places: Vec<(LatLng, f64)>, seed: u64 },
}

impl std::fmt::Display for Baseline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Constant(at) => at.fmt(f),
            Self::Prior { seed, .. } => write!(f, "seed {seed}"),
        }
    }
}

impl Baseline {
    /// The point with the highest expected score, if rounds are distributed like the training places of a bundle.
    pub(crate) fn best_constant(bundle: &Bundle) -> Option<Self> {
        let log_counts: Vec<f32> = bundle.cells.cells.iter().map(|cell| (cell.count.max(1) as f32).ln()).collect();
        let posterior = Posterior::fuse(&bundle.cells, &[log_counts], 1.0)?;
        Some(Self::Constant(pin::best(&posterior, MapScale::WORLD).at))
    }

    /// Draws from the training places of a bundle.
    pub(crate) fn prior(bundle: &Bundle, seed: u64) -> Self {
        let places = bundle.cells.cells.iter().map(|cell| (cell.at, f64::from(cell.count))).collect();
        Self::Prior { places, seed }
    }

    /// The answer to a round, by its number from 1.
    pub(super) fn answer(&self, round: usize) -> Reply {
        let at = match self {
            Self::Constant(at) => *at,
            Self::Prior { places, seed } => draw(places, *seed, round as u64),
        };
        Reply::Guess(Guess::at(at))
    }
}

/// A place by its weight. A hash instead of a generator, whose numbers change between versions.
fn draw(places: &[(LatLng, f64)], seed: u64, round: u64) -> LatLng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(round.to_le_bytes());
    let bytes: [u8; 32] = hash.finalize().into();
    let number = bytes.iter().take(6).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let total: f64 = places.iter().map(|(_, weight)| weight).sum();
    let mut left = number as f64 / (1u64 << 48) as f64 * total;
    for (at, weight) in places {
        left -= weight;
        if left < 0.0 {
            return *at;
        }
    }
    places.last().map_or(LatLng { lat: 0.0, lng: 0.0 }, |(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_drawn_by_their_weight_and_again_the_same() {
        let (a, b) = (LatLng { lat: 1.0, lng: 1.0 }, LatLng { lat: 2.0, lng: 2.0 });
        let places = [(a, 3.0), (b, 1.0)];
        let drawn: Vec<LatLng> = (1..=4000).map(|round| draw(&places, 1, round)).collect();
        let share = drawn.iter().filter(|at| **at == a).count() as f64 / 4000.0;
        assert!((share - 0.75).abs() < 0.03, "{share}");
        assert_eq!(drawn[..50], (1..=50).map(|round| draw(&places, 1, round)).collect::<Vec<_>>());
        assert_ne!(drawn[..50], (1..=50).map(|round| draw(&places, 2, round)).collect::<Vec<_>>());
    }

    #[test]
    fn the_best_constant_point_is_where_points_are_dense() {
        let bundle = Bundle::find("pocket").unwrap();
        let Some(Baseline::Constant(at)) = Baseline::best_constant(&bundle) else { panic!() };
        let europe = LatLng { lat: 48.0, lng: 10.0 };
        assert!(at.distance_m(europe) < 2_000_000.0, "{at}");
    }
}
