//! Exports an encoder to ONNX, with float or quantised convolutions.

use landfall_model::onnx::{Graph, INT8, INT32, Node, UINT8, int, ints, node};
use prost::Message;

use super::{Convolution, FEATURES, FoldedBlock, FoldedNetwork};
use crate::encoder::padding::same_padding;
use crate::onnx::{EMBEDDING, PIXELS, Precision, WeightStore, batch_of, model};

/// Largest quantised weight. With 7 bits instead of 8, sums of two products fit into 16 bits. On processors without
/// VNNI instructions larger sums would saturate, and results would differ between machines.
const MAX_QUANTISED_WEIGHT: f32 = 63.0;

/// Number of initial blocks that always use floats. The channels of the stem differ by orders of magnitude, and the
/// depthwise convolution does not mix them, so one scale per map would lose most of them. These blocks are one eighth
/// of the computation.
const FLOAT_BLOCKS: usize = 2;

/// Range of the values of a feature map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ActivationRange {
    /// Smallest value, at most 0.
    pub(crate) low: f32,
    /// Largest value, at least 0.
    pub(crate) high: f32,
}

impl ActivationRange {
    /// The range of a map of zeros.
    pub(crate) const ZERO: Self = Self { low: 0.0, high: 0.0 };

    /// Scale and zero point.
    fn scale(self) -> (f32, u8) {
        // Any scale works for a map of zeros.
        let scale = if self.high > self.low { (self.high - self.low) / 255.0 } else { 1.0 };
        (scale, (-self.low / scale).round() as u8)
    }
}

/// Arithmetic of the exported convolutions.
pub(crate) enum Arithmetic<'a> {
    /// Floats, with weights stored in this precision.
    Float(Precision),
    /// 8-bit integers after the first blocks, with the ranges of all maps in the order of `Lite::forward_observed`.
    Int8(&'a [ActivationRange]),
}

/// The bytes of an encoder's ONNX file, for pictures with a side of `size` pixels. `projection` is the weights
/// `[1280, D]` and the bias of the layer from features to embeddings.
///
/// # Panics
/// When there are fewer ranges than feature maps.
pub(crate) fn write_encoder(
    network: &FoldedNetwork,
    projection: (Vec<f32>, Vec<f32>),
    size: usize,
    arithmetic: Arithmetic<'_>,
) -> Vec<u8> {
    let (precision, ranges) = match arithmetic {
        Arithmetic::Float(precision) => (precision, None),
        Arithmetic::Int8(ranges) => (Precision::Int8, Some(ranges.iter())),
    };
    let mut writer = GraphWriter { weights: WeightStore::new(precision), nodes: Vec::new(), side: size, ranges: None };
    writer.weights.add_f32("lowest", &[], &[0.0]);
    writer.weights.add_f32("highest", &[], &[6.0]);
    let input = FeatureMap { name: PIXELS.into(), scale: None };
    let mut input_map = writer.convolution("stem", &input, &network.stem);
    for (i, block) in network.blocks.iter().enumerate() {
        let input = input_map.clone();
        for (part, convolution) in block.convolutions.iter().enumerate() {
            input_map = writer.convolution(&format!("block_{i}_{part}"), &input_map, convolution);
        }
        if block.is_residual {
            let sum = format!("block_{i}_sum");
            writer.nodes.push(node("Add", &[&input.name, &input_map.name], &sum, Vec::new()));
            input_map = writer.quantise(&sum, &format!("block_{i}"));
        }
        if i + 1 == FLOAT_BLOCKS
            && let Some(mut ranges) = ranges.clone()
        {
            // The last map so far is the first quantised one.
            let maps = |block: &FoldedBlock| block.convolutions.len() + usize::from(block.is_residual);
            let maps_so_far = 1 + network.blocks[..FLOAT_BLOCKS].iter().map(maps).sum::<usize>();
            ranges.nth(maps_so_far - 2);
            writer.ranges = Some(ranges);
            input_map = writer.quantise(&input_map.name, &format!("block_{i}"));
        }
    }
    let input_map = writer.convolution("top", &input_map, &network.top);
    writer.nodes.push(node("GlobalAveragePool", &[&input_map.name], "pooled", Vec::new()));
    writer.nodes.push(node("Flatten", &["pooled"], "features", vec![int("axis", 1)]));
    let (weight, bias) = projection;
    let dim = bias.len();
    writer.weights.add("projection_weight", &[FEATURES as i64, dim as i64], 1, &weight);
    writer.weights.add_f32("projection_bias", &[dim as i64], &bias);
    writer.nodes.push(node("Gemm", &["features", "projection_weight", "projection_bias"], EMBEDDING, Vec::new()));
    let (initializer, restore_nodes) = writer.weights.finish();
    let graph = Graph {
        node: restore_nodes.into_iter().chain(writer.nodes).collect(),
        name: "encoder".into(),
        initializer,
        input: vec![batch_of(PIXELS, &[3, size, size])],
        output: vec![batch_of(EMBEDDING, &[dim])],
    };
    model(graph).encode_to_vec()
}

/// A feature map in the exported network.
#[derive(Clone)]
struct FeatureMap {
    name: String,
    /// Quantisation scale, if the map is quantised.
    scale: Option<f32>,
}

struct GraphWriter<'a> {
    weights: WeightStore,
    nodes: Vec<Node>,
    /// Height and width of the last map.
    side: usize,
    /// Ranges of the remaining maps, if they are quantised.
    ranges: Option<std::slice::Iter<'a, ActivationRange>>,
}

impl GraphWriter<'_> {
    /// Adds a convolution, with its ReLU6 if it has one.
    fn convolution(&mut self, name: &str, input_map: &FeatureMap, convolution: &Convolution) -> FeatureMap {
        let Convolution { kernel, stride, inputs, outputs, groups, .. } = *convolution;
        let (weight, bias) = (format!("{name}_weight"), format!("{name}_bias"));
        let dims = [outputs, inputs / groups, kernel, kernel].map(|n| n as i64);
        match input_map.scale {
            None => {
                self.weights.add(&weight, &dims, 0, &convolution.weight);
                self.weights.add_f32(&bias, &[outputs as i64], &convolution.bias);
            }
            Some(scale) => self.add_int8_weights(name, &dims, convolution, scale),
        }
        let (before, after) = same_padding(self.side, kernel, stride);
        let [before, after, kernel, stride_i64] = [before, after, kernel, stride].map(|n| n as i64);
        let attributes = vec![
            ints("kernel_shape", vec![kernel; 2]),
            ints("pads", vec![before, before, after, after]),
            ints("strides", vec![stride_i64; 2]),
            int("group", groups as i64),
        ];
        let sum = format!("{name}_sum");
        self.nodes.push(node("Conv", &[&input_map.name, &weight, &bias], &sum, attributes));
        self.side = self.side.div_ceil(stride);
        if !convolution.has_relu6 {
            return self.quantise(&sum, name);
        }
        // ONNX Runtime removes the clip if the quantisation range makes it redundant.
        let clipped = if self.ranges.is_some() { format!("{name}_clipped") } else { name.to_owned() };
        self.nodes.push(node("Clip", &[&sum, "lowest", "highest"], &clipped, Vec::new()));
        self.quantise(&clipped, name)
    }

    /// Quantises and dequantises a map, which is then called `to`; without ranges the map is unchanged.
    ///
    /// Runtimes fuse these pairs of nodes into integer operators.
    fn quantise(&mut self, input_map: &str, to: &str) -> FeatureMap {
        let Some(ranges) = &mut self.ranges else { return FeatureMap { name: input_map.into(), scale: None } };
        let (scale, zero) = ranges.next().expect("one range per map").scale();
        let (scale_name, zero_name, quantised) = (format!("{to}_scale"), format!("{to}_zero"), format!("{to}_bytes"));
        self.weights.add_f32(&scale_name, &[], &[scale]);
        self.weights.add_raw(&zero_name, &[], UINT8, vec![zero]);
        self.nodes.push(node("QuantizeLinear", &[input_map, &scale_name, &zero_name], &quantised, Vec::new()));
        self.nodes.push(node("DequantizeLinear", &[&quantised, &scale_name, &zero_name], to, Vec::new()));
        FeatureMap { name: to.into(), scale: Some(scale) }
    }

    /// Adds 8-bit weights with one scale per output, and a 32-bit bias whose scale is the product of the scales of
    /// input and weights.
    fn add_int8_weights(&mut self, name: &str, dims: &[i64], convolution: &Convolution, input_scale: f32) {
        let weights_per_output = convolution.weight.len() / convolution.outputs;
        let (mut scales, mut weights, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for (output_weights, bias) in convolution.weight.chunks_exact(weights_per_output).zip(&convolution.bias) {
            let largest = output_weights.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // The scale must be large enough for the bias to fit into 32 bits. Any scale works if all weights are zero.
            let least = bias.abs() / input_scale / (i32::MAX / 2) as f32;
            let scale = (largest / MAX_QUANTISED_WEIGHT).max(least).max(f32::MIN_POSITIVE);
            scales.push(scale);
            weights.extend(output_weights.iter().map(|x| (x / scale).round() as i8 as u8));
            biases.push((f64::from(*bias) / (f64::from(input_scale) * f64::from(scale))).round() as i32);
        }
        let outputs = [convolution.outputs as i64];
        let bias_scales: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
        let biases = biases.iter().flat_map(|x| x.to_le_bytes()).collect();
        for (part, dims, kind, raw, scales) in
            [("weight", dims, INT8, weights, scales), ("bias", &outputs, INT32, biases, bias_scales)]
        {
            let to = format!("{name}_{part}");
            let (stored, scale) = (format!("{to}_whole"), format!("{to}_scale"));
            self.weights.add_raw(&stored, dims, kind, raw);
            self.weights.add_f32(&scale, &outputs, &scales);
            self.nodes.push(node("DequantizeLinear", &[&stored, &scale], &to, vec![int("axis", 0)]));
        }
    }
}
