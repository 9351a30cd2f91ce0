//! Int8 networks computed in floats, for processors that have no products of bytes, such as those that browsers reach
//! through WebGPU.
//!
//! Where a dynamically quantised network rounds its activations and multiplies bytes, its weights are turned back into
//! floats and multiplied with the activations as they are. They stay bytes in the file and in memory until then. What two
//! bytes an activation say ([`crate::activations`]) is the same to a thousandth.

use std::collections::HashMap;

use prost::Message;

use crate::onnx::raw::{GRAPH_NODE, damaged, fields, with_graph, write};
use crate::onnx::{Node, int, node};

/// The same network (the bytes of an ONNX file) in floats. A network that is not dynamically quantised stays as it is.
///
/// # Errors
/// When the bytes are no ONNX network, or it uses its integers in a way that this does not know; says why.
pub fn in_floats(network: &[u8]) -> Result<Vec<u8>, String> {
    with_graph(network, graph)
}

fn graph(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut rewritten = Vec::with_capacity(bytes.len() + (1 << 16));
    let mut gone = Gone::default();
    for field in fields(bytes).map_err(damaged)? {
        if field.tag != GRAPH_NODE {
            rewritten.extend_from_slice(field.whole);
            continue;
        }
        match gone.nodes(&Node::decode(field.payload).map_err(damaged)?)? {
            Some(nodes) => nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten)),
            None => rewritten.extend_from_slice(field.whole),
        }
    }
    Ok(rewritten)
}

/// A tensor that is not computed any more.
#[derive(Clone)]
enum What {
    /// The integers of these activations.
    Integers(String),
    /// The step of activations.
    Step,
    /// The zero of activations.
    Zero,
    /// The step of activations times this one of weights.
    Unit(String),
    /// The sums of a product.
    Sums(Product),
}

/// A product, by the names of activations and weights, and of the weights' zeros where they have any.
#[derive(Clone)]
struct Product {
    activations: String,
    weights: String,
    zeros: Option<String>,
}

/// The tensors that are not computed any more, on a walk through the nodes in their order.
#[derive(Default)]
struct Gone(HashMap<String, What>);

impl Gone {
    /// What stands in the place of a node; `None` when it stays.
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let gone: Vec<Option<&What>> = old.input.iter().map(|input| self.0.get(input)).collect();
        let now = match (old.op_type.as_str(), gone.as_slice(), old.input.as_slice(), old.output.as_slice()) {
            ("DynamicQuantizeLinear", [None], [x], [integers, step, zero]) => {
                vec![(integers, What::Integers(x.clone())), (step, What::Step), (zero, What::Zero)]
            }
            ("MatMulInteger", [Some(What::Integers(x)), None, ..], [_, weights, rest @ ..], [sums]) => {
                let zeros = rest.get(1).filter(|name| !name.is_empty()).cloned();
                let product = Product { activations: x.clone(), weights: weights.clone(), zeros };
                vec![(sums, What::Sums(product))]
            }
            ("Cast", [Some(What::Sums(product))], _, [floats]) => vec![(floats, What::Sums(product.clone()))],
            ("Mul", [Some(What::Step), None], [_, weights_step], [unit])
            | ("Mul", [None, Some(What::Step)], [weights_step, _], [unit]) => {
                vec![(unit, What::Unit(weights_step.clone()))]
            }
            (
                "Mul",
                [Some(What::Sums(product)), Some(What::Unit(step))]
                | [Some(What::Unit(step)), Some(What::Sums(product))],
                _,
                [output],
            ) => return Ok(Some(multiply(product, step, output))),
            (op, gone, ..) if op == "DynamicQuantizeLinear" || gone.iter().any(Option::is_some) => {
                return Err(format!("its node `{}` ({op}) uses quantised activations unexpectedly", old.name));
            }
            _ => return Ok(None),
        };
        self.0.extend(now.into_iter().map(|(name, what)| (name.clone(), what)));
        Ok(Some(Vec::new()))
    }
}

/// A product in floats, by weights that become floats with these steps.
fn multiply(product: &Product, step: &str, output: &str) -> Vec<Node> {
    let floats = format!("{output}_weights");
    let weights = [Some(product.weights.as_str()), Some(step), product.zeros.as_deref()];
    let weights: Vec<&str> = weights.into_iter().flatten().collect();
    vec![
        // Each output has a step of its own.
        node("DequantizeLinear", &weights, &floats, vec![int("axis", 1)]),
        node("MatMul", &[&product.activations, &floats], output, Vec::new()),
    ]
}
