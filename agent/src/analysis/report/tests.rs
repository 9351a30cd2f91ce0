//! Tests of whole pages.

use std::fs;
use std::path::Path;

use landfall_common::text::is_printable;

use super::*;

/// Copies fixtures to a temporary directory.
fn copy_fixtures(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let (from, to) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds").join(name), dir.path().join(name));
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    dir
}

fn edit(round: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let file = round.join("round.json");
    let mut value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&file, value.to_string()).unwrap();
}

#[test]
fn page_is_self_contained_and_escapes_its_content() {
    let dir = copy_fixtures(&["brooklyn-elevated-railway", "rome-colosseum"]);
    let hostile = "<script>alert(1)</script>\"'><img src=https://evil.example/x onerror=alert(1)>&\u{b}\u{202e}";
    edit(&dir.path().join("rome-colosseum"), |round| {
        for name in ["name", "place", "bundle"] {
            round[name] = hostile.into();
        }
        round["map"]["name"] = hostile.into();
        round["url"] = "https://user:secret@evil.example/?token=1".into();
        round["top"][0]["cell"] = hostile.into();
        round["views"][0]["file"] = "../../secret.jpg".into();
    });
    let html = Report::read(&[dir.path().to_owned()]).unwrap().html();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"));
    let lower = html.to_lowercase();
    for forbidden in ["<script", "<img src=https", "javascript:", "url(http", "secret", "@import"] {
        assert!(!lower.contains(forbidden), "{forbidden}");
    }
    // All resources are in the page itself.
    for attribute in [" src=\"", " href=\""] {
        for address in html.split(attribute).skip(1) {
            assert!(address.starts_with("data:image/") || address.starts_with('#'), "{}", &address[..40]);
        }
    }
    assert!(!html.contains(&*dir.path().to_string_lossy()), "the page contains a path");
    assert!(html.chars().all(is_printable));
    assert!(html.contains("This picture is not in the record."));
    // Four views, plus the first one as a thumbnail.
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 5);
    assert!(
        html.contains("6.4 km") && html.contains("Prediction after each view") && html.contains("Near New York City")
    );
}

#[test]
fn damaged_images_are_reported_and_missing_ones_are_omitted() {
    let dir = copy_fixtures(&["rome-colosseum", "aizkorri-meadow"]);
    let picture = dir.path().join("rome-colosseum/view_000.jpg");
    let mut report = Report::read(&[dir.path().to_owned()]).unwrap();
    for contents in [&b"no picture"[..], b"\xff\xd8\xff\xe0"] {
        fs::write(&picture, contents).unwrap();
        assert!(report.html().contains("This picture is not in the record."));
        let left_out = std::mem::take(&mut report.left_out);
        assert!(left_out.len() == 1 && left_out[0].contains("view_000.jpg"), "{left_out:?}");
    }
    fs::remove_file(&picture).unwrap();
    assert!(report.html().contains("This picture is not in the record.") && report.left_out().is_empty());
}

#[cfg(unix)]
#[test]
fn files_outside_the_record_are_not_shown_through_links() {
    let dir = copy_fixtures(&["rome-colosseum", "aizkorri-meadow"]);
    let (round, private) = (dir.path().join("rome-colosseum"), dir.path().join("aizkorri-meadow"));
    for name in ["view_000.jpg", "view_000.f32"] {
        fs::remove_file(round.join(name)).unwrap();
        std::os::unix::fs::symlink(private.join(name), round.join(name)).unwrap();
    }
    let html = Report::read(&[round]).unwrap().html();
    assert!(html.contains("This picture is not in the record.") && !html.contains("data:image/jpeg"));
    assert!(html.contains("Recorded cells only."), "the logits were read");
}

#[test]
fn logits_of_another_size_are_reported() {
    let dir = copy_fixtures(&["rome-colosseum"]);
    fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("rome-colosseum/view_000.f32"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let mut report = Report::read(&[dir.path().to_owned()]).unwrap();
    assert!(report.html().contains("Recorded cells only."));
    assert!(report.left_out().len() == 1 && report.left_out()[0].contains("view_000.f32"), "{:?}", report.left_out());
}

#[test]
fn images_are_shown_up_to_a_joint_number() {
    let dir = copy_fixtures(&["aizkorri-meadow", "rome-colosseum"]);
    let report = Report::read(&[dir.path().to_owned()]).unwrap();
    let rounds = report.numbered();
    // The views, and a thumbnail.
    let images = rounds[0].1.round.views.len() + 1;
    let all = images + rounds[1].1.round.views.len() + 1;
    for (max, expected) in [(0, 0), (images - 1, 0), (images, 1), (all - 1, 1), (all, 2)] {
        assert_eq!(rounds_with_images(&rounds, max), expected, "{max} of {all}");
    }
    let (shown, left_out) = show(rounds[0].0, rounds[0].1, &report.bundles, 1000, false);
    assert!(shown.views.iter().all(Option::is_none) && shown.thumbnail.is_none() && left_out.is_empty());
}

#[test]
fn explaining_needs_the_bundle_of_the_record() {
    let dir = copy_fixtures(&["rome-colosseum"]);
    edit(&dir.path().join("rome-colosseum"), |round| round["bundle"] = "pocket@1999.1.1".into());
    let error = Report::read(&[dir.path().to_owned()]).unwrap().explain().unwrap_err();
    assert!(error.to_string().contains("pocket@1999.1.1, which is not installed"), "{error}");
}

#[test]
fn rounds_of_one_game_keep_their_numbers() {
    let names = ["aizkorri-meadow", "rome-colosseum"];
    let dir = copy_fixtures(&names);
    let numbers = |n: [u32; 2]| {
        names.iter().zip(n).for_each(|(name, n)| edit(&dir.path().join(name), |round| round["n"] = n.into()));
        let html = Report::read(&[dir.path().to_owned()]).unwrap().html();
        (1..9).filter(|n| html.contains(&format!("id=\"round-{n}\""))).collect::<Vec<_>>()
    };
    assert_eq!(numbers([3, 5]), [3, 5]);
    assert_eq!(numbers([4, 4]), [1, 2]);
}
