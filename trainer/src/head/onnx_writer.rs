//! Exports a head to ONNX.

use landfall_model::onnx::{Graph, int, ints, node};
use prost::Message;

use super::model::{HeadDescription, Layers};
use crate::onnx::{EMBEDDING, LOGITS, Precision, WeightStore, batch_of, model};

/// The bytes of a head's ONNX file: normalisation to unit length, then linear layers with a ReLU in between. The
/// standardisation is folded into the first layer. `layers` are the weights `[in, out]` and bias of each layer.
pub(crate) fn head(description: &HeadDescription, mut layers: Layers, precision: Precision) -> Vec<u8> {
    let sizes = &description.sizes;
    if let Some((weights, bias)) = layers.first_mut() {
        // ((x - m) / s) W + b  =  x (W / s) + (b - m (W / s)). The sum has hundreds of terms, so it is computed in f64.
        let outputs = bias.len();
        let mut shift = vec![0.0f64; outputs];
        let moments = description.mean.iter().zip(&description.deviation);
        for (row, (mean, deviation)) in weights.chunks_exact_mut(outputs).zip(moments) {
            for (weight, shift) in row.iter_mut().zip(&mut shift) {
                *weight /= deviation;
                *shift += f64::from(*mean) * f64::from(*weight);
            }
        }
        bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias = (f64::from(*bias) - shift) as f32);
    }

    let mut stored = WeightStore::new(precision);
    stored.add_f32("tiny", &[1], &[1e-12]);
    let mut nodes = vec![
        node("ReduceL2", &[EMBEDDING], "length", vec![ints("axes", vec![-1]), int("keepdims", 1)]),
        node("Max", &["length", "tiny"], "divisor", Vec::new()),
        node("Div", &[EMBEDDING, "divisor"], "unit", Vec::new()),
    ];
    let mut from = "unit".to_owned();
    for (i, (weights, bias)) in layers.iter().enumerate() {
        let is_last = i + 1 == layers.len();
        let (weight_name, bias_name) = (format!("weight_{i}"), format!("bias_{i}"));
        stored.add(&weight_name, &[sizes[i] as i64, sizes[i + 1] as i64], 1, weights);
        stored.add_f32(&bias_name, &[sizes[i + 1] as i64], bias);
        let to = if is_last { LOGITS.to_owned() } else { format!("linear_{i}") };
        nodes.push(node("Gemm", &[&from, &weight_name, &bias_name], &to, Vec::new()));
        from = to;
        if !is_last {
            let to = format!("hidden_{i}");
            nodes.push(node("Relu", &[&from], &to, Vec::new()));
            from = to;
        }
    }
    let (initializer, restore_nodes) = stored.finish();
    let graph = Graph {
        node: restore_nodes.into_iter().chain(nodes).collect(),
        name: "head".into(),
        initializer,
        input: vec![batch_of(EMBEDDING, &[sizes[0]])],
        output: vec![batch_of(LOGITS, &[sizes[sizes.len() - 1]])],
    };
    model(graph).encode_to_vec()
}
