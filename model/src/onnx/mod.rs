//! The part of ONNX that Landfall reads and writes: protobuf messages with their tags from onnx.proto.

pub(crate) mod adapter;
pub mod dequantize;
pub(crate) mod exact_conv;
pub(crate) mod first_token;
pub(crate) mod layers;
pub mod per_token;
mod products;
mod proto;
pub mod raw;
#[cfg(feature = "onnx")]
pub mod rounding;
#[cfg(feature = "onnx")]
pub mod shrink;

pub use proto::*;

/// Element type: 32-bit float.
pub const FLOAT: i32 = 1;
/// Element type: unsigned 8-bit integer.
pub const UINT8: i32 = 2;
/// Element type: 16-bit float.
pub const FLOAT16: i32 = 10;
/// Element type: signed 8-bit integer.
pub const INT8: i32 = 3;
/// Element type: 32-bit integer.
pub const INT32: i32 = 6;
/// Element type: 64-bit integer.
pub const INT64: i32 = 7;
/// An integer attribute.
pub const ATTRIBUTE_INT: i32 = 2;
/// A list attribute of integers.
pub const ATTRIBUTE_INTS: i32 = 7;

/// A node with one output, which also names it.
pub fn node(op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    let input = input.iter().map(|&name| name.to_owned()).collect();
    let (output, name, op_type) = (vec![output.into()], format!("make_{output}"), op.into());
    Node { input, output, name, op_type, attribute, domain: String::new() }
}

/// A list attribute of integers.
pub fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, kind: ATTRIBUTE_INTS, i: 0 }
}

/// An integer attribute.
pub fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: ATTRIBUTE_INT, ints: Vec::new() }
}

/// A float tensor of this shape.
pub fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.into(), raw_data }
}
