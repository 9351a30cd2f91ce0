//! Prior correction of the logits: subtracts the log prior of the training images and adds the log prior of the game.

use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_model::CellTable;
use landfall_model::cells::arc_m;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cells::partition;

/// Parameters of the logit bias: z - subtract_train log p_train + add_game log p_game.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Prior {
    /// Weight of the training distribution, which is subtracted.
    #[serde(rename(serialize = "less_train"), alias = "less_train")]
    pub(crate) subtract_train: f64,
    /// Weight of the game's distribution, which is added.
    #[serde(rename(serialize = "plus_game"), alias = "plus_game")]
    pub(crate) add_game: f64,
    /// CSV file of coverage points (lat, lng) that approximate the game's distribution; if empty, the cells' counts are
    /// used.
    pub(crate) points: PathBuf,
    /// Length scale in kilometres of the kernel exp(-d / length) that smooths both distributions.
    pub(crate) length_km: f64,
    /// Total number of pseudo-counts, spread evenly over the cells.
    pub(crate) pseudo_counts: f64,
}

impl Default for Prior {
    fn default() -> Self {
        Self { subtract_train: 0.0, add_game: 0.0, points: PathBuf::new(), length_km: 300.0, pseudo_counts: 50.0 }
    }
}

/// Computes the bias of each cell's logit, `-subtract_train log p_train + add_game log p_game`; `train_counts` returns the
/// mass of the training labels per cell.
///
/// # Errors
/// If the file of coverage points is invalid; the message names the line.
pub(crate) fn bias(prior: &Prior, table: &CellTable, train_counts: impl FnOnce() -> Vec<f64>) -> Result<Vec<f32>> {
    let mut bias = vec![0.0; table.cells.len()];
    let mut add = |weight: f64, counts: &[f64]| {
        let p = smoothed(table, counts, prior);
        bias.iter_mut().zip(p).for_each(|(bias, p)| *bias += weight * p.ln());
    };
    if prior.subtract_train != 0.0 {
        add(-prior.subtract_train, &train_counts());
    }
    if prior.add_game != 0.0 {
        add(prior.add_game, &game_counts(table, prior)?);
    }
    Ok(bias.into_iter().map(|x| x as f32).collect())
}

/// The weights of a bundle's prior: `weight` times the smoothed log-probability that a point of the CSV file `points`
/// (lat, lng) lies in each cell, to three decimals and with a mean of 0.
///
/// # Errors
/// If the file is invalid; the message names the line.
pub(crate) fn log_weights(points: &Path, weight: f64, table: &CellTable) -> Result<Vec<f32>> {
    let log_p: Vec<f64> =
        smoothed(table, &counts_of(points, table)?, &Prior::default()).into_iter().map(f64::ln).collect();
    let mean = log_p.iter().sum::<f64>() / log_p.len().max(1) as f64;
    Ok(log_p.into_iter().map(|log_p| ((weight * (log_p - mean) * 1000.0).round() / 1000.0) as f32).collect())
}

fn game_counts(table: &CellTable, prior: &Prior) -> Result<Vec<f64>> {
    if prior.points.as_os_str().is_empty() {
        return Ok(table.cells.iter().map(|cell| f64::from(cell.count)).collect());
    }
    counts_of(&prior.points, table)
}

/// The number of points of a CSV file (lat, lng) in each cell.
fn counts_of(points: &Path, table: &CellTable) -> Result<Vec<f64>> {
    let points = partition::read_points(points)?;
    let cell_of: Vec<_> = points.par_iter().map(|at| table.containing(*at).or_else(|| table.nearest(*at))).collect();
    let mut counts = vec![0.0; table.cells.len()];
    cell_of.into_iter().flatten().for_each(|cell| counts[cell] += 1.0);
    Ok(counts)
}

/// Converts counts to probabilities: adds pseudo-counts and smooths each cell's counts over its neighbourhood.
fn smoothed(table: &CellTable, counts: &[f64], prior: &Prior) -> Vec<f64> {
    let (vectors, length_m) = (table.vectors(), prior.length_km * 1000.0);
    let shares = |v: &[f64; 3]| -> Vec<f64> {
        let near: Vec<f64> = vectors.iter().map(|u| (-arc_m(*u, *v) / length_m).exp()).collect();
        let sum: f64 = near.iter().sum();
        near.into_iter().map(|x| x / sum).collect()
    };
    let shares: Vec<Vec<f64>> = vectors.par_iter().map(shares).collect();
    let mut p = vec![prior.pseudo_counts / counts.len() as f64; counts.len()];
    for (share, count) in shares.iter().zip(counts) {
        p.iter_mut().zip(share).for_each(|(p, share)| *p += count * share);
    }
    let sum: f64 = p.iter().sum();
    p.into_iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::LatLng;
    use landfall_model::cells::{Cell, leaf};

    /// One point against four, with 25 pseudo-counts in each of the two cells.
    const SMOOTHED_RATIO: f32 = 29.0 / 26.0;

    #[test]
    fn the_training_prior_is_subtracted_and_the_games_added() {
        let cell = |lat: f64, lng: f64| {
            let at = LatLng::new(lat, lng).unwrap();
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count: 10, country: None }
        };
        let table = CellTable::new(vec![cell(48.85, 2.35), cell(-33.87, 151.21)]).unwrap();
        let paris = table.nearest(LatLng::new(48.85, 2.35).unwrap()).unwrap();
        let mut counts = vec![1.0; 2];
        counts[paris] = 2.0;
        let gap = |prior: &Prior| bias(prior, &table, || counts.clone()).map(|bias| bias[paris] - bias[1 - paris]);
        let mut prior = Prior { pseudo_counts: 1e-6, subtract_train: 1.0, ..Prior::default() };
        assert!((gap(&prior).unwrap() + 2.0f32.ln()).abs() < 1e-4, "two images versus one");
        // One point in Paris, four in Sydney.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "lat,lng\n48.8,2.3\n-33.8,151.2\n-33.9,151.2\n-33.8,151.1\n-33.9,151.1\n").unwrap();
        prior = Prior { subtract_train: 0.0, add_game: 0.5, points: file.path().into(), ..prior };
        assert!((gap(&prior).unwrap() + 0.5 * 4.0f32.ln()).abs() < 1e-4);
        // Half the log-ratio, centred.
        let weights = log_weights(file.path(), 0.5, &table).unwrap();
        assert!((weights[paris] - weights[1 - paris] + 0.5 * SMOOTHED_RATIO.ln()).abs() < 2e-3, "{weights:?}");
        assert!(weights.iter().sum::<f32>().abs() < 2e-3);
        prior.points = "missing.csv".into();
        assert!(gap(&prior).unwrap_err().to_string().contains("missing.csv"));
    }
}
