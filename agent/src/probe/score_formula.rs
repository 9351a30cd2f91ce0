//! Fits the score formula of a site, `max · exp(−distance / falloff)`, to rounds with known points and distance.

use landfall_common::statistics;
use landfall_model::MapScale;

use crate::record::Distance;

/// Common maximum scores per round, most likely first.
const MAX_POINTS_CANDIDATES: [f64; 9] = [5000.0, 1000.0, 10_000.0, 100.0, 500.0, 2000.0, 25_000.0, 50.0, 1_000_000.0];
/// Known map sizes in metres, which other games use too: World and A Community World on GeoGuessr.
const KNOWN_SCALES_M: [f64; 2] = [14_916_862.0, 18_534_781.0];

/// A score formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScoreFormula {
    pub(crate) max_points: f64,
    pub(crate) falloff_km: f64,
}

/// The most likely formula that explains all points within rounding. `None` if there is none, or if it is not
/// determined: with nearly zero or maximum points any falloff fits.
pub(crate) fn fit(rounds: &[(u32, Distance)]) -> Option<ScoreFormula> {
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

/// The formula that rounds fit, in words and as it is written in a profile; also of other kinds than the exponential one.
pub(crate) fn describe_fit(rounds: &[(u32, Distance)]) -> Option<String> {
    if let Some(ScoreFormula { max_points, falloff_km }) = fit(rounds) {
        return Some(format!(
            "{max_points} · exp(-km / {falloff_km}): write score = {{ max_points = {max_points:.1}, falloff_km = {falloff_km:?} }}"
        ));
    }
    MAX_POINTS_CANDIDATES.into_iter().find_map(|most| {
        // The constant in kilometres that each round asks for.
        let constant = |of: &dyn Fn(f64, f64) -> f64| {
            let between = rounds.iter().filter(|(points, _)| *points > 0 && f64::from(*points) < most);
            let each = between.map(|(points, distance)| of(f64::from(*points), distance.metres / 1000.0));
            statistics::median(each.collect())
        };
        let km = constant(&|points, km| km / (most / points - 1.0))?;
        let hyperbola = move |d: f64, km: f64| most / (1.0 + d / km);
        if fits_all(rounds, km, most, &hyperbola) {
            return Some(format!("{most} / (1 + km / {})", short(km)));
        }
        let km = constant(&|points, km| km / (1.0 - points / most))?;
        let line = move |d: f64, km: f64| (most * (1.0 - d / km)).max(0.0);
        fits_all(rounds, km, most, &line).then(|| format!("{most} · (1 - km / {})", short(km)))
    })
}

/// Whether a formula with the constant `km` explains at least two rounds that are neither 0 nor the maximum, and all others.
fn fits_all(rounds: &[(u32, Distance)], km: f64, most: f64, law: &dyn Fn(f64, f64) -> f64) -> bool {
    let is_telling = |(points, _): &&(u32, Distance)| *points > 0 && f64::from(*points) < most;
    rounds.iter().filter(is_telling).count() > 1
        && rounds.iter().all(|(points, distance)| {
            let at = |metres: f64| law(metres.max(0.0) / 1000.0, km);
            let (far, near) = (at(distance.metres + distance.within_m), at(distance.metres - distance.within_m));
            // The constant is an estimate.
            let slack = 1.0 + 0.002 * f64::from(*points);
            (far - slack..=near + slack).contains(&f64::from(*points))
        })
}

/// Three significant digits.
fn short(km: f64) -> String {
    let digits = 10_f64.powf(2.0 - km.abs().max(1e-9).log10().floor());
    format!("{}", (km * digits).round() / digits)
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
    fn other_formulas_are_described() {
        let of = |law: &dyn Fn(f64) -> f64| -> Vec<(u32, Distance)> {
            let round = |km: &f64| (law(*km).round() as u32, Distance { metres: km.round() * 1000.0, within_m: 500.0 });
            [119.0, 743.0, 9088.0, 2210.0].iter().map(round).collect()
        };
        assert_eq!(describe_fit(&of(&|km| 5000.0 / (1.0 + km / 250.0))).unwrap(), "5000 / (1 + km / 250)");
        assert_eq!(describe_fit(&of(&|km| 1000.0 * (1.0 - km / 20_000.0))).unwrap(), "1000 · (1 - km / 20000)");
        assert!(describe_fit(&of(&|km| 5000.0 * (-km / 2000.0).exp())).unwrap().contains("falloff_km = 2000.0"));
        assert_eq!(describe_fit(&of(&|km| if km < 1000.0 { 7.0 } else { 3.0 })), None);
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
