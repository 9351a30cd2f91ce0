//! The head with coarse integer weights.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use landfall_model::onnx::raw::fields;
use landfall_model::onnx::rounding::round;
use landfall_model::onnx::{FLOAT, Graph, INT8, Model, Node, TensorProto, int, node, tensor};
use prost::Message;

use super::factors::SecondMoments;
use super::steps::{entropy_of_integers, steps};
use crate::head::model::to_vec;

/// Columns of the factor model. It is not distributed, so it may have many.
const RANK: usize = 192;

/// A head's ONNX file with coarse weights.
pub(super) struct CoarseHead {
    pub(super) onnx: Vec<u8>,
    /// Mean entropy of its integers in bits.
    pub(super) bits: f64,
}

/// The head (the bytes of an ONNX file written by `export`) with integers of `bits` each, for embeddings like these.
///
/// # Errors
/// When the file is not such a head.
pub(super) fn shrink(onnx: &[u8], embeddings: &[Vec<f32>], bits: f64) -> Result<CoarseHead> {
    fields(onnx).context("not an ONNX network")?; // limits the number of fields
    let mut model = Model::decode(onnx).context("not an ONNX network")?;
    let graph = model.graph.as_mut().context("not an ONNX network: no graph")?;
    let tensors: BTreeMap<String, TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
    let mut vectors = embeddings.concat();
    let unit = embeddings.first().map_or(0, Vec::len);
    for vector in vectors.chunks_exact_mut(unit.max(1)) {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x /= length);
    }
    let (mut total_bits, mut count) = (0.0, 0);
    for layer in 0.. {
        let name = format!("weight_{layer}");
        let Some((weights, inputs, outputs)) = weights(&tensors, &name)? else { break };
        if vectors.is_empty() || vectors.len() % inputs != 0 {
            bail!("the head has {inputs} inputs, the features another number");
        }
        let mut moments = SecondMoments::new(inputs);
        moments.add(&vectors)?;
        let moments = moments.factors(RANK)?.moments();
        let steps = steps(&weights, outputs, &moments, bits);
        let integers = round(&weights, outputs, &steps.of_inputs(), &moments);
        total_bits += entropy_of_integers(&integers) * integers.len() as f64;
        count += integers.len();
        let bias = tensors.get(&format!("bias_{layer}")).map(floats).filter(|bias| bias.len() == outputs);
        let bias = bias.with_context(|| format!("the head has no bias_{layer}"))?;
        vectors = hidden(vectors, &weights, &bias, inputs)?;
        replace(graph, &name, [inputs, outputs], integers, &steps.input_scale, steps.step);
    }
    if count == 0 {
        bail!("the head has no tensor weight_0; it must be written by `export`");
    }
    Ok(CoarseHead { onnx: model.encode_to_vec(), bits: total_bits / count as f64 })
}

/// Float weights `[inputs, outputs]` that are stored as floats, or as int8 with one scale per output.
fn weights(tensors: &BTreeMap<String, TensorProto>, name: &str) -> Result<Option<(Vec<f32>, usize, usize)>> {
    let stored = tensors.get(name).or_else(|| tensors.get(&format!("{name}_whole_stored")));
    let Some(stored) = stored else { return Ok(None) };
    let &[inputs, outputs] = stored.dims.as_slice() else { bail!("{name} is not a matrix") };
    let (inputs, outputs) = (usize::try_from(inputs)?, usize::try_from(outputs)?);
    let values: Vec<f32> = match stored.data_type {
        FLOAT => floats(stored),
        INT8 => {
            let scale = tensors.get(&format!("{name}_scale")).map(floats).filter(|scale| scale.len() == outputs);
            let scale = scale.with_context(|| format!("{name} has no scale per output"))?;
            let value = |(i, byte): (usize, &u8)| f32::from(byte.cast_signed()) * scale[i % outputs];
            stored.raw_data.iter().enumerate().map(value).collect()
        }
        _ => bail!("{name} has 16-bit weights; export the head with --precision int8 or f32"),
    };
    if inputs == 0 || outputs == 0 || inputs.checked_mul(outputs) != Some(values.len()) {
        bail!("{name} has another number of values than its shape");
    }
    Ok(Some((values, inputs, outputs)))
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    tensor.raw_data.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect()
}

/// The inputs of the next layer.
fn hidden(vectors: Vec<f32>, weights: &[f32], bias: &[f32], inputs: usize) -> Result<Vec<f32>> {
    let (rows, outputs) = (vectors.len() / inputs, bias.len());
    let matrix =
        |values, shape: [usize; 2]| -> Tensor<2> { Tensor::from_data(TensorData::new(values, shape), &Device::flex()) };
    let product = matrix(vectors, [rows, inputs]).matmul(matrix(weights.to_vec(), [inputs, outputs]));
    let mut values = to_vec(product.into_data())?;
    for row in values.chunks_exact_mut(outputs) {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x = (*x + bias).max(0.0));
    }
    Ok(values)
}

/// Stores a weight as integers, a scale per input and a step.
fn replace(graph: &mut Graph, name: &str, [inputs, outputs]: [usize; 2], integers: Vec<i8>, scale: &[f32], step: f32) {
    let [stored, whole, scaled, scale_name] =
        ["stored", "whole", "scaled", "scale"].map(|what| format!("{name}_{what}"));
    let old = [name.to_owned(), format!("{name}_whole_stored"), scale_name.clone()];
    graph.initializer.retain(|tensor| !old.contains(&tensor.name));
    let made_before = |node: &Node| node.output.iter().any(|output| *output == name || *output == whole);
    graph.node.retain(|node| !made_before(node));
    let raw_data = integers.into_iter().map(i8::cast_unsigned).collect();
    let dims = vec![inputs as i64, outputs as i64];
    graph.initializer.push(TensorProto { dims, data_type: INT8, name: stored.clone(), raw_data });
    graph.initializer.push(tensor(&scale_name, &[inputs as i64, 1], scale));
    let step_name = format!("{name}_step");
    graph.initializer.push(tensor(&step_name, &[1], &[step]));
    let made = [
        node("Cast", &[&stored], &whole, vec![int("to", FLOAT.into())]),
        node("Mul", &[&whole, &scale_name], &scaled, Vec::new()),
        node("Mul", &[&scaled, &step_name], name, Vec::new()),
    ];
    graph.node.splice(0..0, made);
}
