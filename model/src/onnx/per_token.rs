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
//!
//! The products are ONNX Runtime's `MatMulIntegerToFloat`, which scales the integer sums while they are in the cache.

use prost::Message;

use crate::onnx::products::{Multiply, Product, Products};
use crate::onnx::raw::{MODEL_OPSET, damaged, fields, rewritten, write};
use crate::onnx::{Node, OperatorSet, TensorProto, UINT8, int, ints, node, tensor};

/// From this operator set, `ReduceMax` takes its axes as an input.
const OPSET_WITH_AXES_AS_INPUT: i64 = 18;
/// The operators of ONNX Runtime.
const RUNTIME_DOMAIN: &str = "com.microsoft";
/// Avoids a division by zero for a token of zeros.
const TINY: &str = "landfall_tiny";
/// Steps of a byte in each direction from [`ZERO`].
const STEPS: f32 = 127.0;
const STEP: &str = "landfall_step";
/// Steps of the second byte per step of the first; the remainder is half a step in each direction.
const FINE_STEPS: f32 = 2.0 * STEPS;
const FINE_STEP: &str = "landfall_fine_step";
const ZERO: &str = "landfall_zero";

/// Rewrites a network (the bytes of an ONNX file) to have one activation scale per token, that is, per row of the last axis,
/// and two bytes per activation. A network that is not dynamically quantised is not changed.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or it uses quantised activations in an unknown way.
pub fn per_token(model: &[u8]) -> Result<Vec<u8>, String> {
    let mut has_runtime_domain = false;
    for field in fields(model).map_err(damaged)?.iter().filter(|field| field.tag == MODEL_OPSET) {
        let OperatorSet { domain, version } = OperatorSet::decode(field.payload).map_err(damaged)?;
        has_runtime_domain |= domain == RUNTIME_DOMAIN;
        if domain.is_empty() && version >= OPSET_WITH_AXES_AS_INPUT {
            return Err(format!(
                "operator set {version} is not supported, only those before {OPSET_WITH_AXES_AS_INPUT}"
            ));
        }
    }
    let mut rewritten = rewritten::<Products<TwoBytes>>(model)?;
    if !has_runtime_domain && rewritten != model {
        let domain = OperatorSet { domain: RUNTIME_DOMAIN.into(), version: 1 };
        write(MODEL_OPSET, &domain.encode_to_vec(), &mut rewritten);
    }
    Ok(rewritten)
}

#[derive(Default)]
struct TwoBytes;

impl Multiply for TwoBytes {
    /// Computes both bytes, in units of the token's largest activation.
    fn prepare(&self, x: &str) -> Vec<Node> {
        let name = |what: &str| format!("{x}_{what}");
        let last_axis = vec![ints("axes", vec![-1]), int("keepdims", 1)];
        vec![
            node("Abs", &[x], &name("absolute"), Vec::new()),
            node("ReduceMax", &[&name("absolute")], &name("largest"), last_axis),
            node("Max", &[&name("largest"), TINY], &name("token_scale"), Vec::new()),
            node("Div", &[x, &name("token_scale")], &name("scaled"), Vec::new()),
            node("QuantizeLinear", &[&name("scaled"), STEP, ZERO], &name("coarse"), Vec::new()),
            node("DequantizeLinear", &[&name("coarse"), STEP, ZERO], &name("rounded"), Vec::new()),
            node("Sub", &[&name("scaled"), &name("rounded")], &name("rest"), Vec::new()),
            node("QuantizeLinear", &[&name("rest"), FINE_STEP, ZERO], &name("fine"), Vec::new()),
        ]
    }

    /// Adds the products of both bytes.
    fn multiply(&self, Product { activations, weights, zeros, weights_step, output }: &Product) -> Vec<Node> {
        let name = |what: &str| format!("{output}_of_{what}");
        let product = |byte: &str, step: &str| {
            let bytes = format!("{activations}_{byte}");
            let input = [&bytes, weights, step, weights_step, ZERO].into_iter().chain(zeros.as_deref());
            let input: Vec<&str> = input.collect();
            Node { domain: RUNTIME_DOMAIN.into(), ..node("MatMulIntegerToFloat", &input, &name(byte), Vec::new()) }
        };
        vec![
            product("coarse", STEP),
            product("fine", FINE_STEP),
            node("Add", &[&name("coarse"), &name("fine")], &name("both"), Vec::new()),
            node("Mul", &[&name("both"), &format!("{activations}_token_scale")], output, Vec::new()),
        ]
    }

    fn tensors(&self) -> Vec<TensorProto> {
        let number = |name: &str, value: f32| tensor(name, &[], &[value]);
        vec![
            number(TINY, 1e-12),
            number(STEP, 1.0 / STEPS),
            number(FINE_STEP, 1.0 / STEPS / FINE_STEPS),
            TensorProto { dims: Vec::new(), data_type: UINT8, name: ZERO.into(), raw_data: vec![128] },
        ]
    }
}
