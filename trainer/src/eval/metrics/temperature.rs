//! Temperature scaling: how much a head's logits must be flattened before they are honest.

use landfall_model::{CellTable, LatLng};
use rayon::prelude::*;

/// Share of the probability whose regions must keep their word: of so large regions, as many must hold the truth.
const REGION_MASS: f64 = 0.9;
/// The temperature that makes regions honest is looked for within this factor of the likeliest one.
const MAX_FACTOR: f64 = 1.5;

/// The softmax temperature at which nine in ten of the rounds' 90 % regions hold the truth's cell (the containing cell,
/// else the nearest), as near to that as within a factor of 1.5 of the likeliest temperature; `None` without rounds.
///
/// The likeliest temperature alone promises too little: truths in cells that no training picture taught are so
/// unlikely that it flattens all the others for their sake.
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
    let likeliest = likeliest(&averaged)?;
    // Regions only grow with the temperature.
    let (mut low, mut high) = ((likeliest / MAX_FACTOR).ln(), (likeliest * MAX_FACTOR).ln());
    while high - low > 1e-3 {
        let middle = (low + high) / 2.0;
        let holding = averaged.par_iter().filter(|(cell, z)| region_holds(z, *cell, middle.exp())).count();
        if (holding as f64) < REGION_MASS * averaged.len() as f64 { low = middle } else { high = middle }
    }
    Some((high.exp() * 1000.0).round() / 1000.0)
}

/// Whether the fewest likeliest cells that hold the share of the region at temperature `t` include `cell`: so when those
/// likelier than it hold less.
fn region_holds(z: &[f64], cell: usize, t: f64) -> bool {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let p = |x: f64| ((x - max) / t).exp();
    let all: f64 = z.iter().map(|x| p(*x)).sum();
    let likelier: f64 = z.iter().filter(|x| **x > z[cell]).map(|x| p(*x)).sum();
    likelier < REGION_MASS * all
}

/// The temperature between 0.1 and 10 with the least mean negative log-likelihood of the true cells.
fn likeliest(averaged: &[(usize, Vec<f64>)]) -> Option<f64> {
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
    Some(((low + high) / 2.0).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::tests::{at, table};

    /// Logits of rounds whose truth is in the cell of the given index.
    fn rounds(cells: impl Iterator<Item = usize>, logits: &[f64]) -> Vec<(usize, Vec<f64>)> {
        cells.map(|cell| (cell, logits.to_vec())).collect()
    }

    #[test]
    fn the_likeliest_temperature_undoes_overconfidence() {
        // Right in 3 of 4 cases with logits that promise 1/(1+e^-6): T = 6 / ln 3 makes it 75 %.
        let rounds = rounds((0..40).map(|i| usize::from(i % 4 == 0)), &[6.0, 0.0]);
        assert!((likeliest(&rounds).unwrap() - 6.0 / 3.0f64.ln()).abs() < 0.02);
        assert_eq!(likeliest(&[]), None);
    }

    #[test]
    fn a_region_holds_what_the_likelier_cells_leave() {
        let z = [0.8f64.ln(), 0.15f64.ln(), 0.05f64.ln()];
        assert_eq!([0, 1, 2].map(|cell| region_holds(&z, cell, 1.0)), [true, true, false]);
        assert!(region_holds(&z, 2, 5.0), "flatter");
    }

    #[test]
    fn nine_in_ten_regions_hold_the_truth() {
        // 19 of 20 are in the first cell: from 90 % on it alone is the region, which is honest enough; flatter than
        // that, the region is the whole earth.
        let table = table();
        let round = |right: bool| (at(48.5, 2.5), vec![if right { vec![6.0f32, 0.0] } else { vec![0.0, 6.0] }]);
        let rounds: Vec<_> = (0..40).map(|i| round(i % 20 != 0)).collect();
        let likeliest = 6.0 / 19.0f64.ln();
        let t = fit_temperature(&table, &rounds).unwrap();
        assert!((t - likeliest / MAX_FACTOR).abs() < 0.02, "{t}: sharper cannot make less of the first cell");
        let rounds: Vec<_> = (0..40).map(|i| round(i % 8 != 0)).collect();
        let t = fit_temperature(&table, &rounds).unwrap();
        assert!((t - 6.0 / 9.0f64.ln()).abs() < 0.02, "{t}: from here on the region has both cells");
        assert_eq!(fit_temperature(&table, &[]), None);
    }
}
