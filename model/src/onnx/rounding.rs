//! Rounding of weights to small integers, with the error of each input corrected in the weights of the inputs after it, as
//! far as the activations of both are correlated (GPTQ, arXiv:2210.17323), from a factor model of their second moments.
//!
//! [`shrink`](super::shrink) says why, and what the arithmetic must keep to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest absolute value of an integer.
pub const LARGEST: f32 = 127.0;
/// Added to d, as a share of the mean second moment: keeps the corrections small where the model is uncertain.
const DAMPING: f64 = 0.01;
/// Outputs that are computed together, so that their state stays in the processor's cache.
const PANEL: usize = 64;
/// The share of the second moment of an input that is not explained by the factors is at least this.
const LEAST_UNEXPLAINED: f32 = 0.02;

/// Second moments of the inputs of a layer, modelled as `diag(d) + V Vᵀ`.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// d `[inputs]`, not negative.
    pub diagonal: Vec<f32>,
    /// V `[inputs, rank]`, row-major.
    pub factors: Vec<f32>,
    /// Columns of V.
    pub rank: usize,
}

impl Moments {
    /// The moments of inputs with this root mean square `[inputs]` and correlations `diag(1 - |f|²) + F Fᵀ`, F `[inputs, rank]`.
    pub fn of_correlations(rms: &[f32], mut factors: Vec<f32>, rank: usize) -> Self {
        let mut diagonal = Vec::with_capacity(rms.len());
        for (i, rms) in rms.iter().enumerate() {
            let row = &mut factors[i * rank..][..rank];
            let explained: f32 = row.iter().map(|f| f * f).sum();
            diagonal.push(rms * rms * (1.0 - explained).max(LEAST_UNEXPLAINED));
            row.iter_mut().for_each(|f| *f *= rms);
        }
        Self { diagonal, factors, rank }
    }
}

/// Rounds weights `[inputs, outputs]`, row-major, to integers from -127 to 127 in units of `steps` `[inputs]`, such that the
/// outputs change little for inputs with these moments. The lengths must match.
pub fn round(weights: &[f32], outputs: usize, steps: &[f32], moments: &Moments) -> Vec<i8> {
    let correction = Correction::new(moments);
    let panels = outputs.div_ceil(PANEL);
    let next = AtomicUsize::new(0);
    let integers = Mutex::new(vec![0; weights.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(panels);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(first) = Some(next.fetch_add(1, Ordering::Relaxed) * PANEL).filter(|i| *i < outputs) {
                    let width = PANEL.min(outputs - first);
                    let panel = correction.round_panel(weights, outputs, first..first + width, steps);
                    let mut integers = integers.lock().unwrap_or_else(|e| e.into_inner());
                    for (row, panel) in integers.chunks_exact_mut(outputs).zip(&panel) {
                        row[first..first + width].copy_from_slice(&panel[..width]);
                    }
                }
            });
        }
    });
    integers.into_inner().unwrap_or_else(|e| e.into_inner())
}

/// How the errors of earlier inputs change the weights of later ones.
///
/// The best weight of input i, given the errors e of the inputs before it, is `w_i + (v_i / d_i) · Σ_j u_j e_j` where `u_j =
/// (I + Σ_{k>j} v_k v_kᵀ / d_k)⁻¹ v_j`: GPTQ's update for moments `diag(d) + V Vᵀ`, by the matrix inversion lemma.
struct Correction {
    rank: usize,
    /// `v_i / d_i`, `[inputs, rank]`
    gain: Vec<f32>,
    /// `u_i`, `[inputs, rank]`
    effect: Vec<f32>,
    /// The variance of each input that the inputs after it do not explain.
    unexplained: Vec<f32>,
}

/// The part of the second moment of each input that the inputs after it do not explain: the weight of its rounding error.
pub fn unexplained_moments(moments: &Moments) -> Vec<f32> {
    Correction::new(moments).unexplained
}

impl Correction {
    fn new(moments: &Moments) -> Self {
        let Moments { diagonal, factors, rank } = moments;
        let (rank, inputs) = (*rank, diagonal.len());
        let row = |i: usize| factors[i * rank..][..rank].iter().map(|v| f64::from(*v));
        let total: f64 = diagonal.iter().map(|d| f64::from(*d)).sum::<f64>()
            + factors.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        let damping = (DAMPING * total / inputs as f64).max(f64::from(f32::MIN_POSITIVE));
        let noise = |i: usize| f64::from(diagonal[i]) + damping;
        let gain = (0..inputs).flat_map(|i| row(i).map(move |v| (v / noise(i)) as f32)).collect();
        let mut effect = vec![0.0; inputs * rank];
        let mut unexplained = vec![0.0; inputs];
        // The inverse, updated by one input at a time (Sherman and Morrison).
        let mut inverse = vec![0.0; rank * rank];
        (0..rank).for_each(|r| inverse[r * rank + r] = 1.0);
        for i in (0..inputs).rev() {
            let product = |of: &[f64]| of.iter().zip(row(i)).map(|(a, v)| a * v).sum::<f64>();
            let k: Vec<f64> = (0..rank).map(|r| product(&inverse[r * rank..][..rank])).collect();
            let denominator = noise(i) + product(&k);
            unexplained[i] = denominator as f32;
            effect[i * rank..][..rank].iter_mut().zip(&k).for_each(|(effect, k)| *effect = *k as f32);
            for (row, a) in inverse.chunks_exact_mut(rank.max(1)).zip(&k) {
                let factor = a / denominator;
                row.iter_mut().zip(&k).for_each(|(x, b)| *x -= factor * b);
            }
        }
        Self { rank, gain, effect, unexplained }
    }

    /// The integers of some outputs, a row for each input.
    fn round_panel(
        &self,
        weights: &[f32],
        outputs: usize,
        columns: std::ops::Range<usize>,
        steps: &[f32],
    ) -> Vec<[i8; PANEL]> {
        let rank = self.rank;
        let mut state = vec![[0.0f32; PANEL]; rank];
        let round = |(i, step): (usize, &f32)| {
            let mut wanted = [0.0f32; PANEL];
            wanted[..columns.len()].copy_from_slice(&weights[i * outputs..][columns.clone()]);
            for (gain, state) in self.gain[i * rank..][..rank].iter().zip(&state) {
                wanted.iter_mut().zip(state).for_each(|(wanted, state)| *wanted += gain * state);
            }
            let integers = wanted.map(|wanted| (wanted / step).clamp(-LARGEST, LARGEST).round_ties_even());
            let mut error = wanted;
            error.iter_mut().zip(&integers).for_each(|(error, integer)| *error -= integer * step);
            for (effect, state) in self.effect[i * rank..][..rank].iter().zip(&mut state) {
                state.iter_mut().zip(&error).for_each(|(state, error)| *state += effect * error);
            }
            integers.map(|integer| integer as i8)
        };
        steps.iter().enumerate().map(round).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    pub(crate) const INPUTS: usize = 24;
    /// More than a panel, and not a multiple of one.
    pub(crate) const OUTPUTS: usize = 80;
    pub(crate) const RANK: usize = 3;

    /// Numbers from -1 to 1, the same everywhere.
    pub(crate) fn noise(seed: u32, n: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    pub(crate) fn rms() -> Vec<f32> {
        noise(4, INPUTS).into_iter().map(|x| 1.5 + x).collect()
    }

    pub(crate) fn factors() -> Vec<u8> {
        noise(5, INPUTS * RANK).into_iter().map(|x| ((x * 127.0) as i8).cast_unsigned()).collect()
    }

    /// The sha256 was computed with another implementation, in NumPy.
    #[test]
    fn the_result_is_the_same_on_every_processor() {
        let factors = factors().into_iter().map(|f| f32::from(f.cast_signed()) * 0.005).collect();
        let moments = Moments::of_correlations(&rms(), factors, RANK);
        let steps: Vec<f32> = noise(6, INPUTS).into_iter().map(|x| (1.0 + 0.5 * x) * 0.1).collect();
        let integers = round(&noise(7, INPUTS * OUTPUTS), OUTPUTS, &steps, &moments);
        assert_eq!(integers[..8], [-7, 11, 3, 12, -12, 10, -4, -12]);
        let bytes: Vec<u8> = integers.into_iter().map(i8::cast_unsigned).collect();
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "86fc234f39f3f46783fbefd37ddef575607ce45b3c4a2f5baf37ead79cc5535f");
    }

    #[test]
    fn correlated_inputs_lose_less_than_with_plain_rounding() {
        let moments =
            Moments::of_correlations(&rms(), noise(5, INPUTS * RANK).into_iter().map(|x| 0.9 * x).collect(), RANK);
        let weights = noise(7, INPUTS * OUTPUTS);
        let steps = [0.4; INPUTS];
        let error = |integers: &[i8]| -> f64 {
            let error = |i: usize, o: usize| {
                f64::from(weights[i * OUTPUTS + o] - f32::from(integers[i * OUTPUTS + o]) * steps[i])
            };
            let of_output = |o: usize| {
                let noise: f64 = (0..INPUTS).map(|i| f64::from(moments.diagonal[i]) * error(i, o) * error(i, o)).sum();
                let common = (0..RANK)
                    .map(|r| (0..INPUTS).map(|i| f64::from(moments.factors[i * RANK + r]) * error(i, o)).sum::<f64>());
                noise + common.map(|x| x * x).sum::<f64>()
            };
            (0..OUTPUTS).map(of_output).sum()
        };
        let plain: Vec<i8> = weights.iter().map(|w| (w / 0.4).round() as i8).collect();
        let corrected = round(&weights, OUTPUTS, &steps, &moments);
        assert!(error(&corrected) < 0.8 * error(&plain), "{} and {}", error(&corrected), error(&plain));
        let independent = Moments { diagonal: vec![1.0; INPUTS], factors: Vec::new(), rank: 0 };
        assert_eq!(round(&weights, OUTPUTS, &steps, &independent), plain);
    }
}
