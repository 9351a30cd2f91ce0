//! The index is the same when built in memory, on disk, and on a cluster of a scheduler and two executors.
//! `cargo test --release --workspace --features landfall-trainer/cluster --test commands cluster`

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

fn landfall_train(dir: &Path, args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall-train")).args(args.split_whitespace()).current_dir(dir).output().unwrap()
}

/// Writes a manifest as `collect` does, with pictures in sequences along roads. Some of them are missing, small, at the
/// reference point of a town, at the same place as others, at the antimeridian or a pole, or without coordinates.
fn manifest(folder: &Path, source: &str, pictures: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut lines = String::new();
    let (mut lat, mut lng, mut sequence) = (0.0, 0.0, 0);
    for i in 0..pictures {
        if i % 7 == 0 {
            sequence += 1;
            // Twenty regions, so that pictures are close to each other; one is on the antimeridian, one at the pole.
            (lat, lng) = match random.random_range(0..20) {
                0 => (random.random_range(-17.1..-16.9), random.random_range(179.9..180.1)),
                1 => (89.98, random.random_range(-180.0..180.0)),
                region => (f64::from(region) * 3.0 + random.random_range(0.0..0.3), f64::from(region) * 7.0 - 70.0),
            };
        }
        let kind = random.random_range(0..100);
        let place = match kind {
            0..10 => json!([48.8534, 2.3488]),
            10..14 => json!([40.0 + f64::from(kind) / 100.0, 5.0]),
            14 => Value::Null,
            _ => json!([lat + f64::from(i as u32 % 7) * 0.002, lng - f64::from(u8::from(lng > 180.0)) * 360.0]),
        };
        let mut item = json!({
            "source": source, "id": format!("i{i}"), "file": format!("pictures/é {i}.jpg"),
            "lat": place[0], "lng": place[1], "iso2": if kind == 14 && i % 2 == 0 { "fr" } else { "" }, "time": "",
            "group": if kind % 9 == 0 { String::new() } else { format!("{source}:s{sequence}") },
            "author": "", "licence": "CC BY-SA 4.0", "attribution": if i % 3 == 0 { "by \"me\"" } else { "" },
            "url": format!("https://example.org/{i}"), "sha256": "", "width": if kind == 20 { 90 } else { 1024 },
            "height": 768, "status": match kind { 21 => "missing", 22 => "broken", _ => "ok" },
        });
        if i % 2 == 0 {
            item["heading"] = json!(f64::from(i as u32 % 360));
        }
        writeln!(lines, "{item}").unwrap();
    }
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("manifest.jsonl"), lines).unwrap();
}

const SPLIT: &str = "--dev 0.1 --held-out 0.1 --cap-per-cell 40";

fn index(dir: &Path, out: &str, options: &str) -> (Vec<Vec<String>>, Value) {
    let args = format!("index sets/one sets/two --images sets --trust --seed 3 --json --out {out} {options}");
    let output = landfall_train(dir, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rows: Vec<Vec<String>> = csv::Reader::from_path(dir.join(out))
        .unwrap()
        .records()
        .map(|row| row.unwrap().iter().map(str::to_owned).collect())
        .collect();
    rows.sort();
    (rows, serde_json::from_slice(&output.stdout).unwrap())
}

/// Processes that are killed at the end of the test.
struct Cluster(Vec<Child>);

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports(n: usize) -> Vec<u16> {
    let open: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    open.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

#[test]
fn the_index_is_the_same_in_memory_on_disk_and_on_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    manifest(&dir.join("sets/one"), "mapillary", 9_000, 1);
    manifest(&dir.join("sets/two"), "kartaview", 4_000, 2);
    let (rows, report) = index(dir, "memory.csv", SPLIT);
    // All reasons and all splits occur.
    assert_eq!(report["left_out"].as_object().unwrap().len(), 7, "{report}");
    assert_eq!(report["splits"].as_object().unwrap().len(), 3, "{report}");
    assert!(rows.len() > 1_000, "{report}");

    let (on_disk, other_report) = index(dir, "disk.csv", &format!("{SPLIT} --work steps --memory 1"));
    assert_eq!(other_report, report);
    assert!(on_disk == rows);
    // If the result of a step is deleted, only that step and later ones run again.
    let changed = |step: &str| dir.join(format!("steps/{step}.done")).metadata().unwrap().modified().unwrap();
    let before = ["rows", "names", "near"].map(changed);
    std::fs::remove_file(dir.join("steps/near.done")).unwrap();
    assert!(index(dir, "disk.csv", &format!("{SPLIT} --work steps")).0 == rows);
    let after = ["rows", "names", "near"].map(changed);
    assert!(after[..2] == before[..2] && after[2] > before[2]);

    // No evaluation splits, so no picture is too close to one; and no caps.
    let plain = "--dev 0 --held-out 0 --cap-per-coordinate 0 --cap-per-cell 0";
    let (all_rows, all) = index(dir, "memory.csv", plain);
    assert!(all["splits"].as_object().unwrap().len() == 1 && all_rows.len() > rows.len(), "{all}");
    assert!(index(dir, "disk.csv", &format!("{plain} --work steps")) == (all_rows, all));

    let ports = loop {
        // An executor listens on its port and the next one.
        let ports = free_ports(3);
        if !ports.iter().any(|port| ports.contains(&(port + 1))) {
            break ports;
        }
    };
    let start = |args: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
        command.args(args.split_whitespace()).current_dir(dir).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let scheduler = format!("127.0.0.1:{}", ports[0]);
    let mut cluster = Cluster(vec![start(format!("cluster scheduler --bind {scheduler}"))]);
    for port in &ports[1..] {
        let work = dir.join(format!("shuffled-{port}"));
        cluster.0.push(start(format!(
            "cluster executor --scheduler {scheduler} --bind 127.0.0.1:{port} --memory 0.5 --work {}",
            work.display()
        )));
    }
    let (on_cluster, other_report) =
        index(dir, "cluster.csv", &format!("{SPLIT} --work cluster --scheduler df://{scheduler}"));
    assert_eq!(other_report, report);
    assert!(on_cluster == rows);
    for port in &ports[1..] {
        let outputs = dir.join(format!("shuffled-{port}")).read_dir().unwrap().count();
        assert!(outputs > 0, "the executor on port {port} ran no tasks");
    }
    drop(cluster);

    let output = landfall_train(
        dir,
        &format!("index sets/one --images sets --trust --out none.csv --work other --scheduler df://{scheduler}"),
    );
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!dir.join("none.csv").exists());
}
