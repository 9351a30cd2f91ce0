//! Records that come from somebody else: damaged, hostile, or with links to files outside.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fixtures;

fn landfall(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn copy_round(name: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in ["round.json", "view_000.jpg", "view_000.f32"] {
        std::fs::copy(fixtures().join("rounds").join(name).join(file), to.join(file)).unwrap();
    }
}

/// Two good rounds, one that is cut off, one with a location that is not on earth, and one nested too deeply.
fn mixed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_round("rome-colosseum", &dir.path().join("a"));
    copy_round("nagoya-castle", &dir.path().join("b"));
    let round = std::fs::read_to_string(dir.path().join("a/round.json")).unwrap();
    let mut nowhere: Value = serde_json::from_str(&round).unwrap();
    nowhere["truth"]["lat"] = 95.into();
    for (name, text) in
        [("cut", round[..99].to_owned()), ("nowhere", nowhere.to_string()), ("deep", "[".repeat(1_000_000))]
    {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("round.json"), text).unwrap();
    }
    dir
}

#[test]
fn damaged_rounds_are_reported_and_the_rest_is_done() {
    let records = mixed();
    let dir = records.path().to_str().unwrap();
    let (page, table) = (records.path().join("r.html"), records.path().join("r.csv"));
    for args in [
        vec!["report", "--out", page.to_str().unwrap(), dir],
        vec!["export", "--out", table.to_str().unwrap(), dir],
        vec!["replay", "--from", "logits", "--bundle", "desktop", dir],
    ] {
        let (code, _, err) = landfall(&args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        for name in ["cut", "nowhere", "deep"] {
            let file = Path::new(name).join("round.json").display().to_string();
            assert!(err.lines().any(|line| line.contains("left out") && line.contains(&file)), "{args:?}: {err}");
        }
        assert!(err.contains("not a location on earth") && err.contains("3 left out"), "{args:?}: {err}");
    }
    assert!(std::fs::read_to_string(page).unwrap().contains("Near Rome"));
    assert_eq!(std::fs::read_to_string(table).unwrap().lines().count(), 3);
    // Statistics list what they leave out.
    let (code, out, err) = landfall(&["stats", "--json", dir]);
    let stats: Value = serde_json::from_str(&out).unwrap();
    assert!(code == Some(0) && stats["rounds"] == 2 && stats["broken"].as_array().unwrap().len() == 3, "{err}");
    // Without any good round there is nothing to do.
    let (code, _, err) = landfall(&["report", records.path().join("cut").to_str().unwrap()]);
    assert!(code == Some(2) && err.contains("not the record of a round"), "{err}");
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (record, outside) = (dir.path().join("record"), dir.path().join("outside"));
    copy_round("rome-colosseum", &record.join("a"));
    copy_round("nagoya-castle", &record.join("b"));
    copy_round("aizkorri-meadow", &outside);
    std::fs::write(outside.join("precious"), "untouched").unwrap();
    // A picture of somebody else, a folder of somebody else, a loop, and links where a command writes.
    std::fs::remove_file(record.join("a/view_000.jpg")).unwrap();
    symlink(outside.join("view_000.jpg"), record.join("a/view_000.jpg")).unwrap();
    symlink(&outside, record.join("elsewhere")).unwrap();
    symlink(&record, record.join("b/loop")).unwrap();
    symlink(outside.join("precious"), record.join("report.html")).unwrap();
    std::fs::remove_file(record.join("b/view_000.f32")).unwrap();
    symlink(outside.join("precious"), record.join("b/view_000.f32")).unwrap();

    let records = record.to_str().unwrap();
    let (code, _, err) = landfall(&["report", records]);
    assert!(code == Some(0) && err.contains("not followed"), "{err}");
    let html = std::fs::read_to_string(record.join("report.html")).unwrap();
    assert!(html.contains("This picture is not in the record.") && !html.contains("Aizkorri"));
    assert!(!record.join("report.html").is_symlink());

    let (code, _, err) = landfall(&["replay", "--bundle", "pocket", "--record", records]);
    assert!(code != Some(0) && err.contains("symbolic link"), "{err}");
    assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "untouched");
    let (code, csv, err) = landfall(&["export", "--format", "csv", records]);
    assert!(code == Some(0) && csv.lines().count() == 3, "{csv}{err}");
}
