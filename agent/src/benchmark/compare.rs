//! Two players on the same rounds.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_common::statistics::bootstrap::Groups;
use serde::Serialize;

use crate::benchmark::summary::{BenchResult, MeanPoints, neighbourhood};

/// Maximum size of a result in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// File name of a result in the directory of a run.
const FILE_NAME: &str = "result.json";

/// The first player against the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub a: String,
    pub b: String,
    pub rounds: usize,
    /// Mean points of the first player minus those of the second, per round, with a 95 % interval.
    pub difference: MeanPoints,
    /// Whether the interval excludes 0.
    pub is_significant: bool,
    /// Rounds in which the first player scored more, less, and the same.
    pub won: usize,
    pub lost: usize,
    pub even: usize,
}

/// Reads `result.json`, or that of a directory.
///
/// # Errors
/// A usage error when it cannot be read or is none.
pub(crate) fn read_result(path: &Path) -> Result<BenchResult> {
    let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let bytes = read_limited(&file, MAX_BYTES)
        .with_context(|| usage_error("name the --out directories of finished runs of `bench`"))?;
    serde_json::from_slice(&bytes)
        .with_context(|| usage_error(format!("{}: not a result of `bench`, or of another version", file.display())))
}

/// Pairs the rounds of two results.
///
/// # Errors
/// A usage error when they are not of the same rounds.
pub(crate) fn compare(a: &BenchResult, b: &BenchResult) -> Result<Comparison> {
    let ids = |result: &BenchResult| result.per_round.iter().map(|round| round.answered.id.clone()).collect::<Vec<_>>();
    if a.run.set_sha256 != b.run.set_sha256 || ids(a) != ids(b) {
        let set = |result: &BenchResult| {
            let hash: String = result.run.set_sha256.chars().take(8).collect();
            format!("`{}` ({hash}, {} rounds)", result.run.set, result.per_round.len())
        };
        return Err(usage_error(format!(
            "the results are of different sets of rounds, {} and {}, and cannot be compared",
            set(a),
            set(b)
        )));
    }
    let gains: Vec<f64> =
        a.per_round.iter().zip(&b.per_round).map(|(a, b)| f64::from(a.points) - f64::from(b.points)).collect();
    let count = |is: fn(&f64) -> bool| gains.iter().filter(|gain| is(gain)).count();
    let groups = Groups::new(a.per_round.iter().map(|round| neighbourhood(round.truth)));
    let difference = groups.mean(&gains, &(0..gains.len()).collect::<Vec<_>>());
    Ok(Comparison {
        a: a.run.player.name.clone(),
        b: b.run.player.name.clone(),
        rounds: gains.len(),
        is_significant: difference.excludes_zero(),
        difference: difference.into(),
        won: count(|gain| *gain > 0.0),
        lost: count(|gain| *gain < 0.0),
        even: count(|gain| *gain == 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::summary::tests::{result, score};

    #[test]
    fn rounds_are_paired() {
        let a = result((0..20).map(|n| score(n, Some(0.0), None)).collect());
        let b = result((0..20).map(|n| score(n, Some(if n < 15 { 5.0 } else { 0.0 }), None)).collect());
        let compared = compare(&a, &b).unwrap();
        assert_eq!((compared.won, compared.lost, compared.even, compared.rounds), (15, 0, 5, 20));
        assert!(compared.is_significant && compared.difference.mean > 0.0);
        assert_eq!(compared.difference.mean, a.points.mean - b.points.mean);
        let same = compare(&a, &a).unwrap();
        assert_eq!((same.difference.mean, same.is_significant), (0.0, false));
    }

    #[test]
    fn other_rounds_are_not_compared() {
        let a = result(vec![score(0, Some(0.0), None)]);
        let fewer = result(vec![score(1, Some(0.0), None)]);
        let mut other = a.clone();
        other.run.set_sha256 = "11".into();
        for b in [fewer, other] {
            let error = compare(&a, &b).unwrap_err();
            assert!(error.to_string().contains("different sets of rounds"), "{error}");
            assert_eq!(crate::error::exit_code(&error), landfall_common::exit::Exit::Usage);
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("result.json"), "{}").unwrap();
        assert!(read_result(dir.path()).unwrap_err().to_string().contains("not a result of `bench`"));
    }
}
