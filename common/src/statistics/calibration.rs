//! Bins for calibration diagrams: predictions in ascending order, cut into bins of equal counts.

use std::ops::Range;

/// The index ranges that cut `n` sorted predictions into `bins` bins whose counts differ by at most one.
///
/// `bins` must not exceed `n`, or some are empty; 0 bins for 0 predictions.
pub fn equal_count_bins(n: usize, bins: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    (0..bins).map(move |i| n * i / bins..n * (i + 1) / bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_everything_once_in_equal_counts() {
        for (n, bins) in [(0, 0), (1, 1), (10, 3), (30, 15), (599, 15)] {
            let ranges: Vec<_> = equal_count_bins(n, bins).collect();
            assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            let counts: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
            assert!(counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1, "{counts:?}");
        }
    }
}
