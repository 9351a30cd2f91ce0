//! Protobuf messages as lists of raw fields, so that rewriting a network keeps fields that this crate does not know.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost::{DecodeError, Message};

use super::{Node, TensorProto};

/// Field number of the graph in a model.
pub const MODEL_GRAPH: u32 = 7;
/// Field number of the operator sets in a model.
pub const MODEL_OPSET: u32 = 8;
/// Field number of the nodes in a graph.
pub const GRAPH_NODE: u32 = 1;
/// Field number of the initializers in a graph.
pub const GRAPH_INITIALIZER: u32 = 5;
/// Field number of the outputs in a graph.
pub const GRAPH_OUTPUT: u32 = 12;
/// Field number of the value types in a graph.
pub const GRAPH_VALUE_INFO: u32 = 13;

/// Field number of the name in a tensor.
pub const TENSOR_NAME: u32 = 8;

/// A field of a message.
pub struct Field<'a> {
    /// Field number.
    pub tag: u32,
    /// All bytes of the field.
    pub whole: &'a [u8],
    /// Bytes of the value, for length-delimited fields.
    pub payload: &'a [u8],
}

/// Splits a message into its fields.
///
/// # Errors
/// When the bytes are not a message.
pub fn fields(mut rest: &[u8]) -> Result<Vec<Field<'_>>, DecodeError> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let (tag, wire) = decode_key(&mut rest)?;
        let length = match wire {
            WireType::Varint => decode_varint(&mut rest).map(|_| 0)?,
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX),
            WireType::StartGroup | WireType::EndGroup => usize::MAX, // ONNX has no groups
        };
        let Some(payload) = rest.get(..length) else {
            // Only prost can construct this error, so let it decode an incomplete message.
            return Err(Node::decode(&[0x0a, 0x01][..]).err().unwrap_or_else(|| unreachable!("a cut string is none")));
        };
        rest.advance(length);
        fields.push(Field { tag, whole: &start[..start.len() - rest.len()], payload });
    }
    Ok(fields)
}

/// Replaces the graph of a network and keeps everything else.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or `graph` fails.
pub fn with_graph(network: &[u8], graph: impl Fn(&[u8]) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    // Rewriting adds a few nodes.
    let mut rewritten = Vec::with_capacity(network.len() + (1 << 16));
    for field in fields(network).map_err(damaged)? {
        if field.tag == MODEL_GRAPH {
            write(MODEL_GRAPH, &graph(field.payload)?, &mut rewritten);
        } else {
            rewritten.extend_from_slice(field.whole);
        }
    }
    Ok(rewritten)
}

/// A rewrite of the nodes of a network, which are visited in order.
pub trait Rewrite {
    /// The replacement of a node; `None` to keep it.
    ///
    /// # Errors
    /// The reason, when the node is used in an unknown way.
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String>;

    /// Initializers that the new nodes need; called after the last node.
    fn tensors(&self) -> Vec<TensorProto> {
        Vec::new()
    }
}

/// Rewrites the nodes of a network and keeps everything else.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network, or as [`Rewrite::nodes`].
pub fn rewritten<R: Rewrite + Default>(network: &[u8]) -> Result<Vec<u8>, String> {
    with_graph(network, |graph| {
        let mut rewritten = Vec::with_capacity(graph.len() + (1 << 16));
        let mut rewrite = R::default();
        for field in fields(graph).map_err(damaged)? {
            let node = (field.tag == GRAPH_NODE).then(|| Node::decode(field.payload)).transpose().map_err(damaged)?;
            match node.map(|node| rewrite.nodes(&node)).transpose()?.flatten() {
                Some(nodes) => nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten)),
                None => rewritten.extend_from_slice(field.whole),
            }
        }
        let tensors = rewrite.tensors().into_iter();
        tensors.for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut rewritten));
        Ok(rewritten)
    })
}

/// The error for a node that uses quantised activations in an unknown way.
pub fn unexpected(node: &Node) -> String {
    format!("node `{}` ({}) uses quantised activations in an unknown way", node.name, node.op_type)
}

/// The error for bytes that are not a network.
pub fn damaged(error: DecodeError) -> String {
    format!("not an ONNX network ({error})")
}

/// Appends a length-delimited field.
pub fn write(tag: u32, message: &[u8], to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(message.len() as u64, to);
    to.extend_from_slice(message);
}
