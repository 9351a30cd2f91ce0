//! Dequantisation: int8 networks computed in floats, for devices without int8 products, such as GPUs through WebGPU.
//!
//! Where a dynamically quantised network quantises activations and multiplies bytes, weights are dequantised and multiplied
//! with the float activations. They are stored as bytes until then. The output is nearly that of the network with two bytes
//! per activation ([`super::per_token`]).

use std::collections::HashMap;

use crate::onnx::raw::{Rewrite, rewritten, unexpected};
use crate::onnx::{Node, int, node};

/// Rewrites a network (the bytes of an ONNX file) to compute in floats. A network that is not dynamically quantised is not
/// changed.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or it uses quantised activations in an unknown way.
pub fn dequantize(network: &[u8]) -> Result<Vec<u8>, String> {
    rewritten::<Floats>(network)
}

/// A tensor that is no longer computed.
#[derive(Clone)]
enum Gone {
    /// Quantised values of these activations.
    Integers(String),
    /// Scale of these activations.
    Step(String),
    /// Zero point of activations.
    Zero,
    /// Scale of activations times scale of weights.
    Unit { activations: String, weights_step: String },
    /// Sums of a product, as integers or floats.
    Sums(Product),
}

/// A product, by the names of activations, weights and the zero points of the weights, if any.
#[derive(Clone)]
struct Product {
    activations: String,
    weights: String,
    zeros: Option<String>,
}

/// Tensors that are no longer computed, by name.
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

/// A float product with weights dequantised by these scales.
fn multiply(product: &Product, step: &str, output: &str) -> Vec<Node> {
    let floats = format!("{output}_weights");
    let weights = [Some(product.weights.as_str()), Some(step), product.zeros.as_deref()];
    let weights: Vec<&str> = weights.into_iter().flatten().collect();
    vec![
        // One scale per output.
        node("DequantizeLinear", &weights, &floats, vec![int("axis", 1)]),
        node("MatMul", &[&product.activations, &floats], output, Vec::new()),
    ]
}
