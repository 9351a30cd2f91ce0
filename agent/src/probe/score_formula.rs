//! Fits the score formula of a site to rounds with known points and distance: `max · exp(−distance / falloff)`, or a score law
//! of another kind.

use std::fmt;

use landfall_common::statistics;
use landfall_model::MapScale;
use toml::{Table, Value};

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

/// A formula that rounds fit, in words and as the section `score` of a profile.
#[derive(Clone, Debug)]
pub(crate) struct FittedLaw {
    /// The formula, as in `5000 / (1 + km / 250)`.
    pub(crate) formula: String,
    /// Keys and values of the section.
    pub(crate) score: Table,
}

impl fmt::Display for FittedLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: write score = {}", self.formula, Value::Table(self.score.clone()))
    }
}

/// Formulas with one constant besides the maximum, other than the exponential one: in words, as a law, the points at a
/// distance in kilometres, and the constant that gives these points at this distance.
type Kind = (&'static str, &'static str, fn(f64, f64, f64) -> f64, fn(f64, f64, f64) -> f64);
const OTHER_KINDS: [Kind; 2] = [
    (
        "MAX / (1 + km / SCALE)",
        "max / (1 + distance_km / scale)",
        |km, scale, most| most / (1.0 + km / scale),
        |points, km, most| km / (most / points - 1.0),
    ),
    (
        "MAX · (1 - km / SCALE)",
        "max(0, max * (1 - distance_km / scale))",
        |km, scale, most| (most * (1.0 - km / scale)).max(0.0),
        |points, km, most| km / (1.0 - points / most),
    ),
];

/// The formula that rounds fit; also of other kinds than the exponential one.
pub(crate) fn fit_law(rounds: &[(u32, Distance)]) -> Option<FittedLaw> {
    if let Some(ScoreFormula { max_points, falloff_km }) = fit(rounds) {
        let score = [("max_points", max_points), ("falloff_km", falloff_km)];
        let score = score.map(|(key, value)| (key.to_owned(), Value::from(value))).into_iter().collect();
        return Some(FittedLaw { formula: format!("{max_points} · exp(-km / {falloff_km})"), score });
    }
    MAX_POINTS_CANDIDATES.into_iter().find_map(|most| {
        OTHER_KINDS.into_iter().find_map(|(words, law, points_at, scale_of)| {
            let between = rounds.iter().filter(|(points, _)| *points > 0 && f64::from(*points) < most);
            let scales = between.map(|(points, distance)| scale_of(f64::from(*points), distance.metres / 1000.0, most));
            let scale = statistics::median(scales.collect())?;
            let fits = |scale: &f64| fits_all(rounds, most, &|km| points_at(km, *scale, most));
            let scale = [short(scale), scale].into_iter().find(fits)?;
            let constants = [("max", most), ("scale", scale)];
            let constants = constants.map(|(key, value)| (key.to_owned(), Value::from(value))).into_iter().collect();
            let score = [("law", Value::from(law)), ("constants", Value::Table(constants))];
            let score = score.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
            let formula = words.replace("MAX", &most.to_string()).replace("SCALE", &scale.to_string());
            Some(FittedLaw { formula, score })
        })
    })
}

/// Whether a formula explains at least two rounds that are neither 0 nor the maximum, and all others.
fn fits_all(rounds: &[(u32, Distance)], most: f64, points_at: &dyn Fn(f64) -> f64) -> bool {
    let is_telling = |(points, _): &&(u32, Distance)| *points > 0 && f64::from(*points) < most;
    rounds.iter().filter(is_telling).count() > 1
        && rounds.iter().all(|(points, distance)| {
            let at = |metres: f64| points_at(metres.max(0.0) / 1000.0);
            let (far, near) = (at(distance.metres + distance.within_m), at(distance.metres - distance.within_m));
            // The constant is an estimate.
            let slack = 1.0 + 0.002 * f64::from(*points);
            (far - slack..=near + slack).contains(&f64::from(*points))
        })
}

/// Three significant digits.
fn short(km: f64) -> f64 {
    let digits = 10_f64.powf(2.0 - km.abs().max(1e-9).log10().floor());
    (km * digits).round() / digits
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
    use crate::record::Area;
    use crate::site::{BUILT_IN, Profile};

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
        let hyperbola = fit_law(&of(&|km| 5000.0 / (1.0 + km / 250.0))).unwrap();
        assert_eq!(
            hyperbola.to_string(),
            "5000 / (1 + km / 250): write score = { constants = { max = 5000.0, scale = 250.0 }, law = \"max / (1 + distance_km / scale)\" }"
        );
        assert_eq!(fit_law(&of(&|km| 1000.0 * (1.0 - km / 20_000.0))).unwrap().formula, "1000 · (1 - km / 20000)");
        let exponential = fit_law(&of(&|km| 5000.0 * (-km / 2000.0).exp())).unwrap();
        assert!(exponential.to_string().contains("falloff_km = 2000.0"), "{exponential}");
        assert!(fit_law(&of(&|km| if km < 1000.0 { 7.0 } else { 3.0 })).is_none());
    }

    #[test]
    fn what_is_proposed_can_be_written_and_explains_the_rounds() {
        let laws: [fn(f64) -> f64; 3] =
            [|km| 5000.0 / (1.0 + km / 250.0), |km| 1000.0 * (1.0 - km / 20_100.0), |km| 5000.0 * (-km / 2000.0).exp()];
        for law in laws {
            let round = |km: &f64| (law(*km).round() as u32, Distance { metres: km * 1000.0, within_m: 500.0 });
            let fitted = fit_law(&[119.0, 743.0, 9088.0, 2210.0].iter().map(round).collect::<Vec<_>>()).unwrap();
            let text = format!("score = {}\n{}", Value::Table(fitted.score.clone()), BUILT_IN[0].1);
            let profile = Profile::parse(&text, "p").unwrap();
            let map = profile.game_map("World".to_owned(), "/", None, &Area::default()).unwrap();
            for km in [50.0, 900.0, 5000.0] {
                assert!((f64::from(map.points(km * 1000.0)) - law(km)).abs() <= 3.0, "{fitted} at {km} km");
            }
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
