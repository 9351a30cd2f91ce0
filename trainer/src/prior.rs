//! The prior: what the training pictures make likely is taken from the logits, what the game makes likely is added.

use anyhow::Result;
use landfall_model::CellTable;
use landfall_model::cells::arc_m;
use rayon::prelude::*;

use crate::index::Row;
use crate::objective::Objective;
use crate::partition;
use crate::recipe::{Prior, Recipe};

/// What is added to the logits of each cell: `-less_train log p_train + plus_game log p_game`.
///
/// # Errors
/// When the file of coverage points cannot be used; the message names the line.
pub fn bias(recipe: &Recipe, objective: &Objective<'_>, rows: &[&Row]) -> Result<Vec<f32>> {
    let (prior, table) = (&recipe.prior, objective.table);
    let mut bias = vec![0.0; table.cells.len()];
    let mut add = |weight: f64, counts: &[f64]| {
        let p = smoothed(table, counts, prior);
        bias.iter_mut().zip(p).for_each(|(bias, p)| *bias += weight * p.ln());
    };
    if prior.less_train != 0.0 {
        add(-prior.less_train, &train_counts(objective, rows));
    }
    if prior.plus_game != 0.0 {
        add(prior.plus_game, &game_counts(table, prior)?);
    }
    Ok(bias.into_iter().map(|x| x as f32).collect())
}

/// How much of the labels each cell got.
fn train_counts(objective: &Objective<'_>, rows: &[&Row]) -> Vec<f64> {
    let mut counts = vec![0.0; objective.table.cells.len()];
    for rows in rows.chunks(512) {
        for row in objective.answers(rows).cells.chunks_exact(counts.len()) {
            counts.iter_mut().zip(row).for_each(|(count, y)| *count += f64::from(*y));
        }
    }
    counts
}

fn game_counts(table: &CellTable, prior: &Prior) -> Result<Vec<f64>> {
    if prior.points.as_os_str().is_empty() {
        return Ok(table.cells.iter().map(|cell| f64::from(cell.count)).collect());
    }
    let points = partition::read_points(&prior.points)?;
    let cell_of: Vec<_> = points.par_iter().map(|at| table.containing(*at).or_else(|| table.nearest(*at))).collect();
    let mut counts = vec![0.0; table.cells.len()];
    cell_of.into_iter().flatten().for_each(|cell| counts[cell] += 1.0);
    Ok(counts)
}

/// Counts as probabilities, after a few pseudo-counts for all and after each cell shared its own with those around it.
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
    use crate::material::tests::{material, place};

    #[test]
    fn the_trained_prior_goes_and_the_games_comes() {
        let material = material(&[(48.85, 2.35, "FR"), (-33.87, 151.21, "AU")]);
        let mut recipe = Recipe::default();
        recipe.prior.pseudo_counts = 1e-6;
        let objective = Objective::new(&material, &recipe).unwrap();
        let rows = [place(48.85, 2.35, "FR"), place(48.85, 2.35, "FR"), place(-33.87, 151.21, "AU")];
        let rows: Vec<&Row> = rows.iter().collect();
        let gap = |recipe: &Recipe| bias(recipe, &objective, &rows).map(|bias| bias[0] - bias[1]).unwrap();
        let first_is_paris = material.table.cells[0].country.as_deref() == Some("FR");
        let sign = if first_is_paris { 1.0 } else { -1.0 };
        recipe.prior.less_train = 1.0;
        assert!((gap(&recipe) * sign + 2.0f32.ln()).abs() < 1e-4, "two pictures to one");
        // Paris once, Sydney four times.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "lat,lng\n48.8,2.3\n-33.8,151.2\n-33.9,151.2\n-33.8,151.1\n-33.9,151.1\n").unwrap();
        recipe.prior = Prior { less_train: 0.0, plus_game: 0.5, points: file.path().into(), ..recipe.prior };
        assert!((gap(&recipe) * sign + 0.5 * 4.0f32.ln()).abs() < 1e-4);
        recipe.prior.points = "missing.csv".into();
        assert!(bias(&recipe, &objective, &rows).unwrap_err().to_string().contains("missing.csv"));
    }
}
