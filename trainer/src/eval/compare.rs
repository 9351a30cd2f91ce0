//! `compare`: compares two bundles on the same rounds, with confidence intervals.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use landfall_common::statistics::bootstrap::{Groups, interval_95, resample};
use landfall_common::statistics::median_of_sorted;
use landfall_model::{Bundle, MapScale};
use serde::Serialize;

use crate::eval::eval_set::{self, EvalSetArgs};
use crate::features::encoder_spec::EncoderSpec;

/// Number of bootstrap resamples.
const RESAMPLES: usize = 10_000;

/// Compare two bundles on the same rounds
///
/// Differences are B minus A: more points and fewer kilometres are better. Intervals are 95 % intervals of a paired
/// bootstrap with 10,000 resamples. It resamples groups, because errors within a group are correlated. A round is won
/// by the bundle whose pin scores more points, as whole numbers, on the World map.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train compare desktop bundles/new --index index.csv --images photos --split dev --views 4"
)]
pub(crate) struct Args {
    /// First bundle, by name or folder
    a: String,
    /// Second bundle, by name or folder
    b: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the file names in the index are relative to
    #[arg(long, value_name = "DIR", required_unless_present = "features", help_heading = "Input")]
    images: Option<PathBuf>,
    /// Feature folder of the bundles' encoder, to use instead of the pictures
    #[arg(long, value_name = "DIR", conflicts_with = "images", help_heading = "Input")]
    features: Option<PathBuf>,
    /// Feature folder for B, if its encoder differs from A's
    #[arg(long, value_name = "DIR", requires = "features", help_heading = "Input")]
    features_b: Option<PathBuf>,
    /// Number of views per round
    ///
    /// With 1, every picture is a round. With 2 or 4, the pictures of a group are views of one place.
    #[arg(long, value_name = "N", default_value = "1", value_parser = ["1", "2", "4"], help_heading = "Input")]
    views: String,
    /// Print the comparison as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Metrics of one bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BundleFigures {
    /// Name and version.
    pub(crate) bundle: String,
    /// Mean points on the World map, unrounded.
    pub(crate) geoscore: f64,
    /// Median error in kilometres.
    pub(crate) median_km: f64,
}

/// A difference with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// B minus A.
    pub(crate) value: f64,
    /// Lower end of the interval.
    pub(crate) low: f64,
    /// Upper end of the interval.
    pub(crate) high: f64,
}

/// Number of rounds won by each bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Wins {
    /// Rounds won by A.
    pub(crate) a: usize,
    /// Rounds with equal points.
    pub(crate) ties: usize,
    /// Rounds won by B.
    pub(crate) b: usize,
}

/// The output of `compare`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// Number of rounds.
    pub(crate) n: usize,
    /// Number of groups, the units of resampling.
    pub(crate) groups: usize,
    /// Number of resamples.
    pub(crate) resamples: usize,
    /// The first bundle.
    pub(crate) a: BundleFigures,
    /// The second bundle.
    pub(crate) b: BundleFigures,
    /// Difference of the mean points; positive if B is better.
    pub(crate) geoscore: Difference,
    /// Difference of the median errors in kilometres; negative if B is better.
    pub(crate) median_km: Difference,
    /// Number of rounds won by each bundle.
    pub(crate) wins: Wins,
}

/// The errors of both bundles in one round.
#[derive(Clone, Debug)]
pub(crate) struct PairedErrors {
    /// Group of the round; groups are resampled as a whole.
    pub(crate) group: String,
    /// Error of A in kilometres.
    pub(crate) a_km: f64,
    /// Error of B in kilometres.
    pub(crate) b_km: f64,
}

/// Runs the command.
///
/// # Errors
/// When a bundle, the index, a picture or the features cannot be used.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (a, b) = (Bundle::find(&args.a)?, Bundle::find(&args.b)?);
    let rows = args.eval_set.rows()?;
    let images = args.images.as_deref();
    let of_a = eval_set::samples(&a, rows.clone(), images, args.features.as_deref())?;
    let is_same_encoder = EncoderSpec::of(&a).is_compatible_with(&EncoderSpec::of(&b));
    let of_b = if is_same_encoder && args.features_b.is_none() {
        of_a.clone()
    } else {
        let features = args.features_b.as_deref().or(args.features.as_deref());
        eval_set::samples(&b, rows, images, features).context("for the second bundle (see --features-b)")?
    };
    let views = args.views.parse()?;
    let (rounds_a, rounds_b) = (eval_set::rounds(&of_a, views)?, eval_set::rounds(&of_b, views)?);
    let prior = args.eval_set.prior;
    let (results_a, results_b) = (eval_set::results(&a, &rounds_a, prior)?, eval_set::results(&b, &rounds_b, prior)?);
    let paired = results_a.iter().zip(&results_b).zip(&rounds_a);
    let paired: Vec<PairedErrors> = paired
        .map(|((a, b), round)| PairedErrors {
            group: round[0].row.group.clone(),
            a_km: a.error_km(),
            b_km: b.error_km(),
        })
        .collect();
    let comparison = compare(&paired, [a.manifest.id(), b.manifest.id()])?;
    if args.json {
        println!("{}", serde_json::to_string(&comparison)?);
    } else {
        print(&comparison);
    }
    Ok(())
}

/// Compares the errors of two bundles, given with their names, on the same rounds.
///
/// # Errors
/// When there are no rounds, or only one group.
pub(crate) fn compare(rounds: &[PairedErrors], [a, b]: [String; 2]) -> Result<Comparison> {
    if rounds.is_empty() {
        bail!("no rounds to compare the bundles on");
    }
    let groups = Groups::new(rounds.iter().map(|round| round.group.as_str()));
    if groups.count() < 2 {
        bail!("all rounds are in one group, but the interval needs several; set the `group` column of the index");
    }
    let (a_km, b_km) = (SortedErrors::new(rounds, |round| round.a_km), SortedErrors::new(rounds, |round| round.b_km));
    let exact = |km: f64| MapScale::WORLD.exact_points(km * 1000.0);
    let gains: Vec<f64> = rounds.iter().map(|round| exact(round.b_km) - exact(round.a_km)).collect();

    // Both differences for a resample; rounds are weighted by how often their group was drawn.
    let difference = |drawn: &[usize]| {
        let mut counts = vec![0u32; groups.count()];
        drawn.iter().for_each(|group| counts[*group] += 1);
        let weight = |round: usize| counts[groups.of_rounds()[round]];
        let n: u32 = (0..rounds.len()).map(weight).sum();
        let gain = gains.iter().enumerate().map(|(i, gain)| gain * f64::from(weight(i))).sum::<f64>() / f64::from(n);
        (gain, b_km.median(n, weight) - a_km.median(n, weight))
    };
    let resampled: Vec<(f64, f64)> = resample(groups.count(), RESAMPLES as u64, difference);
    let observed = difference(&(0..groups.count()).collect::<Vec<_>>());
    let figures = |bundle: String, km: fn(&PairedErrors) -> f64, sorted: &SortedErrors| BundleFigures {
        bundle,
        geoscore: rounds.iter().map(|round| exact(km(round))).sum::<f64>() / rounds.len() as f64,
        median_km: sorted.median(rounds.len() as u32, |_| 1),
    };
    Ok(Comparison {
        n: rounds.len(),
        groups: groups.count(),
        resamples: RESAMPLES,
        a: figures(a, |round| round.a_km, &a_km),
        b: figures(b, |round| round.b_km, &b_km),
        geoscore: interval(observed.0, resampled.iter().map(|(points, _)| *points).collect()),
        median_km: interval(observed.1, resampled.iter().map(|(_, km)| *km).collect()),
        wins: wins(rounds),
    })
}

fn wins(rounds: &[PairedErrors]) -> Wins {
    let points = |km: f64| MapScale::WORLD.points(km * 1000.0);
    let mut wins = Wins::default();
    for round in rounds {
        match points(round.a_km).cmp(&points(round.b_km)) {
            std::cmp::Ordering::Greater => wins.a += 1,
            std::cmp::Ordering::Equal => wins.ties += 1,
            std::cmp::Ordering::Less => wins.b += 1,
        }
    }
    wins
}

/// A difference with the 95 % percentile interval of its resamples.
fn interval(value: f64, resampled: Vec<f64>) -> Difference {
    let (low, high) = interval_95(resampled);
    Difference { value, low, high }
}

/// Sorted errors, so that a weighted median needs one pass and no sorting.
struct SortedErrors(Vec<(usize, f64)>);

impl SortedErrors {
    fn new(rounds: &[PairedErrors], km: impl Fn(&PairedErrors) -> f64) -> Self {
        let mut sorted: Vec<(usize, f64)> = rounds.iter().map(km).enumerate().collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self(sorted)
    }

    /// The median of the errors, each repeated `weight` times, for a total of `n`.
    fn median(&self, n: u32, weight: impl Fn(usize) -> u32) -> f64 {
        let mut middle = Vec::with_capacity(2);
        let mut passed = 0;
        for (round, km) in &self.0 {
            passed += weight(*round);
            // The indices of the two middle errors, which are equal for an odd n.
            for half in [n.saturating_sub(1) / 2, n / 2].into_iter().skip(middle.len()) {
                if passed > half {
                    middle.push(*km);
                }
            }
            if middle.len() == 2 {
                break;
            }
        }
        median_of_sorted(&middle).unwrap_or(f64::NAN)
    }
}

fn print(comparison: &Comparison) {
    let Comparison { n, groups, a, b, geoscore, median_km, wins, .. } = comparison;
    for (name, side) in [("A", a), ("B", b)] {
        println!("{name}: {:.0} points, median {:.0} km   {}", side.geoscore, side.median_km, side.bundle);
    }
    let interval = |d: &Difference| format!("{:+.1} (95 % interval {:+.1} to {:+.1})", d.value, d.low, d.high);
    println!("B minus A over {n} rounds in {groups} groups:");
    println!("  points    {}", interval(geoscore));
    println!("  median km {}", interval(median_km));
    println!("  rounds    B won {}, A won {}, {} tied", wins.b, wins.a, wins.ties);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(pairs: &[(&str, f64, f64)]) -> Vec<PairedErrors> {
        pairs.iter().map(|&(group, a_km, b_km)| PairedErrors { group: group.into(), a_km, b_km }).collect()
    }

    fn compare(rounds: &[PairedErrors]) -> Comparison {
        super::compare(rounds, ["a@1".into(), "b@1".into()]).unwrap()
    }

    #[test]
    fn a_bundle_does_not_differ_from_itself() {
        let same: Vec<PairedErrors> =
            (0..40).flat_map(|i| rounds(&[("g", f64::from(i), f64::from(i)), ("h", 100.0, 100.0)])).collect();
        let comparison = compare(&same);
        assert_eq!((comparison.n, comparison.groups), (80, 2));
        assert_eq!(comparison.geoscore, Difference { value: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(comparison.median_km, Difference { value: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(comparison.wins, Wins { a: 0, ties: 80, b: 0 });
    }

    #[test]
    fn a_single_group_is_an_error() {
        let error = super::compare(&rounds(&[("a", 1.0, 2.0), ("a", 3.0, 4.0)]), ["a".into(), "b".into()]).unwrap_err();
        assert!(error.to_string().contains("one group"), "{error}");
    }

    #[test]
    fn medians_count_each_error_as_often_as_it_was_drawn() {
        let rounds = rounds(&[("a", 5.0, 0.0), ("b", 1.0, 0.0), ("c", 3.0, 0.0)]);
        let sorted = SortedErrors::new(&rounds, |round| round.a_km);
        assert_eq!(sorted.median(3, |_| 1), 3.0);
        assert_eq!(sorted.median(2, |i| [1, 1, 0][i]), 3.0); // between 1 and 5
        assert_eq!(sorted.median(4, |i| [3, 0, 1][i]), 5.0); // 3 5 5 5
        assert_eq!(sorted.median(4, |i| [2, 1, 1][i]), 4.0); // 1 3 5 5
        assert_eq!(sorted.median(1, |i| [0, 1, 0][i]), 1.0);
    }

    #[test]
    fn the_interval_agrees_with_the_binomial_distribution() {
        // B gains g in half of 100 rounds, each in its own group, and nothing in the others. The mean gain of a
        // resample has a standard deviation of g · √(0.25 / 100), so 95 % lie within 0.1 g of g / 2.
        let pairs: Vec<PairedErrors> = (0..100)
            .map(|i| PairedErrors { group: i.to_string(), a_km: 1000.0, b_km: if i % 2 == 0 { 1000.0 } else { 0.0 } })
            .collect();
        let gain = 5000.0 - MapScale::WORLD.exact_points(1e6);
        let Difference { value, low, high } = compare(&pairs).geoscore;
        assert!((value / gain - 0.5).abs() < 1e-9);
        assert!((low / gain - 0.4).abs() < 0.011 && (high / gain - 0.6).abs() < 0.011, "{low} {high} of {gain}");

        // In ten groups of ten rounds with equal gains, the effective sample size is ten times smaller.
        let grouped: Vec<PairedErrors> = (0..100)
            .map(|i| PairedErrors {
                group: (i / 10).to_string(),
                a_km: 1000.0,
                b_km: if i / 10 % 2 == 0 { 1000.0 } else { 0.0 },
            })
            .collect();
        let grouped = compare(&grouped).geoscore;
        assert!(((grouped.high - grouped.low) / (high - low) - 10f64.sqrt()).abs() < 0.5, "{grouped:?}");
    }

    #[test]
    fn wins_are_by_whole_points() {
        let comparison = compare(&rounds(&[("a", 0.0, 0.01), ("b", 10.0, 20.0), ("c", 500.0, 20.0), ("d", 9.0, 2.0)]));
        assert_eq!(comparison.wins, Wins { a: 1, ties: 1, b: 2 });
        assert!(comparison.geoscore.value > 0.0 && comparison.median_km.value == 1.5);
        assert_eq!((comparison.a.median_km, comparison.b.median_km), (9.5, 11.0));
    }
}
