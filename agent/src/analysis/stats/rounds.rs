//! Reads recorded rounds in parallel and extracts the values for the statistics.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use landfall_model::score::MAX_POINTS;
use landfall_model::{Bundle, LatLng, bundle, countries};
use rayon::prelude::*;

use crate::analysis::compare::place_key;
use crate::analysis::stats::RoundByFolder;
use crate::error::describe;
use crate::inference::{Objective, posterior_for};
use crate::record;
use crate::record::{Map, RoundDir};

/// A round with the values for the statistics.
#[derive(Clone, Debug, Default)]
pub(super) struct ScoredRound {
    pub(super) folder: String,
    /// The game of the round.
    pub(super) game: Option<PathBuf>,
    pub(super) bundle: Option<String>,
    pub(super) views: usize,
    /// Score, scaled to 5000 points.
    pub(super) points: Option<f64>,
    pub(super) expected: Option<f64>,
    pub(super) distance_km: Option<f64>,
    pub(super) truth: Option<LatLng>,
    /// Country code of the truth.
    pub(super) country: Option<&'static str>,
    pub(super) has_guess: bool,
    pub(super) guess_country: Option<&'static str>,
    pub(super) place: Option<String>,
    /// Total probability of all cells more likely than that of the truth, if logits are available.
    pub(super) mass_before_truth: Option<f64>,
}

impl ScoredRound {
    /// A key that is equal for rounds at the same place; rounds at unknown places have distinct keys.
    pub(super) fn place_key(&self, number: usize) -> (i64, i64) {
        self.truth.map_or((i64::MAX, number as i64), place_key)
    }

    pub(super) fn by_folder(&self, points: f64) -> RoundByFolder {
        RoundByFolder {
            round: self.folder.clone(),
            points,
            distance_km: self.distance_km,
            place: self.place.clone(),
            country: self.country,
        }
    }
}

/// Reads the records. Also returns an error message per unreadable record.
pub(super) fn read(found: &[RoundDir]) -> (Vec<ScoredRound>, Vec<String>) {
    let bundles = installed_bundles();
    let read = |found: &RoundDir| score_round(found, &bundles).map_err(|error| describe(&error));
    let (mut rounds, mut broken) = (Vec::new(), Vec::new());
    for result in found.par_iter().map(read).collect::<Vec<_>>() {
        match result {
            Ok(round) => rounds.push(round),
            Err(why) => broken.push(why),
        }
    }
    (rounds, broken)
}

fn score_round(found: &RoundDir, bundles: &HashMap<String, Bundle>) -> anyhow::Result<ScoredRound> {
    let round = record::Round::read(&found.file())?;
    let usual = |points: f64| round.map.to_standard_points(points);
    let points = round.score.or(round.page_score).map(|points| usual(f64::from(points)));
    let guess = round.placed();
    let near = |at: LatLng| countries::of(at).map(|country| country.iso2);
    let named = round.country.as_deref().and_then(|code| Some(countries::by_code(code)?.iso2));
    let likelier = match (points, round.truth) {
        (Some(_), Some(truth)) => mass_before_truth(&found.folder, &round, truth, bundles)?,
        _ => None,
    };
    Ok(ScoredRound {
        folder: found.name(),
        game: found.game().map(Path::to_owned),
        views: round.views.len(),
        points,
        expected: round.expected_score.map(usual).filter(|points| (0.0..=MAX_POINTS).contains(points)),
        distance_km: round.distance_m.map(|metres| metres / 1000.0),
        truth: round.truth,
        country: named.or_else(|| round.truth.and_then(near)),
        has_guess: guess.is_some(),
        guess_country: guess.and_then(near),
        place: round.place,
        bundle: round.bundle,
        mass_before_truth: likelier,
    })
}

/// The total probability of the cells more likely than that of the truth. `None` if logits are not recorded or their
/// bundle is not installed.
fn mass_before_truth(
    folder: &Path,
    round: &record::Round,
    truth: LatLng,
    bundles: &HashMap<String, Bundle>,
) -> anyhow::Result<Option<f64>> {
    let Some(bundle) = round.bundle.as_deref().and_then(|id| bundles.get(id)) else { return Ok(None) };
    let Some(rows) = round.logits(folder, bundle.cells.cells.len())? else { return Ok(None) };
    cell_mass_before_truth(bundle, &rows, &round.map, truth)
}

/// The total probability of the cells before that of the truth in the order of
/// [`landfall_model::Posterior::credible_region`]: larger regions contain the truth.
fn cell_mass_before_truth(bundle: &Bundle, rows: &[Vec<f32>], map: &Map, truth: LatLng) -> anyhow::Result<Option<f64>> {
    let posterior = posterior_for(bundle, rows, Objective::Round(map))?;
    let log_p = posterior.log_probabilities();
    let cell = bundle.cells.containing(truth).or_else(|| bundle.cells.nearest(truth));
    Ok(cell.map(|cell| {
        let own = log_p[cell];
        let likelier = |(i, p): &(usize, &f64)| **p > own || (**p == own && *i < cell);
        log_p.iter().enumerate().filter(likelier).map(|(_, p)| p.exp()).sum()
    }))
}

/// Installed bundles by `name@version`.
fn installed_bundles() -> HashMap<String, Bundle> {
    let found = bundle::names().into_iter().filter_map(|name| Bundle::find(&name).ok());
    found.map(|bundle| (bundle.manifest.id(), bundle)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::{Posterior, Prior};

    #[test]
    fn regions_contain_the_truth_if_the_mass_before_it_is_smaller() {
        let bundle = Bundle::find("pocket").unwrap();
        let map: Map = serde_json::from_str(r#"{"name":"World","scale_m":14916862}"#).unwrap();
        // Increasing probabilities, some of them equal.
        let rows = [(0..bundle.cells.cells.len()).map(|i| (i / 7) as f32 / 30.0).collect::<Vec<f32>>()];
        let posterior: Posterior<'_> = bundle.fuse(&rows, Prior::Game).unwrap();
        let region = posterior.credible_region(0.5);
        for (i, cell) in bundle.cells.cells.iter().enumerate().step_by(11) {
            let before = cell_mass_before_truth(&bundle, &rows, &map, cell.at).unwrap().unwrap();
            assert_eq!(before < 0.5, region.contains(&i), "{i}: {before}");
        }
    }
}
