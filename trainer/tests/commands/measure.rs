//! End-to-end tests of `evaluate`, `compare` and `analyse`, on synthetic bundles with known predictions.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use landfall_model::bundle::sha256_of;
use landfall_model::cells::{Cell, leaf};
use landfall_model::{CellTable, LatLng};
use serde_json::{Value, json};

pub(crate) const TOWNS: [(f64, f64, &str); 4] =
    [(48.85, 2.35, "FR"), (40.42, -3.70, "ES"), (35.68, 139.76, "JP"), (-33.87, 151.21, "AU")];
/// Places per town in each split.
const PLACES: usize = 5;

/// Writes an index of places with four views each, a picture per view, and features: each town has its own direction,
/// except that the western view of every town has that of Paris.
pub(crate) fn write_data(dir: &Path) -> Result<()> {
    let mut index = String::from("set,file,lat,lng,iso2,group,heading,split\n");
    let (mut files, mut rows) = (String::new(), Vec::new());
    for split in ["train", "dev"] {
        for (town, (lat, lng, iso2)) in TOWNS.iter().enumerate() {
            for place in 0..PLACES {
                let offset = place as f64 / 100.0 + if split == "dev" { 0.005 } else { 0.0 };
                for heading in [0, 90, 180, 270] {
                    let file = format!("{split}_{town}_{place}_{heading}.png");
                    let group = format!("{split}{town}{place}");
                    index +=
                        &format!("made,{file},{},{},{iso2},{group},{heading},{split}\n", lat + offset, lng + offset);
                    files += &format!("{file}\n");
                    let looks_like = if heading == 270 { 0 } else { town };
                    rows.extend(
                        (0..TOWNS.len()).flat_map(|i| (if i == looks_like { 1.0f32 } else { 0.0 }).to_le_bytes()),
                    );
                    image::RgbImage::from_pixel(8, 8, image::Rgb([town as u8 * 60; 3])).save(dir.join(file))?;
                }
            }
        }
    }
    fs::create_dir_all(dir.join("features"))?;
    fs::write(dir.join("index.csv"), index)?;
    fs::write(dir.join("features/files.txt"), files)?;
    fs::write(dir.join("features/rows.f32"), rows)?;
    Ok(fs::write(dir.join("features/encoder.json"), encoder().to_string())?)
}

fn encoder() -> Value {
    json!({
        "encoder": {"file": "e.onnx", "sha256": "0", "bytes": 0, "input": "x", "output": "y", "dim": TOWNS.len(),
            "from": {"pip": "none==0", "member": "e.onnx"}},
        "preprocess": {"size": 8, "resize": "bicubic", "crop": "center", "mean": [0, 0, 0], "std": [1, 1, 1]},
    })
}

/// Writes a bundle with a cell of this level for each of these towns, whose head is confident about each town.
pub(crate) fn write_bundle(dir: &Path, name: &str, level: u64, towns: &[usize]) -> Result<()> {
    let cell = |town: &usize| {
        let at = LatLng::new(TOWNS[*town].0, TOWNS[*town].1)?;
        let token = leaf(at).parent(level).to_token();
        Ok(Cell { token, level, at, spread_m: 2000.0, count: 10, country: None })
    };
    let table = CellTable::new(towns.iter().map(cell).collect::<Result<_>>()?)?;
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("cells.json"), serde_json::to_string(&table)?)?;
    // Rows: town of the features; columns: cells. Confident enough that one wrong view in four does not change the
    // result.
    let weights: Vec<f32> =
        (0..TOWNS.len()).flat_map(|row| towns.iter().map(move |town| if *town == row { 12.0 } else { 0.0 })).collect();
    fs::write(dir.join("head.onnx"), onnx_matmul(TOWNS.len(), towns.len(), &weights))?;
    let mut manifest = encoder();
    for (key, value) in [
        ("name", json!(name)),
        ("version", json!("1")),
        ("description", json!("")),
        ("licence", json!("")),
        ("head", json!({"file": "head.onnx", "sha256": sha256_of(&dir.join("head.onnx"))?, "outputs": ["y"]})),
        ("cells", json!({"file": "cells.json", "sha256": sha256_of(&dir.join("cells.json"))?, "count": towns.len()})),
        ("temperature", json!({"1": 1.0})),
    ] {
        manifest[key] = value;
    }
    Ok(fs::write(dir.join("bundle.json"), manifest.to_string())?)
}

/// The smallest ONNX file there is for `y[1, columns] = x[1, rows] · w`, in the wire format by hand.
fn onnx_matmul(rows: usize, columns: usize, w: &[f32]) -> Vec<u8> {
    let number = |field: u8, n: usize| vec![field << 3, u8::try_from(n).expect("a small number")];
    let bytes = |field: u8, bytes: &[u8]| {
        let mut length = bytes.len();
        let mut out = vec![field << 3 | 2];
        while length >= 128 {
            out.push((length % 128) as u8 | 128);
            length /= 128;
        }
        out.push(length as u8);
        out.extend(bytes);
        out
    };
    let value = |name: &str, length: usize| {
        let dims = [bytes(1, &number(1, 1)), bytes(1, &number(1, length))].concat();
        let tensor = [number(1, 1), bytes(2, &dims)].concat();
        [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
    };
    let raw: Vec<u8> = w.iter().flat_map(|x| x.to_le_bytes()).collect();
    let weights = [number(1, rows), number(1, columns), number(2, 1), bytes(8, b"w"), bytes(9, &raw)].concat();
    let node = [bytes(1, b"x"), bytes(1, b"w"), bytes(2, b"y"), bytes(4, b"MatMul")].concat();
    let graph = [
        bytes(1, &node),
        bytes(2, b"g"),
        bytes(5, &weights),
        bytes(11, &value("x", rows)),
        bytes(12, &value("y", columns)),
    ];
    [number(1, 8), bytes(7, &graph.concat()), bytes(8, &number(2, 17))].concat()
}

fn landfall_train(dir: &Path, arguments: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    Ok(command.args(arguments.split_whitespace()).current_dir(dir).output()?)
}

#[track_caller]
fn json_of(dir: &Path, arguments: &str) -> Result<Value> {
    let output = landfall_train(dir, arguments)?;
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| arguments.to_owned())
}

const ON_DEV: &str = "--json --index index.csv --features features --split dev";

#[test]
fn evaluate_reports_by_number_of_views_and_against_neighbours() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_data(dir.path())?;
    write_bundle(dir.path(), "good", 8, &[0, 1, 2, 3])?;
    let evaluate = format!("evaluate --bundle ./good {ON_DEV} --neighbours features");
    let all = json_of(dir.path(), &format!("{evaluate} --views 1 2 4"))?;
    assert_eq!(
        all.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["1".into(), "2".into(), "4".into()])
    );
    for (views, n, accuracy) in [("1", 80, 81.25), ("4", 20, 100.0)] {
        // In three of four towns, one view in four looks like Paris; with four views every prediction is correct.
        let report = &all[views];
        assert_eq!(
            (&report["n"], &report["country"], &report["cells"]["top1"]),
            (&json!(n), &json!(accuracy), &json!(accuracy))
        );
        assert_eq!(report["cells"]["coverage"], 100.0);
        // Features of a town are identical, so the neighbour is correct as often as the cell.
        if views == "1" {
            assert_eq!(report["baselines"]["nearest_neighbour"]["country"], accuracy);
        }
        assert_eq!(json_of(dir.path(), &format!("{evaluate} --views {views}"))?, *report);
    }
    assert_eq!(all["2"]["n"], 40);
    json_of(dir.path(), &format!("{evaluate} --views 4 --report page.html"))?;
    let page = fs::read_to_string(dir.path().join("page.html"))?;
    assert!(page.contains("Evaluation") && page.contains("good@1 on dev, 4 views per place") && !page.contains("<img"));
    let oracle_km = |kind: &str| all["4"]["oracle"][kind]["median_km"].as_f64().unwrap();
    assert!(oracle_km("containing_mean") < 10.0);
    assert!(oracle_km("containing_centre") > oracle_km("containing_mean"));
    Ok(())
}

#[test]
fn compare_works_across_bundles_with_different_cells() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_data(dir.path())?;
    write_bundle(dir.path(), "good", 8, &[0, 1, 2, 3])?;
    write_bundle(dir.path(), "blind", 6, &[0, 1])?;
    let compared = json_of(dir.path(), &format!("compare ./blind ./good {ON_DEV} --views 4"))?;
    assert_eq!((&compared["n"], &compared["groups"], &compared["resamples"]), (&json!(20), &json!(20), &json!(10_000)));
    assert_eq!((&compared["a"]["bundle"], &compared["b"]["bundle"]), (&json!("blind@1"), &json!("good@1")));
    // The first bundle has no cell for half of the places.
    assert_eq!(compared["wins"]["a"], 0);
    assert!(compared["wins"]["b"].as_u64() >= Some(10), "{compared}");
    assert!(compared["geoscore"]["low"].as_f64() > Some(1000.0), "{compared}");
    let number = |value: &Value| value.as_f64().context("a number");
    let gain = number(&compared["b"]["geoscore"])? - number(&compared["a"]["geoscore"])?;
    assert!((number(&compared["geoscore"]["value"])? - gain).abs() < 1e-6, "{compared}");
    assert_eq!(
        json_of(dir.path(), &format!("compare ./blind ./good {ON_DEV} --views 4"))?,
        compared,
        "the seed is fixed"
    );
    Ok(())
}

#[test]
fn analyse_writes_one_self_contained_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_data(dir.path())?;
    write_bundle(dir.path(), "good", 8, &[0, 1, 2, 3])?;
    let findings = json_of(dir.path(), &format!("analyse --bundle ./good {ON_DEV} --images . --out out/page.html"))?;
    // The worst rounds are the western views of Sydney, which look like Paris, then those of Tokyo.
    let worst = findings["worst"].as_array().context("a list")?;
    let files: Vec<&str> = worst.iter().filter_map(|w| w["files"][0].as_str()).collect();
    assert!(files[..5].iter().all(|file| file.starts_with("dev_3_") && file.ends_with("_270.png")), "{files:?}");
    assert!(files[5..].iter().all(|file| file.starts_with("dev_2_") && file.ends_with("_270.png")), "{files:?}");
    assert_eq!(findings["confusions"].as_array().map(Vec::len), Some(3));
    assert!(findings["confusions"].as_array().is_some_and(|c| c.iter().all(|c| c["guess"] == "France" && c["n"] == 5)));
    let page = fs::read_to_string(dir.path().join("out/page.html"))?;
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 10);
    assert!(page.contains("good@1 on dev") && page.ends_with("</html>"));
    Ok(())
}

#[test]
fn invalid_input_is_a_usage_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_data(dir.path())?;
    write_bundle(dir.path(), "good", 8, &[0, 1, 2, 3])?;
    fs::write(
        dir.path().join("author.csv"),
        "set,file,lat,lng,iso2,group,heading,split\n\
        s,dev_0_0_0.png,48.8,2.3,FR,me,,dev\ns,dev_0_0_90.png,48.9,2.3,FR,me,,dev\n",
    )?;
    fs::remove_file(dir.path().join("dev_1_2_90.png"))?;
    let on_dev = ON_DEV.replace("--json ", "");
    for (arguments, expected) in [
        (format!("compare ./good nothing {on_dev}"), "there is no bundle `nothing`"),
        ("compare ./good ./good --index index.csv".into(), "--images"),
        (
            "evaluate --bundle ./good --index author.csv --features features --views 4".into(),
            "dev_0_0_90.png, index line 3",
        ),
        (format!("evaluate --bundle ./good {on_dev} --views 1 2 --report page.html"), "single number of --views"),
        (format!("evaluate --bundle ./good {on_dev} --views 3"), "possible values: 1, 2, 4"),
        (format!("evaluate --bundle ./good {on_dev} --neighbours features --neighbours-split trian"), "trian"),
        (format!("analyse --bundle ./good {on_dev} --images . --out page.html"), "dev_1_2_90.png"),
    ] {
        let output = landfall_train(dir.path(), &arguments)?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(message.contains(expected), "{arguments}: {message}");
    }
    assert!(!dir.path().join("page.html").exists());
    Ok(())
}
