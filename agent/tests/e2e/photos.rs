//! Folders and pipes of photos as people have them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use landfall_common::gallery::{GalleryBuilder, pooled};
use landfall_model::{Bundle, Classifier, LatLng};
use serde_json::Value;

use crate::fixtures;

fn locate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["locate", "--bundle", "pocket", "--json"]);
    command
}

fn photo() -> Vec<u8> {
    std::fs::read(fixtures().join("rounds/rome-colosseum/view_000.jpg")).unwrap()
}

/// Exit code, the `image` of each prediction, and the lines of standard error.
fn outcome(output: Output) -> (Option<i32>, Vec<String>, Vec<String>) {
    let lines = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let image = |line: String| serde_json::from_str::<Value>(&line).unwrap()["image"].as_str().unwrap().to_owned();
    (output.status.code(), lines(output.stdout).into_iter().map(image).collect(), lines(output.stderr))
}

fn locate_dir(dir: &Path) -> (Option<i32>, Vec<String>, Vec<String>) {
    let (code, images, errors) = outcome(locate().arg(dir).output().unwrap());
    let name = |image: String| image.rsplit('/').next().unwrap_or_default().to_owned();
    (code, images.into_iter().map(name).collect(), errors)
}

#[test]
fn a_phones_folder_is_located_as_far_as_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    std::fs::write(dir.path().join("IMG_1.HEIC"), heic).unwrap();
    let (code, _, errors) = locate_dir(dir.path());
    assert_eq!(code, Some(2), "{errors:?}");
    assert!(errors[0].contains("1 HEIC: not supported here; convert them to JPEG"), "{errors:?}");

    std::fs::write(dir.path().join("IMG_2"), photo()).unwrap();
    std::fs::write(dir.path().join("._IMG_2.jpg"), b"\0\x05\x16\x07").unwrap();
    let (code, images, errors) = locate_dir(dir.path());
    assert_eq!((code, images), (Some(0), vec!["IMG_2".to_owned()]), "{errors:?}");
    assert!(errors.len() == 1 && errors[0].contains("left out 1 HEIC"), "{errors:?}");

    std::fs::write(dir.path().join("IMG_0.jpg"), b"").unwrap();
    std::fs::write(dir.path().join("IMG_3.jpg"), &photo()[..9000]).unwrap();
    let (code, images, errors) = locate_dir(dir.path());
    assert_eq!((code, images), (Some(1), vec!["IMG_2".to_owned()]));
    assert!(
        errors.iter().any(|line| line.ends_with("IMG_0.jpg: not a readable image: the file is empty")),
        "{errors:?}"
    );
    let cut_off = "IMG_3.jpg: not a readable image: the JPEG file is cut off: its end is missing";
    assert!(errors.iter().any(|line| line.ends_with(cut_off)), "{errors:?}");
}

#[test]
fn a_photo_without_its_end_is_located_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let whole = photo();
    let end = whole.windows(2).rposition(|pair| pair == [0xff, 0xd9]).unwrap();
    std::fs::write(dir.path().join("IMG_1.jpg"), &whole[..end]).unwrap();
    let (code, images, errors) = locate_dir(dir.path());
    assert_eq!((code, images), (Some(0), vec!["IMG_1.jpg".to_owned()]), "{errors:?}");
    let warning = "IMG_1.jpg: the JPEG file is cut off: only its end marker is missing";
    assert!(errors.len() == 1 && errors[0].starts_with("warning: ") && errors[0].ends_with(warning), "{errors:?}");
}

#[test]
fn standard_input_and_pipes_are_read() {
    for name in ["-", "/dev/stdin"] {
        let piped = || Stdio::piped();
        let mut child = locate().arg(name).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&photo()).unwrap();
        let (code, images, errors) = outcome(child.wait_with_output().unwrap());
        assert_eq!((code, images), (Some(0), vec![name.to_owned()]), "{errors:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.jpg");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (code, _, errors) = outcome(locate().arg(&pipe).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(errors[0].contains("it is a named pipe"), "{errors:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode_are_written() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    for name in [&b"M\xfcnchen.jpg"[..], b"new\nline.jpg"] {
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), photo()).unwrap();
    }
    let (code, images, errors) = locate_dir(dir.path());
    assert_eq!(
        (code, images),
        (Some(0), vec!["M\u{fffd}nchen.jpg".to_owned(), "new\nline.jpg".to_owned()]),
        "{errors:?}"
    );
}

#[test]
fn what_is_known_narrows_the_answers_and_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["rome.jpg", "unknown.jpg"] {
        std::fs::write(dir.path().join(name), photo()).unwrap();
    }
    let table = dir.path().join("hints.csv");
    std::fs::write(&table, "file,country\nrome.jpg,GR\nlost.jpg,FR\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["locate", "--bundle", "pocket", "--top", "3", "--regions", "--format", "geojson", "--hints"]);
    let output = command.arg(&table).arg(dir.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("hints.csv: line 3: lost.jpg is none of the located images"), "{errors}");
    let features: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str, kind: &str| -> Vec<&Value> {
        let features = features["features"].as_array().unwrap().iter();
        features.filter(|one| one["properties"]["name"] == name && one["properties"]["kind"] == kind).collect()
    };
    for name in ["rome.jpg", "unknown.jpg"] {
        assert_eq!((of(name, "guess").len(), of(name, "candidate").len(), of(name, "region").len()), (1, 2, 2));
        assert!(of(name, "region").iter().all(|region| region["geometry"]["type"] == "MultiPolygon"));
    }
    let greek = |feature: &&Value| feature["properties"]["country"] == "GR";
    assert!(of("rome.jpg", "guess").iter().all(greek) && of("rome.jpg", "candidate").iter().all(greek));
    assert_eq!(of("rome.jpg", "guess")[0]["properties"]["hints"], "country GR");
    assert_eq!(of("unknown.jpg", "guess")[0]["properties"]["country"], "IT");
    assert!(of("unknown.jpg", "guess")[0]["properties"]["hints"].is_null());

    let impossible =
        locate().args(["--near", "35.7,139.7,50", "--hints"]).arg(&table).arg(dir.path()).output().unwrap();
    let (code, _, errors) = outcome(impossible);
    assert_eq!(code, Some(2));
    let reason = "near 35.7,139.7,50; country GR: the bundle knows no place where all of these hold";
    assert!(errors.iter().any(|line| line.contains("rome.jpg: ") && line.contains(reason)), "{errors:?}");
}

#[test]
fn a_claim_is_tested() {
    let verify = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        let photo = fixtures().join("rounds/rome-colosseum/view_000.jpg");
        let output = command.args(["verify", "--bundle", "pocket"]).args(options).arg(photo).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |options: &[&str]| serde_json::from_str::<Value>(&verify(options)).unwrap();
    let (rome, perth) = (json(&["--json", "--at", "41.89,12.49"]), json(&["--json", "--at", "-31.95,115.86"]));
    let ratio = |verified: &Value| verified["measured_ratio"].as_f64().unwrap();
    assert!(ratio(&rome) > 1.0 && ratio(&perth) < ratio(&rome), "{rome} {perth}");
    assert!(rome["taken"].is_null() && rome["sun"].is_null() && rome["claim"]["radius_km"] == 200.0, "{rome}");
    let text = verify(&["--at", "41.89,12.49,50", "--time", "2024-06-21T11:10Z"]);
    assert!(text.contains("near Rome, Italy (41.8900, 12.4900; 50 km)"), "{text}");
    assert!(text.contains("taken 2024-06-21T11:10:00Z: sun 71.5° above the horizon in the south"), "{text}");
    assert!(text.contains("by day and") && text.contains("at night: "), "{text}");
}

#[test]
fn evidence_is_written_over_a_copy_and_never_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let explain = || {
        let mut command = locate();
        command.arg("--explain").arg(dir.path()).arg(fixtures().join("rounds/rome-colosseum/view_000.jpg"));
        command.output().unwrap()
    };
    let output = explain();
    assert_eq!(output.status.code(), Some(0));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let evidence = &answer["evidence"][0];
    let p = |key: &str| evidence[key].as_f64().unwrap();
    let random: Vec<f64> = serde_json::from_value(evidence["p_without_random"].clone()).unwrap();
    let mean = random.iter().sum::<f64>() / random.len() as f64;
    assert!(p("p") > 0.0 && random.len() == 3, "{evidence}");
    assert_eq!(evidence["holds_up"], p("p_without_part") < p("p").min(mean), "{evidence}");
    let map = dir.path().join("view_000.jpg");
    assert_eq!(evidence["map"], map.to_str().unwrap());
    let drawn = std::fs::read(&map).unwrap();
    assert!(image::load_from_memory(&drawn).unwrap().width() > 100 && drawn != photo());
    assert_eq!(explain().status.code(), Some(1));
    assert_eq!(std::fs::read(&map).unwrap(), drawn);
}

#[test]
fn a_gallery_shows_the_most_similar_pictures_and_does_not_change_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let views = ["rome-colosseum", "athens-parthenon", "machu-picchu"];
    let files = views.map(|round| fixtures().join("rounds").join(round).join("view_000.jpg"));
    let bundle = Bundle::open(&fixtures().join("../model/bundles/pocket")).unwrap();
    let mut gallery = GalleryBuilder::new(&bundle.manifest);
    let squares = bundle.manifest.preprocess.squares();
    let classifier = Classifier::with_workers(bundle, 1).unwrap();
    for (lat, file) in [41.9, 38.0, -13.2].into_iter().zip(&files) {
        let embedding = classifier.encoder().embed(0, &landfall_model::open_image(file).unwrap()).unwrap();
        gallery.push(file.to_str().unwrap(), LatLng { lat, lng: 12.5 }, &pooled(&embedding, squares)).unwrap();
    }
    let file = dir.path().join("places.gallery");
    gallery.write(&file).unwrap();
    let located = |gallery: Option<&Path>| {
        let mut command = locate();
        gallery.into_iter().for_each(|file| _ = command.arg("--gallery").arg(file));
        command.arg(&files[0]).output().unwrap()
    };
    let mut with: Value = serde_json::from_slice(&located(Some(&file)).stdout).unwrap();
    let neighbours = with.as_object_mut().unwrap().remove("neighbours").unwrap();
    let without: Value = serde_json::from_slice(&located(None).stdout).unwrap();
    assert_eq!(with, without);
    assert_eq!(neighbours.as_array().unwrap().len(), 3, "{neighbours}");
    assert!((neighbours[0]["lat"].as_f64().unwrap() - 41.9).abs() < 1e-6, "{neighbours}");
    assert!(neighbours[0]["similarity"].as_f64().unwrap() > 0.99, "{neighbours}");

    std::fs::write(&file, b"no gallery").unwrap();
    let output = located(Some(&file));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
