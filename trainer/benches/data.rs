//! `cargo bench -p landfall-trainer --bench data`: decoding pictures from shards, folders and memory, and building the
//! index of millions of generated pictures.

#![allow(missing_docs, reason = "divan's macros make items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic on errors")]

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use divan::Bencher;
use divan::counter::ItemsCount;
use image::{ImageFormat, Rgb, RgbImage};
use landfall_model::preprocess;
use landfall_trainer::Images;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn landfall_train(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall-train")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const PICTURES: usize = 256;

/// Writes pictures of the size of a photo service's thumbnails, with an index.
fn pictures(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut index = String::from("set,file,lat,lng,iso2,group,split\n");
    let pictures = (0..PICTURES).map(|i| {
        let noise = |x: u32, y: u32| ((x * 7 + y * 13 + i as u32 * 31) ^ (x * y / 9)) as u8;
        let picture = RgbImage::from_fn(1024, 768, |x, y| Rgb([(x / 4) as u8, (y / 3) as u8, noise(x / 8, y / 8)]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let file = PathBuf::from(format!("{i}.jpg"));
        std::fs::write(dir.join(&file), bytes.get_ref()).unwrap();
        writeln!(index, "s,{i}.jpg,1,2,FR,g{i},train").unwrap();
        (file, bytes.into_inner())
    });
    let pictures = pictures.collect();
    std::fs::write(dir.join("index.csv"), index).unwrap();
    pictures
}

#[divan::bench(args = ["memory", "folder", "shards"], sample_count = 10, sample_size = 1)]
fn decode_256_pictures(bencher: Bencher<'_, '_>, from: &str) {
    let dir = tempfile::tempdir().unwrap();
    let pictures = pictures(dir.path());
    let [folder, index, shards] = ["", "index.csv", "shards"].map(|name| dir.path().join(name).display().to_string());
    landfall_train(&["shard", "--index", &index, "--images", &folder, "--per", "100", "--out", &shards]);
    let images = Images::open(Path::new(if from == "shards" { &shards } else { &folder })).unwrap();
    bencher.counter(ItemsCount::new(PICTURES)).bench_local(|| {
        let decoded = pictures.par_iter().map(|(file, bytes)| {
            if from == "memory" { preprocess::from_bytes(bytes).unwrap() } else { images.picture(file).unwrap() }
        });
        decoded.map(|picture| picture.len()).sum::<usize>()
    });
}

/// Writes a manifest as `collect` does, with pictures along the roads of 100,000 places, ten per sequence.
fn manifest(dir: &Path, pictures: usize) {
    let golden_angle = 180.0 * (3.0 - 5f64.sqrt());
    let mut lines = std::io::BufWriter::new(std::fs::File::create(dir.join("manifest.jsonl")).unwrap());
    for i in 0..pictures {
        let place = (i % 100_000) as f64 + 0.5;
        let lat = (1.0 - place / 50_000.0).asin().to_degrees().clamp(-85.0, 85.0);
        let lng = (place * golden_angle + (i / 100_000) as f64 * 0.013 + 180.0).rem_euclid(360.0) - 180.0;
        let line = format!(
            r#"{{"source":"mapillary","id":"m{i}","file":"pictures/m{i}.jpg","lat":{lat:.6},"lng":{lng:.6},"iso2":"","heading":0,"time":"","group":"mapillary:s{}","author":"a{}","licence":"CC BY-SA 4.0","attribution":"","url":"https://graph.mapillary.com/m{i}","sha256":"","width":1024,"height":768,"status":"ok"}}"#,
            i / 10,
            i % 9999,
        );
        std::io::Write::write_all(&mut lines, format!("{line}\n").as_bytes()).unwrap();
    }
}

#[divan::bench(args = [100_000, 5_000_000], sample_count = 1, sample_size = 1)]
fn index_and_partition(bencher: Bencher<'_, '_>, pictures: usize) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    manifest(&folder, pictures);
    let [images, folder, index, cells] =
        ["", "many", "index.csv", "cells.json"].map(|name| dir.path().join(name).display().to_string());
    bencher.counter(ItemsCount::new(pictures)).bench_local(|| {
        landfall_train(&["index", &folder, "--images", &images, "--trust", "--out", &index]);
        landfall_train(&["partition", "--index", &index, "--out", &cells]);
    });
}
