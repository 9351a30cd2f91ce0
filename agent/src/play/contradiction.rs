//! Whether the result that the page shows contradicts the guess that was intended.

use landfall_model::LatLng;

use crate::play::pin::PlacedPin;
use crate::record::Map;
use crate::site::page::RoundOutcome;

/// Tolerance of the page's guess in pixels of the map.
const TOLERANCE_PX: f64 = 4.0;
/// Earth models differ: relative tolerance of the distances that pages compute.
const DISTANCE_TOLERANCE: f64 = 0.006;

/// What the page contradicts, if anything: its own position of the guess, or its distance to its own truth.
pub(super) fn find(outcome: &RoundOutcome, placed: &PlacedPin, max_error_m: f64) -> Option<String> {
    let tolerance_m = (TOLERANCE_PX * placed.metres_per_pixel).max(max_error_m);
    if let Some(taken) = outcome.guess {
        let off_m = taken.distance_m(placed.at);
        if off_m > tolerance_m {
            return Some(format!(
                "the page took {taken} for the guess, {:.0} km from the pin at {}; check map.tile_address, map.view and \
                 map.marker_anchor",
                off_m / 1000.0,
                placed.at
            ));
        }
    }
    let (truth, shown) = outcome.truth.zip(outcome.distance)?;
    let computed_m = truth.distance_m(outcome.guess.unwrap_or(placed.at));
    let off_m = (computed_m - shown.metres).abs();
    let tolerance_m = tolerance_m + shown.within_m + DISTANCE_TOLERANCE * computed_m;
    (off_m > tolerance_m).then(|| {
        format!(
            "the page shows a distance of {:.0} km, but the pin at {} is {:.0} km from the location that it states; check \
             result.distance and the guess map",
            shown.metres / 1000.0,
            placed.at,
            computed_m / 1000.0
        )
    })
}

/// Whether the points are possible for the distance, by the score formula of the map.
pub(crate) fn points_fit(outcome: &RoundOutcome, map: &Map, placed: LatLng) -> bool {
    let Some(points) = outcome.points else { return false };
    let (metres, within_m) = match (outcome.truth, outcome.distance) {
        (Some(truth), _) => (truth.distance_m(outcome.guess.unwrap_or(placed)), 0.0),
        (None, Some(shown)) => (shown.metres, shown.within_m),
        (None, None) => return true, // nothing to compare with
    };
    map.points_within(metres, within_m).contains(&points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Pixel;
    use crate::record::Distance;

    const ROME: LatLng = LatLng { lat: 41.89, lng: 12.49 };

    fn placed() -> PlacedPin {
        PlacedPin { at: ROME, click: Pixel { x: 1.0, y: 1.0 }, metres_per_pixel: 4000.0 }
    }

    #[test]
    fn another_guess_or_distance_is_a_contradiction() {
        let find = |outcome: RoundOutcome| super::find(&outcome, &placed(), 25_000.0);
        let beside = LatLng { lat: 41.9, lng: 12.6 };
        let far = LatLng { lat: 45.0, lng: 12.49 };
        assert_eq!(find(RoundOutcome { guess: Some(beside), ..RoundOutcome::default() }), None);
        let found = find(RoundOutcome { guess: Some(far), ..RoundOutcome::default() }).unwrap();
        assert!(found.contains("346 km from the pin"), "{found}");
        // Paris, 1,106 km away.
        let truth = Some(LatLng { lat: 48.8566, lng: 2.3522 });
        let shown = |km: f64| Some(Distance { metres: km * 1000.0, within_m: 500.0 });
        assert_eq!(find(RoundOutcome { truth, distance: shown(1106.0), ..RoundOutcome::default() }), None);
        let found = find(RoundOutcome { truth, distance: shown(9500.0), ..RoundOutcome::default() }).unwrap();
        assert!(found.contains("9500 km") && found.contains("1106 km"), "{found}");
        assert_eq!(find(RoundOutcome { distance: shown(9500.0), ..RoundOutcome::default() }), None);
    }
}
