//! The posterior: log-probabilities over the cells of a table.

use crate::cells::{CellTable, arc_m};
use crate::latlng::LatLng;

/// The probability of every cell of a table, given the images of one place.
///
/// Obtained from a `Geolocator`, or from the logits of a network of one's own with [`Posterior::fuse`].
///
/// ```
/// use landfall_model::{Cell, CellTable, LatLng, Posterior};
///
/// let cell = |token: &str, level, at| Cell { token: token.into(), level, at, spread_m: 0.0, count: 1, country: None };
/// let (lyon, sydney) = (LatLng::new(45.9, 4.7)?, LatLng::new(-33.7, 150.8)?);
/// let table = CellTable::new(vec![cell("47f4", 5, lyon), cell("6b14", 5, sydney)])?;
/// let views = [[2.0, 0.0], [1.0, 0.0]]; // the logits of two views of one place
/// let posterior = Posterior::fuse(&table, &views, 1.0).expect("finite numbers, one per cell");
///
/// let p = 1.5f64.exp() / (1.5f64.exp() + 1.0); // of the mean logits 1.5 and 0
/// assert!((posterior.probabilities()[0] - p).abs() < 1e-12);
/// assert_eq!(posterior.credible_region(0.5), [0]);
/// assert!((posterior.mass_within(sydney, 100_000.0) - (1.0 - p)).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Posterior<'a> {
    /// The table that the probabilities are over.
    pub table: &'a CellTable,
    log_p: Vec<f64>,
}

impl<'a> Posterior<'a> {
    /// Fuses the views of one place, each a row of logits with one number per cell.
    ///
    /// The logits are averaged over views, which makes the result a product of experts (Hinton, "Training products of
    /// experts by minimizing contrastive divergence", 2002), divided by the temperature (Guo et al., "On calibration of
    /// modern neural networks", arXiv:1706.04599) and normalised. Sums run in the order of the rows, so that the result
    /// is the same to the last bit everywhere.
    ///
    /// `None` if there is no view, a row does not have one number per cell, or a number is not finite.
    pub fn fuse(table: &'a CellTable, logits: &[impl AsRef<[f32]>], temperature: f64) -> Option<Self> {
        let cells = table.cells.len();
        let usable = |row: &[f32]| row.len() == cells && row.iter().all(|x| x.is_finite());
        if logits.is_empty() || cells == 0 || !logits.iter().all(|row| usable(row.as_ref())) {
            return None;
        }
        let mut mean = vec![0.0; cells];
        for row in logits {
            for (sum, x) in mean.iter_mut().zip(row.as_ref()) {
                *sum += f64::from(*x);
            }
        }
        let divisor = logits.len() as f64 * temperature;
        mean.iter_mut().for_each(|x| *x /= divisor);
        Some(Self { table, log_p: log_softmax(mean) })
    }

    /// The same posterior weighted by a prior: `log p + weight · log prior`, normalised. `log_prior` has one number per
    /// cell.
    #[must_use]
    pub fn with_prior(&self, log_prior: &[impl Copy + Into<f64>], weight: f64) -> Self {
        let log_p = self.log_p.iter().zip(log_prior).map(|(p, prior)| p + weight * (*prior).into()).collect();
        Self { table: self.table, log_p: log_softmax(log_p) }
    }

    /// Natural logarithms of the probabilities, in the order of the cells.
    pub fn log_probabilities(&self) -> &[f64] {
        &self.log_p
    }

    /// Probabilities, in the order of the cells.
    pub fn probabilities(&self) -> Vec<f64> {
        self.log_p.iter().map(|x| libm::exp(*x)).collect()
    }

    /// Indices and probabilities of the `k` most likely cells, most likely first. Ties keep the order of the cells.
    pub fn top(&self, k: usize) -> Vec<(usize, f64)> {
        let mut order: Vec<usize> = (0..self.log_p.len()).collect();
        order.sort_by(|a, b| self.log_p[*b].total_cmp(&self.log_p[*a]));
        order.into_iter().take(k).map(|i| (i, libm::exp(self.log_p[i]))).collect()
    }

    /// The credible region of this probability (0 to 1): indices of the fewest cells that together hold at least `mass`,
    /// most likely first.
    pub fn credible_region(&self, mass: f64) -> Vec<usize> {
        let mut held = 0.0;
        let mut cells = self.top(self.log_p.len());
        let enough = cells.iter().position(|(_, p)| {
            held += p;
            held >= mass
        });
        cells.truncate(enough.map_or(cells.len(), |last| last + 1));
        cells.into_iter().map(|(i, _)| i).collect()
    }

    /// Probability that the place is within `radius_m` metres of `centre`, with each cell counted at its mean location.
    pub fn mass_within(&self, centre: LatLng, radius_m: f64) -> f64 {
        let v = centre.to_unit_vector();
        let near = self.table.vectors().iter().zip(&self.log_p).filter(|(u, _)| arc_m(**u, v) <= radius_m);
        near.map(|(_, p)| libm::exp(*p)).sum()
    }

    /// Radius in metres of the circle around `centre` that holds at least `mass` (0 to 1) of the probability.
    ///
    /// A cell with spread `s` at distance `d` is counted at `√(d² + s²)`.
    pub fn radius_m(&self, centre: LatLng, mass: f64) -> f64 {
        let v = centre.to_unit_vector();
        let reach = |i: usize| {
            let (d, spread) = (arc_m(self.table.vectors()[i], v), self.table.cells[i].spread_m);
            (d * d + spread * spread).sqrt()
        };
        let mut cells: Vec<(f64, f64)> = (0..self.log_p.len()).map(|i| (reach(i), libm::exp(self.log_p[i]))).collect();
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut held = 0.0;
        let enough = cells.iter().find(|(_, p)| {
            held += p;
            held >= mass
        });
        enough.or(cells.last()).map_or(0.0, |(radius_m, _)| *radius_m)
    }
}

fn log_softmax(mut x: Vec<f64>) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + libm::log(x.iter().map(|x| libm::exp(x - max)).sum::<f64>());
    x.iter_mut().for_each(|x| *x -= log_sum);
    x
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cells::{Cell, leaf};
    use proptest::prelude::*;

    /// A table of level-6 cells around these locations.
    pub(crate) fn table_of(locations: &[(f64, f64)]) -> CellTable {
        let cell = |&(lat, lng): &(f64, f64)| {
            let at = LatLng::new(lat, lng).unwrap();
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 30_000.0, count: 10, country: None }
        };
        CellTable::new(locations.iter().map(cell).collect()).unwrap()
    }

    #[test]
    fn views_are_fused_as_a_product_of_experts() {
        let table = table_of(&[(48.0, 2.0), (52.0, 13.0), (40.0, -4.0)]);
        let a = [1.0f32, 0.0, 0.0];
        let b = [0.0f32, 1.0, -3.0];
        let fused = Posterior::fuse(&table, &[a, b], 0.5).unwrap();
        let p = fused.probabilities();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((p[0] - p[1]).abs() < 1e-12);
        assert!((p[0] / p[2] - libm::exp((0.5 + 1.5) / 0.5)).abs() < 1e-6);
        assert_eq!(fused.top(2).iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn invalid_logits_are_refused() {
        let table = table_of(&[(48.0, 2.0), (52.0, 13.0)]);
        assert!(Posterior::fuse(&table, &[[1.0f32, f32::NAN]], 1.0).is_none());
        assert!(Posterior::fuse(&table, &[[1.0f32]], 1.0).is_none());
        assert!(Posterior::fuse(&table, &[] as &[Vec<f32>], 1.0).is_none());
    }

    #[test]
    fn a_prior_shifts_the_posterior() {
        let table = table_of(&[(48.0, 2.0), (52.0, 13.0)]);
        let even = Posterior::fuse(&table, &[[0.0f32, 0.0]], 1.0).unwrap();
        let moved = even.with_prior(&[0.9f64.ln(), 0.1f64.ln()], 1.0).probabilities();
        assert!((moved[0] - 0.9).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn credible_regions_and_radii_hold_their_mass(logits in prop::collection::vec(-5.0f32..5.0, 4), mass in 0.05..0.99f64) {
            let table = table_of(&[(48.0, 2.0), (52.0, 13.0), (40.0, -4.0), (-33.0, 151.0)]);
            let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
            let p = posterior.probabilities();
            prop_assert!(posterior.credible_region(mass).iter().map(|i| p[*i]).sum::<f64>() >= mass - 1e-9);
            let centre = table.cells[0].at;
            let radius_m = posterior.radius_m(centre, mass);
            prop_assert!(posterior.mass_within(centre, radius_m) >= mass - 1e-9);
        }
    }
}
