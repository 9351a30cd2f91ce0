//! Int8 networks whose activations are scaled token by token and rounded to two bytes each.
//!
//! A dynamically quantised network rounds all activations of a layer to 256 steps of one size, which its largest
//! activation sets. A vision transformer has a few tokens with activations far above all others, and what the others
//! say drowns in the rounding. Divided by its own largest activation first, and its result multiplied by it
//! afterwards, every token gets steps that fit it. (Per-token scales are those of ZeroQuant, arXiv:2206.01861, section
//! 4.1.)
//!
//! One byte an activation is still too coarse for two processors to agree: each adds floats in another order, an
//! activation in a million falls on the other side of a rounding, and three layers on half of them do. What is left of
//! an activation by its first byte is therefore rounded to a second one, which is multiplied by the same weights. A step
//! is a 32,258th of a token's largest activation then, and what falls on its other side is nearly as small as the
//! floats' own errors. The weights and the integer products stay as they are.

use std::collections::HashMap;

use prost::Message;

use crate::onnx::raw::{MODEL_OPSET, Rewrite, damaged, fields, rewritten, unexpected};
use crate::onnx::{Attribute, Node, OperatorSet, TensorProto, UINT8, int, ints, node, tensor};

/// From this operator set on `ReduceMax` takes its axes as an input.
const OPSET_WITH_AXES_AS_INPUT: i64 = 18;
/// Keeps a token of zeros from being divided by zero.
const TINY: &str = "landfall_tiny";
/// A byte counts this many steps up and as many down from [`ZERO`].
const STEPS: f32 = 127.0;
const STEP: &str = "landfall_step";
/// Steps of the second byte in one of the first, which leaves half a step either way.
const FINE_STEPS: f32 = 2.0 * STEPS;
const FINE_STEP: &str = "landfall_fine_step";
const FINE_IN_STEPS: &str = "landfall_fine_in_steps";
const ZERO: &str = "landfall_zero";
/// The tokens, in whose rows the second bytes are put below the first ones, are the last axis but one.
const TOKENS: i64 = -2;

/// The same network (the bytes of an ONNX file) with activations scaled token by token, along their last axis, and
/// rounded to two bytes. A network that is not dynamically quantised stays as it is.
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
    rewritten::<Scaling>(model)
}

/// Which tensors are in units of which token scales, on a walk through the nodes in their order.
#[derive(Default)]
struct Scaling {
    scale_of: HashMap<String, String>,
}

impl Rewrite for Scaling {
    fn nodes(&mut self, old: &Node) -> Result<Option<Vec<Node>>, String> {
        let scale = old.input.iter().find_map(|input| self.scale_of.get(input)).cloned();
        let scaled = old.input.iter().filter(|input| self.scale_of.contains_key(*input)).count();
        // The quantised activations must be the left factor: its rows are the tokens.
        let is_left = old.input.first().is_some_and(|input| self.scale_of.contains_key(input));
        match (old.op_type.as_str(), old.input.as_slice(), old.output.as_slice(), scale) {
            // A product of two would have to be multiplied by both scales.
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
                let name = format!("make_{output}_of_{unscaled}"); // the network may have a `make_` of its own
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

/// The name of a token's largest activation, by that of its integers.
fn token_scale(integers: &str) -> String {
    format!("{integers}_token_scale")
}

/// Both bytes of the activations `x`, under the names that `DynamicQuantizeLinear` gave to one and its step and zero.
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

/// The sums of both bytes as floats, those of the second in steps of the first.
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
