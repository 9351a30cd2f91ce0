//! Several distinct places for one photo, from its posterior.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use landfall_model::cells::arc_m;
use landfall_model::{LatLng, Posterior, pin, place};
use serde::Serialize;

use crate::photos::hints::best_location;

/// Distance in metres around a peak of the posterior that counts as its surroundings: three times the length of the kernel
/// that `landfall_model::pin::mode` finds peaks with.
const SURROUNDINGS_M: f64 = 600_000.0;
/// Share of the probability of the surroundings that the circle of a candidate holds.
const CIRCLE_MASS: f64 = 0.5;
/// Smallest radius of a candidate, in metres: the posterior says nothing of smaller distances.
const MIN_RADIUS_M: f64 = 25_000.0;
/// Probability below which there are no further candidates.
const MIN_MASS: f64 = 1e-4;

/// A place that the photo may show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Candidate {
    #[serde(flatten)]
    pub at: LatLng,
    /// Probability that the place is within the radius, and not nearer to another candidate.
    pub p: f64,
    /// Radius in kilometres. No other candidate is within it.
    pub radius_km: f64,
    /// ISO 3166-1 alpha-2 code; `None` at sea.
    pub country: Option<&'static str>,
    /// Description of the place, with a town nearby.
    pub place: String,
}

/// Up to `n` places: the prediction, which is at `first`, and others, the most likely one first. `is_allowed` tells where places may be.
///
/// Each candidate is a peak of what the circles of the earlier ones leave of the posterior. The radius of its circle is
/// that of half of the probability within 600 km, at most up to the nearest earlier candidate.
pub(crate) fn candidates(
    posterior: &Posterior<'_>,
    first: LatLng,
    n: usize,
    is_allowed: impl Fn(LatLng) -> bool,
) -> Vec<Candidate> {
    let p = posterior.probabilities();
    let cells = &posterior.table.cells;
    let mut found: Vec<(LatLng, f64)> = Vec::new();
    while found.len() < n {
        let is_free = |at: LatLng| found.iter().all(|(centre, radius_m)| centre.distance_m(at) > *radius_m);
        let free: Vec<bool> = cells.iter().map(|cell| is_free(cell.at)).collect();
        let at = if found.is_empty() {
            first
        } else {
            if free.iter().zip(&p).filter(|(free, _)| **free).map(|(_, p)| p).sum::<f64>() < MIN_MASS {
                break;
            }
            let log_prior: Vec<f64> = free.iter().map(|free| if *free { 0.0 } else { f64::NEG_INFINITY }).collect();
            let rest = posterior.with_prior(&log_prior, 1.0);
            let is_usable = |at: LatLng| is_free(at) && is_allowed(at);
            let peak = Some(pin::mode(&rest)).filter(|pin| is_usable(pin.at));
            let Some(pin) = peak.or_else(|| best_location(&rest, is_usable)) else { break };
            pin.at
        };
        let nearest_m = found.iter().map(|(centre, _)| centre.distance_m(at)).fold(f64::INFINITY, f64::min);
        let radius_m = radius_m(posterior, &p, &free, at).max(MIN_RADIUS_M).min(nearest_m);
        found.push((at, radius_m));
    }
    let mut masses = vec![0.0; found.len()];
    for (vector, p) in posterior.table.vectors().iter().zip(&p) {
        let distances = found.iter().map(|(centre, radius_m)| (arc_m(*vector, centre.to_unit_vector()), *radius_m));
        let within = distances.enumerate().filter(|(_, (distance, radius_m))| distance <= radius_m);
        if let Some((i, _)) = within.min_by(|a, b| a.1.0.total_cmp(&b.1.0)) {
            masses[i] += p;
        }
    }
    let candidate = |((at, radius_m), p): ((LatLng, f64), f64)| {
        let place = place::describe(at);
        // Rounded down, so that the distance to the other candidates is at least the radius.
        let radius_km = (radius_m / 100.0).floor() / 10.0;
        Candidate { at, p, radius_km, country: place.country, place: place.description }
    };
    let mut candidates: Vec<Candidate> = found.into_iter().zip(masses).map(candidate).collect();
    if let Some((_, others)) = candidates.split_first_mut() {
        others.sort_by(|a, b| b.p.total_cmp(&a.p));
    }
    candidates
}

/// Radius in metres around a location of the circle with half of the free probability in its surroundings.
fn radius_m(posterior: &Posterior<'_>, p: &[f64], free: &[bool], at: LatLng) -> f64 {
    let vector = at.to_unit_vector();
    let cells = posterior.table.vectors().iter().zip(&posterior.table.cells).zip(p).zip(free);
    let mut near: Vec<(f64, f64)> = cells
        .filter(|(_, free)| **free)
        .map(|(((cell_vector, cell), p), _)| {
            let distance = arc_m(*cell_vector, vector);
            (distance, (distance * distance + cell.spread_m * cell.spread_m).sqrt(), *p)
        })
        .filter(|(distance, ..)| *distance <= SURROUNDINGS_M)
        .map(|(_, reach, p)| (reach, p))
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let enough = CIRCLE_MASS * near.iter().map(|(_, p)| p).sum::<f64>();
    let mut held = 0.0;
    let last = near.iter().find(|(_, p)| {
        held += p;
        held >= enough
    });
    last.map_or(MIN_RADIUS_M, |(reach, _)| *reach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::{Bundle, Cell, CellTable};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::find("pocket").unwrap());

    /// Logits as a classifier could have written them: some peaks on noise.
    fn logits(peaks: &[(f64, f64, f64)]) -> Vec<f32> {
        let peak = |at: LatLng, &(lat, lng, height): &(f64, f64, f64)| {
            let distance_km = at.distance_m(LatLng { lat, lng }) / 1000.0;
            height * (-distance_km / 400.0).exp()
        };
        let cells = BUNDLE.cells.cells.iter().enumerate();
        cells
            .map(|(i, cell)| {
                let noise = ((i * 7919) % 101) as f64 / 50.0;
                (noise + peaks.iter().map(|one| peak(cell.at, one)).sum::<f64>()) as f32
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn candidates_are_distinct_and_their_probabilities_add_up(
            peaks in prop::collection::vec((-50.0..70.0f64, -180.0..180.0f64, 2.0..14.0f64), 1..5),
        ) {
            let posterior = Posterior::fuse(&BUNDLE.cells, &[logits(&peaks)], 1.0).unwrap();
            let first = pin::mode(&posterior).at;
            let found = candidates(&posterior, first, 6, |_| true);
            prop_assert_eq!(found[0].at, first);
            prop_assert!(found.len() == 6 && found.iter().map(|one| one.p).sum::<f64>() <= 1.0 + 1e-9);
            for (i, one) in found.iter().enumerate() {
                prop_assert!(one.p >= 0.0 && one.radius_km > 0.0);
                prop_assert!(one.p <= posterior.mass_within(one.at, one.radius_km * 1000.0 + 100.0) + 1e-9);
                for other in &found[..i] {
                    let distance_km = one.at.distance_m(other.at) / 1000.0;
                    prop_assert!(distance_km >= one.radius_km.max(other.radius_km), "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn candidates_are_the_peaks_and_end_where_the_probability_does() {
        let cell = |token: &str, lat, lng| Cell {
            token: token.into(),
            level: 5,
            at: LatLng { lat, lng },
            spread_m: 20_000.0,
            count: 10,
            country: None,
        };
        let table =
            CellTable::new(vec![cell("47f4", 45.9, 4.7), cell("6b14", -33.7, 150.8), cell("89c4", 40.7, -74.0)]);
        let table = table.unwrap();
        let posterior = Posterior::fuse(&table, &[[3.0, 2.0, -30.0]], 1.0).unwrap();
        let found = candidates(&posterior, pin::mode(&posterior).at, 5, |_| true);
        let places: Vec<&str> = found.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["near Lyon, France", "near Sydney, Australia"]);
        assert!((found[0].p - posterior.probabilities()[0]).abs() < 1e-9 && found[0].radius_km == 25.0, "{found:?}");
        let only_south = candidates(&posterior, table.cells[1].at, 5, |at| at.lat < 0.0);
        assert_eq!(only_south.len(), 1);
    }
}
