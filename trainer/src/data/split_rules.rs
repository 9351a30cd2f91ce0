//! Rules of the index, shared by the in-memory and the query-engine implementation, which must give the same result.

use landfall_model::latlng::EARTH_RADIUS_M;
use sha2::{Digest, Sha256};

/// Images up to this distance off a coast are assigned to its country, since coasts on the map are off by kilometres.
pub(crate) const COAST_M: f64 = 10_000.0;

/// A deterministic pseudo-random number in 0..1, derived from a name.
pub(crate) fn hash_fraction(seed: u64, what: &str, name: &str) -> f64 {
    let hash = Sha256::digest(format!("{seed} {what} {name}"));
    let number = hash.iter().take(6).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    number as f64 / (1u64 << 48) as f64
}

/// Returns whether the distance between two unit vectors is less than `metres`.
pub(crate) fn is_closer_than(a: [f64; 3], b: [f64; 3], metres: f64) -> bool {
    // Length of the chord that corresponds to an arc of this length.
    let chord = 2.0 * libm::sin((metres / EARTH_RADIUS_M / 2.0).min(std::f64::consts::FRAC_PI_2));
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() < chord.powi(2)
}
