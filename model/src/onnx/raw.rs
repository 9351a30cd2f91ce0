//! Protobuf messages field by field, as bytes: what a rewrite of a network does not know comes through it unchanged.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost::{DecodeError, Message};

use super::{Node, TensorProto};

/// Tag of a model's graph.
pub const MODEL_GRAPH: u32 = 7;
/// Tag of the operators that a model is written in.
pub const MODEL_OPSET: u32 = 8;
/// Tag of a graph's nodes.
pub const GRAPH_NODE: u32 = 1;
/// Tag of a graph's weights.
pub const GRAPH_INITIALIZER: u32 = 5;
/// Tag of a graph's outputs.
pub const GRAPH_OUTPUT: u32 = 12;
/// Tag of the types of tensors inside a graph.
pub const GRAPH_VALUE_INFO: u32 = 13;

/// Tag of a tensor's name.
pub const TENSOR_NAME: u32 = 8;

/// One field of a message: all its bytes, and those of its value where it has a length.
pub struct Field<'a> {
    /// Its number in the message.
    pub tag: u32,
    /// All its bytes.
    pub whole: &'a [u8],
    /// Those of its value, where it has a length.
    pub payload: &'a [u8],
}

/// The fields of a message, in their order.
///
/// # Errors
/// When the bytes are no message.
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
            // Prost makes this error only itself: let it read what is not there.
            return Err(Node::decode(&[0x0a, 0x01][..]).err().unwrap_or_else(|| unreachable!("a cut string is none")));
        };
        rest.advance(length);
        fields.push(Field { tag, whole: &start[..start.len() - rest.len()], payload });
    }
    Ok(fields)
}

/// A network with another graph in the place of its own; what else it holds stays as it is.
///
/// # Errors
/// When the bytes are no ONNX network, or `graph` cannot make another of them; says why.
pub fn with_graph(network: &[u8], graph: impl Fn(&[u8]) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    // Rewriting adds a little.
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

/// A change of a network's nodes, on a walk through them in their order.
pub trait Rewrite {
    /// What stands in the place of a node; `None` when it stays.
    ///
    /// # Errors
    /// When the node is used in a way that is not known; says which.
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String>;

    /// Weights that the new nodes need, asked for after the last.
    fn tensors(&self) -> Vec<TensorProto> {
        Vec::new()
    }
}

/// A network with its nodes rewritten; what else it holds stays as it is.
///
/// # Errors
/// When the bytes are no ONNX network, or as [`Rewrite::nodes`].
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

/// What a rewrite says of a node that it does not expect where activations are quantised.
pub fn unexpected(node: &Node) -> String {
    format!("its node `{}` ({}) uses quantised activations unexpectedly", node.name, node.op_type)
}

/// What is said of bytes that cannot be read as a network, after the name of their file.
pub fn damaged(error: DecodeError) -> String {
    format!("is no ONNX network ({error})")
}

/// Adds a field with a value of this many bytes.
pub fn write(tag: u32, message: &[u8], to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(message.len() as u64, to);
    to.extend_from_slice(message);
}
