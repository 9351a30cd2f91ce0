//! The posterior of a round, recomputed from its logits: cells, countries, candidate pins, and the prediction after
//! each view.

use landfall_model::prediction::top_countries;
use landfall_model::{Bundle, LatLng, countries, place};

use crate::inference::{Objective, expected_score, posterior_for, predict, stopping};
use crate::record::Round;

/// Maximum number of countries and candidates shown.
const MAX_SHOWN: usize = 5;
/// Minimum probability of a country to be shown, except the most likely one.
const MIN_COUNTRY_PROBABILITY: f64 = 0.005;

/// Summary of the posterior of a round.
#[derive(Default)]
pub(super) struct PosteriorSummary {
    /// The 90 % credible region in decreasing order of probability, or the recorded cells if logits are not available.
    pub(super) heat_cells: Vec<HeatCell>,
    /// Whether it was computed from logits; else it contains only the recorded cells.
    pub(super) is_complete: bool,
    /// The most likely countries.
    pub(super) countries: Vec<(String, f64)>,
    /// Candidate pins.
    pub(super) candidates: Vec<CandidatePin>,
    /// 50 % and 90 % credible radii around the pin in metres.
    pub(super) radius_m: Option<[f64; 2]>,
    /// The predictions after the first view, the first two, and so on.
    pub(super) steps: Vec<ViewStep>,
    /// Expected gain of another view in points.
    pub(super) gain_of_another: Option<f64>,
}

/// A cell on the map.
pub(super) struct HeatCell {
    /// S2 token.
    pub(super) token: String,
    /// Its probability.
    pub(super) p: f64,
    /// Whether it is in the 50 % credible region.
    pub(super) is_in_half: bool,
}

/// A candidate pin at the mean training location of one of the most likely cells.
pub(super) struct CandidatePin {
    pub(super) at: LatLng,
    /// Description of the place.
    pub(super) place: String,
    /// Probability of its cell.
    pub(super) p: f64,
    /// Number of training locations of the cell, if the bundle is available.
    pub(super) places: Option<u32>,
    /// Expected score of the pin.
    pub(super) promised: Option<f64>,
    /// Distance from the truth in metres.
    pub(super) off_m: Option<f64>,
}

/// The prediction from the first views.
pub(super) struct ViewStep {
    pub(super) views: usize,
    pub(super) place: String,
    pub(super) promised: f64,
    /// Its score, if the truth is known.
    pub(super) score: Option<u32>,
}

impl PosteriorSummary {
    /// Computes the summary from the logits if `bundle` produced them, else from the record.
    pub(super) fn of(round: &Round, logits: Option<&[Vec<f32>]>, bundle: Option<&Bundle>) -> Self {
        let whole = bundle.zip(logits).and_then(|(bundle, logits)| Self::from_logits(round, logits, bundle));
        whole.unwrap_or_else(|| Self::from_record(round))
    }

    fn from_logits(round: &Round, logits: &[Vec<f32>], bundle: &Bundle) -> Option<Self> {
        let posterior = posterior_for(bundle, logits, Objective::Round(&round.map)).ok()?;
        let half = posterior.credible_region(0.5).len();
        let p = posterior.probabilities();
        let heat_cell = |(i, cell): (usize, usize)| HeatCell {
            token: bundle.cells.cells[cell].token.clone(),
            p: p[cell],
            is_in_half: i < half,
        };
        let candidate = |(cell, p): (usize, f64)| {
            let cell = &bundle.cells.cells[cell];
            let promised = expected_score(&posterior, cell.at, &round.map);
            let mut candidate = candidate(round, cell.at, p);
            // Small islands are missing in the country polygons; use the country of the cell.
            if let Some(country) = cell.country.as_deref().and_then(countries::by_code)
                && candidate.place == "at sea"
            {
                candidate.place = format!("in {}", country.name);
            }
            CandidatePin { places: Some(cell.count), promised: Some(promised), ..candidate }
        };
        let steps = view_steps(round, logits, bundle);
        let promised = round.expected_score.map(|points| round.map.to_standard_points(points));
        Some(Self {
            heat_cells: posterior.credible_region(0.9).into_iter().enumerate().map(heat_cell).collect(),
            is_complete: true,
            countries: drop_unlikely(
                top_countries(&posterior, MAX_SHOWN).into_iter().map(|(it, p)| (it.name.to_owned(), p)).collect(),
            ),
            candidates: posterior.top(MAX_SHOWN).into_iter().map(candidate).collect(),
            radius_m: round.guess.map(|at| [posterior.radius_m(at, 0.5), posterior.radius_m(at, 0.9)]),
            gain_of_another: promised
                .map(|promised| round.map.to_map_points(stopping::gain_of_another(logits.len(), promised))),
            steps,
        })
    }

    /// The summary of the recorded cells.
    fn from_record(round: &Round) -> Self {
        let mut held = 0.0;
        let mut heat_cells = Vec::new();
        let mut countries: Vec<(String, f64)> = Vec::new();
        for cell in &round.top {
            heat_cells.push(HeatCell { token: cell.cell.clone(), p: cell.p, is_in_half: held < 0.5 });
            held += cell.p;
            let name = countries::of(cell.at).map_or("at sea", |country| country.name);
            match countries.iter_mut().find(|(known, _)| known == name) {
                Some((_, p)) => *p += cell.p,
                None => countries.push((name.to_owned(), cell.p)),
            }
        }
        countries.sort_by(|a, b| b.1.total_cmp(&a.1));
        let countries = drop_unlikely(countries);
        let candidates = round.top.iter().take(MAX_SHOWN).map(|cell| candidate(round, cell.at, cell.p)).collect();
        Self { heat_cells, countries, candidates, ..Self::default() }
    }
}

/// Removes unlikely countries from a list in decreasing order of probability.
fn drop_unlikely(mut countries: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let keep = countries.iter().skip(1).take(MAX_SHOWN - 1).take_while(|(_, p)| *p >= MIN_COUNTRY_PROBABILITY).count();
    countries.truncate(1 + keep);
    countries
}

fn candidate(round: &Round, at: LatLng, p: f64) -> CandidatePin {
    let off_m = round.truth.map(|truth| truth.distance_m(at));
    CandidatePin { at, place: place::describe(at).description, p, places: None, promised: None, off_m }
}

/// The predictions from the first view, the first two, and so on.
fn view_steps(round: &Round, logits: &[Vec<f32>], bundle: &Bundle) -> Vec<ViewStep> {
    let step = |views: usize| {
        let prediction = predict(bundle, &logits[..views], Objective::Round(&round.map)).ok()?;
        Some(ViewStep {
            views,
            place: prediction.place,
            promised: prediction.expected_score,
            score: round.truth.map(|truth| round.map.points(truth.distance_m(prediction.point))),
        })
    };
    if logits.len() < 2 { Vec::new() } else { (1..=logits.len()).filter_map(step).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::report::source::LoadedRound;
    use std::path::Path;

    fn fixture(name: &str) -> LoadedRound {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds").join(name);
        let round = Round::read(&dir.join("round.json")).unwrap();
        LoadedRound { dir, round, replayed: None }
    }

    #[test]
    fn the_last_step_is_the_recorded_prediction() {
        let loaded = fixture("brooklyn-elevated-railway");
        let bundle = Bundle::find("desktop").unwrap();
        let logits = loaded.logits(&bundle).unwrap().unwrap();
        let posterior = PosteriorSummary::of(&loaded.round, Some(&logits), Some(&bundle));
        assert!(posterior.is_complete && posterior.steps.len() == 4);
        let last = posterior.steps.last().unwrap();
        assert_eq!((last.score, Some(last.promised)), (loaded.round.score, loaded.round.expected_score));
        assert_eq!(posterior.candidates[0].p, loaded.round.top[0].p);
        let held: f64 = posterior.heat_cells.iter().map(|heat_cell| heat_cell.p).sum();
        assert!((0.9..0.95).contains(&held), "{held}");
        let half: f64 =
            posterior.heat_cells.iter().filter(|heat_cell| heat_cell.is_in_half).map(|heat_cell| heat_cell.p).sum();
        assert!((0.5..0.97).contains(&half), "{half}");
        assert_eq!(posterior.countries[0].0, "United States");
        assert!(posterior.gain_of_another.unwrap() < 20.0);
    }

    #[test]
    fn without_the_bundle_recorded_cells_are_used() {
        let loaded = fixture("brooklyn-elevated-railway");
        let posterior = PosteriorSummary::of(&loaded.round, None, None);
        assert!(!posterior.is_complete && posterior.steps.is_empty() && posterior.gain_of_another.is_none());
        assert_eq!((posterior.heat_cells.len(), posterior.candidates.len()), (10, 5));
        let mut sum = 0.0;
        let half = loaded.round.top.iter().take_while(|cell| {
            let is_needed = sum < 0.5;
            sum += cell.p;
            is_needed
        });
        let half = half.count();
        assert_eq!(posterior.heat_cells.iter().filter(|heat_cell| heat_cell.is_in_half).count(), half);
        assert!(posterior.countries[0].0 == "United States" && posterior.countries[0].1 > 0.8);
    }
}
