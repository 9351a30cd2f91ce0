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

/// Field number of the inputs in a node.
pub(crate) const NODE_INPUT: u32 = 1;
/// Field number of the attributes in a node.
pub(crate) const NODE_ATTRIBUTE: u32 = 5;

/// Field number of the dimensions in a tensor.
const TENSOR_DIMS: u32 = 1;
/// Field number of the name in a tensor.
pub const TENSOR_NAME: u32 = 8;

// A decoded field takes far more memory than its two bytes in a file, so a damaged or malicious file of a few megabytes
// must not decide how many there are. Real networks have a few thousand nodes with a few inputs each.

/// Maximum number of fields of a message.
const MAX_FIELDS: usize = 1 << 18;
/// Maximum number of fields of a node.
const MAX_NODE_FIELDS: usize = 1 << 14;
/// Maximum length in bytes of the name of a tensor or node.
const MAX_NAME: usize = 1 << 10;
/// Maximum length in bytes of the dimensions of a tensor.
const MAX_DIMS_BYTES: usize = 256;
/// Bytes that rewrites add at most for real networks. A vector that outgrew its capacity would double.
pub(crate) const USUAL_GROWTH: usize = 1 << 20;
/// Maximum number of bytes that a rewrite may add, beyond the size of the network itself.
const MAX_GROWTH: usize = 64 << 20;

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
        let Some(payload) = rest.get(..length).filter(|_| fields.len() < MAX_FIELDS) else { return Err(incomplete()) };
        rest.advance(length);
        fields.push(Field { tag, whole: &start[..start.len() - rest.len()], payload });
    }
    Ok(fields)
}

/// The error for an incomplete message. Only prost can construct it, so let it decode one.
fn incomplete() -> DecodeError {
    Node::decode(&[0x0a, 0x01][..]).err().unwrap_or_else(|| unreachable!("a cut string is none"))
}

/// Decodes a node.
///
/// # Errors
/// The reason, when the bytes are not a node, or it has more inputs, outputs or attributes, or longer names, than any
/// operator.
pub fn decode_node(bytes: &[u8]) -> Result<Node, String> {
    if fields(bytes).map_err(damaged)?.len() > MAX_NODE_FIELDS {
        return Err(format!("a node has more than {MAX_NODE_FIELDS} inputs, outputs and attributes"));
    }
    let node = Node::decode(bytes).map_err(damaged)?;
    let names = node.input.iter().chain(&node.output).chain([&node.name, &node.op_type]);
    if names.into_iter().any(|name| name.len() > MAX_NAME) {
        return Err(format!("a name is longer than {MAX_NAME} bytes"));
    }
    Ok(node)
}

/// Decodes a tensor.
///
/// # Errors
/// The reason, when the bytes are not a tensor, or it has more dimensions, or a longer name, than any tensor.
pub fn decode_tensor(bytes: &[u8]) -> Result<TensorProto, String> {
    let fields = fields(bytes).map_err(damaged)?;
    let dims = fields.iter().filter(|field| field.tag == TENSOR_DIMS);
    if dims.map(|field| field.whole.len()).sum::<usize>() > MAX_DIMS_BYTES {
        return Err("a tensor has too many dimensions".into());
    }
    if fields.iter().any(|field| field.tag == TENSOR_NAME && field.payload.len() > MAX_NAME) {
        return Err(format!("a name is longer than {MAX_NAME} bytes"));
    }
    TensorProto::decode(bytes).map_err(damaged)
}

/// Checks that a rewrite does not multiply the size of a graph, as when many nodes share one large tensor.
///
/// # Errors
/// When it does.
pub fn check_growth(graph: &[u8], rewritten: &[u8]) -> Result<(), String> {
    if rewritten.len() > graph.len().saturating_add(MAX_GROWTH) {
        return Err(format!("rewriting it would add more than {} MiB", MAX_GROWTH >> 20));
    }
    Ok(())
}

/// Replaces the graph of a network and keeps everything else.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or `graph` fails.
pub fn with_graph(network: &[u8], graph: impl Fn(&[u8]) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    let mut rewritten = Vec::with_capacity(network.len() + USUAL_GROWTH);
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
        let mut rewritten = Vec::with_capacity(graph.len() + USUAL_GROWTH);
        let mut rewrite = R::default();
        for field in fields(graph).map_err(damaged)? {
            let node = (field.tag == GRAPH_NODE).then(|| decode_node(field.payload)).transpose()?;
            match node.map(|node| rewrite.nodes(&node)).transpose()?.flatten() {
                Some(nodes) => nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten)),
                None => rewritten.extend_from_slice(field.whole),
            }
            check_growth(graph, &rewritten)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_tiny_fields_do_not_fill_the_memory() {
        let many = [0x0a, 0x00].repeat(MAX_FIELDS + 1);
        assert!(fields(&many).is_err() && decode_node(&many).is_err() && decode_tensor(&many).is_err());
        let node = [0x0a, 0x00].repeat(MAX_NODE_FIELDS + 1);
        assert!(decode_node(&node).unwrap_err().contains("more than 16384"));
        let long = Node { input: vec!["x".repeat(MAX_NAME + 1)], ..Node::default() };
        assert!(decode_node(&long.encode_to_vec()).unwrap_err().contains("longer than"));
        let deep = TensorProto { dims: vec![1; 1_000], ..TensorProto::default() };
        assert!(decode_tensor(&deep.encode_to_vec()).unwrap_err().contains("dimensions"));
        assert!(check_growth(&[], &vec![0; MAX_GROWTH + 1]).is_err() && check_growth(&[], &[0; 9]).is_ok());
    }

    #[test]
    fn extreme_lengths_are_errors() {
        for length in [1, 0x7f, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            encode_key(1, WireType::LengthDelimited, &mut bytes);
            encode_varint(length, &mut bytes);
            assert!(fields(&bytes).is_err() && decode_node(&bytes).is_err() && decode_tensor(&bytes).is_err());
        }
        assert!(fields(&[0xff; 20]).is_err() && fields(&[0x0b]).is_err(), "no key, and a group");
    }
}
