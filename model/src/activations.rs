//! Int8 networks whose activations are scaled token by token.
//!
//! A dynamically quantised network rounds all activations of a layer to 256 steps of one size, which its largest
//! activation sets. A vision transformer has a few tokens with activations far above all others, and what the others
//! say drowns in the rounding. Divided by its own largest activation first, and its result multiplied by it
//! afterwards, every token gets steps that fit it: the weights and the integer products stay as they are, the
//! embeddings come far closer to those of the network before it was quantised. (Per-token scales are those of
//! ZeroQuant, arXiv:2206.01861, section 4.1.)

use std::collections::HashMap;

use prost::Message;

use crate::onnx::raw::{GRAPH_INITIALIZER, GRAPH_NODE, MODEL_OPSET, damaged, fields, with_graph, write};
use crate::onnx::{Node, OperatorSet, int, ints, node, tensor};

/// From this operator set on `ReduceMax` takes its axes as an input.
const OPSET_WITH_AXES_AS_INPUT: i64 = 18;
/// Keeps a token of zeros from being divided by zero.
const TINY: &str = "landfall_tiny";

/// The same network (the bytes of an ONNX file) with activations scaled token by token, along their last axis. A
/// network that is not dynamically quantised stays as it is.
///
/// # Errors
/// When the bytes are no ONNX network, or it uses its integers in a way that this does not know; says why.
pub fn per_token(model: &[u8]) -> Result<Vec<u8>, String> {
    let fields = fields(model).map_err(damaged)?;
    for field in fields.iter().filter(|field| field.tag == MODEL_OPSET) {
        let OperatorSet { domain, version } = OperatorSet::decode(field.payload).map_err(damaged)?;
        if domain.is_empty() && version >= OPSET_WITH_AXES_AS_INPUT {
            return Err(format!("is of operator set {version}, from {OPSET_WITH_AXES_AS_INPUT} on it is not known"));
        }
    }
    with_graph(model, graph)
}

fn graph(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut rewritten = Vec::with_capacity(bytes.len() + (1 << 16));
    let mut scaling = Scaling::default();
    for field in fields(bytes).map_err(damaged)? {
        if field.tag != GRAPH_NODE {
            rewritten.extend_from_slice(field.whole);
            continue;
        }
        match scaling.nodes(&Node::decode(field.payload).map_err(damaged)?)? {
            Some(nodes) => nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten)),
            None => rewritten.extend_from_slice(field.whole),
        }
    }
    if !scaling.scale_of.is_empty() {
        write(GRAPH_INITIALIZER, &tensor(TINY, &[1], &[1e-12]).encode_to_vec(), &mut rewritten);
    }
    Ok(rewritten)
}

/// Which tensors are in units of which token scales, on a walk through the nodes in their order.
#[derive(Default)]
struct Scaling {
    scale_of: HashMap<String, String>,
}

impl Scaling {
    /// What stands in the place of a node; `None` when it stays.
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let scale = old.input.iter().find_map(|input| self.scale_of.get(input)).cloned();
        let scaled = old.input.iter().filter(|input| self.scale_of.contains_key(*input)).count();
        let strange = || format!("its node `{}` ({}) uses quantised activations unexpectedly", old.name, old.op_type);
        match (old.op_type.as_str(), scale) {
            // A product of two would have to be multiplied by both scales.
            (_, Some(_)) if scaled > 1 => Err(strange()),
            ("DynamicQuantizeLinear", None) => {
                let [x] = old.input.as_slice() else { return Err(strange()) };
                let [integers, _, _] = old.output.as_slice() else { return Err(strange()) };
                let name = |what: &str| format!("{integers}_{what}");
                let last_axis = vec![ints("axes", vec![-1]), int("keepdims", 1)];
                let quantise = Node { input: vec![name("scaled")], ..old.clone() };
                self.scale_of.insert(integers.clone(), name("token_scale"));
                Ok(Some(vec![
                    node("Abs", &[x], &name("absolute"), Vec::new()),
                    node("ReduceMax", &[&name("absolute")], &name("largest"), last_axis),
                    node("Max", &[&name("largest"), TINY], &name("token_scale"), Vec::new()),
                    node("Div", &[x, &name("token_scale")], &name("scaled"), Vec::new()),
                    quantise,
                ]))
            }
            ("MatMulInteger" | "Cast", Some(scale)) => {
                // The quantised activations must be the left factor: its rows are the tokens.
                let left = old.input.first().is_some_and(|input| self.scale_of.contains_key(input));
                let output = old.output.first().filter(|_| left).ok_or_else(strange)?;
                self.scale_of.insert(output.clone(), scale);
                Ok(None)
            }
            ("Mul", Some(scale)) => {
                let output = old.output.first().ok_or_else(strange)?;
                let unscaled = format!("{output}_unscaled");
                let product = Node { output: vec![unscaled.clone()], ..old.clone() };
                let name = format!("make_{output}_of_{unscaled}"); // the network may have a `make_` of its own
                let scaled = Node { name, ..node("Mul", &[&unscaled, &scale], output, Vec::new()) };
                Ok(Some(vec![product, scaled]))
            }
            (_, Some(_)) => Err(strange()),
            (_, None) => Ok(None),
        }
    }
}
