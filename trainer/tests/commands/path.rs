//! The full pipeline on synthetic features: partition, fit, export, evaluate.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

const DIM: usize = 12;
const TOWNS: [(f64, f64, &str); 6] = [
    (48.85, 2.35, "FR"),
    (40.42, -3.70, "ES"),
    (52.52, 13.40, "DE"),
    (35.68, 139.76, "JP"),
    (-33.87, 151.21, "AU"),
    (-23.55, -46.63, "BR"),
];

/// Pseudo-random numbers that are the same on every machine.
fn noise(seed: u64) -> f32 {
    let x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    ((x.wrapping_mul(x | 1) >> 40) as f32 / (1u64 << 24) as f32) - 0.5
}

/// Writes an index and a feature folder in which each town has its own direction, plus noise. In `train`, every fifth
/// place has only a country.
fn write_data(dir: &Path) -> Result<()> {
    let mut index = String::from("set,file,lat,lng,iso2,country,label_level,group,heading,split,source,licence\n");
    let (mut files, mut rows) = (String::new(), Vec::new());
    for (town, (lat, lng, iso2)) in TOWNS.iter().enumerate() {
        for place in 0..30 {
            for view in 0..4u64 {
                let seed = (town * 1000 + place * 10) as u64 + view;
                let split = if place < 20 { "train" } else { "dev" };
                let (lat, lng) = (lat + f64::from(noise(seed - view)), lng + f64::from(noise(seed - view + 7777)));
                let coordinates = if split == "train" && place % 5 == 0 { ",".into() } else { format!("{lat},{lng}") };
                let file = format!("{town}_{place}_{view}.jpg");
                index += &format!("made,{file},{coordinates},{iso2},,,g{town}_{place},{},{split},,\n", view * 90);
                files += &format!("{file}\n");
                for i in 0..DIM {
                    let x = if i == town { 2.0 } else { 0.0 } + noise(seed * 100 + i as u64);
                    rows.extend(x.to_le_bytes());
                }
            }
        }
    }
    fs::create_dir_all(dir.join("features"))?;
    fs::write(dir.join("index.csv"), index)?;
    fs::write(dir.join("features/files.txt"), files)?;
    fs::write(dir.join("features/rows.f32"), rows)?;
    let encoder = format!(
        r#"{{"encoder":{{"file":"e.onnx","sha256":"0","bytes":0,"input":"pixel_values","output":"image_embeds","dim":{DIM},
            "from":{{"pip":"none==0","member":"e.onnx"}}}},
            "preprocess":{{"size":8,"resize":"bicubic","crop":"center","mean":[0,0,0],"std":[1,1,1]}}}}"#
    );
    fs::write(dir.join("recipe.toml"), RECIPE)?;
    fs::write(dir.join("encoder.json"), &encoder)?;
    fs::write(dir.join("features/encoder.json"), &encoder)?;
    Ok(())
}

fn landfall_train(dir: &Path, arguments: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    // ONNX Runtime is found in the source tree, independent of the working directory.
    Ok(command.args(arguments.split_whitespace()).current_dir(dir).output()?)
}

#[track_caller]
fn run_ok(dir: &Path, arguments: &str) -> String {
    let output = landfall_train(dir, arguments).expect("the command starts");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("plain text")
}

const FIT: &str = "fit --recipe recipe.toml";
const RECIPE: &str = r#"
[data]
features = ["features"]
index = "index.csv"
split = ["train"]
cells = "cells.json"

[train]
epochs = 20
batch = 32
"#;

#[test]
fn from_features_to_an_evaluated_bundle() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    write_data(dir)?;
    run_ok(dir, "partition --index index.csv --split train --min 4 --max 30 --out cells.json");
    run_ok(dir, &format!("{FIT} --folds 3 --out head"));
    run_ok(
        dir,
        "export --head head --encoder encoder.json --cells cells.json --name made --version 2026.1.1 --out made",
    );
    let mut geoscores = Vec::new();
    for (views, n) in [("1", 240), ("4", 60)] {
        let evaluate = "evaluate --json --bundle ./made --index index.csv --features features --split dev --views";
        let report: serde_json::Value = serde_json::from_str(&run_ok(dir, &format!("{evaluate} {views}")))?;
        assert_eq!(report["n"], n);
        assert_eq!(report["by_continent"]["EU"]["n"], n / 2);
        assert!(report["country"].as_f64() > Some(90.0), "{report}");
        assert!(report["geoscore"].as_f64().unwrap() > report["baselines"]["constant"].as_f64().unwrap() + 1500.0);
        geoscores.push(report["geoscore"].as_f64());
    }
    assert!(geoscores[1] >= geoscores[0], "four views are at least as good as one: {geoscores:?}");

    // The same seed gives the same bytes, another seed does not. A hidden layer is tested too.
    for (out, options) in [("again", ""), ("other", "--set train.seed=2"), ("deep", "--set train.hidden=16")] {
        run_ok(dir, &format!("{FIT} {options} --out {out}"));
    }
    let weights = |head: &str| fs::read(dir.join(head).join("weights.f32"));
    assert_eq!(weights("head")?, weights("again")?);
    assert_ne!(weights("head")?, weights("other")?);
    run_ok(
        dir,
        "export --head deep --encoder encoder.json --cells cells.json --name deep --version 1 --calibrate features --index index.csv --split dev --out deep-bundle",
    );
    let export = "export --head deep --encoder encoder.json --cells cells.json --name deep --version 1";
    let exported = run_ok(dir, &format!("{export} --temperature 1=1.25 --temperature 4=0.75 --out explicit --json"));
    let summary: serde_json::Value = serde_json::from_str(&exported)?;
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("explicit/bundle.json"))?)?;
    assert_eq!(manifest["temperature"], serde_json::json!({ "1": 1.25, "4": 0.75 }));
    assert_eq!(summary["temperature"], manifest["temperature"]);
    assert_eq!(summary["bundle"], "deep@1");
    Ok(())
}

#[test]
fn invalid_input_is_a_usage_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    write_data(dir)?;
    run_ok(dir, "partition --index index.csv --split train --min 4 --max 30 --out cells.json");
    run_ok(dir, &format!("{FIT} --out head"));
    run_ok(dir, "export --head head --encoder encoder.json --cells cells.json --name made --version 1 --out made");
    run_ok(dir, "partition --index index.csv --split train --min 2 --max 10 --out finer.json");
    let index = fs::read_to_string(dir.join("index.csv"))?;
    fs::write(dir.join("no-country.csv"), index.replacen("made,0_0_0.jpg,,,FR", "made,0_0_0.jpg,,,QQ", 1))?;
    fs::write(dir.join("no-country.toml"), RECIPE.replace("index.csv", "no-country.csv"))?;
    fs::write(dir.join("typo.toml"), "[label]\ntau = 3\n")?;
    let export = "export --head head --name x --version 1 --out nothing";
    for (arguments, expected) in [
        (format!("{FIT} --set train.lr=1e30 --out nothing"), "the loss is"),
        (format!("{FIT} --set label.tau_km=0 --out nothing"), "positive number of kilometres"),
        (format!("{FIT} --set train.epoch=3 --out nothing"), "unknown field `epoch`"),
        (format!("{FIT} --features missing --out nothing"), "missing"),
        (format!("{FIT} --set data.split=[\"trian\"] --out nothing"), "existing splits: dev, train"),
        ("fit --recipe no-country.toml --out nothing".into(), "line 2: `QQ` is not an ISO 3166-1 country code"),
        ("fit --recipe typo.toml --out nothing".into(), "typo.toml, line 2: unknown field `tau`"),
        (
            format!("{export} --encoder encoder.json --cells finer.json"),
            "not the cell table that the head was trained for",
        ),
        (format!("{export} --encoder encoder.json --cells cells.json --temperature 4=0"), "as in 4=0.8"),
        ("evaluate --bundle ./made --index index.csv --images . --split dev".into(), "0_20_0.jpg (index line 82)"),
        ("evaluate --bundle ./made --index index.csv --features features --set none".into(), "no row with coordinates"),
        ("partition --points missing.csv --out nothing".into(), "cannot read missing.csv"),
    ] {
        let output = landfall_train(dir, &arguments)?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(message.contains(expected), "{arguments}: {message}");
        assert!(!dir.join("nothing").exists(), "{arguments} left an incomplete output");
    }
    Ok(())
}

#[test]
fn overfit_detects_a_broken_setup_and_lr_find_suggests_a_rate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    write_data(dir)?;
    run_ok(dir, "partition --index index.csv --split train --min 4 --max 30 --out cells.json");
    let outcome: serde_json::Value =
        serde_json::from_str(&run_ok(dir, &format!("{FIT} --overfit 1 --set train.lr=0.05 --json")))?;
    assert_eq!(outcome["learned"], outcome["pictures"]);
    let broken = landfall_train(dir, &format!("{FIT} --overfit 5 --set train.rate=1e-12"))?;
    let message = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(1), "{message}");
    assert!(message.contains("overfit check failed"), "{message}");

    let found: serde_json::Value =
        serde_json::from_str(&run_ok(dir, "lr-find --recipe recipe.toml --out lr.svg --steps 100 --json"))?;
    assert!(found["rate"].as_f64().is_some_and(|rate| (1e-5..1.0).contains(&rate)), "{}", found["rate"]);
    assert!(fs::read_to_string(dir.join("lr.svg"))?.contains("polyline"));
    Ok(())
}

/// Interrupts a run after its first checkpoint with SIGINT, and resumes it.
#[cfg(unix)]
#[test]
fn an_interrupted_run_resumes_to_the_same_bytes() -> Result<()> {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    write_data(dir)?;
    run_ok(dir, "partition --index index.csv --split train --min 4 --max 30 --out cells.json");
    let fit = format!("{FIT} --set train.epochs=100 --set train.hidden=16 --set train.mixup=0.2 --set train.heads=2");
    run_ok(dir, &format!("{fit} --out straight"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    command.args(format!("{fit} --out broken").split_whitespace()).current_dir(dir).stderr(Stdio::piped());
    let run = command.spawn()?;
    let (checkpoint, begun) = (dir.join("broken/checkpoints/training-head-1.checkpoint"), Instant::now());
    while !checkpoint.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status()?.success());
    let output = run.wait_with_output()?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("stopped in training head 1") && message.contains("--resume"), "{message}");
    assert!(checkpoint.exists() && !dir.join("broken/head.json").exists());

    let other = landfall_train(dir, &format!("{fit} --set train.dropout=0 --out broken --resume"))?;
    assert!(String::from_utf8_lossy(&other.stderr).contains("different recipe"), "{other:?}");
    run_ok(dir, &format!("{fit} --out broken --resume"));
    for file in ["weights.f32", "head.json"] {
        assert_eq!(fs::read(dir.join("straight").join(file))?, fs::read(dir.join("broken").join(file))?, "{file}");
    }
    assert!(!dir.join("broken/checkpoints").exists(), "checkpoints are deleted at the end");
    Ok(())
}

#[test]
fn a_diverged_run_keeps_the_last_good_checkpoint() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    write_data(dir)?;
    run_ok(dir, "partition --index index.csv --split train --min 4 --max 30 --out cells.json");
    // With the long warm-up, the first epochs do not diverge.
    let fit = format!("{FIT} --set train.warm_up=0.9 --out head");
    let output = landfall_train(dir, &format!("{fit} --set train.rate=200"))?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    let kept = dir.join("head/checkpoints/training.checkpoint");
    for expected in ["the loss is", "the checkpoint after epoch", "--resume and a lower --set train.lr"] {
        assert!(message.contains(expected), "{message}");
    }
    assert!(kept.exists() && !dir.join("head/head.json").exists());
    run_ok(dir, &format!("{fit} --set train.rate=1e-3 --resume"));
    assert!(dir.join("head/head.json").exists() && !kept.exists());
    Ok(())
}
