//! Damaged profiles, records and EXIF data are answered or refused: no reader panics or fills the memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

// The same mutations as in the tests of the model.
#[path = "../../model/tests/mutations/mutate.rs"]
mod mutate;

use std::io::Cursor;
use std::path::Path;

use exif::experimental::Writer;
use exif::{Field, In, Tag, Value};
use image::{ImageFormat, RgbImage};
use img_parts::{Bytes, DynImage, ImageEXIF};
use landfall_agent::testing::{readers, stats};
use landfall_model::Bundle;
use serde_json::{Value as Json, json};

use mutate::check;

const JSON: [&str; 18] = [
    "1e999",
    "-1",
    "0",
    "1e-320",
    "1e300",
    "4294967295",
    "18446744073709551615",
    "-9223372036854775809",
    "NaN",
    "null",
    "\"\"",
    "[",
    "{\"a\":",
    "../../x",
    "/etc/passwd",
    "\\u0000",
    "\u{feff}",
    ",",
];
const TOML: [&str; 16] = [
    "1e999",
    "-1",
    "nan",
    "inf",
    "\"(a{1000}){1000}\"",
    "\"\\\\pL{500}\"",
    "[[a]]\n",
    "[a.b]\n",
    "[",
    "{a=",
    "\"\"\"",
    "''",
    "\\u0000",
    "\u{202e}",
    "= true\n",
    "\n",
];

/// EXIF data as written by a camera, without a location.
fn camera(is_little_endian: bool) -> Vec<u8> {
    let fields = [
        (Tag::Make, Value::Ascii(vec![b"Maker".to_vec()])),
        (Tag::Orientation, Value::Short(vec![6])),
        (Tag::MakerNote, Value::Undefined((0..99).collect(), 0)),
        (Tag::GPSImgDirection, Value::Rational(vec![(225, 1).into()])),
    ];
    let fields = fields.map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value });
    let (mut writer, mut bytes) = (Writer::new(), Cursor::new(Vec::new()));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut bytes, is_little_endian).unwrap();
    bytes.into_inner()
}

fn picture(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(37, 23, |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn exif_data() {
    check("EXIF data", 200, &[camera(false), camera(true)], &[], |bytes| {
        _ = readers::can_add_location(bytes);
    });
}

#[test]
fn copies_of_images() {
    let seeds = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP].map(|format| {
        let mut image = DynImage::from_bytes(Bytes::from(picture(format))).unwrap().unwrap();
        image.set_exif(Some(camera(true).into()));
        image.encoder().bytes().to_vec()
    });
    let dir = tempfile::tempdir().unwrap();
    let (file, copy) = (dir.path().join("a.jpg"), dir.path().join("b.jpg"));
    check("image to copy", 150, &seeds, &[], |bytes| {
        std::fs::write(&file, bytes).unwrap();
        if readers::copy_with_location(&file, &copy).is_ok() {
            _ = std::fs::remove_file(&copy);
        }
    });
}

#[test]
fn profiles() {
    let profiles = [include_str!("../profiles/arena.toml"), include_str!("../profiles/geoguessr.toml")];
    let seeds = profiles.map(|profile| profile.as_bytes().to_vec());
    check("profile", 150, &seeds, &TOML, |bytes| {
        _ = readers::profile(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn distances() {
    let texts = ["12.345,6 km entfernt", "Your guess was 1,034 mi from the location", "5 000 000 m", "１２ 公里"];
    let words = ["9", "0", ".", ",", "'", " ", "\u{a0}", "km", "mi", "m", "٣"];
    check("distance", 200, &texts.map(|text| text.as_bytes().to_vec()), &words, |bytes| {
        if let Some((metres, within_m)) = readers::distance(&String::from_utf8_lossy(bytes)) {
            assert!(metres.is_finite() && within_m.is_finite() && metres >= 0.0, "{metres} {within_m}");
        }
    });
}

/// A round with all values, of the pocket bundle.
fn round(bundle: &str) -> Json {
    let mut round: Json = serde_json::from_str(include_str!("compat/game/round_1/round.json")).unwrap();
    round["bundle"] = bundle.into();
    round["truth"] = json!({"lat": 48.9, "lng": 2.3});
    round
}

#[test]
fn rounds_and_games() {
    let (round, game) = (round("pocket@1").to_string(), include_str!("compat/game/game.json"));
    check("round.json", 200, &[round.into_bytes()], &JSON, |bytes| {
        let Ok(round) = readers::round(bytes) else { return };
        assert!(readers::round(serde_json::to_string(&round).unwrap().as_bytes()).is_ok(), "reads what it writes");
    });
    check("game.json", 100, &[game.as_bytes().to_vec()], &JSON, |bytes| {
        _ = readers::game(bytes);
    });
}

/// Writes a game of one round whose `round.json`, image, logits or `game.json` is damaged.
fn write_game(dir: &Path, damaged: usize, bytes: &[u8], files: &[(&str, Vec<u8>); 4]) {
    std::fs::create_dir_all(dir.join("round_1")).unwrap();
    for (i, (name, whole)) in files.iter().enumerate() {
        std::fs::write(dir.join(name), if i == damaged { bytes } else { whole }).unwrap();
    }
}

#[test]
fn commands_on_damaged_records() {
    let bundle = Bundle::find("pocket").unwrap();
    let logits: Vec<u8> = (0..bundle.cells.cells.len()).flat_map(|i| ((i % 97) as f32 / 10.0).to_le_bytes()).collect();
    let files = [
        ("round_1/round.json", round(&bundle.manifest.id()).to_string().into_bytes()),
        ("round_1/view_000.jpg", picture(ImageFormat::Jpeg)),
        ("round_1/view_000.f32", logits),
        ("game.json", include_bytes!("compat/game/game.json").to_vec()),
    ];
    for (damaged, (name, whole)) in files.iter().enumerate() {
        let words = if name.ends_with(".json") { &JSON[..] } else { &[] };
        check(name, 20, std::slice::from_ref(whole), words, |bytes| {
            let dir = tempfile::tempdir().unwrap();
            let dirs = [dir.path().to_owned()];
            write_game(&dir.path().join("2026-11-23T20-15-00_arena_a"), damaged, bytes, &files);
            if let Ok((html, _)) = readers::report(&dirs) {
                for number in ["\"NaN", " NaN", ">NaN", "\"inf\"", " inf ", ">inf "] {
                    assert!(!html.contains(number), "{number}");
                }
            }
            if let Ok(stats) = stats(&dirs) {
                assert!(serde_json::to_string(&stats).is_ok());
            }
            _ = readers::export(&dirs);
        });
    }
}
