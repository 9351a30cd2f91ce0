//! An encoder as an ONNX network.

use landfall_model::onnx::{Graph, Node, int, ints, node};
use prost::Message;

use super::{Precision, Weights, batch_of, model};
use crate::nn::lite::{self, Convolution, Plain};

/// Name of an encoder's input, `[N, 3, S, S]`.
pub const INPUT: &str = "pixel_values";
/// Name of its output, `[N, D]`.
pub const OUTPUT: &str = "image_embeds";

/// The bytes of an encoder's ONNX file, for pictures of `size` pixels a side. `projection` is the weights `[1280, D]` and
/// the bias of the layer from features to embeddings.
pub fn encoder(network: &Plain, projection: (Vec<f32>, Vec<f32>), size: usize, precision: Precision) -> Vec<u8> {
    let mut writer = Writer { weights: Weights::new(precision), nodes: Vec::new(), side: size };
    writer.weights.exact("lowest", &[], &[0.0]);
    writer.weights.exact("highest", &[], &[6.0]);
    let mut from = writer.convolution("stem", INPUT, &network.stem);
    for (i, block) in network.blocks.iter().enumerate() {
        let input = from.clone();
        for (part, convolution) in block.convolutions.iter().enumerate() {
            from = writer.convolution(&format!("block_{i}_{part}"), &from, convolution);
        }
        if block.is_residual {
            let to = format!("block_{i}");
            writer.nodes.push(node("Add", &[&input, &from], &to, Vec::new()));
            from = to;
        }
    }
    let from = writer.convolution("top", &from, &network.top);
    writer.nodes.push(node("GlobalAveragePool", &[&from], "pooled", Vec::new()));
    writer.nodes.push(node("Flatten", &["pooled"], "features", vec![int("axis", 1)]));
    let (weight, bias) = projection;
    let dim = bias.len();
    writer.weights.add("projection_weight", &[lite::FEATURES as i64, dim as i64], 1, &weight);
    writer.weights.exact("projection_bias", &[dim as i64], &bias);
    writer.nodes.push(node("Gemm", &["features", "projection_weight", "projection_bias"], OUTPUT, Vec::new()));
    let (initializer, restore) = writer.weights.finish();
    let graph = Graph {
        node: restore.into_iter().chain(writer.nodes).collect(),
        name: "encoder".into(),
        initializer,
        input: vec![batch_of(INPUT, &[3, size, size])],
        output: vec![batch_of(OUTPUT, &[dim])],
    };
    model(graph).encode_to_vec()
}

struct Writer {
    weights: Weights,
    nodes: Vec<Node>,
    /// Height and width of the map that was written last.
    side: usize,
}

impl Writer {
    /// Adds a convolution, and its ReLU6 where it has one; the name of what comes out.
    fn convolution(&mut self, name: &str, from: &str, convolution: &Convolution) -> String {
        let Convolution { kernel, stride, inputs, outputs, groups, .. } = *convolution;
        let (weight, bias) = (format!("{name}_weight"), format!("{name}_bias"));
        let dims = [outputs, inputs / groups, kernel, kernel].map(|n| n as i64);
        self.weights.add(&weight, &dims, 0, &convolution.weight);
        self.weights.exact(&bias, &[outputs as i64], &convolution.bias);
        let (before, after) = lite::padding(self.side, kernel, stride);
        let [before, after, kernel, stride_] = [before, after, kernel, stride].map(|n| n as i64);
        let attributes = vec![
            ints("kernel_shape", vec![kernel; 2]),
            ints("pads", vec![before, before, after, after]),
            ints("strides", vec![stride_; 2]),
            int("group", groups as i64),
        ];
        let sum = if convolution.is_relu6 { format!("{name}_sum") } else { name.to_owned() };
        self.nodes.push(node("Conv", &[from, &weight, &bias], &sum, attributes));
        if convolution.is_relu6 {
            self.nodes.push(node("Clip", &[&sum, "lowest", "highest"], name, Vec::new()));
        }
        self.side = self.side.div_ceil(stride);
        name.to_owned()
    }
}
