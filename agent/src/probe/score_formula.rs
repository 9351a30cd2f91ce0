//! Fits the score formula of a site, `max · exp(−distance / falloff)`, to rounds with known points and distance.

use landfall_model::MapScale;

use crate::record::Distance;

/// Common maximum scores per round, most likely first.
const MAX_POINTS_CANDIDATES: [f64; 9] = [5000.0, 1000.0, 10_000.0, 100.0, 500.0, 2000.0, 25_000.0, 50.0, 1_000_000.0];
/// Known map sizes in metres, which other games use too: World and A Community World on GeoGuessr.
const KNOWN_SCALES_M: [f64; 2] = [14_916_862.0, 18_534_781.0];

/// A score formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoreFormula {
    pub(super) max_points: f64,
    pub(super) falloff_km: f64,
}

/// The most likely formula that explains all points within rounding. `None` if there is none, or if it is not
/// determined: with nearly zero or maximum points any falloff fits.
pub(super) fn fit(rounds: &[(u32, Distance)]) -> Option<ScoreFormula> {
    MAX_POINTS_CANDIDATES.into_iter().find_map(|max_points| {
        let spans: Option<Vec<(f64, f64)>> = rounds.iter().map(|round| span(*round, max_points)).collect();
        let (low, high) =
            spans?.into_iter().fold((0.0_f64, f64::INFINITY), |(low, high), span| (low.max(span.0), high.min(span.1)));
        // One round fits any maximum; two that agree within 1 % are not a coincidence.
        let is_determined = low > 0.0 && high.is_finite() && high / low < 1.01;
        (is_determined && low <= high)
            .then(|| ScoreFormula { max_points, falloff_km: roundest(low / 1000.0, high / 1000.0) })
    })
}

/// The minimum and maximum falloff in metres that explain the points of a round.
fn span((points, distance): (u32, Distance), max_points: f64) -> Option<(f64, f64)> {
    let points = f64::from(points);
    if points > max_points {
        return None;
    }
    let falloff = |points: f64, metres: f64| match (points, metres) {
        (points, _) if points >= max_points => f64::INFINITY,
        (points, metres) if points <= 0.0 || metres <= 0.0 => 0.0,
        (points, metres) => metres / (max_points / points).ln(),
    };
    let (near, far) = ((distance.metres - distance.within_m).max(0.0), distance.metres + distance.within_m);
    // Points may be rounded to nearest or down.
    Some((falloff(points - 0.5, near), falloff(points + 1.0, far)))
}

/// The roundest number of kilometres in a range, or the falloff of a known map size.
fn roundest(low: f64, high: f64) -> f64 {
    let within = |km: &f64| (low..=high).contains(km);
    // With 5000 points, the falloff is a tenth of the map size.
    let known = KNOWN_SCALES_M.into_iter().map(|metres| metres / 10_000.0);
    let steps = (-3..=4).rev().flat_map(|power| [5.0, 2.0, 1.0].map(|of| of * 10.0_f64.powi(power)));
    let round = steps.map(|step| (f64::midpoint(low, high) / step).round() * step);
    known
        .chain([MapScale::of_map(None, None).metres() / 10_000.0])
        .chain(round)
        .find(within)
        .unwrap_or(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(max_points: f64, falloff_km: f64, kilometres: &[f64]) -> Vec<(u32, Distance)> {
        let round = |km: &f64| {
            let points = (max_points * (-km / falloff_km).exp()).round() as u32;
            (points, Distance { metres: km.round() * 1000.0, within_m: 500.0 })
        };
        kilometres.iter().map(round).collect()
    }

    #[test]
    fn two_rounds_determine_the_formula() {
        for (max_points, falloff_km) in [(5000.0, 1491.6862), (5000.0, 2000.0), (1000.0, 1853.4781), (10_000.0, 750.0)]
        {
            let formula = fit(&rounds(max_points, falloff_km, &[812.4, 2210.7, 1401.3])).unwrap();
            assert_eq!((formula.max_points, formula.falloff_km), (max_points, falloff_km));
        }
    }

    #[test]
    fn saturated_or_linear_points_give_none() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&rounds(5000.0, 10.0, &[8000.0, 9000.0])), None);
        let linear: Vec<_> = [1000.0, 3000.0, 4000.0]
            .map(|km| ((5000.0 - km) as u32, Distance { metres: km * 1000.0, within_m: 500.0 }))
            .into();
        assert_eq!(fit(&linear), None);
    }
}
