//! Latency of the desktop encoder against Python's onnxruntime on the same file: one 224 × 224 image, one thread.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::command::{python, run_quietly};
use crate::{agent, bundles};

/// Highest ratio of Landfall's latency to Python's.
const MAX_RATIO: f64 = 1.15;
/// Runs of each program. They alternate, so that other load on the machine affects both; the best run of each counts.
const RUNS: usize = 3;

/// Measures and compares. Returns 0 if the ratio is low enough or if Python has no onnxruntime, else 1.
pub(crate) fn run(root: &Path) -> Result<u8> {
    if !python().args(["-c", "import onnxruntime, numpy"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: Python cannot import onnxruntime (set LANDFALL_PYTHON to an interpreter that can)");
        return Ok(0);
    }
    let encoder = bundles::encoder(root, "desktop")?;
    let agent = agent::build(root)?;
    let mut best = [f64::INFINITY; 2];
    for _ in 0..RUNS {
        let mut python_cmd = python();
        python_cmd.arg(root.join("xtask/scripts/bench_encoder.py")).arg(&encoder);
        let mut landfall_cmd = Command::new(&agent);
        landfall_cmd.args(["doctor", "--bench", "--bundle", "desktop", "--json"]);
        for (best, command) in best.iter_mut().zip([&mut landfall_cmd, &mut python_cmd]) {
            *best = best.min(encoder_ms(&run_quietly(command)?)?);
        }
    }
    let [landfall_ms, python_ms] = best;
    let ratio = landfall_ms / python_ms;
    println!("landfall {landfall_ms:.2} ms, Python {python_ms:.2} ms, ratio {ratio:.3} (at most {MAX_RATIO})");
    Ok(u8::from(ratio > MAX_RATIO))
}

/// Reads the median from `{"encoder_ms": 12.3}`.
fn encoder_ms(output: &str) -> Result<f64> {
    let output = output.trim();
    let value: serde_json::Value = serde_json::from_str(output).with_context(|| format!("`{output}` is not JSON"))?;
    let ms = value["encoder_ms"].as_f64().filter(|ms| *ms > 0.0);
    ms.ok_or_else(|| anyhow!("`{output}` has no positive encoder_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoder_ms_reads_the_median() {
        assert_eq!(encoder_ms("{\n  \"encoder_ms\": 12.5\n}\n").unwrap(), 12.5);
        assert!(encoder_ms("{\"encoder_ms\": 0}").is_err());
        assert!(encoder_ms("").is_err());
    }
}
