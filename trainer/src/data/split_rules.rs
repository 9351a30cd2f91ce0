//! What the index is made by, whether it is computed in memory or by a query engine: both must decide alike.

use landfall_model::latlng::EARTH_RADIUS_M;
use sha2::{Digest, Sha256};

/// A coast of the map is off by kilometres: pictures so far out at sea still have the country of it.
pub(crate) const COAST_M: f64 = 10_000.0;

/// A number from 0 to 1 that a name always has.
pub(crate) fn hash_fraction(seed: u64, what: &str, name: &str) -> f64 {
    let hash = Sha256::digest(format!("{seed} {what} {name}"));
    let number = hash.iter().take(6).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    number as f64 / (1u64 << 48) as f64
}

/// Whether the distance between two places, as unit vectors, is less than a number of metres.
pub(crate) fn is_closer_than(a: [f64; 3], b: [f64; 3], metres: f64) -> bool {
    // The straight way through the earth between places so far apart along it.
    let chord = 2.0 * libm::sin((metres / EARTH_RADIUS_M / 2.0).min(std::f64::consts::FRAC_PI_2));
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() < chord.powi(2)
}
