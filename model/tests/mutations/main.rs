//! Damaged images, networks, bundles and cell tables are answered or refused: no reader panics or fills the memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mutate;

use std::io::Cursor;

use exif::experimental::Writer;
use exif::{Field, In, Rational, Tag, Value};
use image::{DynamicImage, ImageFormat, RgbImage};
use landfall_model::bundle::{Activations, Manifest, Prior};
use landfall_model::cells::leaf;
use landfall_model::onnx::{FLOAT, Graph, INT8, Model, Node, OperatorSet, TensorProto, int, node, tensor};
use landfall_model::{Cell, CellTable, LatLng, Posterior, Prediction, metadata::gps, preprocess};
use prost::Message;

use mutate::check;

const JSON: [&str; 16] = [
    "1e999",
    "-1",
    "0",
    "1e-320",
    "1e308",
    "18446744073709551615",
    "-9223372036854775809",
    "NaN",
    "null",
    "\"\"",
    "[",
    "{",
    "{\"a\":",
    "\\u0000",
    "\u{feff}",
    ",",
];

/// An image of 37 by 23 pixels that is not plain.
fn picture() -> DynamicImage {
    RgbImage::from_fn(37, 23, |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8])).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) {
    if let Ok(picture) = preprocess::from_bytes(bytes) {
        assert_eq!(picture.as_raw().len(), 3 * picture.width() as usize * picture.height() as usize);
    }
}

/// A position as EXIF data.
fn position(is_little_endian: bool) -> Vec<u8> {
    let degrees = |degrees: u32| Value::Rational([(degrees, 1), (7, 1), (1234, 100)].map(Rational::from).to_vec());
    let text = |text: &str| Value::Ascii(vec![text.as_bytes().to_vec()]);
    let fields = [
        (Tag::Orientation, Value::Short(vec![6])),
        (Tag::GPSLatitude, degrees(45)),
        (Tag::GPSLatitudeRef, text("N")),
        (Tag::GPSLongitude, degrees(4)),
        (Tag::GPSLongitudeRef, text("E")),
        (Tag::ImageDescription, text("a description that is longer than four bytes")),
    ]
    .map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value });
    let (mut writer, mut tiff) = (Writer::new(), Cursor::new(Vec::new()));
    fields.iter().for_each(|field| writer.push_field(field));
    writer.write(&mut tiff, is_little_endian).unwrap();
    tiff.into_inner()
}

/// An image with EXIF data, as cameras write it.
fn with_position(format: ImageFormat, is_little_endian: bool) -> Vec<u8> {
    let (image, tiff) = (encoded(&picture(), format), position(is_little_endian));
    let (start, chunk) = match format {
        ImageFormat::Jpeg => {
            let length = (tiff.len() as u16 + 8).to_be_bytes();
            (2, [&b"\xff\xe1"[..], &length, b"Exif\0\0", &tiff].concat())
        }
        // After the header; readers of EXIF data do not check the checksum.
        _ => (33, [&(tiff.len() as u32).to_be_bytes()[..], b"eXIf", &tiff, b"\0\0\0\0"].concat()),
    };
    [&image[..start], &chunk, &image[start..]].concat()
}

#[test]
fn images() {
    let rgb = picture();
    let kinds = [
        rgb.clone(),
        rgb.to_luma8().into(),
        rgb.to_rgba8().into(),
        rgb.to_luma_alpha16().into(),
        rgb.to_rgb16().into(),
    ];
    let jpeg = [encoded(&rgb, ImageFormat::Jpeg), encoded(&kinds[1], ImageFormat::Jpeg)];
    let jpeg = [&jpeg[..], &[with_position(ImageFormat::Jpeg, true)]].concat();
    let png: Vec<Vec<u8>> = kinds.iter().map(|kind| encoded(kind, ImageFormat::Png)).collect();
    let webp = [&kinds[0], &kinds[2]].map(|kind| encoded(kind, ImageFormat::WebP));
    check("JPEG", 150, &jpeg, &[], decode);
    check("PNG", 120, &png, &[], decode);
    check("WebP", 120, &webp, &[], decode);
}

#[test]
fn positions_in_images() {
    let seeds = [(ImageFormat::Jpeg, true), (ImageFormat::Jpeg, false), (ImageFormat::Png, false)];
    let seeds = seeds.map(|(format, is_little_endian)| with_position(format, is_little_endian));
    let seeds = [&seeds[..], &[position(true)]].concat();
    let file = tempfile::NamedTempFile::new().unwrap();
    check("EXIF", 150, &seeds, &[], |bytes| {
        std::fs::write(file.path(), bytes).unwrap();
        if let Ok(Some(at)) = gps::position(file.path()) {
            assert!(LatLng::new(at.lat, at.lng).is_ok(), "{at}");
        }
    });
}

/// A network with everything that is rewritten when it is loaded: a product of dynamically quantised activations, to which
/// an adapter belongs, and a convolution with weights of bytes.
fn network() -> Vec<u8> {
    let bytes = |name: &str, dims: &[i64], count: usize| TensorProto {
        dims: dims.to_vec(),
        data_type: INT8,
        name: name.into(),
        raw_data: (0..count).map(|i| (i * 37) as u8).collect(),
    };
    let quantise = Node {
        output: ["integers", "step", "zero"].map(String::from).into(),
        ..node("DynamicQuantizeLinear", &["input"], "integers", Vec::new())
    };
    let product = Node {
        name: "/layer/MatMul_quant".into(),
        ..node("MatMulInteger", &["integers", "w_quantized", "zero"], "sums", Vec::new())
    };
    let nodes = vec![
        quantise,
        product,
        node("Cast", &["sums"], "float_sums", vec![int("to", FLOAT.into())]),
        node("Mul", &["step", "w_scale"], "unit", Vec::new()),
        node("Mul", &["float_sums", "unit"], "output", Vec::new()),
        node("Cast", &["stored"], "whole", vec![int("to", FLOAT.into())]),
        node("Mul", &["whole", "steps"], "weights", Vec::new()),
        node("Conv", &["pixels", "weights", "bias"], "sum", Vec::new()),
    ];
    let initializer = vec![
        bytes("w_quantized", &[4, 3], 12),
        tensor("w_scale", &[3], &[0.01, 0.002, 0.5]),
        bytes("stored", &[2, 1, 1, 1], 2),
        tensor("steps", &[2, 1, 1, 1], &[0.5, 0.25]),
        tensor("bias", &[2], &[1.0, -1.0]),
    ];
    let graph = Graph { node: nodes, name: "damaged".into(), initializer, ..Graph::default() };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 11 }];
    Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec()
}

/// An adapter of rank 2 for the layer of [`network`].
fn adapter() -> Vec<u8> {
    let numbers: Vec<u8> = (0..8 + 6).flat_map(|i| (i as f32 / 16.0).to_le_bytes()).collect();
    let header = concat!(
        r#"{"layer.lora_A.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},"#,
        r#""layer.lora_B.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[32,56]}}"#
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
}

#[test]
fn networks() {
    let (network, adapter) = (network(), adapter());
    let rewrites = [Activations::AsWritten, Activations::PerTokenTwoBytes, Activations::ExactConv];
    for rewrite in rewrites {
        assert!(rewrite.of(network.clone(), Some(&adapter)).unwrap() != network, "the seed is rewritten");
        assert!(rewrite.dequantized(network.clone(), None).is_ok());
    }
    check("ONNX", 200, std::slice::from_ref(&network), &[], |bytes| {
        for rewrite in rewrites {
            _ = rewrite.of(bytes.to_vec(), None);
            _ = rewrite.of(bytes.to_vec(), Some(&adapter));
            _ = rewrite.dequantized(bytes.to_vec(), None);
            _ = rewrite.for_output(bytes.to_vec(), "output");
        }
    });
    check("safetensors", 100, std::slice::from_ref(&adapter), &JSON, |bytes| {
        _ = Activations::AsWritten.of(network.clone(), Some(bytes));
    });
}

#[test]
fn bundles() {
    let manifest = include_bytes!("../compat/pocket-2026.11.3.json").to_vec();
    let words =
        [&JSON[..], &["../", "/dev/zero", "4294967295", "\"details\": [{\"side\": 1, \"x\": 0, \"y\": 0}],"]].concat();
    check("bundle.json", 120, &[manifest], &words, |bytes| {
        let Ok(manifest) = Manifest::parse(bytes) else { return };
        assert!(manifest.temperature_for(4, Prior::Photo).is_finite() && manifest.preprocess.squares() < 100);
        if manifest.preprocess.size <= 512 {
            manifest.preprocess.tensors(&picture().to_rgb8()).for_each(drop);
        }
    });
}

#[test]
fn cell_tables() {
    let cell = |level: u64, lat: f64, lng: f64| {
        let at = LatLng::new(lat, lng).unwrap();
        let token = leaf(at).parent(level).to_token();
        Cell { token, level, at, spread_m: 30_000.0, count: 10, country: Some("FR".into()) }
    };
    let table = CellTable::new(vec![cell(4, 45.0, 5.0), cell(6, -33.0, 151.0), cell(2, 0.0, 20.0)]).unwrap();
    check("cells.json", 150, &[serde_json::to_vec(&table).unwrap()], &JSON, |bytes| {
        let Ok(table) = serde_json::from_slice::<CellTable>(bytes) else { return };
        let logits: Vec<f32> = (0..table.cells.len()).map(|i| i as f32).collect();
        let Some(posterior) = Posterior::fuse(&table, &[logits], 1.0) else { return };
        let prediction = Prediction::for_photo(&posterior);
        assert!(LatLng::new(prediction.point.lat, prediction.point.lng).is_ok(), "{prediction:?}");
        assert!(prediction.expected_score.is_finite() && prediction.radius_90_km.is_finite(), "{prediction:?}");
        assert!(table.containing(prediction.point).or(table.nearest(prediction.point)).is_some());
    });
}
