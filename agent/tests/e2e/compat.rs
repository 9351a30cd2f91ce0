//! Records and profiles written by earlier versions can still be read. The files in `tests/compat` must not be
//! regenerated.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn landfall(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn compat(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(name)
}

#[test]
fn old_game_works_with_stats_export_and_report() {
    let game = compat("game").display().to_string();
    let (code, out, err) = landfall(&["stats", "--json", &game]);
    assert_eq!(code, Some(0), "{err}");
    let stats: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&stats["rounds"], &stats["games"], &stats["points"]["value"]), (&1.into(), &1.into(), &3181.0.into()));
    assert!(stats["broken"].as_array().unwrap().is_empty(), "{stats}");

    let (code, geojson, err) = landfall(&["export", &game]);
    assert_eq!(code, Some(0), "{err}");
    let features: Value = serde_json::from_str(&geojson).unwrap();
    let properties = &features["features"][0]["properties"];
    assert_eq!((&properties["score"], &properties["page_score"]), (&3181.into(), &3181.into()));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.html");
    let (code, _, err) = landfall(&["report", "--out", file.to_str().unwrap(), &game]);
    assert_eq!(code, Some(0), "{err}");
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("Round 2: the pin cannot be placed at 53.4132, -6.5140"));
}

#[test]
fn old_profiles_are_accepted() {
    let canvas = std::fs::read_to_string(compat("canvas.toml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // `look.call` and `look.key` are mutually exclusive.
    let with_keys =
        canvas.replace("call = \"viewer.turn(degrees)\"", "key = { left = \"a\", right = \"d\", degrees = 15.0 }");
    assert_ne!(with_keys, canvas);
    let keys_file = dir.path().join("keys.toml");
    std::fs::write(&keys_file, with_keys).unwrap();
    for (file, url) in [
        (compat("tiles.toml"), "https://www.geoguessr.com/duels/1"),
        (compat("canvas.toml"), "http://game.invalid/duels/1"),
        (keys_file, "http://game.invalid/duels/1"),
    ] {
        // A path rule rejects the URL after the profile was parsed, so no browser starts.
        let (code, _, err) = landfall(&["play", "--site", file.to_str().unwrap(), url]);
        assert!(code == Some(2) && err.contains("does not play there"), "{}: {err}", file.display());
    }
}
