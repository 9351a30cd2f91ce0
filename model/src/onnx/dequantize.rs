//! Int8 networks computed in floats, for processors that have no products of bytes, such as those that browsers reach
//! through WebGPU.
//!
//! Where a dynamically quantised network rounds its activations and multiplies bytes, its weights are turned back into
//! floats and multiplied with the activations as they are. They stay bytes in the file and in memory until then. With two
//! bytes an activation ([`super::per_token`]) the network says nearly the same.

use std::collections::HashMap;

use crate::onnx::raw::{Rewrite, rewritten, unexpected};
use crate::onnx::{Node, int, node};

/// The same network (the bytes of an ONNX file) in floats. A network that is not dynamically quantised stays as it is.
///
/// # Errors
/// When the bytes are no ONNX network, or it uses its integers in a way that this does not know; says why.
pub fn dequantize(network: &[u8]) -> Result<Vec<u8>, String> {
    rewritten::<Floats>(network)
}

/// A tensor that is not computed any more.
#[derive(Clone)]
enum Gone {
    /// The integers of these activations.
    Integers(String),
    /// The step of these activations.
    Step(String),
    /// The zero of activations.
    Zero,
    /// The step of activations times that of weights.
    Unit { activations: String, weights_step: String },
    /// The sums of a product, as integers or as floats.
    Sums(Product),
}

/// A product, by the names of activations and weights, and of the weights' zeros where they have any.
#[derive(Clone)]
struct Product {
    activations: String,
    weights: String,
    zeros: Option<String>,
}

/// The tensors that are not computed any more, by name.
#[derive(Default)]
struct Floats(HashMap<String, Gone>);

impl Rewrite for Floats {
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let gone: Vec<Option<&Gone>> = old.input.iter().map(|input| self.0.get(input)).collect();
        let now = match (old.op_type.as_str(), gone.as_slice(), old.input.as_slice(), old.output.as_slice()) {
            ("DynamicQuantizeLinear", [None], [x], [integers, step, zero]) => {
                vec![(integers, Gone::Integers(x.clone())), (step, Gone::Step(x.clone())), (zero, Gone::Zero)]
            }
            ("MatMulInteger", [Some(Gone::Integers(x)), None, ..], [_, weights, rest @ ..], [sums]) => {
                let zeros = rest.get(1).filter(|name| !name.is_empty()).cloned();
                let product = Product { activations: x.clone(), weights: weights.clone(), zeros };
                vec![(sums, Gone::Sums(product))]
            }
            ("Cast", [Some(Gone::Sums(product))], _, [floats]) => vec![(floats, Gone::Sums(product.clone()))],
            ("Mul", [Some(Gone::Step(x)), None], [_, weights_step], [unit])
            | ("Mul", [None, Some(Gone::Step(x))], [weights_step, _], [unit]) => {
                let (activations, weights_step) = (x.clone(), weights_step.clone());
                vec![(unit, Gone::Unit { activations, weights_step })]
            }
            ("Mul", [Some(Gone::Sums(product)), Some(Gone::Unit { activations, weights_step })], _, [output])
            | ("Mul", [Some(Gone::Unit { activations, weights_step }), Some(Gone::Sums(product))], _, [output])
                if product.activations == *activations =>
            {
                return Ok(Some(multiply(product, weights_step, output)));
            }
            (op, gone, ..) if op == "DynamicQuantizeLinear" || gone.iter().any(Option::is_some) => {
                return Err(unexpected(old));
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
