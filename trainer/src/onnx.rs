//! The part of ONNX that a head needs: protobuf messages with their tags from onnx.proto, and the graph.

use prost::Message;

use crate::head::Description;

/// IR version 8 and operator set 17 load in every runtime since mid-2022.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
const FLOAT: i32 = 1;
const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_INTS: i32 = 7;

/// Name of the head's input, `[N, dim]`.
pub const INPUT: &str = "image_embeds";
/// Name of the head's output, `[N, cells]`.
pub const OUTPUT: &str = "cell_logits";

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    parameter: Option<String>,
}

/// The bytes of a head's ONNX file: unit length, then standardising folded into the first linear layer (a Gemm, whose
/// weights stand as burn has them), a ReLU between layers. `layers` are weights `[in, out]` and bias of each.
pub fn head(description: &Description, mut layers: Vec<(Vec<f32>, Vec<f32>)>) -> Vec<u8> {
    let sizes = &description.sizes;
    if let Some((weights, bias)) = layers.first_mut() {
        // ((x - m) / s) W + b  =  x (W / s) + (b - m (W / s)); the sum in f64, it runs over hundreds of terms.
        let outputs = bias.len();
        let mut shift = vec![0.0f64; outputs];
        let moments = description.mean.iter().zip(&description.deviation);
        for (row, (mean, deviation)) in weights.chunks_exact_mut(outputs).zip(moments) {
            for (weight, shift) in row.iter_mut().zip(&mut shift) {
                *weight /= deviation;
                *shift += f64::from(*mean) * f64::from(*weight);
            }
        }
        bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias = (f64::from(*bias) - shift) as f32);
    }

    let ints = |name: &str, ints: Vec<i64>| Attribute { name: name.into(), ints, kind: ATTRIBUTE_INTS, i: 0 };
    let int = |name: &str, i: i64| Attribute { name: name.into(), i, kind: ATTRIBUTE_INT, ints: Vec::new() };
    let mut initializer = vec![tensor("tiny", &[1], &[1e-12])];
    let mut nodes = vec![
        node("ReduceL2", &[INPUT], "length", vec![ints("axes", vec![-1]), int("keepdims", 1)]),
        node("Max", &["length", "tiny"], "divisor", Vec::new()),
        node("Div", &[INPUT, "divisor"], "unit", Vec::new()),
    ];
    let mut from = "unit".to_owned();
    for (i, (weights, bias)) in layers.iter().enumerate() {
        let is_last = i + 1 == layers.len();
        let (weight_name, bias_name) = (format!("weight_{i}"), format!("bias_{i}"));
        initializer.push(tensor(&weight_name, &[sizes[i] as i64, sizes[i + 1] as i64], weights));
        initializer.push(tensor(&bias_name, &[sizes[i + 1] as i64], bias));
        let to = if is_last { OUTPUT.to_owned() } else { format!("linear_{i}") };
        nodes.push(node("Gemm", &[&from, &weight_name, &bias_name], &to, Vec::new()));
        from = to;
        if !is_last {
            let to = format!("hidden_{i}");
            nodes.push(node("Relu", &[&from], &to, Vec::new()));
            from = to;
        }
    }
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "landfall-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(Graph {
            node: nodes,
            name: "head".into(),
            initializer,
            input: vec![batch_of(INPUT, sizes[0])],
            output: vec![batch_of(OUTPUT, sizes[sizes.len() - 1])],
        }),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    };
    model.encode_to_vec()
}

fn node(op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    let input = input.iter().map(|name| (*name).to_owned()).collect();
    Node { input, output: vec![output.into()], name: format!("make_{output}"), op_type: op.into(), attribute }
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.into(), raw_data }
}

/// A float matrix whose number of rows is left open.
fn batch_of(name: &str, columns: usize) -> ValueInfo {
    let rows = Dimension { value: None, parameter: Some("N".into()) };
    let columns = Dimension { value: Some(columns as i64), parameter: None };
    let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim: vec![rows, columns] }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
}
