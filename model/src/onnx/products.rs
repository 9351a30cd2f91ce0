//! The products of dynamically quantised networks, which quantise activations, multiply them by int8 weights and scale the sums.

use std::collections::{HashMap, HashSet};

use crate::onnx::raw::{Rewrite, unexpected};
use crate::onnx::{Node, TensorProto};

/// A product of activations and weights, by the names of its tensors.
#[derive(Clone)]
pub(super) struct Product {
    /// `[…, tokens, inputs]`
    pub(super) activations: String,
    /// `[inputs, outputs]`, int8.
    pub(super) weights: String,
    /// Zero points of the weights, if any.
    pub(super) zeros: Option<String>,
    /// One scale for all outputs or one per output.
    pub(super) weights_step: String,
    /// `[…, tokens, outputs]`
    pub(super) output: String,
}

/// Another way to compute products.
pub(super) trait Multiply: Default {
    /// Nodes that prepare activations for all products of them.
    fn prepare(&self, _activations: &str) -> Vec<Node> {
        Vec::new()
    }

    /// Nodes that compute a product.
    fn multiply(&self, product: &Product) -> Vec<Node>;

    /// Initializers that the nodes need.
    fn tensors(&self) -> Vec<TensorProto> {
        Vec::new()
    }
}

/// Replaces all products of a network.
#[derive(Default)]
pub(super) struct Products<M> {
    /// Tensors that are no longer computed, by name.
    gone: HashMap<String, Gone>,
    /// Activations that are prepared.
    prepared: HashSet<String>,
    multiply: M,
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
    Sums { activations: String, weights: String, zeros: Option<String> },
}

impl<M: Multiply> Rewrite for Products<M> {
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let gone: Vec<Option<&Gone>> = old.input.iter().map(|input| self.gone.get(input)).collect();
        let mut nodes = Vec::new();
        let now = match (old.op_type.as_str(), gone.as_slice(), old.input.as_slice(), old.output.as_slice()) {
            ("DynamicQuantizeLinear", [None], [x], [integers, step, zero]) => {
                if self.prepared.insert(x.clone()) {
                    nodes = self.multiply.prepare(x);
                }
                vec![(integers, Gone::Integers(x.clone())), (step, Gone::Step(x.clone())), (zero, Gone::Zero)]
            }
            ("MatMulInteger", [Some(Gone::Integers(x)), None, ..], [_, weights, rest @ ..], [sums]) => {
                let zeros = rest.get(1).filter(|name| !name.is_empty()).cloned();
                vec![(sums, Gone::Sums { activations: x.clone(), weights: weights.clone(), zeros })]
            }
            ("Cast", [Some(sums @ Gone::Sums { .. })], _, [floats]) => vec![(floats, Gone::clone(sums))],
            ("Mul", [Some(Gone::Step(x)), None], [_, weights_step], [unit])
            | ("Mul", [None, Some(Gone::Step(x))], [weights_step, _], [unit]) => {
                let (activations, weights_step) = (x.clone(), weights_step.clone());
                vec![(unit, Gone::Unit { activations, weights_step })]
            }
            (
                "Mul",
                [Some(Gone::Sums { activations, weights, zeros }), Some(Gone::Unit { activations: of, weights_step })]
                | [Some(Gone::Unit { activations: of, weights_step }), Some(Gone::Sums { activations, weights, zeros })],
                _,
                [output],
            ) if activations == of => {
                let (activations, weights, zeros) = (activations.clone(), weights.clone(), zeros.clone());
                let (weights_step, output) = (weights_step.clone(), output.clone());
                let product = Product { activations, weights, zeros, weights_step, output };
                return Ok(Some(self.multiply.multiply(&product)));
            }
            (op, gone, ..) if op == "DynamicQuantizeLinear" || gone.iter().any(Option::is_some) => {
                return Err(unexpected(old));
            }
            _ => return Ok(None),
        };
        let now: Vec<_> = now.into_iter().map(|(name, what)| (name.clone(), what)).collect();
        self.gone.extend(now);
        Ok(Some(nodes))
    }

    fn tensors(&self) -> Vec<TensorProto> {
        if self.gone.is_empty() { Vec::new() } else { self.multiply.tensors() }
    }
}
