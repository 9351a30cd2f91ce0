//! `locate --manifest`: kills at any time, copies and bursts, neighbours in time, and writing.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exif::experimental::Writer;
use exif::{Field, In, Rational, Tag, Value as ExifValue};
use image::{ImageFormat, RgbImage};
use img_parts::{DynImage, ImageEXIF};
use landfall_model::LatLng;
use landfall_model::metadata::gps;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::fixtures;

fn landfall(args: &[&str], dir: &Path, manifest: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["locate", "--bundle", "pocket", "--manifest"]).arg(manifest).args(args).arg(dir);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The lines of a manifest after the header.
fn lines(manifest: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn by_path(manifest: &Path) -> HashMap<String, Value> {
    lines(manifest).into_iter().map(|line| (line["path"].as_str().unwrap().to_owned(), line)).collect()
}

fn view(name: &str) -> RgbImage {
    image::open(fixtures().join("rounds").join(name).join("view_000.jpg")).unwrap().into_rgb8()
}

/// Crops of fixtures, all different, in some directories.
fn crops(dir: &Path, n: usize) {
    let views = ["rome-colosseum", "nagoya-castle", "aizkorri-meadow"].map(view);
    let mut random = StdRng::seed_from_u64(7);
    for i in 0..n {
        let view = &views[i % views.len()];
        let (width, height) = (view.width() - 60, view.height() - 60);
        let (x, y) = (random.random_range(0..60), random.random_range(0..60));
        let crop = image::imageops::crop_imm(view, x, y, width, height).to_image();
        let folder = dir.join(format!("{:03}CANON", 100 + i / 100));
        std::fs::create_dir_all(&folder).unwrap();
        // Two crops may be equal; what follows the image tells the files apart.
        let mut bytes = Cursor::new(Vec::new());
        crop.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let bytes = [bytes.into_inner(), i.to_string().into_bytes()].concat();
        std::fs::write(folder.join(format!("IMG_{i:05}.jpg")), bytes).unwrap();
    }
}

/// Kills the command at random times until it is through. Every picture must have one line.
fn survives_kills(pictures: usize, kills: usize) {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crops(dir.path(), pictures);
    let manifest = out.path().join("m.jsonl");
    let mut random = StdRng::seed_from_u64(3);
    for kill in 0..kills {
        let (before, started) = (lines_so_far(&manifest), Instant::now());
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["locate", "--bundle", "pocket", "--manifest"]).arg(&manifest).arg(dir.path());
        let mut process = command.stderr(Stdio::null()).spawn().unwrap();
        // At random after a share of the rest, so that no run gets to the end.
        let wanted = before + random.random_range(0..=(pictures.saturating_sub(before)) / (kills - kill + 1));
        while lines_so_far(&manifest) < wanted && started.elapsed() < Duration::from_secs(300) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        process.kill().unwrap();
        assert!(!process.wait().unwrap().success(), "killed before the end");
    }
    let (code, json, err) = landfall(&["--json"], dir.path(), &manifest);
    assert_eq!(code, Some(0), "{err}");
    let summary: Value = serde_json::from_str(&json).unwrap();
    let known = summary["known"].as_u64().unwrap();
    assert!(known > 0 && known < pictures as u64, "{summary}");
    let answered = by_path(&manifest);
    assert_eq!((answered.len(), lines(&manifest).len()), (pictures, pictures), "none lost, none twice");
    assert!(answered.values().all(|line| line["answer"]["lat"].is_f64() && line["same_as"].is_null()));
    // The answer is that of `locate` without a manifest.
    let (path, line) = answered.iter().min_by_key(|(path, _)| path.as_str()).unwrap();
    let plain = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["locate", "--bundle", "pocket", "--json"])
        .arg(dir.path().join(path))
        .output()
        .unwrap();
    let plain: Value = serde_json::from_slice(&plain.stdout).unwrap();
    for key in ["lat", "lng", "place", "country", "radius_km", "expected_score"] {
        assert_eq!(line["answer"][key], plain[key], "{key}");
    }
}

fn lines_so_far(manifest: &Path) -> usize {
    std::fs::read(manifest).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

#[test]
fn every_picture_is_answered_once_whatever_is_killed() {
    survives_kills(60, 5);
}

#[test]
#[ignore = "takes most of an hour"]
fn ten_thousand_pictures_are_answered_once_with_a_hundred_kills() {
    survives_kills(10_000, 100);
}

fn ascii(tag: Tag, text: &str) -> Field {
    Field { tag, ifd_num: In::PRIMARY, value: ExifValue::Ascii(vec![text.as_bytes().to_vec()]) }
}

/// A photo of a camera: local time, offset from UTC, and position.
fn photo(file: &Path, picture: &RgbImage, time: &str, offset: Option<&str>, at: Option<LatLng>) {
    let mut fields = vec![ascii(Tag::Make, "Maker"), ascii(Tag::Model, "One"), ascii(Tag::DateTimeOriginal, time)];
    fields.extend(offset.map(|offset| ascii(Tag::OffsetTimeOriginal, offset)));
    if let Some(LatLng { lat, lng }) = at {
        let degrees = |tag: Tag, degrees: f64| {
            let millionths = Rational { num: (degrees * 1e6) as u32, denom: 1_000_000 };
            let zero = Rational { num: 0, denom: 1 };
            Field { tag, ifd_num: In::PRIMARY, value: ExifValue::Rational(vec![millionths, zero, zero]) }
        };
        fields.extend([ascii(Tag::GPSLatitudeRef, "N"), degrees(Tag::GPSLatitude, lat)]);
        fields.extend([ascii(Tag::GPSLongitudeRef, "E"), degrees(Tag::GPSLongitude, lng)]);
    }
    let (mut writer, mut exif) = (Writer::new(), Cursor::new(Vec::new()));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut exif, false).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let mut image = DynImage::from_bytes(bytes.into_inner().into()).unwrap().unwrap();
    image.set_exif(Some(exif.into_inner().into()));
    std::fs::write(file, image.encoder().bytes()).unwrap();
}

const LYON: LatLng = LatLng { lat: 45.764, lng: 4.8357 };

#[test]
fn copies_bursts_and_neighbours_are_answered_as_such_and_written_on_request() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| dir.path().join(name);
    let (rome, meadow) = (view("rome-colosseum"), view("aizkorri-meadow"));
    photo(&path("1.jpg"), &meadow, "2024:06:01 12:00:00", Some("+02:00"), Some(LYON));
    photo(&path("2.jpg"), &rome, "2024:06:01 12:06:00", Some("+02:00"), None);
    // Of the same burst, and a copy.
    let shifted = image::imageops::crop_imm(&rome, 2, 2, rome.width() - 4, rome.height() - 4).to_image();
    photo(&path("3.jpg"), &shifted, "2024:06:01 12:06:01", Some("+02:00"), None);
    std::fs::copy(path("2.jpg"), path("4.jpg")).unwrap();
    photo(&path("5.jpg"), &rome, "2024:06:01 18:00:00", Some("+02:00"), None);
    photo(&path("6.jpg"), &rome, "2024:06:01 20:00:00", None, None);
    std::fs::write(path("7.jpg"), "no picture").unwrap();
    let track = out.path().join("track.gpx");
    let point =
        "<gpx><trk><trkseg><trkpt lat='43.6' lon='1.44'><time>2024-06-01T18:10:00Z</time></trkpt></trkseg></trk></gpx>";
    std::fs::write(&track, point).unwrap();
    let manifest = out.path().join("m.jsonl");
    let track = ["--time-window", "15m", "--track", track.to_str().unwrap(), "--time-offset", "+02:00", "--jobs", "1"];
    let (code, _, err) = landfall(&track, dir.path(), &manifest);
    assert!(code == Some(1) && err.contains("7.jpg: the file is text, not a picture"), "{err}");
    assert!(err.contains("7 images, of which 0 had a line already; 4 located (2 with the help"), "{err}");
    assert!(err.contains("2 are the same as another one or of a burst, 1 failed"), "{err}");
    let found = by_path(&manifest);
    assert_eq!([&found["3.jpg"]["same_as"], &found["4.jpg"]["same_as"]], ["2.jpg", "2.jpg"]);
    assert_eq!((&found["3.jpg"]["answer"], found.len()), (&found["2.jpg"]["answer"], 7));
    let given = |name: &str| found[name]["answer"]["given"]["hints"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(given("2.jpg"), "within 14.0 km of 1.jpg, 6.0 min apart");
    assert_eq!(given("6.jpg"), "within 22.0 km of the track, 10.0 min apart");
    assert_eq!((given("1.jpg"), given("5.jpg")), (String::new(), String::new()));
    let at = |name: &str| {
        let answer = &found[name]["answer"];
        LatLng { lat: answer["lat"].as_f64().unwrap(), lng: answer["lng"].as_f64().unwrap() }
    };
    assert!(at("2.jpg").distance_m(LYON) <= 14_000.0 && at("5.jpg").distance_m(LYON) > 100_000.0);

    // Other options would give other answers.
    let (code, _, err) = landfall(&[], dir.path(), &manifest);
    assert!(code == Some(2) && err.contains("--time-window \"900 s\" and not not given"), "{err}");
    // Again: nothing to do but the changed file, and a dry run of writing.
    photo(&path("5.jpg"), &meadow, "2024:06:01 18:00:00", Some("+02:00"), None);
    let copies = out.path().join("copies");
    let write = [&track[..], &["--write-exif", copies.to_str().unwrap(), "--sidecar"]].concat();
    let (_, _, err) = landfall(&write, dir.path(), &manifest);
    assert!(err.contains("of which 6 had a line already; 1 located"), "{err}");
    assert!(err.contains("would write 5 copies and 5 sidecars; left out 1 photo with a position"), "{err}");
    assert!(!copies.exists() && lines(&manifest).len() == 8);
    let csv = out.path().join("places.csv");
    let (_, _, err) =
        landfall(&[&write[..], &["--write", "--out", csv.to_str().unwrap()]].concat(), dir.path(), &manifest);
    assert!(
        err.contains("wrote 5 copies and 5 sidecars") && std::fs::read_to_string(&csv).unwrap().lines().count() == 7,
        "{err}"
    );
    assert!(gps::position(&copies.join("2.jpg")).unwrap().unwrap().distance_m(at("2.jpg")) < 1.0);
    let sidecar = std::fs::read_to_string(path("2.jpg.xmp")).unwrap();
    assert!(sidecar.contains("estimate by Landfall pocket@") && sidecar.contains("what else was known"), "{sidecar}");
}
