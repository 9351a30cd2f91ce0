//! The part of ONNX that Landfall reads and writes: protobuf messages with their tags from onnx.proto.

pub(crate) mod adapter;
pub mod dequantize;
pub(crate) mod exact_conv;
pub mod per_token;
mod proto;
pub mod raw;

pub use proto::*;

/// Numbers of a tensor: 32-bit floats.
pub const FLOAT: i32 = 1;
/// Numbers of a tensor: bytes.
pub const UINT8: i32 = 2;
/// Numbers of a tensor: 16-bit floats.
pub const FLOAT16: i32 = 10;
/// Numbers of a tensor: signed bytes.
pub const INT8: i32 = 3;
/// Numbers of a tensor: 32-bit whole numbers.
pub const INT32: i32 = 6;
/// Numbers of a tensor: 64-bit whole numbers.
pub const INT64: i32 = 7;
/// An attribute that is a whole number.
pub const ATTRIBUTE_INT: i32 = 2;
/// An attribute that is a list of whole numbers.
pub const ATTRIBUTE_INTS: i32 = 7;

/// A node with one output, named after it.
pub fn node(op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    let input = input.iter().map(|&name| name.to_owned()).collect();
    Node { input, output: vec![output.into()], name: format!("make_{output}"), op_type: op.into(), attribute }
}

/// An attribute of whole numbers.
pub fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, kind: ATTRIBUTE_INTS, i: 0 }
}

/// An attribute that is a whole number.
pub fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: ATTRIBUTE_INT, ints: Vec::new() }
}

/// Weights of this shape.
pub fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.into(), raw_data }
}
