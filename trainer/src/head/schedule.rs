//! Learning rate schedules.

use crate::head::recipe::Training;

/// Linear warm-up to the highest learning rate, then cosine decay to 0.
pub(crate) fn rate_at(step: usize, steps: usize, train: &Training) -> f64 {
    let (done, warm_up) = ((step as f64 + 1.0) / steps as f64, train.warm_up);
    if done < warm_up {
        train.lr * done / warm_up
    } else {
        train.lr * 0.5 * (1.0 + (std::f64::consts::PI * (done - warm_up) / (1.0 - warm_up)).cos())
    }
}

/// The learning rate at a step of a geometric sweep from `low` to `high`.
pub(crate) fn sweep_at(step: usize, steps: usize, low: f64, high: f64) -> f64 {
    low * (high / low).powf(step as f64 / (steps.max(2) - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_and_decays() {
        let train = Training { lr: 0.01, warm_up: 0.1, ..Training::default() };
        let rates: Vec<f64> = (0..100).map(|step| rate_at(step, 100, &train)).collect();
        let top = rates.iter().position(|rate| (rate - 0.01).abs() < 1e-9).unwrap();
        assert!((8..=10).contains(&top));
        assert!(rates[..top].is_sorted() && rates[top..].iter().rev().is_sorted());
        assert!(rates[99] < 1e-9);
    }

    #[test]
    fn a_sweep_has_equal_ratios() {
        let rates: Vec<f64> = (0..5).map(|step| sweep_at(step, 5, 1e-4, 1.0)).collect();
        for (rate, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-9, "{rates:?}");
        }
    }
}
