//! Whether probabilities keep their word: reliability, calibration error, and regions that should hold the truth.

use std::collections::BTreeMap;
use std::ops::Range;

use landfall_common::statistics::calibration::equal_count_bins;
use serde::Serialize;

use super::round_result::{REGIONS, Region, RoundResult};

/// Bins of a reliability diagram, of equal numbers of answers.
const BINS: usize = 15;
/// What came of promises of like probability; percentages run from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bin {
    /// Number of promises.
    pub(crate) n: usize,
    /// Mean probability promised.
    pub(crate) promised: f64,
    /// Share that came true.
    pub(crate) came_true: f64,
}

/// A reliability diagram and its error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reliability {
    /// Expected calibration error in percentage points.
    pub(crate) ece: f64,
    /// From the least to the most sure.
    pub(crate) bins: Vec<Bin>,
}

/// How well regions hold what they promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Regions {
    /// Percentage of truths whose cell is among the region's cells.
    pub(crate) holds: f64,
    /// Mean number of cells in the region.
    pub(crate) mean_cells: f64,
    /// Mean area of the region in square kilometres.
    pub(crate) mean_area_km2: f64,
    /// Percentage of truths within the circle around the pin that holds as much probability.
    pub(crate) circle_holds: f64,
    /// Mean radius of that circle in kilometres.
    pub(crate) mean_radius_km: f64,
}

/// How honest the probabilities are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Calibration {
    /// Of the probability that the place lies within 200 km of the pin.
    pub(crate) within_200_km: Reliability,
    /// Of the probability that the place lies within 750 km of the pin.
    pub(crate) within_750_km: Reliability,
    /// Of the likeliest cell's probability to be the place's cell.
    pub(crate) top_cell: Reliability,
    /// Of credible regions, by percentage of the probability.
    pub(crate) regions: BTreeMap<u32, Regions>,
}

/// The calibration of some answers.
pub(crate) fn calibration(results: &[RoundResult]) -> Calibration {
    let promises = |promise: &dyn Fn(&RoundResult) -> (f64, bool)| reliability(results.iter().map(promise).collect());
    let near = |a: &RoundResult, km: f64| a.error_km() <= km;
    let share = |count: usize| 100.0 * count as f64 / results.len().max(1) as f64;
    let regions = |(i, percent): (usize, u32)| {
        let mean = |number: &dyn Fn(&Region) -> f64| {
            results.iter().map(|a| number(&a.regions[i])).sum::<f64>() / results.len().max(1) as f64
        };
        let in_circle = |a: &&RoundResult| a.error_km() * 1000.0 <= a.regions[i].radius_m;
        let regions = Regions {
            holds: share(results.iter().filter(|a| a.regions[i].holds).count()),
            mean_cells: mean(&|region| region.cells as f64),
            mean_area_km2: mean(&|region| region.area_km2),
            circle_holds: share(results.iter().filter(in_circle).count()),
            mean_radius_km: mean(&|region| region.radius_m / 1000.0),
        };
        (percent, regions)
    };
    Calibration {
        within_200_km: promises(&|a| (a.confidence_200_km, near(a, 200.0))),
        within_750_km: promises(&|a| (a.confidence, near(a, 750.0))),
        top_cell: promises(&|a| (a.top.1, a.cell.rank == 0)),
        regions: REGIONS.into_iter().enumerate().map(regions).collect(),
    }
}

/// What came of promises, each a probability and whether it came true, in bins of equal numbers.
pub(crate) fn reliability(mut promises: Vec<(f64, bool)>) -> Reliability {
    promises.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Equal promises each come true as often as all of them: neither their order nor a bin's edge amid them matters.
    let came_true: Vec<f64> = promises
        .chunk_by(|a, b| a.0 == b.0)
        .flat_map(|run| {
            let share = run.iter().filter(|(_, came)| *came).count() as f64 / run.len() as f64;
            std::iter::repeat_n(share, run.len())
        })
        .collect();
    let (n, bins) = (promises.len(), BINS.min(promises.len()));
    let bin = |range: Range<usize>| {
        let bin = &promises[range.clone()];
        let percent = |sum: f64| 100.0 * sum / bin.len() as f64;
        Bin {
            n: bin.len(),
            promised: percent(bin.iter().map(|(p, _)| p).sum()),
            came_true: percent(came_true[range].iter().sum()),
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
        // Two promises in fifteen bins of one: every gap counts alone.
        assert!((reliability(vec![(0.8, true), (0.6, false)]).ece - 40.0).abs() < 1e-9);
        assert_eq!(reliability(vec![(1.0, false); 30]).ece, 100.0);
        assert_eq!(reliability((0..30).map(|i| (0.5, i % 2 == 0)).collect()).ece, 0.0);
        // 30 promises in bins of two: the first bin holds the least sure.
        let promises = (0..30).map(|i| (f64::from(i) / 100.0, i % 2 == 0)).collect();
        let bins = reliability(promises).bins;
        assert_eq!((bins.len(), bins[0].n, bins[0].came_true), (15, 2, 50.0));
        assert!((bins[0].promised - 0.5).abs() < 1e-9 && (bins[14].promised - 28.5).abs() < 1e-9);
        assert_eq!(reliability(Vec::new()), Reliability { ece: 0.0, bins: Vec::new() });
    }
}
