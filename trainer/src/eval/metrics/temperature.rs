//! Temperature scaling: the softmax temperature that calibrates the logits of a head.

use landfall_model::{CellTable, LatLng};
use rayon::prelude::*;

/// Probability of the credible regions whose coverage is calibrated.
const REGION_MASS: f64 = 0.9;
/// The calibrated temperature lies within this factor of the maximum-likelihood temperature.
const MAX_FACTOR: f64 = 1.5;

/// The softmax temperature at which the 90 % credible regions contain the true cell (the containing cell, else the
/// nearest) in 90 % of the rounds, limited to a factor of 1.5 from the maximum-likelihood temperature; `None` if there
/// are no rounds.
///
/// The maximum-likelihood temperature itself gives underconfident regions: true cells without training pictures are so
/// unlikely that it flattens the distribution of all rounds.
pub(crate) fn fit_temperature(table: &CellTable, rounds: &[(LatLng, Vec<Vec<f32>>)]) -> Option<f64> {
    let averaged: Vec<(usize, Vec<f64>)> = rounds
        .iter()
        .filter_map(|(truth, views)| {
            let cell = table.containing(*truth).or_else(|| table.nearest(*truth))?;
            let mut mean = vec![0.0; table.cells.len()];
            for view in views {
                mean.iter_mut().zip(view).for_each(|(m, x)| *m += f64::from(*x) / views.len() as f64);
            }
            Some((cell, mean))
        })
        .collect();
    let best = max_likelihood(&averaged)?;
    // Bisection: the coverage of the regions increases with the temperature.
    let (mut low, mut high) = ((best / MAX_FACTOR).ln(), (best * MAX_FACTOR).ln());
    while high - low > 1e-3 {
        let middle = (low + high) / 2.0;
        let covered = averaged.par_iter().filter(|(cell, z)| region_contains(z, *cell, middle.exp())).count();
        if (covered as f64) < REGION_MASS * averaged.len() as f64 { low = middle } else { high = middle }
    }
    Some((high.exp() * 1000.0).round() / 1000.0)
}

/// Whether the credible region at temperature `t` contains `cell`: that is the case if the cells that are more likely
/// have less than the probability of the region.
fn region_contains(z: &[f64], cell: usize, t: f64) -> bool {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let p = |x: f64| ((x - max) / t).exp();
    let total: f64 = z.iter().map(|x| p(*x)).sum();
    let more_likely: f64 = z.iter().filter(|x| **x > z[cell]).map(|x| p(*x)).sum();
    more_likely < REGION_MASS * total
}

/// The temperature between 0.1 and 10 that minimises the negative log-likelihood of the true cells.
fn max_likelihood(averaged: &[(usize, Vec<f64>)]) -> Option<f64> {
    if averaged.is_empty() {
        return None;
    }
    let loss = |log_t: f64| {
        let t = log_t.exp();
        let one = |(cell, z): &(usize, Vec<f64>)| {
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            z.iter().map(|x| ((x - max) / t).exp()).sum::<f64>().ln() - (z[*cell] - max) / t
        };
        // Summed in order, not by rayon, so that the floating-point sum is reproducible.
        averaged.par_iter().map(one).collect::<Vec<f64>>().into_iter().sum::<f64>()
    };
    // Golden-section search: the loss has a single minimum in ln T.
    let golden = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.1f64.ln(), 10.0f64.ln());
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_a, mut at_b) = (loss(a), loss(b));
    while high - low > 1e-3 {
        if at_a < at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - golden * (high - low);
            at_a = loss(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + golden * (high - low);
            at_b = loss(b);
        }
    }
    Some(((low + high) / 2.0).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::tests::{at, table};

    /// Logits of rounds whose true cell has the given index.
    fn rounds(cells: impl Iterator<Item = usize>, logits: &[f64]) -> Vec<(usize, Vec<f64>)> {
        cells.map(|cell| (cell, logits.to_vec())).collect()
    }

    #[test]
    fn the_maximum_likelihood_temperature_corrects_overconfidence() {
        // Correct in 3 of 4 cases with a probability of 1/(1+e^-6): T = 6 / ln 3 makes it 75 %.
        let rounds = rounds((0..40).map(|i| usize::from(i % 4 == 0)), &[6.0, 0.0]);
        assert!((max_likelihood(&rounds).unwrap() - 6.0 / 3.0f64.ln()).abs() < 0.02);
        assert_eq!(max_likelihood(&[]), None);
    }

    #[test]
    fn a_region_contains_cells_until_its_probability_is_reached() {
        let z = [0.8f64.ln(), 0.15f64.ln(), 0.05f64.ln()];
        assert_eq!([0, 1, 2].map(|cell| region_contains(&z, cell, 1.0)), [true, true, false]);
        assert!(region_contains(&z, 2, 5.0), "flatter");
    }

    #[test]
    fn nine_in_ten_regions_contain_the_true_cell() {
        // 19 of 20 are in the first cell. If its probability is at least 90 %, it is the whole region; at a higher
        // temperature the region has both cells.
        let table = table();
        let round = |correct: bool| (at(48.5, 2.5), vec![if correct { vec![6.0f32, 0.0] } else { vec![0.0, 6.0] }]);
        let rounds: Vec<_> = (0..40).map(|i| round(i % 20 != 0)).collect();
        let best = 6.0 / 19.0f64.ln();
        let t = fit_temperature(&table, &rounds).unwrap();
        assert!((t - best / MAX_FACTOR).abs() < 0.02, "{t}: the region cannot be smaller than the first cell");
        let rounds: Vec<_> = (0..40).map(|i| round(i % 8 != 0)).collect();
        let t = fit_temperature(&table, &rounds).unwrap();
        assert!((t - 6.0 / 9.0f64.ln()).abs() < 0.02, "{t}: from this temperature the region has both cells");
        assert_eq!(fit_temperature(&table, &[]), None);
    }
}
