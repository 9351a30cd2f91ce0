//! The desktop encoder's latency, ours beside Python's onnxruntime on the same file: one 224² view, one thread.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::command::{python, quiet};
use crate::{agent, bundles};

/// Ours may take at most this many times what Python's takes.
const MOST: f64 = 1.15;
/// Turns each; they alternate, so that a busy moment of the machine hits both, and the best of each counts.
const TURNS: usize = 3;

/// Measure and compare. Returns 0 when ours is quick enough or Python lacks onnxruntime, else 1.
pub(crate) fn run(root: &Path) -> Result<u8> {
    if !python().args(["-c", "import onnxruntime, numpy"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: Python cannot import onnxruntime (LANDFALL_PYTHON names another interpreter)");
        return Ok(0);
    }
    let encoder = bundles::encoder(root, "desktop")?;
    let agent = agent::build(root)?;
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        let mut theirs = python();
        theirs.arg(root.join("xtask/scripts/bench_encoder.py")).arg(&encoder);
        let mut ours = Command::new(&agent);
        ours.args(["doctor", "--bench", "--bundle", "desktop", "--json"]);
        for (best, command) in best.iter_mut().zip([&mut ours, &mut theirs]) {
            *best = best.min(encoder_ms(&quiet(command)?)?);
        }
    }
    let [ours, theirs] = best;
    let ratio = ours / theirs;
    println!("landfall {ours:.2} ms, Python {theirs:.2} ms, ratio {ratio:.3} (at most {MOST})");
    Ok(u8::from(ratio > MOST))
}

/// The median in `{"encoder_ms": 12.3}`.
fn encoder_ms(output: &str) -> Result<f64> {
    let output = output.trim();
    let answer: serde_json::Value = serde_json::from_str(output).with_context(|| format!("`{output}` is not JSON"))?;
    let ms = answer["encoder_ms"].as_f64().filter(|ms| *ms > 0.0);
    ms.ok_or_else(|| anyhow!("`{output}` has no positive encoder_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read() {
        assert_eq!(encoder_ms("{\n  \"encoder_ms\": 12.5\n}\n").unwrap(), 12.5);
        assert!(encoder_ms("{\"encoder_ms\": 0}").is_err());
        assert!(encoder_ms("").is_err());
    }
}
