//! `compare`: which of two bundles is better on the same rounds, and whether the difference is more than luck.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use landfall_common::statistics::bootstrap::{Groups, interval_95, resample};
use landfall_common::statistics::median_of_sorted;
use landfall_model::{Bundle, MapScale};
use serde::Serialize;

use crate::eval::eval_set::{self, EvalSetArgs};
use crate::features::encoder_spec::EncoderSpec;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// Compares two bundles on the same rounds.
///
/// Differences are B minus A: more points and fewer kilometres are better. The intervals hold 95 % of 10,000 resamples
/// of the rounds, paired and drawn by group, since pictures of one group err together. A round is won by the bundle
/// whose pin scores more whole points on the World map.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train compare desktop bundles/new --index index.csv --images photos --split dev --views 4"
)]
pub(crate) struct Args {
    /// Name or folder of the first bundle
    a: String,
    /// Name or folder of the second bundle
    b: String,
    #[command(flatten)]
    eval_set: EvalSetArgs,
    /// Folder that the index's file names are relative to
    #[arg(long, required_unless_present = "features")]
    images: Option<PathBuf>,
    /// Feature folder of the bundles' encoder, to be taken instead of the pictures
    #[arg(long, conflicts_with = "images")]
    features: Option<PathBuf>,
    /// Feature folder for B, when its encoder is not A's
    #[arg(long, requires = "features")]
    features_b: Option<PathBuf>,
    /// 1: every picture is a place of its own; 2 or 4: the pictures of a group are views of one place
    #[arg(long, default_value = "1", value_parser = ["1", "2", "4"])]
    views: String,
    /// Print the numbers as json
    #[arg(long)]
    json: bool,
}

/// One bundle's own figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BundleFigures {
    /// Name and version.
    pub(crate) bundle: String,
    /// Mean points on the World map, not rounded.
    pub(crate) geoscore: f64,
    /// Median error in kilometres.
    pub(crate) median_km: f64,
}

/// A difference and the interval that holds 95 % of its resamples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// B minus A.
    pub(crate) value: f64,
    /// 2.5 % of the resamples are lower.
    pub(crate) low: f64,
    /// 2.5 % of the resamples are higher.
    pub(crate) high: f64,
}

/// Rounds by who scored more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Wins {
    /// Rounds that A won.
    pub(crate) a: usize,
    /// Rounds with equal points.
    pub(crate) ties: usize,
    /// Rounds that B won.
    pub(crate) b: usize,
}

/// Everything `compare` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// Number of rounds.
    pub(crate) n: usize,
    /// Number of groups that were resampled.
    pub(crate) groups: usize,
    /// Number of resamples.
    pub(crate) resamples: usize,
    /// The first bundle.
    pub(crate) a: BundleFigures,
    /// The second bundle.
    pub(crate) b: BundleFigures,
    /// Difference of mean points; above 0, B is better.
    pub(crate) geoscore: Difference,
    /// Difference of the median error in kilometres; below 0, B is better.
    pub(crate) median_km: Difference,
    /// Rounds by who scored more.
    pub(crate) wins: Wins,
}

/// One round: its group, and the errors of both bundles in kilometres.
#[derive(Clone, Debug)]
pub(crate) struct PairedErrors {
    /// Rounds of one group are drawn together.
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
    let same = EncoderSpec::of(&a).is_compatible_with(&EncoderSpec::of(&b));
    let of_b = if same && args.features_b.is_none() {
        of_a.clone()
    } else {
        let features = args.features_b.as_deref().or(args.features.as_deref());
        eval_set::samples(&b, rows, images, features).context("for the second bundle (see --features-b)")?
    };
    let views = args.views.parse()?;
    let (rounds_a, rounds_b) = (eval_set::rounds(&of_a, views)?, eval_set::rounds(&of_b, views)?);
    let (results_a, results_b) = (eval_set::results(&a, &rounds_a)?, eval_set::results(&b, &rounds_b)?);
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

/// Compares the errors of two bundles, named in order, on the same rounds.
///
/// # Errors
/// When there are no rounds.
pub(crate) fn compare(rounds: &[PairedErrors], [a, b]: [String; 2]) -> Result<Comparison> {
    if rounds.is_empty() {
        bail!("there is no round to compare the bundles on");
    }
    let groups = Groups::new(rounds.iter().map(|round| round.group.as_str()));
    if groups.count() < 2 {
        bail!("all rounds are of one group: an interval needs several; the index's column `group` names them");
    }
    let (a_km, b_km) = (SortedErrors::new(rounds, |round| round.a_km), SortedErrors::new(rounds, |round| round.b_km));
    let exact = |km: f64| MapScale::WORLD.exact_points(km * 1000.0);
    let gains: Vec<f64> = rounds.iter().map(|round| exact(round.b_km) - exact(round.a_km)).collect();

    // Both differences on a draw, by how often each group was drawn.
    let difference = |drawn: &[usize]| {
        let mut times = vec![0u32; groups.count()];
        drawn.iter().for_each(|group| times[*group] += 1);
        let weight = |round: usize| times[groups.of_rounds()[round]];
        let n: u32 = (0..rounds.len()).map(weight).sum();
        let gain = gains.iter().enumerate().map(|(i, gain)| gain * f64::from(weight(i))).sum::<f64>() / f64::from(n);
        (gain, b_km.median(n, weight) - a_km.median(n, weight))
    };
    let resampled: Vec<(f64, f64)> = resample(groups.count(), RESAMPLES as u64, difference);
    let whole = difference(&(0..groups.count()).collect::<Vec<_>>());
    let side = |bundle: String, km: fn(&PairedErrors) -> f64, sorted: &SortedErrors| BundleFigures {
        bundle,
        geoscore: rounds.iter().map(|round| exact(km(round))).sum::<f64>() / rounds.len() as f64,
        median_km: sorted.median(rounds.len() as u32, |_| 1),
    };
    Ok(Comparison {
        n: rounds.len(),
        groups: groups.count(),
        resamples: RESAMPLES,
        a: side(a, |round| round.a_km, &a_km),
        b: side(b, |round| round.b_km, &b_km),
        geoscore: interval(whole.0, resampled.iter().map(|(points, _)| *points).collect()),
        median_km: interval(whole.1, resampled.iter().map(|(_, km)| *km).collect()),
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

/// The 95 % interval of a difference, by percentiles of its resamples.
fn interval(value: f64, resampled: Vec<f64>) -> Difference {
    let (low, high) = interval_95(resampled);
    Difference { value, low, high }
}

/// Errors in order, so that a weighted median takes one walk and no sorting.
struct SortedErrors(Vec<(usize, f64)>);

impl SortedErrors {
    fn new(rounds: &[PairedErrors], km: impl Fn(&PairedErrors) -> f64) -> Self {
        let mut sorted: Vec<(usize, f64)> = rounds.iter().map(km).enumerate().collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self(sorted)
    }

    /// The median of the errors, each taken `weight` times, `n` in all; of the two in the middle their mean.
    fn median(&self, n: u32, weight: impl Fn(usize) -> u32) -> f64 {
        let mut middle = Vec::with_capacity(2);
        let mut passed = 0;
        for (round, km) in &self.0 {
            passed += weight(*round);
            // Of n errors, counted from 0, these two are in the middle; for an odd n they are one.
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
    let interval = |d: &Difference| format!("{:+.1} (95 % of resamples from {:+.1} to {:+.1})", d.value, d.low, d.high);
    println!("B minus A over {n} rounds of {groups} groups:");
    println!("  points    {}", interval(geoscore));
    println!("  median km {}", interval(median_km));
    println!("  rounds    B won {}, A won {}, {} even", wins.b, wins.a, wins.ties);
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
    fn one_group_has_no_interval() {
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
        // B gains g in half of 100 rounds, each a group of its own, and nothing in the others. The mean gain of a
        // resample has a deviation of g · √(0.25 / 100), so 95 % lie within 0.1 g of g / 2.
        let pairs: Vec<PairedErrors> = (0..100)
            .map(|i| PairedErrors { group: i.to_string(), a_km: 1000.0, b_km: if i % 2 == 0 { 1000.0 } else { 0.0 } })
            .collect();
        let gain = 5000.0 - MapScale::WORLD.exact_points(1e6);
        let Difference { value, low, high } = compare(&pairs).geoscore;
        assert!((value / gain - 0.5).abs() < 1e-9);
        assert!((low / gain - 0.4).abs() < 0.011 && (high / gain - 0.6).abs() < 0.011, "{low} {high} of {gain}");

        // The same rounds in ten groups of ten, whose rounds gain together, say ten times less.
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
