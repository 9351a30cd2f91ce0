//! Adapters: the fine-tuning of an encoder as a small file, and the scales that coarse weights are stored with.
//!
//! For a layer `y = x W + b` a LoRA adapter holds A `[rank, inputs]` and B `[outputs, rank]` and changes it to
//! `y = x (W + Aᵀ Bᵀ) + b` (Hu et al., arXiv:2106.09685, section 4.1; the scaling factor is part of B). An input scale g
//! `[inputs]` changes W to diag(g) W first: the weights of a [shrunk](super::shrink) encoder have one scale per input, for
//! which an ONNX file has no place. Both are merged into the int8 weights when the network is loaded, so inference does not
//! slow down. The file has the safetensors format with the names of Hugging Face PEFT, `LAYER.lora_A.weight` and
//! `LAYER.lora_B.weight`, and `LAYER.input_scale`, all f32 or f16.

use std::collections::{BTreeSet, HashMap};

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::onnx::layers::{Layer, rewrite_layers};

/// Names of the tensors of a layer end in these.
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";
const INPUT_SCALE: &str = ".input_scale";

/// What an adapter changes in one layer.
#[derive(Debug, Default)]
pub(crate) struct Update {
    low_rank: Option<LowRank>,
    /// `[inputs]`, all above 0.
    pub(crate) input_scale: Option<Vec<f32>>,
}

#[derive(Debug)]
struct LowRank {
    /// `[rank, inputs]`, row-major.
    a: Vec<f32>,
    /// `[outputs, rank]`, row-major.
    b: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// Merges an adapter (the bytes of a safetensors file) into the weights of the `MatMulInteger` nodes of a network (the bytes
/// of an ONNX file), which are quantised again with one scale per output; see [`rewrite_layers`] for the names of layers.
///
/// # Errors
/// The reason, when a file is invalid or the adapter has layers that the network lacks.
pub(crate) fn merge(network: &[u8], adapter: &[u8]) -> Result<Vec<u8>, String> {
    let updates = read(adapter)?;
    let layers = updates.keys().cloned().collect();
    rewrite_layers(network, &layers, |name, layer| {
        let weights = merged(name, &layer, updates.get(name))?;
        Ok(layer.with_weights(&weights))
    })
}

/// The float weights `[inputs, outputs]` of a layer, row-major, with its update, if there is one.
///
/// # Errors
/// When the shapes differ.
pub(crate) fn merged(name: &str, layer: &Layer, update: Option<&Update>) -> Result<Vec<f32>, String> {
    let [inputs, outputs] = layer.shape();
    let none = Update::default();
    let Update { low_rank, input_scale } = update.unwrap_or(&none);
    let scales = input_scale.iter().map(|scale| (scale.len(), outputs));
    let shapes = low_rank.iter().map(|update| (update.inputs, update.outputs)).chain(scales);
    if let Some((a, b)) = shapes.into_iter().find(|shape| *shape != (inputs, outputs)) {
        return Err(format!("layer {name}: the weights have the shape [{inputs}, {outputs}], the adapter [{a}, {b}]"));
    }
    let rank = low_rank.as_ref().map_or(0, |update| update.a.len() / inputs);
    // B by rank, so that the innermost loop runs over neighbouring values.
    let b = low_rank.as_ref().map_or(&[][..], |update| &update.b);
    let by_rank: Vec<f32> = (0..rank).flat_map(|r| b.iter().skip(r).step_by(rank)).copied().collect();
    let mut weights = Vec::with_capacity(inputs * outputs);
    let mut learned = vec![0.0; outputs];
    for (input, row) in layer.rows().enumerate() {
        let scale = input_scale.as_ref().map_or(1.0, |scale| scale[input]);
        learned.fill(0.0);
        let a = low_rank.iter().flat_map(|update| update.a.iter().skip(input).step_by(inputs));
        for (b, a) in by_rank.chunks_exact(outputs).zip(a) {
            learned.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
        let row = row.iter().zip(&layer.steps).map(|(byte, step)| f32::from(byte.cast_signed()) * step * scale);
        weights.extend(row.zip(&learned).map(|(weight, learned)| weight + learned));
    }
    Ok(weights)
}

/// Parses an adapter: the updates by name of the layer.
///
/// # Errors
/// The reason, when the file is invalid.
pub(crate) fn read(file: &[u8]) -> Result<HashMap<String, Update>, String> {
    parse(file).map_err(|why| format!("adapter: {why}"))
}

fn parse(file: &[u8]) -> Result<HashMap<String, Update>, String> {
    let tensors = SafeTensors::deserialize(file).map_err(|e| format!("not a safetensors file ({e})"))?;
    let names: BTreeSet<&str> = tensors.names().into_iter().collect();
    let mut updates: HashMap<String, Update> = HashMap::new();
    for name in &names {
        let tensor = |name: &str| tensors.tensor(name).ok().and_then(|tensor| Some((numbers(&tensor)?, tensor)));
        if let Some(layer) = name.strip_suffix(INPUT_SCALE) {
            let scale = tensor(name).filter(|(scale, tensor)| {
                tensor.shape().len() == 1 && scale.iter().all(|scale| *scale >= f32::MIN_POSITIVE)
            });
            let (scale, _) =
                scale.ok_or_else(|| format!("{name} must be a list of finite numbers above 0 of type f32 or f16"))?;
            updates.entry(layer.to_owned()).or_default().input_scale = Some(scale);
            continue;
        }
        let Some(layer) = name.strip_suffix(A) else {
            let pair = name.strip_suffix(B).map(|layer| format!("{layer}{A}"));
            if pair.is_some_and(|pair| names.contains(pair.as_str())) {
                continue;
            }
            return Err(format!("{name} is neither an input scale nor part of a pair lora_A and lora_B"));
        };
        let Some(((a, of_a), (b, of_b))) = tensor(name).zip(tensor(&format!("{layer}{B}"))) else {
            return Err(format!("{layer}: lora_A and lora_B must be finite numbers of type f32 or f16"));
        };
        match (of_a.shape(), of_b.shape()) {
            (&[rank, inputs], &[outputs, same]) if rank == same && ![rank, inputs, outputs].contains(&0) => {
                let low_rank = LowRank { a, b, inputs, outputs };
                updates.entry(layer.to_owned()).or_default().low_rank = Some(low_rank);
            }
            (a, b) => return Err(format!("{layer}: the shapes {a:?} and {b:?} do not match")),
        }
    }
    Ok(updates)
}

/// The values of a tensor, if all are finite.
pub(crate) fn numbers(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
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
    use crate::onnx::layers::{Typed, name_of};
    use crate::onnx::raw::{GRAPH_INITIALIZER, MODEL_GRAPH, fields, write};
    use crate::onnx::{Graph, INT8, Model, Node, TensorProto, node, tensor};
    use prost::Message;

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

    fn input_scale(layer: &str, scale: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = scale.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![scale.len()], &bytes).unwrap();
        safetensors::serialize([(format!("{layer}.input_scale"), view)], None).unwrap()
    }

    #[test]
    fn input_scales_multiply_the_weights_of_their_inputs() {
        let before = weights(&network(&BYTES, 0));
        let scale = [0.5, 2.0, 1.0, 3.0];
        let after = weights(&merge(&network(&BYTES, 0), &input_scale(LAYER, &scale)).unwrap());
        for (i, got) in after.iter().enumerate() {
            let wanted = before[i] * scale[i / 3];
            let step = (0..4).fold(0.0f32, |largest, k| largest.max((before[k * 3 + i % 3] * scale[k]).abs())) / 127.0;
            assert!((got - wanted).abs() <= step * 0.501, "{i}: {got}, not {wanted} ± {step}");
        }
    }

    #[test]
    fn invalid_input_scales_are_errors() {
        let whole = network(&BYTES, 0);
        let says = |layer: &str, scale: &[f32], what: &str| {
            let error = merge(&whole, &input_scale(layer, scale)).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says(LAYER, &[1.0; 3], "[4, 3], the adapter [3, 3]");
        says(LAYER, &[], "[4, 3], the adapter [0, 3]");
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            says(LAYER, &[1.0, wrong, 1.0, 1.0], "must be a list of finite numbers above 0");
        }
        says("other", &[1.0; 4], "no layer other");
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
        says(&whole, &half.unwrap(), "nor part of a pair");
    }
}
