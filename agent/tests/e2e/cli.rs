//! The command-line interface: exit codes, error messages, and partial failures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use landfall_model::LatLng;
use serde_json::Value;

fn landfall(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).envs(environment.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn fixture_photo() -> String {
    root().join("fixtures/rounds/rome-colosseum/view_000.jpg").display().to_string()
}

#[test]
fn locate_reports_broken_images_and_continues() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("\x1b[31mbroken\n.jpg");
    std::fs::write(&broken, b"\xff\xd8\xff no picture").unwrap();
    let photo = fixture_photo();
    let (code, out, err) = landfall(&["locate", "--json", &photo, broken.to_str().unwrap(), &photo], &[]);
    assert_eq!(code, Some(1), "{err}");
    let predictions: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(predictions.len(), 2);
    assert_eq!(predictions[0], predictions[1]);
    assert!(predictions[0]["lat"].is_number() && predictions[0]["radius_km"]["p90"].is_number());
    assert!(predictions[0]["bundle"].as_str().unwrap().starts_with("desktop@"));
    assert!(err.contains("[31mbroken") && !err.contains('\x1b'), "{err:?}");

    // File names are sanitised in text output but exact in JSON.
    std::fs::copy(&photo, &broken).unwrap();
    let broken = broken.to_str().unwrap();
    let (_, out, _) = landfall(&["locate", "--bundle", "pocket", "--no-map", broken], &[]);
    assert!(out.lines().count() == 1 && out.contains("\u{fffd}[31mbroken\u{fffd}.jpg: near Rome"), "{out:?}");
    let (_, out, _) = landfall(&["locate", "--bundle", "pocket", "--json", broken], &[]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["image"], broken);
}

/// `web-demo/src/engine/parity.test.ts` compares the web page with the same file. After a change of a bundle,
/// regenerate it: `LANDFALL_GOLDEN=write cargo test --release --workspace --test e2e --
/// cli::locate_matches_golden_file`. `LANDFALL_GOLDEN=all` compares every picture with both bundles; by default only
/// some are located with the desktop bundle, which takes a second per picture.
#[test]
fn locate_matches_golden_file() {
    let golden = root().join("model/tests/golden/locate.jsonl");
    let pictures = landfall_common::photo_files::find_photos(&root().join("fixtures/rounds")).unwrap().files;
    let mode = std::env::var("LANDFALL_GOLDEN").unwrap_or_default();
    let desktop_step = if ["write", "all"].contains(&mode.as_str()) { 1 } else { 5 };
    let actual: String = [("pocket", 1), ("desktop", desktop_step)]
        .map(|(bundle, step)| {
            let mut locate = Command::new(env!("CARGO_BIN_EXE_landfall"));
            locate.args(["locate", "--json", "--bundle", bundle]).current_dir(root());
            locate.args(pictures.iter().step_by(step).map(|file| file.strip_prefix(root()).unwrap()));
            let output = locate.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
        .concat();
    if mode == "write" {
        std::fs::write(&golden, &actual).unwrap();
    }
    let parse = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let (actual, expected) = (parse(&actual), parse(&std::fs::read_to_string(&golden).unwrap()));
    assert_eq!(expected.len(), 2 * pictures.len());
    assert_eq!(actual.len(), pictures.len() + pictures.len().div_ceil(desktop_step));
    for actual in &actual {
        let same = |expected: &&Value| ["image", "bundle"].iter().all(|key| expected[key] == actual[key]);
        let expected = expected.iter().find(same).unwrap_or_else(|| panic!("not in the golden file: {actual}"));
        let place = |prediction: &Value| {
            LatLng::new(prediction["lat"].as_f64().unwrap(), prediction["lng"].as_f64().unwrap()).unwrap()
        };
        assert!(place(actual).distance_m(place(expected)) < 1000.0, "{actual} {expected}");
        for (a, b) in actual["top"].as_array().unwrap().iter().zip(expected["top"].as_array().unwrap()) {
            let log_ratio = (a["p"].as_f64().unwrap() / b["p"].as_f64().unwrap()).ln().abs();
            assert!(log_ratio < 1e-2, "{actual} {expected}");
        }
    }
}

#[test]
fn usage_errors_exit_2_and_environment_errors_3() {
    let photo = fixture_photo();
    let empty_dir = tempfile::tempdir().unwrap();
    let empty_dir = empty_dir.path().to_str().unwrap();
    let damaged = tempfile::tempdir().unwrap();
    for file in ["bundle.json", "cells.json", "adapter.safetensors"] {
        std::fs::copy(root().join("model/bundles/desktop").join(file), damaged.path().join(file)).unwrap();
    }
    std::fs::write(damaged.path().join("head.onnx"), b"not a network").unwrap();
    let damaged = damaged.path().to_str().unwrap();
    let invalid = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(root().join("model/bundles/desktop/bundle.json")).unwrap();
    let manifest = manifest.replace("\"cell_logits\"", "");
    std::fs::write(invalid.path().join("bundle.json"), manifest).unwrap();
    let invalid = invalid.path().to_str().unwrap();
    for (args, environment, code, message) in [
        (vec!["locate", "--bundle", "nonesuch", &photo], vec![], 2, "there is no bundle `nonesuch`; available:"),
        (vec!["locate", "--prior", "holiday", &photo], vec![], 2, "[possible values: photo, game, flat]"),
        (vec!["locate", "--bundle", damaged, &photo], vec![], 3, "head.onnx: is damaged"),
        (vec!["locate", "--bundle", invalid, &photo], vec![], 3, "no output of the head is named"),
        (vec!["play", "--seed", "1", "http://127.0.0.1:9/"], vec![], 2, "apply to the arena"),
        (vec!["locate", &photo], vec![("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")], 3, "cargo xtask setup"),
        (vec!["replay", empty_dir], vec![], 2, "no round.json"),
        (vec!["replay", "--against", "nonesuch.json", empty_dir], vec![], 2, "nonesuch.json"),
        (vec!["play", "https://www.geoguessr.com/duels/5f0"], vec![], 2, "does not play there"),
        (vec!["play", "https://www.geoguessr.com/maps/world"], vec![], 2, "--i-own-this-account"),
        (vec!["play", "https://example.org/"], vec![], 2, "no site profile is for example.org"),
        (
            vec!["play", "--games", "2", "--i-own-this-account", "https://www.geoguessr.com/maps/world"],
            vec![],
            2,
            "one game",
        ),
        (
            vec!["play", "--parallel", "2", "--i-own-this-account", "https://www.geoguessr.com/maps/world"],
            vec![],
            2,
            "sites on this computer",
        ),
        (vec!["play", "--attach", "9222", "https://www.geoguessr.com/duels/5f0"], vec![], 2, "does not play there"),
        (vec!["play", "--attach", "nowhere"], vec![], 2, "not a host and port"),
        (vec!["play", "--bundle", "pocket", "--attach", "127.0.0.1:9"], vec![], 3, "--remote-debugging-port=PORT"),
        (vec!["play", "--browser", "./nowhere/chromium"], vec![], 2, "there is no such file"),
        (vec!["play", "--browser", "no-such-browser"], vec![], 2, "not on PATH"),
        (vec!["play", "--browser-arg=--user-data-dir=/home"], vec![], 2, "cannot be set"),
        (vec!["play", "--pause=-1"], vec![], 2, "not a duration"),
        (vec!["doctor", "https://www.geoguessr.com/maps/world"], vec![], 2, "--i-own-this-account"),
        (vec!["play", "--country", "QQ"], vec![], 2, "`QQ` is not an ISO country code"),
        (vec!["play", "--scale", "0"], vec![], 2, "positive number of metres"),
        (vec!["play", "--bundle", "pocket", "--fixtures", empty_dir], vec![], 2, "rounds"),
        (
            vec!["play", "--bundle", "pocket", "--webdriver", "http://127.0.0.1:9"],
            vec![],
            3,
            "check that the server is running",
        ),
        (vec!["play", "--bundle", "pocket"], vec![("PATH", "")], 3, "not on PATH"),
    ] {
        let (exit_code, _, err) = landfall(&args, &environment);
        assert_eq!(exit_code, Some(code), "{args:?}: {err}");
        assert!(err.contains(message), "{args:?}: {err}");
        assert!(!err.contains("panicked"), "{args:?}: {err}");
    }
}

#[test]
fn replay_checks_expected_scores_of_the_fixtures() {
    let fixtures = root().join("fixtures").display().to_string();
    let expected = root().join("fixtures/expected.json").display().to_string();
    let (code, out, err) = landfall(&["replay", "--json", "--from", "logits", "--against", &expected, &fixtures], &[]);
    assert_eq!(code, Some(0), "{err}");
    let replay: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(replay["score"], replay["expected"]);
    assert!(replay["rounds"].as_array().unwrap().len() >= 12);

    // From pictures, two rounds: `locate_matches_golden_file` encodes all of them.
    let rounds = ["rounds/aizkorri-meadow", "rounds/rome-colosseum"];
    let few = tempfile::tempdir().unwrap();
    for round in rounds {
        let (from, to) = (root().join("fixtures").join(round), few.path().join(round));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let mut expected_of_few: Value = serde_json::from_str(&std::fs::read_to_string(&expected).unwrap()).unwrap();
    for of_bundle in expected_of_few["bundles"].as_object_mut().unwrap().values_mut() {
        of_bundle.as_object_mut().unwrap().retain(|name, _| rounds.contains(&name.as_str()));
    }
    let file = few.path().join("expected.json");
    std::fs::write(&file, expected_of_few.to_string()).unwrap();
    let [file, few] = [file.as_path(), few.path()].map(|path| path.to_str().unwrap());
    let (code, out, err) = landfall(&["replay", "--json", "--against", file, few], &[]);
    assert_eq!(code, Some(0), "from pictures: {err}");
    let replayed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(replayed["rounds"].as_array().unwrap().len(), rounds.len());

    // Change the expected guess of one round and expect a round that does not exist.
    let mut changed: Value = serde_json::from_str(&std::fs::read_to_string(&expected).unwrap()).unwrap();
    let bundle = replay["bundle"].as_str().unwrap();
    let round = changed["bundles"][bundle]["rounds/rome-colosseum"].as_object_mut().unwrap();
    round["guess"]["lat"] = 1.0.into();
    changed["bundles"][bundle]["rounds/atlantis"] = serde_json::json!({"guess": {"lat": 1.0, "lng": 2.0}, "score": 3});
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.json");
    std::fs::write(&file, changed.to_string()).unwrap();
    let (code, _, err) = landfall(&["replay", "--from", "logits", "--against", file.to_str().unwrap(), &fixtures], &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("rounds/rome-colosseum") && err.contains("rounds/atlantis: expected, but not replayed"),
        "{err}"
    );
}

#[test]
fn locate_falls_back_to_pocket_without_desktop_encoder() {
    let (photo, empty_dir) = (fixture_photo(), tempfile::tempdir().unwrap());
    let empty = [("LANDFALL_CACHE", empty_dir.path().to_str().unwrap())];
    if root().join("model/bundles/desktop/encoder.onnx").exists() {
        panic!("remove model/bundles/desktop/encoder.onnx: this test expects the encoder only in the cache");
    }
    let (code, out, err) = landfall(&["locate", "--json", &photo], &empty);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("using the pocket bundle"), "{err}");
    let fallen_back: Value = serde_json::from_str(&out).unwrap();
    assert!(fallen_back["bundle"].as_str().unwrap().starts_with("pocket@"));
    let (_, requested, _) = landfall(&["locate", "--json", "--bundle", "pocket", &photo], &[]);
    assert_eq!(out, requested);
    // No fallback when the desktop bundle is requested explicitly.
    let (code, _, err) = landfall(&["locate", "--bundle", "desktop", &photo], &empty);
    assert_eq!(code, Some(3), "{err}");

    let (fixtures, expected) = (root().join("fixtures"), root().join("fixtures/expected.json"));
    let [fixtures, expected] = [&fixtures, &expected].map(|path| path.display().to_string());
    let replay = ["replay", "--json", "--bundle", "pocket", "--against", &expected, &fixtures];
    let (code, _, err) = landfall(&replay, &empty);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn doctor_succeeds_after_setup() {
    let (code, out, err) = landfall(&["doctor", "--json"], &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    let findings: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert!(findings.iter().any(|finding| finding["what"] == "bundle desktop" && finding["ok"] == true));
    let (code, out, _) = landfall(&["doctor"], &[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")]);
    assert_eq!(code, Some(1));
    assert!(out.contains("MISSING  ONNX Runtime"), "{out}");

    // Bundles whose encoder was not downloaded are optional, since pocket needs none.
    let runtime = findings.iter().find(|finding| finding["what"] == "ONNX Runtime").unwrap()["detail"].clone();
    let library = runtime.as_str().unwrap().rsplit_once(", ").unwrap().1;
    let cache = tempfile::tempdir().unwrap();
    let environment = [("ORT_DYLIB_PATH", library), ("LANDFALL_CACHE", cache.path().to_str().unwrap())];
    let (code, out, err) = landfall(&["doctor"], &environment);
    let desktop = out.lines().find(|line| line.contains("bundle desktop")).unwrap();
    assert!(desktop.starts_with("absent ") && desktop.contains("`landfall setup`"), "{out}");
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn user_profiles_are_found_by_name_and_host_but_cannot_override_built_in_ones() {
    let config = tempfile::tempdir().unwrap();
    let folder = config.path().join("profiles");
    std::fs::create_dir(&folder).unwrap();
    let mine = include_str!("../../profiles/arena.toml").replace("\"127.0.0.1\", \"localhost\"", "\"game.invalid\"");
    std::fs::write(folder.join("mine.toml"), mine.replace("needs_consent = false", "needs_consent = true")).unwrap();
    std::fs::write(folder.join("geoguessr.toml"), "nonsense").unwrap();
    let environment = [("LANDFALL_CONFIG", config.path().to_str().unwrap())];
    for (args, message) in [
        (vec!["play", "--site", "mine", "http://game.invalid/"], "--i-own-this-account"),
        (vec!["play", "http://game.invalid/"], "--i-own-this-account"),
        (vec!["play", "--site", "yours", "http://game.invalid/"], "available: arena, geoguessr, generic, "),
        (vec!["play", "--site", "yours", "http://game.invalid/"], ", mine"),
        // Built-in profiles take precedence.
        (vec!["play", "https://www.geoguessr.com/duels/5f0"], "does not play there"),
    ] {
        let (code, _, err) = landfall(&args, &environment);
        assert!(code == Some(2) && err.contains(message), "{args:?}: {err}");
    }
}

#[test]
fn secrets_are_not_logged() {
    let args = ["-vv", "play", "--webdriver", "http://me:sesame@127.0.0.1:9/?token=sesame", "--pause", "2m"];
    let (code, out, err) = landfall(&args, &[]);
    assert_eq!(code, Some(3), "{err}");
    assert!(!err.contains("sesame") && !out.contains("sesame"), "{err}");
    let url = "http://me:sesame@127.0.0.1:9/game/AbCdEf0123456789?token=sesame";
    let (code, _, err) = landfall(&["-vv", "play", "--site", "arena", "--headed", url], &[("PATH", "")]);
    assert!(code == Some(3) && !err.contains("sesame"), "{err}");
}

#[test]
fn completions_and_man_pages_are_generated() {
    let (code, out, _) = landfall(&["completions", "bash"], &[]);
    assert!(code == Some(0) && out.contains("_landfall()") && out.contains("--i-own-this-account"), "{out}");
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = landfall(&["man", dir.path().to_str().unwrap()], &[]);
    assert_eq!(code, Some(0), "{err}");
    let page = std::fs::read_to_string(dir.path().join("landfall-play.1")).unwrap();
    assert!(page.contains("time\\-budget"), "{page}");
}

#[test]
fn help_lists_all_environment_variables_and_exit_codes() {
    let (_, help, _) = landfall(&["--help"], &[]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for name in [
        "LANDFALL_BUNDLES",
        "LANDFALL_CACHE",
        "LANDFALL_CONFIG",
        "LANDFALL_LOG",
        "LANDFALL_PYTHON",
        "PIP_INDEX_URL",
        "ORT_DYLIB_PATH",
        "NO_COLOR",
    ] {
        assert!(help.contains(name), "{name}");
    }
    for exit in ["129 hung up", "130 interrupted", "143 terminated"] {
        assert!(help.contains(exit), "{help}");
    }
}

#[cfg(unix)]
#[test]
fn signals_have_documented_exit_codes() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut arena = Command::new(env!("CARGO_BIN_EXE_landfall"));
        arena.args(["arena", "--port", "0"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut arena = arena.spawn().unwrap();
        let mut url = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(arena.stdout.take().unwrap()), &mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(Command::new("kill").args([format!("-{signal}"), arena.id().to_string()]).status().unwrap().success());
        assert_eq!(arena.wait().unwrap().code(), Some(code));
    }
}
