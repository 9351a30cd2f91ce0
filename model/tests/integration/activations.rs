//! Per-token activations and dequantised networks in ONNX Runtime, on a small int8 network with one outlier token.

use landfall_model::bundle::{Activations, EncoderFile};
use landfall_model::classifier::Encoder;
use landfall_model::onnx::dequantize::dequantize;
use landfall_model::onnx::per_token::per_token;
use landfall_model::onnx::{
    Dimension, FLOAT, Graph, INT64, Model, Node, OperatorSet, Shape, TensorProto, TensorType, Type, ValueInfo, node,
    tensor,
};
use landfall_model::preprocess::{Crop, Preprocess, Resize};
use prost::Message;

const SIDE: usize = 8;
const INT8: i32 = 3;

/// The rows of each channel are tokens of eight numbers; the weights are integers from -3 to 3.
fn weight(from: usize, to: usize) -> i8 {
    ((from * 5 + to * 3) % 7) as i8 - 3
}

/// `output = input W` as dynamic quantisation writes it, W in units of 1/2.
fn network(opset: i64) -> Vec<u8> {
    network_with(opset, weight)
}

fn network_with(opset: i64, weight: fn(usize, usize) -> i8) -> Vec<u8> {
    let weights = (0..SIDE * SIDE).map(|i| weight(i / SIDE, i % SIDE) as u8).collect();
    let weights =
        TensorProto { dims: vec![SIDE as i64; 2], data_type: INT8, name: "weights".into(), raw_data: weights };
    let quantise = Node {
        output: ["integers", "step", "zero"].map(String::from).into(),
        ..node("DynamicQuantizeLinear", &["input"], "integers", Vec::new())
    };
    let cast_to_float = landfall_model::onnx::int("to", FLOAT.into());
    let nodes = vec![
        quantise,
        node("MatMulInteger", &["integers", "weights", "zero"], "sums", Vec::new()),
        node("Cast", &["sums"], "float_sums", vec![cast_to_float]),
        node("Mul", &["step", "half"], "unit", Vec::new()),
        node("Mul", &["float_sums", "unit"], "output", Vec::new()),
    ];
    let outlet = |name: &str| {
        let size = |value: usize| Dimension { value: Some(value as i64), parameter: None };
        let shape = Shape { dim: [1, 3, SIDE, SIDE].map(size).into() };
        let tensor = TensorType { element: FLOAT, shape: Some(shape) };
        ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
    };
    let graph = Graph {
        node: nodes,
        name: "tokens".into(),
        initializer: vec![weights, tensor("half", &[1], &[0.5])],
        input: vec![outlet("input")],
        output: vec![outlet("output")],
    };
    Model {
        ir_version: 8,
        producer_name: String::new(),
        producer_version: String::new(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: opset }],
    }
    .encode_to_vec()
}

/// One outlier token, small ones, and a token of zeros.
fn tokens() -> Vec<f32> {
    let mut tokens: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    tokens[..SIDE].iter_mut().for_each(|x| *x *= 400.0);
    tokens[SIDE..2 * SIDE].fill(0.0);
    tokens
}

fn exact(tokens: &[f32]) -> Vec<f32> {
    let product = |token: &[f32], to: usize| (0..SIDE).map(|i| token[i] * f32::from(weight(i, to)) / 2.0).sum::<f32>();
    tokens.chunks(SIDE).flat_map(|token| (0..SIDE).map(move |to| product(token, to))).collect()
}

/// As [`network`], on a sequence of 24 tokens, with the output of the first token alone beside that of all.
fn network_of_first_token() -> Vec<u8> {
    let mut model = Model::decode(network(14).as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let integers = |name: &str, dims: &[i64], values: &[i64]| TensorProto {
        dims: dims.into(),
        data_type: INT64,
        name: name.into(),
        raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    graph.initializer.extend([integers("shape", &[3], &[1, 24, 8]), integers("first", &[], &[0])]);
    graph.node[0].input[0] = "tokens".into();
    graph.node[4].output[0] = "all".into();
    graph.node.insert(0, node("Reshape", &["input", "shape"], "tokens", Vec::new()));
    graph.node.push(node("Gather", &["all", "first"], "output", vec![landfall_model::onnx::int("axis", 1)]));
    let outlet = |name: &str, shape: &[i64]| {
        let dim = shape.iter().map(|size| Dimension { value: Some(*size), parameter: None }).collect();
        let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim }) };
        ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
    };
    graph.output = vec![outlet("output", &[1, 8]), outlet("all", &[1, 24, 8])];
    model.encode_to_vec()
}

#[test]
fn other_tokens_than_the_first_are_left_out() {
    let network = network_of_first_token();
    for has_bytes in [true, false] {
        let activations = Activations::PerTokenTwoBytes;
        let rewritten = match has_bytes {
            true => activations.of(network.clone(), None).unwrap(),
            false => activations.dequantized(network.clone(), None).unwrap(),
        };
        let selected = activations.for_output(rewritten.clone(), "output").unwrap();
        for (token, exact) in answer_of(SIDE, &selected, &tokens(), Activations::AsWritten).iter().zip(exact(&tokens()))
        {
            assert!((token - exact).abs() < 1e-4 * exact.abs().max(1.0), "{token} {exact}");
        }
        let Graph { node, output, .. } = Model::decode(selected.as_slice()).unwrap().graph.unwrap();
        assert_eq!(output.len(), 1);
        let users = node.iter().filter(|node| node.input.iter().any(|input| input == "tokens"));
        assert_eq!(users.map(|node| node.op_type.as_str()).collect::<Vec<_>>(), ["Gather"]);
        // Nothing is left out where all tokens are the output.
        assert_eq!(activations.for_output(rewritten.clone(), "all").unwrap(), rewritten);
    }
    assert_eq!(Activations::AsWritten.for_output(network.clone(), "output").unwrap(), network);
}

/// The output of a network for all tokens.
fn answer(network: &[u8], tokens: &[f32], activations: Activations) -> Vec<f32> {
    answer_of(3 * SIDE * SIDE, network, tokens, activations)
}

/// The output of a network, which has `dim` values.
fn answer_of(dim: usize, network: &[u8], tokens: &[f32], activations: Activations) -> Vec<f32> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("network.onnx");
    std::fs::write(&file, network).unwrap();
    let interface = EncoderFile {
        file: "network.onnx".into(),
        sha256: String::new(),
        bytes: 0,
        input: "input".into(),
        output: "output".into(),
        dim,
        activations,
        from: None,
        derived: None,
        adapter: None,
    };
    let preprocess = Preprocess {
        size: SIDE as u32,
        resize: Resize::Bicubic,
        crop: Crop::Center,
        details: Vec::new(),
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    Encoder::load(&file.as_path().into(), interface, preprocess, 1).unwrap().embed_tensor(0, tokens).unwrap()
}

/// Largest error of the small tokens and of all tokens.
fn errors(activations: Activations) -> (f32, f32) {
    let got = answer(&network(14), &tokens(), activations);
    let errors: Vec<f32> = got.iter().zip(exact(&tokens())).map(|(a, b)| (a - b).abs()).collect();
    let largest = |errors: &[f32]| errors.iter().fold(0.0, |a: f32, b| a.max(*b));
    (largest(&errors[SIDE..]), largest(&errors))
}

#[test]
fn small_tokens_keep_their_precision_beside_an_outlier() {
    let (quiet_as_written, _) = errors(Activations::AsWritten);
    let (quiet, all) = errors(Activations::PerTokenTwoBytes);
    // The worst case is half a step of the second byte times eight weights of 3/2; the largest activation is 1, or 400.
    let worst = 0.5 / 32258.0 * 12.0;
    assert!(quiet_as_written > 1.0, "{quiet_as_written}");
    assert!(quiet < worst + 1e-6, "{quiet}");
    assert!(all < 400.0 * worst + 1e-3, "{all}");
}

#[test]
fn dequantised_networks_agree_with_two_bytes() {
    let floats = Activations::PerTokenTwoBytes.dequantized(network(14), None).unwrap();
    let got = answer(&floats, &tokens(), Activations::AsWritten);
    for (a, b) in got.iter().zip(exact(&tokens())) {
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
    }
    // Other networks are not changed.
    assert_eq!(Activations::AsWritten.dequantized(network(14), None).unwrap(), network(14));
}

/// Processors without VNNI add two products of bytes in 16 bits by default, where 2 × 255 × 127 saturates at 32,767.
#[test]
fn large_products_do_not_saturate() {
    let (network, tokens) = (network_with(14, |_, _| 127), vec![1.0; 3 * SIDE * SIDE]);
    for activations in [Activations::AsWritten, Activations::PerTokenTwoBytes] {
        let got = answer(&network, &tokens, activations);
        // Eight inputs of 1, weights of 127 halves.
        assert!(got.iter().all(|x| (x - 8.0 * 127.0 / 2.0).abs() < 1e-2), "{activations:?}: {got:?}");
    }
}

#[test]
fn unknown_networks_are_errors() {
    let too_new = per_token(&network(18)).unwrap_err();
    assert!(too_new.contains("operator set 18"), "{too_new}");
    let mut odd = Model::decode(network(14).as_slice()).unwrap();
    odd.graph.as_mut().unwrap().node[2].op_type = "Relu".into();
    let mut squared = Model::decode(network(14).as_slice()).unwrap();
    let product = squared.graph.as_mut().unwrap().node.iter_mut().find(|n| n.op_type == "MatMulInteger").unwrap();
    product.input[1] = product.input[0].clone();
    for rewrite in [per_token, dequantize] {
        let cut = network(14);
        assert!(rewrite(&cut[..cut.len() / 2]).is_err());
        let why = rewrite(&odd.encode_to_vec()).unwrap_err();
        assert!(why.contains("make_float_sums"), "{why}");
        let why = rewrite(&squared.encode_to_vec()).unwrap_err();
        assert!(why.contains("MatMulInteger"), "{why}");
    }
}

#[test]
fn float_networks_are_not_changed() {
    let mut float = Model::decode(network(14).as_slice()).unwrap();
    let graph = float.graph.as_mut().unwrap();
    graph.node = vec![node("Relu", &["input"], "output", Vec::new())];
    let float = float.encode_to_vec();
    assert_eq!((per_token(&float).unwrap(), dequantize(&float).unwrap()), (float.clone(), float));
}
