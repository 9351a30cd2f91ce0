//! Benchmarks of `stats` over 10,000 recorded rounds and of drawing map tiles for the arena.
//!
//! Run with `cargo bench -p landfall-agent`.

#![allow(missing_docs, reason = "divan's macros generate items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::path::{Path, PathBuf};

use divan::Bencher;
use landfall_agent::testing::{draw_tile, stats};
use landfall_model::Bundle;

fn main() {
    divan::main();
}

const ROUNDS: usize = 10_000;

/// Writes rounds as `play` records them, each with two views. All views share one logits file through hard links.
fn record_rounds(dir: &Path) -> PathBuf {
    let bundle = Bundle::find("pocket").unwrap();
    let logits = (0..bundle.cells.cells.len()).flat_map(|i| ((i % 97) as f32 / 10.0).to_le_bytes());
    let logits_file = dir.join("logits.f32");
    std::fs::write(&logits_file, logits.collect::<Vec<u8>>()).unwrap();
    let fixture = include_str!("../../fixtures/rounds/aizkorri-meadow/round.json");
    let mut record: serde_json::Value = serde_json::from_str(fixture).unwrap();
    record["bundle"] = bundle.manifest.id().into();
    record["views"] = serde_json::json!([
        {"file": "view_000.jpg", "heading": 0.0, "logits": "view_000.f32"},
        {"file": "view_180.jpg", "heading": 180.0, "logits": "view_180.f32"}
    ]);
    let runs = dir.join("runs");
    for n in 0..ROUNDS {
        let game = runs.join(format!("game_{}", n / 5));
        let round = game.join(format!("round_{}", n % 5 + 1));
        std::fs::create_dir_all(&round).unwrap();
        std::fs::write(game.join("game.json"), "{}").unwrap();
        record["score"] = (n % 5000).into();
        record["truth"]["lat"] = ((n % 2000) as f64 / 1000.0 + 40.0).into();
        std::fs::write(round.join("round.json"), record.to_string()).unwrap();
        for file in ["view_000.f32", "view_180.f32"] {
            std::fs::hard_link(&logits_file, round.join(file)).unwrap();
        }
    }
    runs
}

#[divan::bench(sample_count = 5)]
fn stats_of_10_000_rounds(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let runs = record_rounds(dir.path());
    bencher.bench(|| stats(std::slice::from_ref(&runs)).unwrap().rounds);
}

#[divan::bench(args = [(0, 0, 0), (2, 2, 1), (6, 33, 21), (10, 530, 350)])]
fn arena_tile(bencher: Bencher<'_, '_>, (z, x, y): (u32, i64, i64)) {
    bencher.bench(|| draw_tile(z, x, y).unwrap().unwrap().len());
}
