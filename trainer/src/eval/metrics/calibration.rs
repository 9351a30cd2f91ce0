//! Calibration of probabilities: reliability diagrams, calibration error and coverage of credible regions.

use std::collections::BTreeMap;
use std::ops::Range;

use landfall_common::statistics::calibration::equal_count_bins;
use serde::Serialize;

use super::round_result::{REGIONS, Region, RoundResult};

/// Number of bins of a reliability diagram, with equal numbers of predictions.
const BINS: usize = 15;
/// Predictions with similar probabilities; percentages are from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bin {
    /// Number of predictions.
    pub(crate) n: usize,
    /// Mean predicted probability.
    pub(crate) promised: f64,
    /// Observed frequency.
    pub(crate) came_true: f64,
}

/// A reliability diagram and its calibration error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reliability {
    /// Expected calibration error in percentage points.
    pub(crate) ece: f64,
    /// Bins in increasing order of probability.
    pub(crate) bins: Vec<Bin>,
}

/// Coverage and size of credible regions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Regions {
    /// Coverage: percentage of true places whose cell is in the region.
    pub(crate) holds: f64,
    /// Mean number of cells in the region.
    pub(crate) mean_cells: f64,
    /// Mean area of the region in square kilometres.
    pub(crate) mean_area_km2: f64,
    /// Percentage of true places within the credible radius around the pin.
    pub(crate) circle_holds: f64,
    /// Mean credible radius in kilometres.
    pub(crate) mean_radius_km: f64,
}

/// Calibration of the probabilities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Calibration {
    /// Probability that the place lies within 200 km of the pin.
    pub(crate) within_200_km: Reliability,
    /// Probability that the place lies within 750 km of the pin.
    pub(crate) within_750_km: Reliability,
    /// Probability of the most likely cell.
    pub(crate) top_cell: Reliability,
    /// Credible regions, by their probability in percent.
    pub(crate) regions: BTreeMap<u32, Regions>,
}

/// Calibration over round results.
pub(crate) fn calibration(results: &[RoundResult]) -> Calibration {
    let reliability_of =
        |prediction: &dyn Fn(&RoundResult) -> (f64, bool)| reliability(results.iter().map(prediction).collect());
    let near = |a: &RoundResult, km: f64| a.error_km() <= km;
    let share = |count: usize| 100.0 * count as f64 / results.len().max(1) as f64;
    let regions = |(i, percent): (usize, u32)| {
        let mean = |number: &dyn Fn(&Region) -> f64| {
            results.iter().map(|a| number(&a.regions[i])).sum::<f64>() / results.len().max(1) as f64
        };
        let in_circle = |a: &&RoundResult| a.error_km() * 1000.0 <= a.regions[i].radius_m;
        let regions = Regions {
            holds: share(results.iter().filter(|a| a.regions[i].contains_truth).count()),
            mean_cells: mean(&|region| region.cells as f64),
            mean_area_km2: mean(&|region| region.area_km2),
            circle_holds: share(results.iter().filter(in_circle).count()),
            mean_radius_km: mean(&|region| region.radius_m / 1000.0),
        };
        (percent, regions)
    };
    Calibration {
        within_200_km: reliability_of(&|a| (a.confidence_200_km, near(a, 200.0))),
        within_750_km: reliability_of(&|a| (a.confidence, near(a, 750.0))),
        top_cell: reliability_of(&|a| (a.top.1, a.cell.rank == 0)),
        regions: REGIONS.into_iter().enumerate().map(regions).collect(),
    }
}

/// Reliability of predictions, each a probability and whether the event occurred, in bins of equal size.
pub(crate) fn reliability(mut predictions: Vec<(f64, bool)>) -> Reliability {
    predictions.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Predictions with equal probabilities each get their mean frequency, so that the result does not depend on their
    // order or on bin boundaries between them.
    let frequencies: Vec<f64> = predictions
        .chunk_by(|a, b| a.0 == b.0)
        .flat_map(|run| {
            let share = run.iter().filter(|(_, occurred)| *occurred).count() as f64 / run.len() as f64;
            std::iter::repeat_n(share, run.len())
        })
        .collect();
    let (n, bins) = (predictions.len(), BINS.min(predictions.len()));
    let bin = |range: Range<usize>| {
        let bin = &predictions[range.clone()];
        let percent = |sum: f64| 100.0 * sum / bin.len() as f64;
        Bin {
            n: bin.len(),
            promised: percent(bin.iter().map(|(p, _)| p).sum()),
            came_true: percent(frequencies[range].iter().sum()),
        }
    };
    let bins: Vec<Bin> = equal_count_bins(n, bins).map(bin).collect();
    let gap = |bin: &Bin| bin.n as f64 * (bin.promised - bin.came_true).abs();
    Reliability { ece: bins.iter().map(gap).sum::<f64>() / n.max(1) as f64, bins }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_by_hand() {
        // Two predictions, each in its own bin: the error is the mean of the gaps.
        assert!((reliability(vec![(0.8, true), (0.6, false)]).ece - 40.0).abs() < 1e-9);
        assert_eq!(reliability(vec![(1.0, false); 30]).ece, 100.0);
        assert_eq!(reliability((0..30).map(|i| (0.5, i % 2 == 0)).collect()).ece, 0.0);
        // 30 predictions in bins of two; the first bin has the lowest probabilities.
        let predictions = (0..30).map(|i| (f64::from(i) / 100.0, i % 2 == 0)).collect();
        let bins = reliability(predictions).bins;
        assert_eq!((bins.len(), bins[0].n, bins[0].came_true), (15, 2, 50.0));
        assert!((bins[0].promised - 0.5).abs() < 1e-9 && (bins[14].promised - 28.5).abs() < 1e-9);
        assert_eq!(reliability(Vec::new()), Reliability { ece: 0.0, bins: Vec::new() });
    }
}
