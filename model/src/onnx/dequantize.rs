//! Dequantisation: int8 networks computed in floats, for devices without int8 products, such as GPUs through WebGPU.
//!
//! Where a dynamically quantised network quantises activations and multiplies bytes, weights are dequantised and multiplied
//! with the float activations. They are stored as bytes until then. The output is nearly that of the network with two bytes
//! per activation ([`super::per_token`]).

use crate::onnx::products::{Multiply, Product, Products};
use crate::onnx::raw::rewritten;
use crate::onnx::{Node, int, node};

/// Rewrites a network (the bytes of an ONNX file) to compute in floats. A network that is not dynamically quantised is not
/// changed.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or it uses quantised activations in an unknown way.
pub fn dequantize(network: &[u8]) -> Result<Vec<u8>, String> {
    rewritten::<Products<Floats>>(network)
}

#[derive(Default)]
struct Floats;

impl Multiply for Floats {
    fn multiply(&self, Product { activations, weights, zeros, weights_step, output }: &Product) -> Vec<Node> {
        let floats = format!("{output}_weights");
        let weights: Vec<&str> = [weights, weights_step].into_iter().chain(zeros).map(String::as_str).collect();
        vec![
            // One scale per output.
            node("DequantizeLinear", &weights, &floats, vec![int("axis", 1)]),
            node("MatMul", &[activations, &floats], output, Vec::new()),
        ]
    }
}
