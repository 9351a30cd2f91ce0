//! Second moments of activations, and the factor model that is small enough to be distributed.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use landfall_model::onnx::rounding::Moments;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use crate::head::model::to_vec;

/// Fits of the factors and the diagonal to each other.
const FITS: usize = 4;
/// Share of an input's second moment that the first fit attributes to the diagonal.
const FIRST_UNEXPLAINED: f32 = 0.3;
const LEAST_UNEXPLAINED: f32 = 0.02;
/// Vectors that are multiplied at once.
const PENDING: usize = 2048;

/// Sums of products of the inputs of a layer.
pub(super) struct SecondMoments {
    /// Number of inputs.
    pub(super) inputs: usize,
    /// `[inputs, inputs]`
    pub(super) sums: Vec<f32>,
    /// Number of vectors.
    pub(super) count: usize,
    /// Vectors that are not in the sums yet, `[n, inputs]`.
    pending: Vec<f32>,
}

impl SecondMoments {
    pub(super) fn new(inputs: usize) -> Self {
        Self::from_sums(inputs, vec![0.0; inputs * inputs], 0)
    }

    /// Moments that were measured before.
    pub(super) fn from_sums(inputs: usize, sums: Vec<f32>, count: usize) -> Self {
        Self { inputs, sums, count, pending: Vec::new() }
    }

    /// Adds vectors, `[n, inputs]`.
    ///
    /// # Errors
    /// If burn cannot extract the result, which is a bug.
    pub(super) fn add(&mut self, vectors: &[f32]) -> Result<()> {
        self.pending.extend_from_slice(vectors);
        // The sums are large, so they are not read and written for every picture.
        if self.pending.len() >= PENDING * self.inputs { self.add_pending() } else { Ok(()) }
    }

    /// Completes the sums.
    ///
    /// # Errors
    /// As [`SecondMoments::add`].
    pub(super) fn add_pending(&mut self) -> Result<()> {
        let vectors = std::mem::take(&mut self.pending);
        let rows = vectors.len() / self.inputs;
        if rows > 0 {
            let x = matrix(vectors, [rows, self.inputs]);
            let products = to_vec(x.clone().transpose().matmul(x).into_data())?;
            self.sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            self.count += rows;
        }
        Ok(())
    }

    /// The factor model of `rank` columns, fitted by principal factor analysis of the correlations.
    ///
    /// # Errors
    /// If burn cannot extract a result, which is a bug.
    pub(super) fn factors(mut self, rank: usize) -> Result<Factors> {
        self.add_pending()?;
        let (n, rank) = (self.inputs, rank.min(self.inputs));
        let mean_square: Vec<f32> = (0..n).map(|i| self.sums[i * n + i] / self.count.max(1) as f32).collect();
        let mean = mean_square.iter().sum::<f32>() / n as f32;
        let rms: Vec<f32> =
            mean_square.iter().map(|square| (square + 1e-9 * mean).sqrt().max(f32::MIN_POSITIVE)).collect();
        let count = self.count.max(1) as f32;
        let mut correlations = self.sums;
        for (row, a) in correlations.chunks_exact_mut(n).zip(&rms) {
            row.iter_mut().zip(&rms).for_each(|(x, b)| *x /= count * a * b);
        }
        let correlations = matrix(correlations, [n, n]);
        let mut unexplained = vec![FIRST_UNEXPLAINED; n];
        let mut random = StdRng::seed_from_u64(1);
        let start = (0..n * rank).map(|_| StandardNormal.sample(&mut random)).collect();
        let mut basis = orthonormal(start, rank);
        let mut factors = Vec::new();
        for fit in 0..FITS {
            // The correlations without the unexplained part, times the basis.
            let product = |basis: &[f32]| -> Result<Vec<f32>> {
                let mut product = to_vec(correlations.clone().matmul(matrix(basis.to_vec(), [n, rank])).into_data())?;
                let rows = product.chunks_exact_mut(rank).zip(basis.chunks_exact(rank)).zip(&unexplained);
                rows.for_each(|((row, basis), share)| row.iter_mut().zip(basis).for_each(|(x, b)| *x -= share * b));
                Ok(product)
            };
            for _ in 0..if fit == 0 { 4 } else { 2 } {
                basis = orthonormal(product(&basis)?, rank);
            }
            let q = matrix(basis.clone(), [n, rank]);
            let inner = to_vec(q.clone().transpose().matmul(matrix(product(&basis)?, [n, rank])).into_data())?;
            factors = to_vec(q.matmul(matrix(cholesky(&inner, rank), [rank, rank])).into_data())?;
            let explained = factors.chunks_exact(rank).map(|row| row.iter().map(|f| f * f).sum::<f32>());
            unexplained = explained.map(|share| (1.0 - share).max(LEAST_UNEXPLAINED)).collect();
        }
        Ok(Factors::quantised(rms, &factors, rank))
    }
}

/// A factor model as it is stored.
pub(super) struct Factors {
    /// Root mean square of each input, rounded to 16-bit floats.
    pub(super) rms: Vec<f32>,
    /// `[inputs, rank]`
    pub(super) factors: Vec<i8>,
    /// `[rank]`: the value of 1.
    pub(super) scale: Vec<f32>,
}

impl Factors {
    fn quantised(rms: Vec<f32>, factors: &[f32], rank: usize) -> Self {
        let mut scale = vec![f32::MIN_POSITIVE; rank];
        for row in factors.chunks_exact(rank) {
            scale.iter_mut().zip(row).for_each(|(largest, f)| *largest = largest.max(f.abs() / 127.0));
        }
        let byte = |(i, f): (usize, &f32)| (f / scale[i % rank]).round() as i8;
        let factors = factors.iter().enumerate().map(byte).collect();
        Self { rms: rms.into_iter().map(|rms| f16::from_f32(rms).to_f32()).collect(), factors, scale }
    }

    /// The moments that reading the stored file gives.
    pub(super) fn moments(&self) -> Moments {
        let rank = self.scale.len();
        let factors = self.factors.iter().enumerate().map(|(i, f)| f32::from(*f) * self.scale[i % rank]).collect();
        Moments::of_correlations(&self.rms, factors, rank)
    }
}

fn matrix(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// An orthonormal basis of the columns of `[n, rank]`, in their order (modified Gram-Schmidt).
fn orthonormal(matrix: Vec<f32>, rank: usize) -> Vec<f32> {
    let n = matrix.len() / rank;
    let mut columns: Vec<Vec<f64>> =
        (0..rank).map(|r| matrix.iter().skip(r).step_by(rank).map(|x| f64::from(*x)).collect()).collect();
    for r in 0..rank {
        let (done, rest) = columns.split_at_mut(r);
        // Twice, since the first pass leaves rounding errors in nearly dependent columns.
        for other in done.iter().chain(done.iter()) {
            let dot: f64 = other.iter().zip(&rest[0]).map(|(a, b)| a * b).sum();
            rest[0].iter_mut().zip(other).for_each(|(x, a)| *x -= dot * a);
        }
        let length = rest[0].iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        rest[0].iter_mut().for_each(|x| *x /= length);
    }
    (0..n).flat_map(|i| columns.iter().map(move |column| column[i] as f32)).collect()
}

/// L with `L Lᵀ` = the matrix `[rank, rank]`, row-major. Directions in which it is not positive are left out.
fn cholesky(matrix: &[f32], rank: usize) -> Vec<f32> {
    let mut lower = vec![0.0f64; rank * rank];
    for column in 0..rank {
        let product = |lower: &[f64], row: usize| -> f64 {
            (0..column).map(|k| lower[row * rank + k] * lower[column * rank + k]).sum()
        };
        let pivot = f64::from(matrix[column * rank + column]) - product(&lower, column);
        if pivot <= 1e-9 {
            continue;
        }
        for row in column..rank {
            let rest = f64::from(matrix[row * rank + column]) - product(&lower, row);
            lower[row * rank + column] = rest / pivot.sqrt();
        }
    }
    lower.into_iter().map(|x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_model_recovers_moments_of_its_own_form() {
        let (n, rank) = (24, 3);
        let mut random = StdRng::seed_from_u64(5);
        let mut normal = || -> f32 { StandardNormal.sample(&mut random) };
        let loadings: Vec<f32> = (0..n * rank).map(|_| 0.4 * normal()).collect();
        let moment = |i: usize, j: usize| -> f32 {
            let common: f32 = (0..rank).map(|r| loadings[i * rank + r] * loadings[j * rank + r]).sum();
            (1.0 + i as f32) * (1.0 + j as f32) * (common + if i == j { 0.5 } else { 0.0 })
        };
        let sums = (0..n * n).map(|k| 10.0 * moment(k / n, k % n)).collect();
        let factors = SecondMoments::from_sums(n, sums, 10).factors(rank).unwrap();
        let Moments { diagonal, factors, .. } = factors.moments();
        for i in 0..n {
            for j in 0..n {
                let common: f32 = (0..rank).map(|r| factors[i * rank + r] * factors[j * rank + r]).sum();
                let model = common + if i == j { diagonal[i] } else { 0.0 };
                let size = (moment(i, i) * moment(j, j)).sqrt();
                assert!((model - moment(i, j)).abs() < 0.06 * size, "[{i}, {j}]: {model}, not {}", moment(i, j));
            }
        }
    }

    #[test]
    fn constant_and_absent_inputs_have_finite_factors() {
        let mut moments = SecondMoments::new(4);
        moments.add(&[1.0, 0.0, 1.0, 2.0, 1.0, 0.0, -1.0, 2.0]).unwrap();
        moments.add_pending().unwrap();
        assert_eq!(moments.count, 2);
        let moments = moments.factors(8).unwrap().moments();
        assert!(moments.diagonal.iter().chain(&moments.factors).all(|x| x.is_finite()));
    }
}
