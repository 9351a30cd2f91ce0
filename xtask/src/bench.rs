//! Latency of the bundles on one thread, beside Python's onnxruntime on the desktop encoder's file as it was published, and
//! beside another build of the agent.
//!
//! The programs take turns, and each is compared within a turn: what else runs on the machine widens the range of the ratios
//! and does not move their median.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::agent::Agent;
use crate::command::{python, run_quietly};

/// Highest median of the ratio of Landfall's desktop encoder, with two bytes per activation, to Python's of the published
/// file, with one.
const MAX_RATIO: f64 = 2.0;
const BUNDLES: [&str; 3] = ["pocket", "phone", "desktop"];
/// The bundle whose encoder is published.
const PUBLISHED: &str = "desktop";
const TURNS: usize = 7;

/// Times of one quantity, in milliseconds, one for each turn.
struct Series {
    name: String,
    ms: Vec<f64>,
}

/// Measures and compares. `against`: another build of `landfall`. Returns 0 if the ratio to Python is low enough or Python has
/// no onnxruntime, else 1.
pub(crate) fn run(root: &Path, agent: &Agent, against: Option<&Path>) -> Result<u8> {
    let has_python = python().args(["-c", "import onnxruntime, numpy"]).output().is_ok_and(|it| it.status.success());
    if !has_python {
        println!("skipped: Python, which cannot import onnxruntime (set LANDFALL_PYTHON to an interpreter that can)");
    }
    let encoder = agent.encoder(PUBLISHED)?;
    let mut all: Vec<Series> = Vec::new();
    let mut note = |name: String, ms: f64| match all.iter_mut().find(|series| series.name == name) {
        Some(series) => series.ms.push(ms),
        None => all.push(Series { name, ms: vec![ms] }),
    };
    let mut instructions = String::new();
    for turn in 1..=TURNS {
        eprintln!("turn {turn} of {TURNS}");
        if has_python {
            let mut command = python();
            command.arg(root.join("xtask/scripts/bench_encoder.py")).arg(&encoder);
            note("Python, square".into(), ms(&run_quietly(&mut command)?, "encoder_ms")?);
        }
        for bundle in BUNDLES {
            let output = measured(agent.command(), bundle)?;
            note(format!("{bundle}, square"), ms(&output, "square_ms")?);
            note(format!("{bundle}, squares of a view"), ms(&output, "encoder_ms")?);
            note(format!("{bundle}, view"), ms(&output, "view_ms")?);
            instructions = text(&output, "instructions")?;
            // An older build may not know every bundle.
            if let Some(before) = against.and_then(|against| measured(Command::new(against), bundle).ok()) {
                note(format!("{bundle} before, squares of a view"), ms(&before, "encoder_ms")?);
            }
        }
    }
    println!("one thread, {instructions}; median and range of {TURNS} turns");
    for Series { name, ms } in &all {
        let (low, middle, high) = spread(ms);
        println!("{name:<36} {middle:>8.1} ms  {low:.1} to {high:.1}");
    }
    let ratio = |a: &str, b: &str| {
        let find = |name: &str| all.iter().find(|series| series.name == name);
        let (a, b) = (find(a)?, find(b)?);
        Some(a.ms.iter().zip(&b.ms).map(|(a, b)| a / b).collect::<Vec<f64>>())
    };
    let mut shown = Vec::new();
    for bundle in BUNDLES {
        let (now, before) = (format!("{bundle}, squares of a view"), format!("{bundle} before, squares of a view"));
        shown.extend(ratio(&now, &before).map(|ratios| (format!("{now} / before"), ratios)));
    }
    shown.extend(ratio("phone, view", "desktop, view").map(|ratios| ("phone, view / desktop, view".into(), ratios)));
    let to_python = ratio(&format!("{PUBLISHED}, square"), "Python, square");
    shown.extend(to_python.clone().map(|ratios| (format!("{PUBLISHED}, square / Python, square"), ratios)));
    for (name, ratios) in &shown {
        let (low, middle, high) = spread(ratios);
        println!("{name:<52} {middle:.3}  {low:.3} to {high:.3}");
    }
    Ok(u8::from(to_python.is_some_and(|ratios| spread(&ratios).1 > MAX_RATIO)))
}

fn measured(mut agent: Command, bundle: &str) -> Result<String> {
    run_quietly(agent.args(["doctor", "--bench", "--json", "--bundle", bundle]))
}

/// Lowest, median and highest number.
fn spread(numbers: &[f64]) -> (f64, f64, f64) {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn json(output: &str) -> Result<serde_json::Value> {
    let output = output.trim();
    serde_json::from_str(output).with_context(|| format!("`{output}` is not JSON"))
}

/// A number of milliseconds from JSON such as `{"encoder_ms": 12.3}`.
fn ms(output: &str, name: &str) -> Result<f64> {
    let ms = json(output)?[name].as_f64().filter(|ms| *ms > 0.0);
    ms.ok_or_else(|| anyhow!("`{}` has no positive {name}", output.trim()))
}

fn text(output: &str, name: &str) -> Result<String> {
    json(output)?[name].as_str().map(String::from).ok_or_else(|| anyhow!("`{}` has no {name}", output.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_medians_have_their_range() {
        assert_eq!(ms("{\n  \"encoder_ms\": 12.5\n}\n", "encoder_ms").unwrap(), 12.5);
        assert!(ms("{\"encoder_ms\": 0}", "encoder_ms").is_err() && ms("", "encoder_ms").is_err());
        assert_eq!(spread(&[3.0, 1.0, 9.0]), (1.0, 3.0, 9.0));
    }
}
