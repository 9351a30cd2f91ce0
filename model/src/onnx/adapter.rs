//! LoRA adapters: the fine-tuning of an encoder as a small file.
//!
//! For a layer `y = x W + b` an adapter holds A `[rank, inputs]` and B `[outputs, rank]` and changes it to
//! `y = x (W + Aᵀ Bᵀ) + b` (Hu et al., arXiv:2106.09685, section 4.1; the scaling factor is part of B). It is merged into
//! the int8 weights when the network is loaded, so inference does not slow down. The file has the safetensors format with the
//! names of Hugging Face PEFT: `LAYER.lora_A.weight` and `LAYER.lora_B.weight`, f32 or f16.

use std::collections::HashMap;

use half::f16;
use prost::{DecodeError, Message};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::onnx::raw::{
    GRAPH_INITIALIZER, GRAPH_NODE, TENSOR_NAME, damaged, decode_node, decode_tensor, fields, with_graph, write,
};
use crate::onnx::{FLOAT, INT8, Node, TensorProto};

/// The update of the weights of one layer.
struct LowRank {
    /// `[rank, inputs]`, row-major.
    a: Vec<f32>,
    /// `[outputs, rank]`, row-major.
    b: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// Merges an adapter (the bytes of a safetensors file) into the weights of the `MatMulInteger` nodes of a network (the bytes
/// of an ONNX file), which are quantised again with one scale per output. The node of layer `a.b` is called
/// `/a/b/MatMul_quant`; the names of its weights end in `_quantized`, of their scales in `_scale`, as ONNX Runtime's
/// quantiser names them for networks exported by PyTorch.
///
/// # Errors
/// The reason, when a file is invalid or the adapter has layers that the network lacks.
pub(crate) fn merge(network: &[u8], adapter: &[u8]) -> Result<Vec<u8>, String> {
    let adapter = read(adapter).map_err(|why| format!("adapter: {why}"))?;
    with_graph(network, |bytes| graph(bytes, &adapter))
}

fn graph(bytes: &[u8], adapter: &HashMap<String, LowRank>) -> Result<Vec<u8>, String> {
    let fields = fields(bytes).map_err(damaged)?;
    // Layer by the name of its weights, without the suffix.
    let mut layer_of: HashMap<String, &str> = HashMap::new();
    for field in fields.iter().filter(|field| field.tag == GRAPH_NODE) {
        let node = decode_node(field.payload)?;
        let Some((layer, _)) = adapter.get_key_value(&layer_name(&node)) else { continue };
        let weights = node.input.get(1).and_then(|name| name.strip_suffix("_quantized"));
        layer_of
            .insert(weights.ok_or_else(|| format!("the weights of layer {layer} are not quantised"))?.into(), layer);
    }
    if let Some(layer) = adapter.keys().find(|layer| !layer_of.values().any(|known| known == layer)) {
        return Err(format!("the network has no layer {layer}, for which there is an adapter"));
    }
    let mut merged = Vec::with_capacity(bytes.len() + (1 << 10));
    let mut parts: HashMap<&str, Parts> = HashMap::new();
    for field in &fields {
        let name = if field.tag == GRAPH_INITIALIZER { name_of(field.payload).map_err(damaged)? } else { "" };
        let part = |ending| layer_of.get(name.strip_suffix(ending)?).copied();
        let decoded = || decode_tensor(field.payload);
        if let Some(layer) = part("_quantized") {
            parts.entry(layer).or_default().bytes = Some(decoded()?);
        } else if let Some(layer) = part("_scale") {
            let typed = Typed::decode(field.payload).map_err(damaged)?;
            parts.entry(layer).or_default().steps = Some(typed.into_raw(decoded()?));
        } else {
            if let Some(layer) = part("_zero_point") {
                let typed = Typed::decode(field.payload).map_err(damaged)?;
                let is_shifted =
                    decoded()?.raw_data.iter().any(|byte| *byte != 0) || typed.ints.iter().any(|x| *x != 0);
                parts.entry(layer).or_default().is_shifted = is_shifted;
            }
            merged.extend_from_slice(field.whole);
        }
    }
    for (layer, low_rank) in adapter {
        let parts = parts.remove(layer.as_str()).unwrap_or_default();
        let parts = parts.merged(low_rank).ok_or_else(|| {
            let LowRank { inputs, outputs, .. } = low_rank;
            format!("layer {layer}: expected int8 weights of shape [{inputs}, {outputs}] with zero point 0 and one scale per output")
        })?;
        parts.iter().for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut merged));
    }
    Ok(merged)
}

/// The layer of a node: `a.b` for `/a/b/MatMul_quant`.
fn layer_name(node: &Node) -> String {
    let path = node.name.strip_suffix("/MatMul_quant").filter(|_| node.op_type == "MatMulInteger");
    path.unwrap_or_default().trim_start_matches('/').replace('/', ".")
}

fn name_of(tensor: &[u8]) -> Result<&str, DecodeError> {
    let name = fields(tensor)?.into_iter().find(|field| field.tag == TENSOR_NAME);
    Ok(name.and_then(|field| std::str::from_utf8(field.payload).ok()).unwrap_or_default())
}

/// Typed data fields of a tensor, which ONNX Runtime's quantiser uses for small tensors instead of raw data.
#[derive(Clone, PartialEq, Message)]
struct Typed {
    #[prost(float, repeated, tag = "4")]
    floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    ints: Vec<i32>,
}

impl Typed {
    fn into_raw(self, mut tensor: TensorProto) -> TensorProto {
        tensor.raw_data.extend(self.floats.into_iter().flat_map(f32::to_le_bytes));
        tensor
    }
}

/// Weights and scales of a layer.
#[derive(Default)]
struct Parts {
    bytes: Option<TensorProto>,
    steps: Option<TensorProto>,
    /// Whether a zero point is not 0.
    is_shifted: bool,
}

impl Parts {
    /// Weights and scales with the adapter merged; `None` when their types or shapes do not fit.
    fn merged(self, low_rank: &LowRank) -> Option<[TensorProto; 2]> {
        let (mut bytes, mut steps) = (self.bytes?, self.steps?);
        let LowRank { a, b, inputs, outputs } = low_rank;
        let rank = a.len() / inputs;
        if self.is_shifted
            || (bytes.data_type, steps.data_type) != (INT8, FLOAT)
            || bytes.dims != [*inputs as i64, *outputs as i64]
            || Some(bytes.raw_data.len()) != inputs.checked_mul(*outputs)
            || Some(steps.raw_data.len()) != outputs.checked_mul(4)
        {
            return None;
        }
        let step_of = floats(&steps.raw_data);
        let mut weights = Vec::with_capacity(inputs * outputs);
        // B by rank, so that the innermost loop runs over neighbouring values.
        let by_rank: Vec<f32> = (0..rank).flat_map(|r| b.iter().skip(r).step_by(rank)).copied().collect();
        let mut learned = vec![0.0; *outputs];
        for (input, row) in bytes.raw_data.chunks_exact(*outputs).enumerate() {
            learned.fill(0.0);
            for (b, a) in by_rank.chunks_exact(*outputs).zip(a.iter().skip(input).step_by(*inputs)) {
                learned.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
            }
            let row = row.iter().zip(&step_of).map(|(byte, step)| f32::from(byte.cast_signed()) * step);
            weights.extend(row.zip(&learned).map(|(weight, learned)| weight + learned));
        }
        let mut largest = vec![f32::MIN_POSITIVE; *outputs];
        for row in weights.chunks_exact(*outputs) {
            largest.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
        }
        let step_of: Vec<f32> = largest.into_iter().map(|largest| largest / 127.0).collect();
        let byte = |(weight, step): (&f32, &f32)| ((weight / step).round() as i8).cast_unsigned();
        bytes.raw_data.clear();
        weights.chunks_exact(*outputs).for_each(|row| bytes.raw_data.extend(row.iter().zip(&step_of).map(byte)));
        steps.raw_data = step_of.into_iter().flat_map(f32::to_le_bytes).collect();
        Some([bytes, steps])
    }
}

/// Parses an adapter: its layers by name.
fn read(file: &[u8]) -> Result<HashMap<String, LowRank>, String> {
    let tensors = SafeTensors::deserialize(file).map_err(|e| format!("not a safetensors file ({e})"))?;
    let mut layers = HashMap::new();
    for name in tensors.names() {
        let Some(layer) = name.strip_suffix(".lora_A.weight") else {
            let pair = name.strip_suffix(".lora_B.weight").map(|layer| format!("{layer}.lora_A.weight"));
            if pair.is_some_and(|pair| tensors.tensor(&pair).is_ok()) {
                continue;
            }
            return Err(format!("{name} is not part of a pair lora_A and lora_B"));
        };
        let numbers = |name: &str| tensors.tensor(name).ok().and_then(|tensor| Some((numbers(&tensor)?, tensor)));
        let pair = numbers(name).zip(numbers(&format!("{layer}.lora_B.weight")));
        let Some(((a, of_a), (b, of_b))) = pair else {
            return Err(format!("{layer}: lora_A and lora_B must be finite numbers of type f32 or f16"));
        };
        match (of_a.shape(), of_b.shape()) {
            (&[rank, inputs], &[outputs, same]) if rank == same && ![rank, inputs, outputs].contains(&0) => {
                layers.insert(layer.to_owned(), LowRank { a, b, inputs, outputs });
            }
            (a, b) => return Err(format!("{layer}: the shapes {a:?} and {b:?} do not match")),
        }
    }
    Ok(layers)
}

/// The values of a tensor, if all are finite.
fn numbers(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let numbers: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => floats(tensor.data()),
        Dtype::F16 => tensor.data().chunks_exact(2).map(|x| f16::from_le_bytes([x[0], x[1]]).to_f32()).collect(),
        _ => return None,
    };
    numbers.iter().all(|x| x.is_finite()).then_some(numbers)
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::raw::MODEL_GRAPH;
    use crate::onnx::{Graph, Model, node, tensor};

    const LAYER: &str = "encoder.layers.0.q_proj";

    /// `[4, 3]`; the largest absolute value of every output is 127.
    const BYTES: [i8; 12] = [127, -3, 5, 0, 127, -7, 64, 1, 127, -127, 2, -100];
    const STEPS: [f32; 3] = [0.01, 0.002, 0.5];

    fn network(bytes: &[i8], zero: u8) -> Vec<u8> {
        let byte_tensor =
            |name: &str, dims: Vec<i64>, raw_data| TensorProto { dims, data_type: INT8, name: name.into(), raw_data };
        let weights = byte_tensor("w_quantized", vec![4, 3], bytes.iter().map(|x| x.cast_unsigned()).collect());
        let product = node("MatMulInteger", &["x", "w_quantized", "zero", "w_zero_point"], "y", Vec::new());
        let product = Node { name: "/encoder/layers.0/q_proj/MatMul_quant".into(), ..product };
        let initializer = vec![
            tensor("other", &[1], &[7.0]),
            weights,
            tensor("w_scale", &[3], &STEPS),
            byte_tensor("w_zero_point", vec![3], vec![zero; 3]),
        ];
        let graph = Graph { node: vec![product], initializer, ..Graph::default() };
        Model { graph: Some(graph), ..Model::default() }.encode_to_vec()
    }

    fn adapter(layer: &str, dtype: Dtype, a: &[f32], b: &[f32], rank: usize) -> Vec<u8> {
        let bytes = |numbers: &[f32]| -> Vec<u8> {
            match dtype {
                Dtype::F16 => numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
                _ => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            }
        };
        let (of_a, of_b) = (bytes(a), bytes(b));
        let view = |shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes).unwrap();
        let tensors = [
            (format!("{layer}.lora_A.weight"), view(vec![rank, a.len() / rank], &of_a)),
            (format!("{layer}.lora_B.weight"), view(vec![b.len() / rank, rank], &of_b)),
        ];
        safetensors::serialize(tensors, None).unwrap()
    }

    fn weights(network: &[u8]) -> Vec<f32> {
        let graph = Model::decode(network).unwrap().graph.unwrap();
        let tensor = |name: &str| graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
        let steps = floats(&tensor("w_scale").raw_data);
        let bytes = tensor("w_quantized").raw_data.iter().map(|byte| f32::from(byte.cast_signed()));
        assert_eq!(graph.initializer.len(), 4, "no tensor is lost or duplicated");
        assert_eq!(tensor("other").raw_data, 7.0f32.to_le_bytes());
        bytes.enumerate().map(|(i, byte)| byte * steps[i % 3]).collect()
    }

    const A: [f32; 8] = [1.0, 0.5, -1.0, 0.25, 0.0, 2.0, 1.0, -0.5];
    const B: [f32; 6] = [0.25, -0.125, 0.0, 0.0625, 4.0, 8.0];

    #[test]
    fn merged_weights_are_exact_to_half_a_step() {
        let before = weights(&network(&BYTES, 0));
        for dtype in [Dtype::F32, Dtype::F16] {
            let merged = merge(&network(&BYTES, 0), &adapter(LAYER, dtype, &A, &B, 2)).unwrap();
            let after = weights(&merged);
            for output in 0..3 {
                let wanted: Vec<f32> = (0..4)
                    .map(|i| before[i * 3 + output] + A[i] * B[output * 2] + A[4 + i] * B[output * 2 + 1])
                    .collect();
                let step = wanted.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
                for (i, wanted) in wanted.iter().enumerate() {
                    let got = after[i * 3 + output];
                    assert!((got - wanted).abs() <= step * 0.501, "[{i}, {output}]: {got}, not {wanted} ± {step}");
                }
            }
        }
    }

    #[test]
    fn scales_may_be_typed_data() {
        let raw = network(&BYTES, 0);
        let mut typed = Vec::new();
        for field in fields(Model::decode(raw.as_slice()).unwrap().graph.unwrap().encode_to_vec().as_slice()).unwrap() {
            if field.tag != GRAPH_INITIALIZER || name_of(field.payload).unwrap() != "w_scale" {
                typed.extend_from_slice(field.whole);
                continue;
            }
            let named = TensorProto { raw_data: Vec::new(), ..TensorProto::decode(field.payload).unwrap() };
            let steps = Typed { floats: STEPS.to_vec(), ints: Vec::new() };
            write(GRAPH_INITIALIZER, &[named.encode_to_vec(), steps.encode_to_vec()].concat(), &mut typed);
        }
        let mut model = Vec::new();
        write(MODEL_GRAPH, &typed, &mut model);
        let adapter = adapter(LAYER, Dtype::F32, &A, &B, 2);
        assert_eq!(weights(&merge(&model, &adapter).unwrap()), weights(&merge(&raw, &adapter).unwrap()));
    }

    #[test]
    fn a_zero_adapter_changes_nothing() {
        let merged = merge(&network(&BYTES, 0), &adapter(LAYER, Dtype::F32, &A, &[0.0; 6], 2)).unwrap();
        for (a, b) in weights(&merged).into_iter().zip(weights(&network(&BYTES, 0))) {
            assert!((a - b).abs() <= b.abs() * 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn mismatches_are_errors() {
        let right = adapter(LAYER, Dtype::F32, &A, &B, 2);
        let whole = network(&BYTES, 0);
        let says = |network: &[u8], adapter: &[u8], what: &str| {
            let error = merge(network, adapter).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says(&whole, &adapter("encoder.layers.1.q_proj", Dtype::F32, &A, &B, 2), "no layer encoder.layers.1.q_proj");
        says(&whole, &adapter(LAYER, Dtype::F32, &A[..6], &B, 2), "[3, 3]");
        says(&whole, &adapter(LAYER, Dtype::F32, &[f32::NAN; 8], &B, 2), "must be finite numbers");
        says(&whole, b"no tensors", "not a safetensors file");
        says(&whole, &right[..right.len() - 8], "not a safetensors file");
        says(&whole[..whole.len() / 2], &right, "not an ONNX network");
        says(&network(&BYTES, 3), &right, "zero point 0");
        let half =
            safetensors::serialize([("q.lora_B.weight", TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap())], None);
        says(&whole, &half.unwrap(), "not part of a pair");
    }
}
