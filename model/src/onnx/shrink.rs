//! Shrinking: an encoder whose weights take fewer than 4 bits each, derived from one with 8-bit weights.
//!
//! The weights of a layer become small integers with one step per input, which a general-purpose compressor then stores in
//! about as many bits as their entropy. To lose less than by rounding each weight on its own, the rounding error of an input
//! is corrected in the weights of the inputs after it, as far as the activations of both are correlated (GPTQ,
//! arXiv:2210.17323). GPTQ needs the second moments H of a layer's inputs, hundreds of megabytes for an encoder. Here H is
//! modelled as `diag(d) + V Vᵀ` with V of a few dozen columns, which are stored in 8 bits: a hundredth of the size, and the
//! correction becomes a recursion over the inputs that needs no decomposition of a matrix.
//!
//! Who has the 8-bit encoder and the moments can therefore compute the small one instead of downloading it. The result is
//! the same to the byte on every processor: it is computed with `+ - * /` and rounding only, which IEEE 754 defines exactly,
//! each sum in a fixed order. Threads divide the outputs of a layer among themselves, and outputs do not depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::onnx::adapter::{self, floats, numbers};
use crate::onnx::layers::{inputs_of_layers, rewrite_layers, split};
use crate::onnx::raw::{GRAPH_INITIALIZER, MODEL_GRAPH, damaged, decode_tensor, fields, with_graph, write};
use crate::onnx::rounding::{Moments, round};
use crate::onnx::{FLOAT, TensorProto};

/// Float tensors with at least this many values keep [`MANTISSA_BITS`] bits of their mantissas.
const LARGE_TENSOR: usize = 512;
/// As in a 16-bit float; the remaining bits are zeros, which compress well.
const MANTISSA_BITS: u32 = 10;
/// Largest root mean square of an input; its square must be a float.
const MAX_RMS: f32 = 1e15;

/// Names of the tensors in a file of moments end in these: of a layer, the step; of a tensor of activations, the root mean
/// square of each input, the int8 factors of their correlations and the value of 1 in each column of those.
pub const STEP: &str = ".step";
/// See [`STEP`].
pub const RMS: &str = ".rms";
/// See [`STEP`].
pub const FACTORS: &str = ".factors";
/// See [`STEP`].
pub const FACTOR_SCALE: &str = ".factor_scale";

/// A linear layer with float weights.
#[derive(Clone, Debug)]
pub struct LinearLayer {
    /// Name of the tensor that it multiplies.
    pub input: String,
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// `[inputs, outputs]`, row-major.
    pub weights: Vec<f32>,
}

/// The linear layers of a dynamically quantised network (the bytes of an ONNX file) by name, with an adapter merged.
///
/// # Errors
/// The reason, when a file is invalid or the adapter does not fit the network.
pub fn linear_layers(network: &[u8], adapter: Option<&[u8]>) -> Result<BTreeMap<String, LinearLayer>, String> {
    let updates = adapter.map(adapter::read).transpose()?.unwrap_or_default();
    let graph = graph_of(network)?;
    let inputs = inputs_of_layers(graph)?;
    if let Some(layer) = updates.keys().find(|layer| !inputs.contains_key(*layer)) {
        return Err(format!("the network has no layer {layer}, for which there is an adapter"));
    }
    let names: BTreeSet<String> = inputs.keys().cloned().collect();
    let linear = |(name, layer): (String, _)| {
        let weights = adapter::merged(&name, &layer, updates.get(&name))?;
        let [rows, outputs] = layer.shape();
        let layer = LinearLayer { input: inputs[&name].clone(), inputs: rows, outputs, weights };
        Ok((name, layer))
    };
    split(graph, &names, |_| {})?.into_iter().map(linear).collect()
}

fn graph_of(network: &[u8]) -> Result<&[u8], String> {
    let fields = fields(network).map_err(damaged)?;
    let graph = fields.iter().find(|field| field.tag == MODEL_GRAPH).map(|field| field.payload);
    graph.ok_or_else(|| "not an ONNX network (no graph)".to_owned())
}

/// Derives the small encoder (the bytes of an ONNX file, to be compressed) from an 8-bit one and its adapter.
///
/// `moments` is a safetensors file with the step of each layer to shrink, and with the moments of the tensors that these
/// layers multiply. `scales` is the adapter of the small encoder, with an input scale for each of these layers: the step of
/// an input is the layer's step times this scale. The other layers of `adapter` are merged with 8 bits. Large float tensors,
/// such as the embedding of patches, are rounded to the precision of 16-bit floats.
///
/// # Errors
/// The reason, when a file is invalid or they do not fit together.
pub fn shrink(network: &[u8], adapter: Option<&[u8]>, moments: &[u8], scales: &[u8]) -> Result<Vec<u8>, String> {
    let updates = adapter.map(adapter::read).transpose()?.unwrap_or_default();
    let scales = adapter::read(scales)?;
    let moments = Recipe::parse(moments).map_err(|why| format!("moments: {why}"))?;
    let inputs = inputs_of_layers(graph_of(network)?)?;
    let layers: BTreeSet<String> = updates.keys().chain(moments.steps.keys()).cloned().collect();
    let rounded = with_graph(network, round_floats)?;
    rewrite_layers(&rounded, &layers, |name, layer| {
        let weights = adapter::merged(name, &layer, updates.get(name))?;
        let Some(&step) = moments.steps.get(name) else { return Ok(layer.with_weights(&weights)) };
        let [rows, outputs] = layer.shape();
        let of_input = inputs.get(name).and_then(|input| moments.inputs.get(input));
        let of_input = of_input.filter(|moments| moments.diagonal.len() == rows);
        let of_input = of_input.ok_or_else(|| format!("layer {name}: no moments of its {rows} inputs"))?;
        let scale = scales.get(name).and_then(|update| update.input_scale.as_ref());
        let scale = scale.filter(|scale| scale.len() == rows);
        let scale = scale.ok_or_else(|| format!("layer {name}: no scales of its {rows} inputs"))?;
        let steps: Vec<f32> = scale.iter().map(|scale| scale * step).collect();
        let integers = round(&weights, outputs, &steps, of_input);
        Ok(layer.with_bytes(integers.into_iter().map(i8::cast_unsigned).collect(), vec![step; outputs]))
    })
}

/// A file of moments.
#[derive(Default)]
struct Recipe {
    /// By layer.
    steps: BTreeMap<String, f32>,
    /// By name of the tensor of activations.
    inputs: BTreeMap<String, Moments>,
}

impl Recipe {
    fn parse(file: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(file).map_err(|e| format!("not a safetensors file ({e})"))?;
        let mut recipe = Self::default();
        for name in tensors.names() {
            let tensor = |ending: &str, of: &str| tensors.tensor(&format!("{of}{ending}")).ok();
            if let Some(layer) = name.strip_suffix(STEP) {
                let step = tensor(STEP, layer).and_then(|tensor| numbers(&tensor));
                let step = step.as_deref().and_then(|step| step.first()).filter(|step| **step >= f32::MIN_POSITIVE);
                let step = step.ok_or_else(|| format!("{name} is not a finite number above 0"))?;
                recipe.steps.insert(layer.to_owned(), *step);
            } else if let Some(input) = name.strip_suffix(RMS) {
                let list = |ending| tensor(ending, input).and_then(|tensor| numbers(&tensor));
                let factors = tensor(FACTORS, input).filter(|factors| factors.dtype() == Dtype::I8);
                let parts = list(RMS).zip(list(FACTOR_SCALE)).zip(factors);
                let moments = parts.and_then(|((rms, scale), factors)| {
                    let fits = !rms.is_empty() && factors.shape() == [rms.len(), scale.len()];
                    let is_valid = fits && rms.iter().all(|rms| (0.0..=MAX_RMS).contains(rms));
                    let value = |(i, byte): (usize, &u8)| f32::from(byte.cast_signed()) * scale[i % scale.len()];
                    let factors = is_valid.then(|| factors.data().iter().enumerate().map(value).collect())?;
                    Some(Moments::of_correlations(&rms, factors, scale.len()))
                });
                let moments = moments.ok_or_else(|| {
                    format!("{input}: expected its rms `[inputs]`, numbers from 0 to {MAX_RMS}, int8 factors `[inputs, rank]` and their scales `[rank]`")
                })?;
                recipe.inputs.insert(input.to_owned(), moments);
            } else if !name.ends_with(FACTORS) && !name.ends_with(FACTOR_SCALE) {
                return Err(format!("unknown tensor {name}"));
            }
        }
        Ok(recipe)
    }
}

/// Rounds the mantissas of a graph's large float tensors.
fn round_floats(graph: &[u8]) -> Result<Vec<u8>, String> {
    let mut rounded = Vec::with_capacity(graph.len());
    for field in fields(graph).map_err(damaged)? {
        let tensor = (field.tag == GRAPH_INITIALIZER).then(|| decode_tensor(field.payload)).transpose()?;
        match tensor.filter(|tensor| tensor.data_type == FLOAT && tensor.raw_data.len() >= 4 * LARGE_TENSOR) {
            Some(TensorProto { raw_data, .. }) if floats(&raw_data).iter().any(|x| !x.is_finite()) => {
                return Err("a tensor has values that are not finite".to_owned());
            }
            Some(mut tensor) => {
                let values = floats(&tensor.raw_data).into_iter().map(round_mantissa);
                tensor.raw_data = values.flat_map(f32::to_le_bytes).collect();
                write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut rounded);
            }
            None => rounded.extend_from_slice(field.whole),
        }
    }
    Ok(rounded)
}

/// The nearest float with [`MANTISSA_BITS`] bits of mantissa; halves are rounded away from zero.
fn round_mantissa(x: f32) -> f32 {
    let dropped = f32::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
    let rounded = f32::from_bits((x.to_bits() + (1 << (dropped - 1))) & !((1 << dropped) - 1));
    if rounded.is_finite() { rounded } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::rounding::tests::{INPUTS, OUTPUTS, RANK, factors, noise, rms};
    use crate::onnx::{Graph, INT8, Model, Node, node, tensor};
    use safetensors::tensor::TensorView;

    const LAYER: &str = "encoder.layers.0.fc1";

    fn network() -> Vec<u8> {
        let bytes = noise(1, INPUTS * OUTPUTS).into_iter().map(|x| ((x * 127.0) as i8).cast_unsigned());
        let tensor_of =
            |name: &str, dims: Vec<i64>, raw_data| TensorProto { dims, data_type: INT8, name: name.into(), raw_data };
        let quantise = Node {
            output: vec!["q".into(), "s".into(), "z".into()],
            ..node("DynamicQuantizeLinear", &["activations"], "q", Vec::new())
        };
        let product = node("MatMulInteger", &["q", "w_quantized", "z", "w_zero_point"], "y", Vec::new());
        let product = Node { name: "/encoder/layers.0/fc1/MatMul_quant".into(), ..product };
        let steps: Vec<f32> = noise(2, OUTPUTS).into_iter().map(|x| 0.01 + 0.005 * x).collect();
        let initializer = vec![
            tensor_of("w_quantized", vec![INPUTS as i64, OUTPUTS as i64], bytes.collect()),
            tensor("w_scale", &[OUTPUTS as i64], &steps),
            tensor_of("w_zero_point", vec![OUTPUTS as i64], vec![0; OUTPUTS]),
            tensor("patches", &[600], &noise(3, 600)),
        ];
        let graph = Graph { node: vec![quantise, product], initializer, ..Graph::default() };
        Model { graph: Some(graph), ..Model::default() }.encode_to_vec()
    }

    /// A safetensors file with these tensors.
    fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn moments(step: f32, rms: &[f32], factors: Vec<u8>) -> Vec<u8> {
        file(&[
            ("encoder.layers.0.fc1.step", Dtype::F32, vec![1], bytes(&[step])),
            ("activations.rms", Dtype::F32, vec![rms.len()], bytes(rms)),
            ("activations.factors", Dtype::I8, vec![factors.len() / RANK, RANK], factors),
            ("activations.factor_scale", Dtype::F32, vec![RANK], bytes(&[0.005; RANK])),
        ])
    }

    fn scales(scale: &[f32]) -> Vec<u8> {
        file(&[("encoder.layers.0.fc1.input_scale", Dtype::F32, vec![scale.len()], bytes(scale))])
    }

    fn small() -> Vec<u8> {
        let scale: Vec<f32> = noise(6, INPUTS).into_iter().map(|x| 1.0 + 0.5 * x).collect();
        shrink(&network(), None, &moments(0.2, &rms(), factors()), &scales(&scale)).unwrap()
    }

    #[test]
    fn weights_are_near_the_original_and_large_tensors_have_short_mantissas() {
        let before = &linear_layers(&network(), None).unwrap()[LAYER];
        let scale: Vec<f32> = noise(6, INPUTS).into_iter().map(|x| 1.0 + 0.5 * x).collect();
        let after = &linear_layers(&small(), Some(&scales(&scale))).unwrap()[LAYER];
        assert_eq!((after.inputs, after.outputs, after.input.as_str()), (INPUTS, OUTPUTS, "activations"));
        for (i, (a, b)) in before.weights.iter().zip(&after.weights).enumerate() {
            assert!((a - b).abs() < 0.8, "{i}: {b}, not about {a}");
        }
        let graph = Model::decode(small().as_slice()).unwrap().graph.unwrap();
        let patches = graph.initializer.iter().find(|tensor| tensor.name == "patches").unwrap();
        for (short, long) in floats(&patches.raw_data).into_iter().zip(noise(3, 600)) {
            assert!(short.to_bits() & 0x1fff == 0 && (short - long).abs() <= long.abs() / 2048.0, "{long}");
        }
        assert_eq!((round_mantissa(f32::MAX), round_mantissa(0.0)), (f32::MAX, 0.0));
    }

    #[test]
    fn invalid_files_are_errors() {
        let (whole, one) = (network(), scales(&[1.0; INPUTS]));
        let says = |moments: &[u8], scales: &[u8], what: &str| {
            let error = shrink(&whole, None, moments, scales).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        let right = moments(0.2, &rms(), factors());
        says(&right[..right.len() - 1], &one, "moments: not a safetensors file");
        says(b"", &one, "moments: not a safetensors file");
        for step in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            says(&moments(step, &rms(), factors()), &one, "step is not a finite number above 0");
        }
        for wrong in [-1.0, f32::NAN, 1e30] {
            let mut rms = rms();
            rms[3] = wrong;
            says(&moments(0.2, &rms, factors()), &one, "activations: expected its rms");
        }
        says(&moments(0.2, &rms(), factors()[RANK..].to_vec()), &one, "activations: expected its rms");
        says(&moments(0.2, &rms()[1..], factors()[RANK..].to_vec()), &one, "no moments of its 24 inputs");
        says(&file(&[("encoder.layers.0.fc1.step", Dtype::F32, vec![1], bytes(&[0.2]))]), &one, "no moments");
        says(&file(&[("x", Dtype::F32, vec![1], bytes(&[0.2]))]), &one, "unknown tensor x");
        says(&file(&[("other.step", Dtype::F32, vec![1], bytes(&[0.2]))]), &one, "no layer other");
        says(&right, &scales(&[1.0; INPUTS - 1]), "no scales of its 24 inputs");
        says(&right, &scales(&[0.0; INPUTS]), "finite numbers above 0");
        assert!(shrink(&whole[..200], None, &right, &one).is_err());
        assert!(shrink(b"", None, &right, &one).unwrap_err().contains("no graph"));
    }
}
