//! Networks that return what became of the first token compute it alone, as far back as tokens are independent.
//!
//! A vision transformer with a class token returns that token alone. The layers after its last attention treat each token by
//! itself, but are exported for all tokens, of which one is used: six percent of the products of a network of twelve blocks.
//! Here the first token is selected before these layers. No value changes.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost::Message;

use crate::onnx::raw::{
    Field, GRAPH_INITIALIZER, GRAPH_NODE, GRAPH_OUTPUT, GRAPH_VALUE_INFO, NODE_ATTRIBUTE, NODE_INPUT, USUAL_GROWTH,
    check_growth, damaged, decode_node, decode_tensor, fields, with_graph, write,
};
use crate::onnx::{INT64, Node, TensorProto, ValueInfo, int, node};

/// Tensors of tokens are `[batch, tokens, values]`.
const RANK: usize = 3;
const TOKENS: i64 = 1;
const VALUES: [i64; 2] = [-1, 2];
/// Field number of the value of an attribute that is a tensor.
const ATTRIBUTE_TENSOR: u32 = 5;
/// Fields of a tensor up to this size are read.
const MAX_SMALL_BYTES: usize = 1 << 11;
/// The index of the first token, in a list.
const FIRST: &str = "landfall_first_token";

/// Rewrites a network (the bytes of an ONNX file) to compute the first token alone where `output` depends on no other. Other
/// outputs are then dropped. Other networks are not changed.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network.
pub(crate) fn select(network: &[u8], output: &str) -> Result<Vec<u8>, String> {
    with_graph(network, |graph| {
        let fields = fields(graph).map_err(damaged)?;
        let known = Known::of(&fields, output)?;
        let Some(Independent { nodes, from }) = known.independent() else { return Ok(graph.to_vec()) };
        let made: HashSet<&String> = nodes.iter().flat_map(|index| &known.nodes[*index].output).collect();
        let mut rewritten = Vec::with_capacity(graph.len() + USUAL_GROWTH);
        let mut node_index = 0;
        for field in &fields {
            match field.tag {
                GRAPH_NODE => {
                    match nodes.contains(&node_index) {
                        true => write(GRAPH_NODE, &with_inputs(field.payload, &from)?, &mut rewritten),
                        false => rewritten.extend_from_slice(field.whole),
                    }
                    for tensor in known.nodes[node_index].output.iter().filter(|tensor| from.contains(*tensor)) {
                        let axis = vec![int("axis", TOKENS)];
                        let gather = node("Gather", &[tensor, FIRST], &first_of(tensor), axis);
                        write(GRAPH_NODE, &gather.encode_to_vec(), &mut rewritten);
                    }
                    node_index += 1;
                    check_growth(graph, &rewritten)?;
                }
                GRAPH_OUTPUT if value_info(field)?.name != output => {}
                // States the number of tokens.
                GRAPH_VALUE_INFO if made.contains(&value_info(field)?.name) => {}
                _ => rewritten.extend_from_slice(field.whole),
            }
        }
        let raw_data = 0_i64.to_le_bytes().to_vec();
        let first = TensorProto { dims: vec![1], data_type: INT64, name: FIRST.into(), raw_data };
        write(GRAPH_INITIALIZER, &first.encode_to_vec(), &mut rewritten);
        Ok(rewritten)
    })
}

/// Name of the first token of a tensor.
fn first_of(tensor: &str) -> String {
    format!("{tensor}_first_token")
}

/// A node (its bytes) that uses the first token of these tensors.
fn with_inputs(node: &[u8], from: &BTreeSet<&String>) -> Result<Vec<u8>, String> {
    let mut changed = Vec::with_capacity(node.len() + (1 << 6));
    for field in fields(node).map_err(damaged)? {
        let input = std::str::from_utf8(field.payload).ok().filter(|_| field.tag == NODE_INPUT);
        match input.filter(|input| from.contains(&(*input).to_owned())) {
            Some(input) => write(NODE_INPUT, first_of(input).as_bytes(), &mut changed),
            None => changed.extend_from_slice(field.whole),
        }
    }
    Ok(changed)
}

fn value_info(field: &Field<'_>) -> Result<ValueInfo, String> {
    ValueInfo::decode(field.payload).map_err(damaged)
}

/// The part of a network that treats each token by itself.
struct Independent<'a> {
    /// Indexes of its nodes.
    nodes: BTreeSet<usize>,
    /// The tensors of all tokens that it uses.
    from: BTreeSet<&'a String>,
}

/// What is known of a graph.
struct Known {
    nodes: Vec<Node>,
    /// The rank of each tensor that does not depend on the input; `None` if it is computed.
    constants: HashMap<String, Option<usize>>,
    /// Constants that are the integer 0.
    zeros: HashSet<String>,
    /// Tensors that the file states to have the rank of tokens.
    of_tokens: HashSet<String>,
    /// Indexes of the nodes that use a tensor.
    users: HashMap<String, Vec<usize>>,
    /// The output that is kept.
    output: String,
}

impl Known {
    fn of(fields: &[Field<'_>], output: &str) -> Result<Self, String> {
        let (constants, zeros) = (HashMap::new(), HashSet::new());
        let (nodes, of_tokens, users) = (Vec::new(), HashSet::new(), HashMap::new());
        let mut known = Self { nodes, constants, zeros, of_tokens, users, output: output.to_owned() };
        for field in fields {
            match field.tag {
                GRAPH_INITIALIZER => {
                    let tensor = without_weights(field.payload)?;
                    known.add_constant(&tensor.name, &tensor);
                }
                GRAPH_OUTPUT | GRAPH_VALUE_INFO => {
                    let ValueInfo { name, r#type } = value_info(field)?;
                    let shape = r#type.and_then(|of| of.tensor).and_then(|tensor| tensor.shape);
                    if shape.is_some_and(|shape| shape.dim.len() == RANK) {
                        known.of_tokens.insert(name);
                    }
                }
                _ => {}
            }
        }
        for field in fields.iter().filter(|field| field.tag == GRAPH_NODE) {
            known.add(decode_node(field.payload)?, field.payload)?;
        }
        Ok(known)
    }

    fn add_constant(&mut self, name: &str, tensor: &TensorProto) {
        self.constants.insert(name.to_owned(), Some(tensor.dims.len()));
        if tensor.dims.is_empty() && tensor.data_type == INT64 && tensor.raw_data == 0_i64.to_le_bytes() {
            self.zeros.insert(name.to_owned());
        }
    }

    fn add(&mut self, node: Node, bytes: &[u8]) -> Result<(), String> {
        let is_constant = |input: &String| self.constants.contains_key(input);
        match (node.op_type.as_str(), node.output.first()) {
            ("Constant", Some(name)) => {
                if let Some(tensor) = constant(bytes)? {
                    self.add_constant(name, &tensor);
                }
            }
            _ if !node.input.is_empty() && node.input.iter().all(is_constant) => {
                self.constants.extend(node.output.iter().map(|output| (output.clone(), None)));
            }
            _ => {}
        }
        for input in &node.input {
            self.users.entry(input.clone()).or_default().push(self.nodes.len());
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The part between the tensors of all tokens and the selection of the first one, if there is such a part.
    fn independent(&self) -> Option<Independent<'_>> {
        let gather = self.nodes.iter().position(|node| {
            let has_axis = node.attribute.iter().any(|attribute| attribute.name == "axis" && attribute.i == TOKENS);
            let selects = |inputs: &[String]| self.of_tokens.contains(&inputs[0]) && self.zeros.contains(&inputs[1]);
            node.op_type == "Gather" && has_axis && node.input.len() == 2 && selects(&node.input)
        })?;
        let mut nodes = BTreeSet::from([gather]);
        let mut wanted = BTreeSet::from([&self.nodes[gather].input[0]]);
        let mut from = BTreeSet::new();
        for (index, node) in self.nodes[..gather].iter().enumerate().rev() {
            let made: Vec<&String> = wanted.intersection(&node.output.iter().collect()).copied().collect();
            if made.is_empty() {
                continue;
            }
            made.iter().for_each(|tensor| _ = wanted.remove(tensor));
            let is_used_here = |tensor: &String| {
                *tensor != self.output
                    && self.users.get(tensor).is_none_or(|users| users.iter().all(|i| nodes.contains(i)))
            };
            match self.inputs_by_token(node) {
                Some(inputs) if node.output.iter().all(is_used_here) => {
                    nodes.insert(index);
                    wanted.extend(inputs);
                }
                Some(_) => from.extend(made),
                // What merges the heads of the last attention; anything else may have another rank.
                None if ["Reshape", "Transpose", "MatMul"].contains(&node.op_type.as_str()) => from.extend(made),
                None => return None,
            }
        }
        // What is left is an input of the network.
        (nodes.len() > 1 && wanted.is_empty()).then_some(Independent { nodes, from })
    }

    /// The inputs that depend on the network's input, of a node that treats each token by itself.
    fn inputs_by_token<'a>(&self, node: &'a Node) -> Option<Vec<&'a String>> {
        let (fixed, moving): (Vec<&String>, Vec<&String>) =
            node.input.iter().filter(|input| !input.is_empty()).partition(|input| self.constants.contains_key(*input));
        let largest_rank = fixed.iter().map(|input| self.constants[*input].unwrap_or(RANK)).max().unwrap_or(0);
        let is_first_alone = moving.len() == 1 && node.input.first() == Some(moving[0]);
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        let is_by_token = match node.op_type.as_str() {
            "Abs" | "Add" | "Cast" | "Div" | "Erf" | "Max" | "Mul" | "Pow" | "Relu" | "Sigmoid" | "Sqrt" | "Sub"
            | "Tanh" => largest_rank < 2,
            "DequantizeLinear" | "QuantizeLinear" => is_first_alone && largest_rank == 0,
            "MatMul" | "MatMulIntegerToFloat" => is_first_alone,
            "ReduceMax" | "ReduceMean" => {
                let is_over_values = |axes: &[i64]| axes.len() == 1 && VALUES.contains(&axes[0]);
                fixed.is_empty()
                    && attribute("axes").is_some_and(|attribute| is_over_values(&attribute.ints))
                    && attribute("keepdims").is_none_or(|attribute| attribute.i == 1)
            }
            _ => false,
        };
        is_by_token.then_some(moving)
    }
}

/// A tensor (its bytes) without its values, if they take much memory.
fn without_weights(tensor: &[u8]) -> Result<TensorProto, String> {
    let fields = fields(tensor).map_err(damaged)?;
    let small = fields.iter().filter(|field| field.whole.len() <= MAX_SMALL_BYTES);
    decode_tensor(&small.map(|field| field.whole).collect::<Vec<_>>().concat())
}

/// The value of a `Constant` node (its bytes), if it is a tensor.
fn constant(node: &[u8]) -> Result<Option<TensorProto>, String> {
    for field in fields(node).map_err(damaged)?.iter().filter(|field| field.tag == NODE_ATTRIBUTE) {
        let attribute = fields(field.payload).map_err(damaged)?;
        if let Some(value) = attribute.iter().find(|field| field.tag == ATTRIBUTE_TENSOR) {
            return decode_tensor(value.payload).map(Some);
        }
    }
    Ok(None)
}
