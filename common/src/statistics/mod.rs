//! Statistics of scores and errors: median, bootstrap intervals, calibration bins.

pub mod bootstrap;
pub mod calibration;

/// The median of numbers in any order; `None` if there are none. NaN counts as larger than any number.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    median_of_sorted(&numbers)
}

/// The median of numbers in ascending order, for an even count the mean of the middle two; `None` if there are none.
pub fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    Some((sorted.get(n.checked_sub(1)? / 2)? + sorted.get(n / 2)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
