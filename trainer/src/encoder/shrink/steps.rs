//! Steps of the integers: one per layer, chosen by the wanted number of bits, times a scale per input.

use std::collections::BTreeMap;

use half::f16;
use landfall_model::onnx::rounding::{LARGEST, Moments, unexplained_moments};

/// The scale of an input is its unexplained second moment to the power of minus this. 1/2 would be right if every input had
/// its own code for its integers; with one code for all, larger differences between inputs cost more than they save.
const SCALE_POWER: f64 = 0.375;
/// Scales are limited to this and its inverse.
const MAX_SCALE: f64 = 8.0;
/// Limits of the bits of one layer.
const BITS: [f64; 2] = [1.5, 6.5];
const SEARCH_STEPS: usize = 16;

/// Units of the integers of a layer.
pub(super) struct Steps {
    /// The layer's step.
    pub(super) step: f32,
    /// `[inputs]`, representable as 16-bit floats.
    pub(super) input_scale: Vec<f32>,
}

impl Steps {
    /// The step of each input.
    pub(super) fn of_inputs(&self) -> Vec<f32> {
        self.input_scale.iter().map(|scale| scale * self.step).collect()
    }
}

/// The steps with which rounding `weights` `[inputs, outputs]` gives integers with an entropy of `bits`.
pub(super) fn steps(weights: &[f32], outputs: usize, moments: &Moments, bits: f64) -> Steps {
    let scale = input_scale(moments);
    let scaled = weights.chunks_exact(outputs).zip(&scale).flat_map(|(row, scale)| row.iter().map(move |w| w / scale));
    let deviation = (scaled.map(|w| f64::from(w * w)).sum::<f64>() / weights.len() as f64).sqrt().max(1e-30);
    let at = |step: f64| {
        let step = step as f32;
        // No weight may need a larger integer than there is.
        let fitted = weights.chunks_exact(outputs).zip(&scale).map(|(row, scale)| {
            let largest = row.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            let fitted = f16::from_f32(scale.max(largest / (step * LARGEST)));
            fitted.clamp(f16::MIN_POSITIVE, f16::MAX).to_f32()
        });
        Steps { step, input_scale: fitted.collect() }
    };
    let (mut low, mut high) = (1e-3 * deviation, 16.0 * deviation);
    for _ in 0..SEARCH_STEPS {
        let middle = (low * high).sqrt();
        let bounds = entropy(weights, outputs, &at(middle).of_inputs());
        if bounds > bits { low = middle } else { high = middle }
    }
    at(high)
}

fn input_scale(moments: &Moments) -> Vec<f32> {
    let unexplained: Vec<f64> = unexplained_moments(moments).into_iter().map(|m| f64::from(m).max(1e-30)).collect();
    let mean = unexplained.iter().map(|m| libm::log(*m)).sum::<f64>() / unexplained.len().max(1) as f64;
    let scale = |m: f64| libm::exp(SCALE_POWER * (mean - libm::log(m))).clamp(1.0 / MAX_SCALE, MAX_SCALE) as f32;
    unexplained.into_iter().map(scale).collect()
}

/// Entropy in bits of weights that are rounded one by one.
fn entropy(weights: &[f32], outputs: usize, steps: &[f32]) -> f64 {
    let mut counts = [0u64; 256];
    for (row, step) in weights.chunks_exact(outputs).zip(steps) {
        for weight in row {
            counts[((weight / step).clamp(-LARGEST, LARGEST).round() + 128.0) as usize & 255] += 1;
        }
    }
    entropy_of(&counts)
}

/// Entropy in bits of integers.
pub(super) fn entropy_of_integers(integers: &[i8]) -> f64 {
    let mut counts = [0u64; 256];
    integers.iter().for_each(|x| counts[usize::from(x.cast_unsigned())] += 1);
    entropy_of(&counts)
}

fn entropy_of(counts: &[u64; 256]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total);
    shares.map(|p| -p * libm::log2(p)).sum()
}

/// What a layer costs: its number of weights, and the loss when only this layer is rounded to a few bits.
pub(super) struct Cost {
    pub(super) weights: usize,
    pub(super) loss: f64,
}

/// Bits per weight of each layer, `mean` on average over all weights, such that one more bit gains equally much everywhere.
///
/// The loss of a layer falls by four with each bit, so its loss per weight is made equal for all.
pub(super) fn allocate(costs: &BTreeMap<String, Cost>, mean: f64) -> BTreeMap<String, f64> {
    let wanted = |cost: &Cost| 0.5 * libm::log2((cost.loss / cost.weights as f64).max(1e-30));
    let total = costs.values().map(|cost| cost.weights as f64).sum::<f64>().max(1.0);
    // The offset with which the mean is right, by bisection, since the limits make the mean nonlinear.
    let bits = |offset: f64| {
        costs.iter().map(move |(name, cost)| (name, cost, (wanted(cost) + offset).clamp(BITS[0], BITS[1])))
    };
    let (mut low, mut high) = (-100.0, 200.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let sum: f64 = bits(middle).map(|(_, cost, bits)| bits * cost.weights as f64).sum();
        if sum > mean * total { high = middle } else { low = middle }
    }
    bits(high).map(|(name, _, bits)| (name.clone(), bits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next() + next() + next()).collect()
    }

    #[test]
    fn steps_give_the_wanted_entropy() {
        let weights = noise(64 * 100);
        let moments = Moments { diagonal: (1..=64).map(|i| i as f32).collect(), factors: Vec::new(), rank: 0 };
        for bits in [2.0, 3.5, 5.0] {
            let steps = steps(&weights, 100, &moments, bits);
            let found = entropy(&weights, 100, &steps.of_inputs());
            assert!((found - bits).abs() < 0.02, "{found}, not {bits}");
            assert!(steps.input_scale[0] > steps.input_scale[63], "inputs that matter have finer steps");
        }
    }

    #[test]
    fn sensitive_layers_get_more_bits() {
        let cost = |weights, loss| Cost { weights, loss };
        let costs = BTreeMap::from([
            ("a".to_owned(), cost(100, 1e-3)),
            ("b".to_owned(), cost(100, 16e-3)),
            ("c".to_owned(), cost(100, 0.0)),
        ]);
        let bits = allocate(&costs, 3.0);
        assert!((bits["b"] - bits["a"] - 2.0).abs() < 1e-6, "{bits:?}");
        assert_eq!(bits["c"], BITS[0]);
        assert!((bits.values().sum::<f64>() - 9.0).abs() < 1e-6);
    }
}
