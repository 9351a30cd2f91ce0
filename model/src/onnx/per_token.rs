//! Per-token activation scales with two bytes per activation, for int8 networks.
//!
//! A dynamically quantised network quantises all activations of a layer with one scale, set by the largest activation. A
//! vision transformer has a few outlier tokens with far larger activations, which leave the others with few distinct values.
//! Here each token is divided by its own largest activation first and the result multiplied by it afterwards (per-token
//! scales as in ZeroQuant, arXiv:2206.01861, section 4.1).
//!
//! One byte per activation is too coarse for two processors to agree: each adds floats in another order, one activation in a
//! million is rounded to a different byte, and three layers later half of them are. The remainder of the first byte is
//! therefore quantised to a second byte, which is multiplied by the same weights. The step is then 1/32258 of the largest
//! activation of the token, close to the rounding errors of floats. Weights and integer products are not changed.

use std::collections::HashMap;

use prost::Message;

use crate::onnx::raw::{MODEL_OPSET, Rewrite, damaged, fields, rewritten, unexpected};
use crate::onnx::{Attribute, Node, OperatorSet, TensorProto, UINT8, int, ints, node, tensor};

/// From this operator set, `ReduceMax` takes its axes as an input.
const OPSET_WITH_AXES_AS_INPUT: i64 = 18;
/// Avoids a division by zero for a token of zeros.
const TINY: &str = "landfall_tiny";
/// Steps of a byte in each direction from [`ZERO`].
const STEPS: f32 = 127.0;
const STEP: &str = "landfall_step";
/// Steps of the second byte per step of the first; the remainder is half a step in each direction.
const FINE_STEPS: f32 = 2.0 * STEPS;
const FINE_STEP: &str = "landfall_fine_step";
const FINE_IN_STEPS: &str = "landfall_fine_in_steps";
const ZERO: &str = "landfall_zero";
/// The axis of tokens is the second to last; second bytes are appended there as further rows.
const TOKENS: i64 = -2;

/// Rewrites a network (the bytes of an ONNX file) to have one activation scale per token, that is, per row of the last axis,
/// and two bytes per activation. A network that is not dynamically quantised is not changed.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or it uses quantised activations in an unknown way.
pub fn per_token(model: &[u8]) -> Result<Vec<u8>, String> {
    let fields = fields(model).map_err(damaged)?;
    for field in fields.iter().filter(|field| field.tag == MODEL_OPSET) {
        let OperatorSet { domain, version } = OperatorSet::decode(field.payload).map_err(damaged)?;
        if domain.is_empty() && version >= OPSET_WITH_AXES_AS_INPUT {
            return Err(format!(
                "operator set {version} is not supported, only those before {OPSET_WITH_AXES_AS_INPUT}"
            ));
        }
    }
    rewritten::<Scaling>(model)
}

/// Tracks which tensors are in units of which token scales while walking through the nodes in order.
#[derive(Default)]
struct Scaling {
    scale_of: HashMap<String, String>,
}

impl Rewrite for Scaling {
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let scale = old.input.iter().find_map(|input| self.scale_of.get(input)).cloned();
        let scaled = old.input.iter().filter(|input| self.scale_of.contains_key(*input)).count();
        // The quantised activations must be the left factor, whose rows are the tokens.
        let is_left = old.input.first().is_some_and(|input| self.scale_of.contains_key(input));
        match (old.op_type.as_str(), old.input.as_slice(), old.output.as_slice(), scale) {
            // A product of two would need both scales.
            (_, _, _, Some(_)) if scaled > 1 => Err(unexpected(old)),
            ("DynamicQuantizeLinear", [x], [integers, step, zero], None) => {
                self.scale_of.insert(integers.clone(), token_scale(integers));
                Ok(Some(quantise(x, integers, step, zero)))
            }
            ("MatMulInteger", _, [sums], Some(scale)) if is_left => {
                self.scale_of.insert(sums.clone(), scale);
                Ok(None)
            }
            ("Cast", [sums], [floats], Some(scale)) => {
                self.scale_of.insert(floats.clone(), scale);
                Ok(Some(add(sums, floats, &old.attribute)))
            }
            ("Mul", _, [output], Some(scale)) => {
                let unscaled = format!("{output}_unscaled");
                let product = Node { output: vec![unscaled.clone()], ..old.clone() };
                let name = format!("make_{output}_of_{unscaled}"); // avoids a clash with the network's own names
                let scaled = Node { name, ..node("Mul", &[&unscaled, &scale], output, Vec::new()) };
                Ok(Some(vec![product, scaled]))
            }
            ("DynamicQuantizeLinear", ..) | (_, _, _, Some(_)) => Err(unexpected(old)),
            (_, _, _, None) => Ok(None),
        }
    }

    fn tensors(&self) -> Vec<TensorProto> {
        let number = |name: &str, value: f32| tensor(name, &[], &[value]);
        let shared = [
            number(TINY, 1e-12),
            number(STEP, 1.0 / STEPS),
            number(FINE_STEP, 1.0 / STEPS / FINE_STEPS),
            number(FINE_IN_STEPS, 1.0 / FINE_STEPS),
            TensorProto { dims: Vec::new(), data_type: UINT8, name: ZERO.into(), raw_data: vec![128] },
        ];
        if self.scale_of.is_empty() { Vec::new() } else { shared.into() }
    }
}

/// Name of the scale tensor for quantised activations.
fn token_scale(integers: &str) -> String {
    format!("{integers}_token_scale")
}

/// Nodes that compute both bytes of the activations `x`, with the output names of the `DynamicQuantizeLinear` they replace.
fn quantise(x: &str, integers: &str, step: &str, zero: &str) -> Vec<Node> {
    let name = |what: &str| format!("{integers}_{what}");
    let last_axis = vec![ints("axes", vec![-1]), int("keepdims", 1)];
    vec![
        node("Abs", &[x], &name("absolute"), Vec::new()),
        node("ReduceMax", &[&name("absolute")], &name("largest"), last_axis),
        node("Max", &[&name("largest"), TINY], &token_scale(integers), Vec::new()),
        node("Div", &[x, &token_scale(integers)], &name("scaled"), Vec::new()),
        node("QuantizeLinear", &[&name("scaled"), STEP, ZERO], &name("coarse"), Vec::new()),
        node("DequantizeLinear", &[&name("coarse"), STEP, ZERO], &name("rounded"), Vec::new()),
        node("Sub", &[&name("scaled"), &name("rounded")], &name("rest"), Vec::new()),
        node("QuantizeLinear", &[&name("rest"), FINE_STEP, ZERO], &name("fine"), Vec::new()),
        node("Concat", &[&name("coarse"), &name("fine")], integers, vec![int("axis", TOKENS)]),
        node("Identity", &[STEP], step, Vec::new()),
        node("Identity", &[ZERO], zero, Vec::new()),
    ]
}

/// Nodes that add the products of both bytes, in units of the first.
fn add(sums: &str, floats: &str, to_float: &[Attribute]) -> Vec<Node> {
    let name = |what: &str| format!("{floats}_{what}");
    let split = Node {
        output: vec![name("coarse"), name("fine")],
        ..node("Split", &[&name("both")], &name("halves"), vec![int("axis", TOKENS)])
    };
    vec![
        node("Cast", &[sums], &name("both"), to_float.to_vec()),
        split,
        node("Mul", &[&name("fine"), FINE_IN_STEPS], &name("fine_in_steps"), Vec::new()),
        node("Add", &[&name("coarse"), &name("fine_in_steps")], floats, Vec::new()),
    ]
}
