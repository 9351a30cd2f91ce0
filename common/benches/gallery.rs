//! Search in a gallery of a million pictures with random embeddings.
//!
//! Run with `cargo bench -p landfall-common`. It writes 0.7 GB to a temporary directory.

#![allow(missing_docs, reason = "divan's macros generate items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use divan::Bencher;
use landfall_common::gallery::{Gallery, GalleryBuilder};
use landfall_model::LatLng;
use landfall_model::bundle::Manifest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn main() {
    divan::main();
}

const ROWS: usize = 1_000_000;

/// A random vector with a component that all have in common, as embeddings have.
fn vector(random: &mut StdRng, dim: usize) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..dim).map(|i| random.random::<f32>() - 0.5 + (i % 7) as f32 * 0.1).collect();
    landfall_model::preprocess::normalise(&mut vector);
    vector
}

#[divan::bench(sample_count = 50)]
fn nearest_of_a_million(bencher: Bencher) {
    let manifest = Manifest::parse(include_bytes!("../../model/bundles/desktop/bundle.json")).unwrap();
    let dim = manifest.encoder.dim;
    let mut random = StdRng::seed_from_u64(1);
    let mut builder = GalleryBuilder::new(&manifest);
    for i in 0..ROWS {
        let at = LatLng::new((i % 170) as f64 - 85.0, (i % 350) as f64 - 175.0).unwrap();
        builder.push(&format!("2024/holiday/IMG_{i:08}.jpg"), at, &vector(&mut random, dim)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("million.gallery");
    builder.write(&file).unwrap();
    drop(builder);
    eprintln!("{ROWS} pictures: {} MB", std::fs::metadata(&file).unwrap().len() / 1_000_000);
    let gallery = Gallery::open(&file).unwrap();
    bencher.with_inputs(|| vector(&mut random, dim)).bench_local_values(|query| gallery.nearest(&query, 5));
}
