//! Temperature scaling: how much a head's logits must be flattened before they are honest.

use landfall_model::{CellTable, LatLng};
use rayon::prelude::*;

/// The softmax temperature with the least mean negative log-likelihood of the rounds' true cells (the containing cell,
/// else the nearest), between 0.1 and 10. `None` without rounds.
pub fn fit_temperature(table: &CellTable, rounds: &[(LatLng, Vec<Vec<f32>>)]) -> Option<f64> {
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
    if averaged.is_empty() {
        return None;
    }
    let loss = |log_t: f64| {
        let t = log_t.exp();
        let one = |(cell, z): &(usize, Vec<f64>)| {
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            z.iter().map(|x| ((x - max) / t).exp()).sum::<f64>().ln() - (z[*cell] - max) / t
        };
        // Summed in order, not by rayon: floating-point sums must repeat.
        averaged.par_iter().map(one).collect::<Vec<f64>>().into_iter().sum::<f64>()
    };
    // Golden section: the loss has one valley in ln T.
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
    Some((((low + high) / 2.0).exp() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{at, table};

    #[test]
    fn temperature_undoes_overconfidence() {
        // Right in 3 of 4 cases with logits that promise 1/(1+e^-6): T = 6 / ln 3 makes it 75 %.
        let table = table();
        let round = |right: bool| (at(48.5, 2.5), vec![if right { vec![6.0f32, 0.0] } else { vec![0.0, 6.0] }]);
        let rounds: Vec<_> = (0..40).map(|i| round(i % 4 != 0)).collect();
        assert!((fit_temperature(&table, &rounds).unwrap() - 6.0 / 3.0f64.ln()).abs() < 0.02);
        assert_eq!(fit_temperature(&table, &[]), None);
    }
}
