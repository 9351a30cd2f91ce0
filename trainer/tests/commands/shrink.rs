//! `shrink` on a tiny encoder, and the derivation of the result from the original one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use landfall_model::bundle::{read_network, sha256_of};
use landfall_model::onnx::{
    Dimension, FLOAT, Graph, INT8, Model, Node, OperatorSet, Shape, TensorProto, TensorType, Type, ValueInfo, int,
    ints, node, tensor,
};
use prost::Message;
use serde_json::{Value, json};

use super::measure::{TOWNS, write_bundle, write_data};

const PIXELS: usize = 3 * 8 * 8;
const DIM: usize = TOWNS.len();

fn value(name: &str, sizes: &[usize]) -> ValueInfo {
    let dim = sizes.iter().map(|size| Dimension { value: Some(*size as i64), parameter: None }).collect();
    let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
}

fn model(node: Vec<Node>, initializer: Vec<TensorProto>, input: ValueInfo, output: ValueInfo) -> Vec<u8> {
    let graph = Graph { node, name: "g".into(), initializer, input: vec![input], output: vec![output] };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 13 }];
    Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec()
}

/// Pixels to embedding with one layer, as ONNX Runtime's dynamic quantiser writes it.
fn encoder() -> Vec<u8> {
    let noise = |i: usize| (i * 7_919 % 251) as i64 - 125;
    let bytes = (0..PIXELS * DIM).map(|i| (noise(i) as i8).cast_unsigned()).collect();
    let int8 = |name: &str, dims: &[i64], raw_data| TensorProto {
        dims: dims.to_vec(),
        data_type: INT8,
        name: name.into(),
        raw_data,
    };
    let named = |name: &str, node: Node| Node { name: name.into(), ..node };
    let quantised = Node {
        output: vec!["q".into(), "q_step".into(), "q_zero".into()],
        ..node("DynamicQuantizeLinear", &["flat"], "q", Vec::new())
    };
    let nodes = vec![
        node("Flatten", &["x"], "flat", vec![int("axis", 1)]),
        quantised,
        named(
            "/layer/MatMul_quant",
            node("MatMulInteger", &["q", "w_quantized", "q_zero", "w_zero_point"], "sums", Vec::new()),
        ),
        node("Cast", &["sums"], "floats", vec![int("to", i64::from(FLOAT))]),
        node("Mul", &["q_step", "w_scale"], "unit", Vec::new()),
        node("Mul", &["floats", "unit"], "y", Vec::new()),
    ];
    let weights = vec![
        int8("w_quantized", &[PIXELS as i64, DIM as i64], bytes),
        tensor("w_scale", &[DIM as i64], &[0.01; DIM]),
        int8("w_zero_point", &[DIM as i64], vec![0; DIM]),
    ];
    model(nodes, weights, value("x", &[1, 3, 8, 8]), value("y", &[1, DIM]))
}

/// A head as `export` writes it: one layer.
fn head() -> Vec<u8> {
    let weights: Vec<f32> =
        (0..DIM * DIM).map(|i| if i % (DIM + 1) == 0 { 8.0 } else { 0.1 * (i % 7) as f32 }).collect();
    let nodes = vec![
        node("ReduceL2", &["e"], "length", vec![ints("axes", vec![-1]), int("keepdims", 1)]),
        node("Div", &["e", "length"], "unit", Vec::new()),
        node("Gemm", &["unit", "weight_0", "bias_0"], "y", Vec::new()),
    ];
    let tensors = vec![tensor("weight_0", &[DIM as i64; 2], &weights), tensor("bias_0", &[DIM as i64], &[0.5; DIM])];
    model(nodes, tensors, value("e", &[1, DIM]), value("y", &[1, DIM]))
}

fn write_original(dir: &Path) -> Result<()> {
    write_data(dir)?;
    write_bundle(dir, "big", 4, &[0, 1, 2, 3])?;
    let big = dir.join("big");
    fs::write(big.join("e.onnx"), encoder())?;
    fs::write(big.join("head.onnx"), head())?;
    let mut manifest: Value = serde_json::from_slice(&fs::read(big.join("bundle.json"))?)?;
    manifest["encoder"].as_object_mut().context("an object")?.remove("from");
    manifest["encoder"]["sha256"] = json!(sha256_of(&big.join("e.onnx"))?);
    manifest["encoder"]["bytes"] = json!(encoder().len());
    manifest["preprocess"]["mean"] = json!([-0.3, -0.2, -0.1]); // a black picture must have an embedding
    manifest["head"]["sha256"] = json!(sha256_of(&big.join("head.onnx"))?);
    Ok(fs::write(big.join("bundle.json"), manifest.to_string())?)
}

/// Runs `landfall-train` with an empty cache directory.
fn landfall_train(dir: &Path, arguments: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    command.args(arguments.split_whitespace()).current_dir(dir).env("LANDFALL_CACHE", dir.join("cache"));
    Ok(command.output()?)
}

#[track_caller]
fn succeeds(dir: &Path, arguments: &str) -> Result<Vec<u8>> {
    let output = landfall_train(dir, arguments)?;
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[test]
fn a_small_bundle_is_made_and_its_encoder_is_derived_where_it_is_missing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_original(dir.path())?;
    let arguments = "shrink --json --bundle ./big --index index.csv --images . --split train --pictures 12 --probes 4 \
                     --rank 8 --bits 3.5 --head-bits 5 --moments moments --name small --version 1 --out small";
    let summary: Value = serde_json::from_slice(&succeeds(dir.path(), arguments)?).context("the result as JSON")?;
    assert!(summary["cosine"].as_f64() > Some(0.95), "{summary}");
    assert!(summary["head_agreement"].as_f64() > Some(0.9), "{summary}");

    // The same files again, from the moments that were kept.
    let small = dir.path().join("small");
    let derived = read_network(&small.join("encoder.onnx.gz"))?;
    let manifest = fs::read(small.join("bundle.json"))?;
    succeeds(dir.path(), arguments)?;
    assert!(manifest == fs::read(small.join("bundle.json"))?);

    // Without the encoder, it is computed where it is used, and kept in the cache.
    fs::remove_file(small.join("encoder.onnx.gz"))?;
    let embed = "embed --encoder small/bundle.json --index index.csv --images . --split dev --out derived";
    succeeds(dir.path(), embed)?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let sha256 = manifest["encoder"]["sha256"].as_str().context("a checksum")?;
    let kept = dir.path().join("cache/bundles").join(format!("{sha256}.onnx.gz"));
    assert!(read_network(&kept)? == derived, "the derived encoder is the one that `shrink` wrote");
    // A damaged file in the cache is replaced.
    fs::write(&kept, b"damaged")?;
    succeeds(dir.path(), &embed.replace("--out derived", "--out again"))?;
    assert!(read_network(&kept)? == derived);
    // Another version of the original bundle is an error.
    fs::remove_file(&kept)?;
    fs::write(dir.path().join("big/e.onnx"), [encoder(), encoder()].concat())?;
    let output = landfall_train(dir.path(), &embed.replace("--out derived", "--out third"))?;
    assert!(!output.status.success() && !kept.exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is damaged or of another version"));
    Ok(())
}
