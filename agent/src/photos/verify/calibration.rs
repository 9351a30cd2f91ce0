//! What likelihood ratios are worth, as measured on photos whose place is known.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use landfall_common::statistics::calibration::equal_count_bins;
use serde::{Deserialize, Serialize};

use crate::photos::verify::claim::Evidence;

/// Number of bins of a curve.
const BINS: usize = 64;
/// Likelihood ratio from which a photo supports a claim; its inverse is that up to which it contradicts it.
const DECISIVE_RATIO: f64 = 10.0;

/// Outputs of `landfall verify --measure --json`; docs/verification.md has the commands.
const MEASURED: [&str; 2] = [include_str!("measured/desktop.json"), include_str!("measured/pocket.json")];

/// What follows from a photo for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Supports,
    DoesNotTell,
    Contradicts,
}

impl Verdict {
    pub(super) const ALL: [Self; 3] = [Self::Supports, Self::DoesNotTell, Self::Contradicts];

    /// The verdict for a measured likelihood ratio.
    pub(super) fn of(ratio: f64) -> Self {
        match ratio {
            DECISIVE_RATIO.. => Self::Supports,
            _ if ratio * DECISIVE_RATIO <= 1.0 => Self::Contradicts,
            _ => Self::DoesNotTell,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Supports => "supports",
            Self::DoesNotTell => "does not tell about",
            Self::Contradicts => "contradicts",
        }
    }
}

/// Claims whose computed likelihood ratios are similar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bin {
    /// Mean of the decimal logarithms of the computed ratios.
    pub log10_ratio: f64,
    pub true_claims: usize,
    pub false_claims: usize,
}

/// How often computed likelihood ratios occur for true and for false claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// The bundle, `name@version`.
    pub bundle: String,
    /// Number of photos.
    pub photos: usize,
    /// In ascending order of the ratios.
    pub bins: Vec<Bin>,
}

impl Calibration {
    /// What was measured for a bundle, `name@version`.
    pub(super) fn of(bundle: &str) -> Option<&'static Self> {
        static CALIBRATIONS: LazyLock<HashMap<String, Calibration>> = LazyLock::new(|| {
            let parsed = MEASURED.iter().filter_map(|json| serde_json::from_str::<Calibration>(json).ok());
            parsed.map(|calibration| (calibration.bundle.clone(), calibration)).collect()
        });
        CALIBRATIONS.get(bundle)
    }

    /// Counts claims, given by the likelihood ratio and whether they are true.
    pub(super) fn fit(bundle: String, photos: usize, mut claims: Vec<(f64, bool)>) -> Self {
        claims.sort_by(|a, b| a.0.total_cmp(&b.0));
        let bin = |claims: &[(f64, bool)]| {
            let true_claims = claims.iter().filter(|(_, is_true)| *is_true).count();
            let sum: f64 = claims.iter().map(|(ratio, _)| libm::log10(*ratio)).sum();
            let log10_ratio = sum / claims.len() as f64;
            Bin { log10_ratio, true_claims, false_claims: claims.len() - true_claims }
        };
        let bins = equal_count_bins(claims.len(), BINS.min(claims.len())).map(|range| bin(&claims[range])).collect();
        Self { bundle, photos, bins }
    }

    /// How many times as frequent such evidence is for true claims as for false ones.
    pub(super) fn ratio(&self, evidence: &Evidence) -> f64 {
        let curve = self.curve();
        let x = libm::log10(evidence.likelihood_ratio);
        let after = curve.partition_point(|(at, _)| *at <= x);
        let log10 = match (curve[..after].last(), curve.get(after)) {
            (Some(low), Some(high)) => low.1 + (high.1 - low.1) * (x - low.0) / (high.0 - low.0),
            (Some(end), None) | (None, Some(end)) => end.1,
            (None, None) => 0.0,
        };
        libm::exp10(log10)
    }

    /// Decimal logarithms of computed and of measured ratios, both ascending.
    fn curve<'a>(&'a self) -> Vec<(f64, f64)> {
        let points = |pool: Pool<'a>| pool.bins.iter().map(move |bin| (bin.log10_ratio, pool.log10_measured));
        self.pools().into_iter().flat_map(points).collect()
    }

    /// The bins, pooled until the measured ratios ascend: isotonic regression by pooling adjacent violators (Ayer et al.,
    /// 1955). Half a claim is added to each count, since a small number of claims cannot show that something never happens.
    pub(super) fn pools(&self) -> Vec<Pool<'_>> {
        let (mut all_true, mut all_false) = (1.0, 1.0);
        for bin in &self.bins {
            all_true += bin.true_claims as f64;
            all_false += bin.false_claims as f64;
        }
        let pool = |range: Range<usize>| {
            let bins = &self.bins[range];
            let count = |of: fn(&Bin) -> usize| bins.iter().map(of).sum::<usize>();
            let (true_claims, false_claims) = (count(|bin| bin.true_claims), count(|bin| bin.false_claims));
            let (is_true, is_false) = (true_claims as f64 + 0.5, false_claims as f64 + 0.5);
            Pool {
                bins,
                true_claims,
                false_claims,
                log10_measured: libm::log10(is_true / all_true / (is_false / all_false)),
            }
        };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for i in 0..self.bins.len() {
            let mut range = i..i + 1;
            let measured = |range: &Range<usize>| pool(range.clone()).log10_measured;
            while let Some(before) = ranges.pop_if(|before| measured(before) >= measured(&range)) {
                range.start = before.start;
            }
            ranges.push(range);
        }
        ranges.into_iter().map(pool).collect()
    }
}

/// Neighbouring bins between which no difference was measured.
pub(super) struct Pool<'a> {
    pub bins: &'a [Bin],
    pub true_claims: usize,
    pub false_claims: usize,
    pub log10_measured: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(likelihood_ratio: f64) -> Evidence {
        Evidence { p: 0.5, prior_p: 0.5, likelihood_ratio }
    }

    fn calibration(bins: &[(f64, usize, usize)]) -> Calibration {
        let bin = |&(log10_ratio, true_claims, false_claims)| Bin { log10_ratio, true_claims, false_claims };
        Calibration { bundle: String::new(), photos: 0, bins: bins.iter().map(bin).collect() }
    }

    #[test]
    fn ratios_are_those_of_the_frequencies() {
        let measured = calibration(&[(-1.0, 10, 90), (0.0, 50, 50), (1.0, 90, 10)]);
        for (computed, expected) in [(0.1, 10.5 / 90.5), (1.0, 1.0), (10.0, 90.5 / 10.5)] {
            let ratio = measured.ratio(&evidence(computed));
            assert!((ratio / expected - 1.0).abs() < 1e-9, "{computed}: {ratio}");
        }
        // Beyond the ends nothing was measured.
        assert_eq!(measured.ratio(&evidence(1e9)), measured.ratio(&evidence(10.0)));
        assert_eq!(measured.ratio(&evidence(1e-9)), measured.ratio(&evidence(0.1)));
        let between = measured.ratio(&evidence(3.0));
        assert!((1.0..8.6).contains(&between), "{between}");
    }

    #[test]
    fn the_curve_never_falls() {
        let measured = calibration(&[(-2.0, 5, 80), (-1.0, 30, 20), (0.0, 5, 60), (1.0, 60, 20), (2.0, 20, 10)]);
        let curve = measured.curve();
        assert_eq!(curve.len(), 5);
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        assert_eq!(curve[1].1, curve[2].1, "the second and the third are pooled: {curve:?}");
    }

    #[test]
    fn verdicts_follow_from_the_ratio() {
        for (ratio, verdict) in [
            (10.0, Verdict::Supports),
            (9.9, Verdict::DoesNotTell),
            (1.0, Verdict::DoesNotTell),
            (0.11, Verdict::DoesNotTell),
            (0.1, Verdict::Contradicts),
        ] {
            assert_eq!(Verdict::of(ratio), verdict, "{ratio}");
        }
    }

    #[test]
    fn what_was_measured_is_for_bundles_of_this_repository() {
        for json in MEASURED {
            let calibration: Calibration = serde_json::from_str(json).unwrap();
            let name = calibration.bundle.split('@').next().unwrap();
            let bundle = landfall_model::Bundle::find(name).unwrap();
            assert_eq!(bundle.manifest.id(), calibration.bundle, "measure it again: docs/verification.md");
            assert_eq!(calibration.bins.len(), BINS);
            assert!(Calibration::of(&calibration.bundle).is_some());
        }
        assert!(Calibration::of("mine@1").is_none());
    }
}
