//! Output for other programs and for terminals: file formats, the HTML page, geotagged copies, statistics.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_model::metadata::gps;
use serde_json::Value;

use crate::fixtures;

/// File names with HTML, spreadsheet formulas or terminal escape sequences in them.
const HOSTILE: [&str; 2] = ["<img src=x onerror=alert(1)>&\"'.jpg", "=HYPERLINK(\u{1b}[31m,).jpg"];

fn landfall(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn path_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory with two images with hostile names, one of them in a subdirectory.
fn holiday() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("day 2")).unwrap();
    for (place, name) in
        [("rome-colosseum", dir.path().join(HOSTILE[0])), ("nagoya-castle", dir.path().join("day 2").join(HOSTILE[1]))]
    {
        std::fs::copy(fixtures().join("rounds").join(place).join("view_000.jpg"), name).unwrap();
    }
    dir
}

/// Records of three fixtures, with or without their images.
fn records(pictures: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["aizkorri-meadow", "rome-colosseum", "nagoya-castle"] {
        let folder = dir.path().join("game").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let files = ["round.json", "view_000.f32", "view_000.jpg"];
        for file in &files[..if pictures { 3 } else { 2 }] {
            std::fs::copy(fixtures().join("rounds").join(name).join(file), folder.join(file)).unwrap();
        }
    }
    std::fs::write(dir.path().join("game/game.json"), "{}").unwrap();
    dir
}

#[test]
fn locate_writes_page_copies_and_all_formats() {
    let (holiday, out) = (holiday(), tempfile::tempdir().unwrap());
    let (page, copies) = (out.path().join("places.html"), out.path().join("copies"));
    let folder = path_str(holiday.path());
    let args = ["locate", "--bundle", "pocket", "--out", path_str(&page), "--write-exif", path_str(&copies), folder];
    let (code, _, err) = landfall(&args);
    assert!(code == Some(0) && err.contains("would write 2 copies") && !copies.exists(), "a dry run: {err}");
    let (code, stdout, err) = landfall(&[&args[..], &["--write"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(stdout.lines().count() == 2 && !stdout.contains('\x1b') && !stdout.contains('◆'), "{stdout}");

    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;&amp;&quot;'.jpg"));
    assert!(html.contains("day 2/=HYPERLINK(\u{fffd}[31m,).jpg"));
    let home = holiday.path().to_str().unwrap();
    for forbidden in ["<img src=x", "<script", "http:", "https:", "url(", "\x1b", home] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!((html.matches("id=\"dot-").count(), html.matches("data:image/jpeg;base64,").count()), (2, 2));

    let (_, json, _) = landfall(&["locate", "--bundle", "pocket", "--json", folder]);
    let predictions: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Sorted by path.
    for (prediction, name) in predictions.iter().zip([HOSTILE[0].into(), PathBuf::from("day 2").join(HOSTILE[1])]) {
        let original = holiday.path().join(&name);
        assert_eq!(prediction["image"], path_str(&original));
        assert_eq!(gps::position(&original).unwrap(), None, "the original is unchanged");
        let written = gps::position(&copies.join(&name)).unwrap().unwrap();
        let (lat, lng) = (prediction["lat"].as_f64().unwrap(), prediction["lng"].as_f64().unwrap());
        assert!((written.lat - lat).abs() < 1e-5 && (written.lng - lng).abs() < 1e-5, "{written} {prediction}");
    }
    // A second run does not overwrite existing copies.
    let args = ["locate", "--bundle", "pocket", "--write", "--write-exif", path_str(&copies), folder];
    let (code, _, err) = landfall(&args);
    assert!(
        code == Some(1) && err.contains("already exists") && err.contains("2 locations could not be written"),
        "{err}"
    );

    let (_, geojson, _) = landfall(&["locate", "--bundle", "pocket", "--format", "geojson", folder]);
    let features: Value = serde_json::from_str(&geojson).unwrap();
    assert_eq!(features["features"][0]["geometry"]["coordinates"][0], predictions[0]["lng"]);
    assert_eq!(features["features"][1]["properties"]["radius_p90_km"], predictions[1]["radius_km"]["p90"]);
    let (_, csv, _) = landfall(&["locate", "--bundle", "pocket", "--format", "csv", folder]);
    assert!(csv.starts_with("name,lat,lng,place,country,radius_p50_km,radius_p90_km,expected_score,bundle\n"), "{csv}");
    assert!(csv.contains("\"<img src=x onerror=alert(1)>&\"\"'.jpg\""), "{csv}");
    let (_, kml, _) = landfall(&["locate", "--bundle", "pocket", "--format", "kml", folder]);
    assert!(kml.contains("<name>&lt;img src=x onerror=alert(1)&gt;&amp;&quot;'.jpg</name>"), "{kml}");
}

#[test]
fn copies_of_equal_names_are_kept_apart_and_not_copied_again() {
    let dir = tempfile::tempdir().unwrap();
    let picture = fixtures().join("rounds/rome-colosseum/view_000.jpg");
    for folder in ["100CANON", "101CANON"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        std::fs::copy(&picture, dir.path().join(folder).join("IMG_0001.JPG")).unwrap();
    }
    let path = |name: &str| dir.path().join(name);
    let (folders, copies) = ([path("100CANON"), path("101CANON")], path("guessed"));
    let write = ["locate", "--bundle", "pocket", "--write", "--write-exif", path_str(&copies)];
    let args = [&write[..], &[path_str(&folders[0]), path_str(&folders[1])]].concat();
    let (code, _, err) = landfall(&args);
    assert_eq!(code, Some(0), "{err}");
    for folder in ["100CANON", "101CANON"] {
        assert!(gps::position(&copies.join(folder).join("IMG_0001.JPG")).unwrap().is_some());
    }
    let table =
        ["locate", "--bundle", "pocket", "--format", "csv", "--bom", path_str(&folders[0]), path_str(&folders[1])];
    let (_, csv, _) = landfall(&table);
    assert!(csv.starts_with("\u{feff}name,") && csv.contains("\n101CANON/IMG_0001.JPG,"), "{csv}");
    // A second run with the copies inside the searched directory leaves them out, and what else is with them.
    std::fs::copy(&picture, copies.join("another.jpg")).unwrap();
    let (code, lines, err) = landfall(&[&write[..], &[path_str(dir.path()), "nonesuch.jpg"]].concat());
    assert!(lines.lines().count() == 2 && err.contains("left out 2 copies that --write-exif wrote"), "{lines}{err}");
    assert!(err.contains("left out 1 images in") && err.contains("nonesuch.jpg: there is no such file"), "{err}");
    let summary = "1 of the files and directories could not be read; 2 locations could not be written";
    assert!(code == Some(1) && err.contains(summary), "{err}");
    assert!(!copies.join("guessed").exists());
}

/// Runs `landfall` with standard output, and standard error if `both`, closed from the start.
fn landfall_unread(args: &[&str], both: bool) -> std::process::Output {
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(args);
    if both {
        command.stderr(write.try_clone().unwrap());
    }
    command.stdout(write).output().unwrap()
}

#[test]
fn a_closed_pipe_ends_the_command_quietly_unless_it_writes_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join("rounds/rome-colosseum/view_000.jpg"), dir.path().join("a.jpg")).unwrap();
    std::fs::write(dir.path().join("b.jpg"), "no picture").unwrap();
    let (folder, page) = (path_str(dir.path()), dir.path().join("places.html"));
    for print in [&["locate", "--bundle", "pocket"][..], &["locate", "--bundle", "pocket", "--json"]] {
        let output = landfall_unread(&[print, &[folder]].concat(), false);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        // It does not get as far as the second file.
        assert!(output.status.code() == Some(0) && err.is_empty(), "{err}");
        assert_eq!(landfall_unread(&[print, &[folder]].concat(), true).status.code(), Some(0));
    }
    let output = landfall_unread(&["locate", "--bundle", "pocket", "--out", path_str(&page), folder], false);
    assert!(page.is_file() && String::from_utf8_lossy(&output.stderr).contains("b.jpg"), "{output:?}");
    // Messages that nobody can read are no reason to fail either.
    let output = landfall_unread(&["locate", "--bundle", "pocket", path_str(&dir.path().join("b.jpg"))], true);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn invalid_arguments_fail_before_any_work() {
    let (holiday, empty) = (holiday(), tempfile::tempdir().unwrap());
    for (args, message) in [
        (
            vec!["locate", "--bundle", "nonesuch", "--out", "places.docx", path_str(holiday.path())],
            "places.docx: unknown format: use .html, .geojson, .csv or .kml",
        ),
        (vec!["locate", "--bundle", "nonesuch", "nonesuch.jpg"], "nonesuch.jpg: there is no such file or directory"),
        (vec!["locate", "--bundle", "nonesuch", path_str(empty.path())], "no images in this directory"),
        (vec!["locate", "--json", "--format", "csv", path_str(holiday.path())], "cannot be used with"),
        (vec!["export", "--out", "rounds.html", path_str(empty.path())], "rounds.html: unknown format"),
        (vec!["stats", path_str(empty.path())], "no round.json"),
        (
            vec!["locate", "--bundle", "nonesuch", "--out", "/no/such/folder/x.html", path_str(holiday.path())],
            "/no/such/folder/x.html: cannot be written: there is no directory /no/such/folder",
        ),
        (
            vec![
                "locate",
                "--bundle",
                "nonesuch",
                "--write-exif",
                env!("CARGO_BIN_EXE_landfall"),
                path_str(holiday.path()),
            ],
            "cannot be written: it is not a directory",
        ),
        (
            vec!["locate", "--bundle", "nonesuch", "--write-exif", path_str(holiday.path()), path_str(holiday.path())],
            "choose another one for their copies (--write-exif)",
        ),
        (
            vec!["locate", "--bundle", "nonesuch", "--min-confidence", "0.5", path_str(holiday.path())],
            "--min-confidence is for --write-exif DIR and --sidecar",
        ),
        (
            vec![
                "locate",
                "--bundle",
                "nonesuch",
                "--manifest",
                "m.jsonl",
                "--out",
                "x.html",
                path_str(holiday.path()),
            ],
            "`landfall review` shows it",
        ),
        (vec!["locate", "--bundle", "nonesuch", "--manifest", "m.jsonl", "a.jpg"], "a.jpg: not a directory"),
        (vec!["locate", "--bundle", "nonesuch", "--bom", path_str(holiday.path())], "--bom is for CSV"),
        (vec!["export", "--bom", path_str(empty.path())], "--bom is for CSV"),
        (vec!["locate", "--bundle", "nonesuch", "--regions", path_str(holiday.path())], "--regions is for GeoJSON"),
        (
            vec!["locate", "--country", "FR,ZZ", path_str(holiday.path())],
            "`ZZ` is not the two-letter code of a country",
        ),
        (vec!["locate", "--within", "nonesuch.geojson", path_str(holiday.path())], "cannot read nonesuch.geojson"),
        (vec!["verify", "--at", "48.86", path_str(holiday.path())], "is not LAT,LNG or LAT,LNG,KM"),
        (vec!["verify", path_str(holiday.path())], "--at <LAT,LNG[,KM]>|--measure <TABLE>"),
        (vec!["report", "--out", "/no/such/folder/x.html", path_str(empty.path())], "there is no directory"),
        (vec!["replay", "--against", "nonesuch", path_str(holiday.path())], "there is no bundle `nonesuch`"),
    ] {
        let (code, _, err) = landfall(&args);
        assert!(code == Some(2) && err.contains(message), "{args:?}: {err}");
    }
}

#[test]
fn stats_and_export_of_recorded_rounds() {
    let records = records(false);
    let dir = path_str(records.path());
    std::fs::create_dir(records.path().join("half")).unwrap();
    std::fs::write(records.path().join("half/round.json"), "{\"format\":1").unwrap();
    let (code, out, err) = landfall(&["stats", "--json", dir]);
    assert!(code == Some(0) && err.contains("left out") && err.contains("not the record of a round"), "{err}");
    let stats: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&stats["rounds"], &stats["games"], &stats["places"]), (&3.into(), &1.into(), &3.into()));
    let score = |name: &str| {
        let round = std::fs::read_to_string(records.path().join("game").join(name).join("round.json")).unwrap();
        serde_json::from_str::<Value>(&round).unwrap()["score"].as_f64().unwrap()
    };
    let sum: f64 = ["aizkorri-meadow", "rome-colosseum", "nagoya-castle"].map(score).iter().sum();
    assert!((stats["points"]["value"].as_f64().unwrap() - sum / 3.0).abs() < 1e-9, "{stats}");
    assert_eq!(stats["calibration"]["regions"]["rounds"], 3);
    let points = |end: &str| stats[end][0]["points"].as_f64().unwrap();
    assert!(points("worst") < points("best"), "{stats}");

    let (code, table, err) = landfall(&["stats", dir]);
    assert!(code == Some(0) && table.starts_with("3 rounds of 1 game at 3 places\n"), "{table}{err}");
    assert!(table.contains("desktop@") && table.contains("game/nagoya-castle"), "{table}");

    std::fs::remove_dir_all(records.path().join("half")).unwrap();
    let file = records.path().join("rounds.csv");
    assert_eq!(landfall(&["export", "--out", path_str(&file), dir]).0, Some(0));
    let csv = std::fs::read_to_string(&file).unwrap();
    assert!(csv.lines().count() == 4 && csv.contains("game/rome-colosseum"), "{csv}");
    let (_, geojson, _) = landfall(&["export", dir]);
    let features: Value = serde_json::from_str(&geojson).unwrap();
    assert_eq!(features["features"].as_array().unwrap().len(), 9);
}

#[test]
fn replay_compares_two_bundles_per_round() {
    let records = records(true);
    let dir = path_str(records.path());
    let (code, out, err) = landfall(&["replay", "--json", "--bundle", "desktop", "--against", "pocket", dir]);
    assert_eq!(code, Some(0), "{err}");
    let replay: Value = serde_json::from_str(&out).unwrap();
    let against = &replay["against"];
    assert!(against["bundle"].as_str().unwrap().starts_with("pocket@"), "{against}");
    let rounds = against["rounds"].as_array().unwrap();
    let sum = |side: &str| rounds.iter().map(|round| round[side].as_f64().unwrap()).sum::<f64>();
    assert_eq!((sum("score"), sum("against")), (replay["score"].as_f64().unwrap(), against["score"].as_f64().unwrap()));
    let difference = against["difference"]["value"].as_f64().unwrap();
    assert!((difference - (sum("score") - sum("against")) / 3.0).abs() < 1e-9 && difference != 0.0, "{against}");
    assert!(against["difference"]["low"].as_f64().unwrap() <= difference, "{against}");
    let (code, _, err) = landfall(&["replay", "--from", "logits", "--bundle", "desktop", "--against", "pocket", dir]);
    assert!(code == Some(2) && err.contains("no logits of pocket@"), "{err}");
}

/// Uses `script` to run in a pseudo-terminal.
#[cfg(target_os = "linux")]
#[test]
fn map_is_drawn_on_terminals_but_not_with_json() {
    let photo = fixtures().join("rounds/rome-colosseum/view_000.jpg");
    let output_of = |options: &str, variables: &[(&str, &str)]| {
        let command =
            format!("'{}' locate --bundle pocket {options} '{}'", env!("CARGO_BIN_EXE_landfall"), photo.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        ["CI", "NO_COLOR", "COLORTERM", "KITTY_WINDOW_ID"].iter().for_each(|name| _ = script.env_remove(name));
        let output = script.env("TERM", "xterm-256color").envs(variables.iter().copied()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let coloured = output_of("", &[("COLORTERM", "truecolor")]);
    assert!(coloured.contains("\x1b[38;2;") && coloured.contains('◆'), "{coloured}");
    let table = output_of("", &[]);
    assert!(table.contains("\x1b[38;5;") && table.contains('◆'), "{table}");
    let plain = output_of("", &[("NO_COLOR", "1")]);
    assert!(plain.contains('⢕') && plain.contains('◆') && !plain.contains("\x1b["), "{plain}");
    let picture = output_of("--thumbnails=sixel", &[]);
    assert!(picture.contains("\x1bPq\"1;1;"), "{picture}");
    for (options, variables) in [("--json", &[][..]), ("--no-map", &[]), ("", &[("CI", "true")])] {
        let plain_text = output_of(options, variables);
        assert!(
            !plain_text.contains('◆') && !plain_text.contains("\x1b[") && plain_text.contains("rome-colosseum"),
            "{plain_text}"
        );
    }
}
