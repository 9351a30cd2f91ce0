//! The linear layers of a dynamically quantised network: int8 weights of `MatMulInteger` nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::{DecodeError, Message};

use crate::onnx::adapter::floats;
use crate::onnx::raw::{
    GRAPH_INITIALIZER, GRAPH_NODE, TENSOR_NAME, USUAL_GROWTH, damaged, decode_node, decode_tensor, fields, with_graph,
    write,
};
use crate::onnx::{FLOAT, INT8, Node, TensorProto};

/// Largest absolute value of an int8 weight.
const LARGEST: f32 = 127.0;

/// A linear layer with int8 weights, zero point 0 and one scale per output.
pub(crate) struct Layer {
    bytes: TensorProto,
    scale: TensorProto,
    /// `[outputs]`: the value of 1 in the weights of an output.
    pub(crate) steps: Vec<f32>,
}

impl Layer {
    /// `[inputs, outputs]`
    pub(crate) fn shape(&self) -> [usize; 2] {
        let outputs = self.steps.len();
        [self.bytes.raw_data.len() / outputs, outputs]
    }

    /// The int8 weights of each input, as bytes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.raw_data.chunks_exact(self.steps.len())
    }

    /// The layer with these weights `[inputs, outputs]`, row-major, quantised with the smallest step that fits each output.
    pub(crate) fn with_weights(self, weights: &[f32]) -> Self {
        let outputs = self.steps.len();
        let mut largest = vec![f32::MIN_POSITIVE; outputs];
        for row in weights.chunks_exact(outputs) {
            largest.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
        }
        let steps: Vec<f32> = largest.into_iter().map(|largest| largest / LARGEST).collect();
        let byte = |(weight, step): (&f32, &f32)| (nearest(weight / step) as i8).cast_unsigned();
        let mut bytes = Vec::with_capacity(weights.len());
        weights.chunks_exact(outputs).for_each(|row| bytes.extend(row.iter().zip(&steps).map(byte)));
        self.with_bytes(bytes, steps)
    }

    /// The layer with these int8 weights `[inputs, outputs]`, row-major, and steps `[outputs]`.
    pub(crate) fn with_bytes(mut self, bytes: Vec<u8>, steps: Vec<f32>) -> Self {
        self.bytes.raw_data = bytes;
        self.scale.raw_data = steps.iter().flat_map(|step| step.to_le_bytes()).collect();
        Self { steps, ..self }
    }
}

/// The nearest integer, for numbers below 2²²; of two, the even one. Unlike `round`, it is no call on any processor.
fn nearest(x: f32) -> f32 {
    /// Floats of this size have no fraction.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    x + WHOLE - WHOLE
}

/// Replaces these layers of a network (the bytes of an ONNX file) by what `change` returns for each, and keeps everything
/// else. The node of layer `a.b` is called `/a/b/MatMul_quant`; the names of its weights end in `_quantized`, of their
/// scales in `_scale`, as ONNX Runtime's quantiser names them for networks exported by PyTorch.
///
/// # Errors
/// The reason, when the file is not a network, lacks one of the layers or has it in another form, or `change` fails.
pub(crate) fn rewrite_layers(
    network: &[u8],
    layers: &BTreeSet<String>,
    change: impl Fn(&str, Layer) -> Result<Layer, String>,
) -> Result<Vec<u8>, String> {
    with_graph(network, |graph| {
        let mut rewritten = Vec::with_capacity(graph.len() + USUAL_GROWTH);
        let found = split(graph, layers, |other| rewritten.extend_from_slice(other))?;
        for (name, layer) in found {
            let Layer { bytes, scale, .. } = change(&name, layer)?;
            [bytes, scale].iter().for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut rewritten));
        }
        Ok(rewritten)
    })
}

/// Takes these layers out of a graph, and passes the fields of everything else to `other`.
pub(crate) fn split(
    graph: &[u8],
    layers: &BTreeSet<String>,
    mut other: impl FnMut(&[u8]),
) -> Result<BTreeMap<String, Layer>, String> {
    let fields = fields(graph).map_err(damaged)?;
    // Layer by the name of its weights, without the suffix.
    let mut layer_of: HashMap<String, &str> = HashMap::new();
    for field in fields.iter().filter(|field| field.tag == GRAPH_NODE) {
        let node = decode_node(field.payload)?;
        let Some(layer) = layers.get(&layer_name(&node)) else { continue };
        let weights = node.input.get(1).and_then(|name| name.strip_suffix("_quantized"));
        layer_of
            .insert(weights.ok_or_else(|| format!("the weights of layer {layer} are not quantised"))?.into(), layer);
    }
    if let Some(layer) = layers.iter().find(|layer| !layer_of.values().any(|known| known == layer)) {
        return Err(format!("the network has no layer {layer}, for which there is an adapter"));
    }
    let mut parts: HashMap<&str, Parts> = HashMap::new();
    for field in &fields {
        let name = if field.tag == GRAPH_INITIALIZER { name_of(field.payload).map_err(damaged)? } else { "" };
        let part = |ending| layer_of.get(name.strip_suffix(ending)?).copied();
        let decoded = || decode_tensor(field.payload);
        if let Some(layer) = part("_quantized") {
            parts.entry(layer).or_default().bytes = Some(decoded()?);
        } else if let Some(layer) = part("_scale") {
            let typed = Typed::decode(field.payload).map_err(damaged)?;
            parts.entry(layer).or_default().scale = Some(typed.into_raw(decoded()?));
        } else {
            if let Some(layer) = part("_zero_point") {
                let typed = Typed::decode(field.payload).map_err(damaged)?;
                let is_shifted =
                    decoded()?.raw_data.iter().any(|byte| *byte != 0) || typed.ints.iter().any(|x| *x != 0);
                parts.entry(layer).or_default().is_shifted = is_shifted;
            }
            other(field.whole);
        }
    }
    let whole = |name: &String| {
        let layer = parts.remove(name.as_str()).and_then(Parts::layer).ok_or_else(|| {
            format!(
                "layer {name}: expected int8 weights `[inputs, outputs]` with zero point 0 and one scale per output"
            )
        })?;
        Ok((name.clone(), layer))
    };
    layers.iter().map(whole).collect()
}

/// The tensor that each linear layer of a graph multiplies, by layer: the float activations before they are quantised.
///
/// # Errors
/// The reason, when a node is invalid.
#[cfg(feature = "onnx")]
pub(crate) fn inputs_of_layers(graph: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let mut floats_of: HashMap<String, String> = HashMap::new();
    let mut inputs = BTreeMap::new();
    for field in fields(graph).map_err(damaged)?.iter().filter(|field| field.tag == GRAPH_NODE) {
        let node = decode_node(field.payload)?;
        match (node.op_type.as_str(), node.input.first(), node.output.first()) {
            ("DynamicQuantizeLinear", Some(floats), Some(integers)) => {
                floats_of.insert(integers.clone(), floats.clone());
            }
            ("MatMulInteger", Some(integers), _) if !layer_name(&node).is_empty() => {
                if let Some(floats) = floats_of.get(integers) {
                    inputs.insert(layer_name(&node), floats.clone());
                }
            }
            _ => {}
        }
    }
    Ok(inputs)
}

/// The layer of a node: `a.b` for `/a/b/MatMul_quant`; empty if it is not one.
pub(crate) fn layer_name(node: &Node) -> String {
    let path = node.name.strip_suffix("/MatMul_quant").filter(|_| node.op_type == "MatMulInteger");
    path.unwrap_or_default().trim_start_matches('/').replace('/', ".")
}

pub(crate) fn name_of(tensor: &[u8]) -> Result<&str, DecodeError> {
    let name = fields(tensor)?.into_iter().find(|field| field.tag == TENSOR_NAME);
    Ok(name.and_then(|field| std::str::from_utf8(field.payload).ok()).unwrap_or_default())
}

/// Typed data fields of a tensor, which ONNX Runtime's quantiser uses for small tensors instead of raw data.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Typed {
    #[prost(float, repeated, tag = "4")]
    pub(crate) floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub(crate) ints: Vec<i32>,
}

impl Typed {
    fn into_raw(self, mut tensor: TensorProto) -> TensorProto {
        tensor.raw_data.extend(self.floats.into_iter().flat_map(f32::to_le_bytes));
        tensor
    }
}

/// Weights and scales of a layer, as far as they were found.
#[derive(Default)]
struct Parts {
    bytes: Option<TensorProto>,
    scale: Option<TensorProto>,
    /// Whether a zero point is not 0.
    is_shifted: bool,
}

impl Parts {
    /// `None` when types or shapes do not fit.
    fn layer(self) -> Option<Layer> {
        let (bytes, scale) = (self.bytes?, self.scale?);
        let steps = floats(&scale.raw_data);
        let &[inputs, outputs] = bytes.dims.as_slice() else { return None };
        let (inputs, outputs) = (usize::try_from(inputs).ok()?, usize::try_from(outputs).ok()?);
        let fits = !self.is_shifted
            && (bytes.data_type, scale.data_type) == (INT8, FLOAT)
            && inputs.checked_mul(outputs).filter(|size| *size > 0) == Some(bytes.raw_data.len())
            && outputs.checked_mul(4) == Some(scale.raw_data.len());
        fits.then_some(Layer { bytes, scale, steps })
    }
}
