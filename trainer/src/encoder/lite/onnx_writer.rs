//! An encoder as an ONNX network, that computes with floats or, in its convolutions, with bytes.

use landfall_model::onnx::{Graph, INT8, INT32, Node, UINT8, int, ints, node};
use prost::Message;

use super::{Convolution, FEATURES, FoldedBlock, FoldedNetwork};
use crate::encoder::padding::same_padding;
use crate::onnx::{EMBEDDING, PIXELS, Precision, WeightStore, batch_of, model};

/// Largest whole number that stands for a weight. With one bit less than fits, sums of two products never leave 16 bits,
/// where processors without instructions for bytes would cut them off: all of them then give the same numbers.
const MAX_QUANTISED_WEIGHT: f32 = 63.0;

/// So many blocks compute with floats in any case. Channels of the stem differ by orders of magnitude, and its depthwise
/// convolution does not mix them: one scale for all would lose most of them. After two blocks that is over, at an eighth of
/// the work.
const FLOAT_BLOCKS: usize = 2;

/// Smallest and largest number of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ActivationRange {
    /// The smallest, at most 0.
    pub(crate) low: f32,
    /// The largest, at least 0.
    pub(crate) high: f32,
}

impl ActivationRange {
    /// The range of nothing but zeros.
    pub(crate) const ZERO: Self = Self { low: 0.0, high: 0.0 };

    /// Difference of what neighbouring bytes stand for, and the byte that stands for 0.
    fn scale(self) -> (f32, u8) {
        // A map of zeros has any scale.
        let scale = if self.high > self.low { (self.high - self.low) / 255.0 } else { 1.0 };
        (scale, (-self.low / scale).round() as u8)
    }
}

/// What an encoder computes with.
pub(crate) enum Arithmetic<'a> {
    /// Floats, with weights that are stored like this.
    Float(Precision),
    /// Bytes in its convolutions behind the first blocks, by the ranges of all maps in the order in which
    /// `Lite` shows them.
    Int8(&'a [ActivationRange]),
}

/// The bytes of an encoder's ONNX file, for pictures of `size` pixels a side. `projection` is the weights `[1280, D]` and
/// the bias of the layer from features to embeddings.
///
/// # Panics
/// When there are fewer ranges than maps.
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
            // The last map so far is the first in bytes.
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

/// A map in the network that is written.
#[derive(Clone)]
struct FeatureMap {
    name: String,
    /// What one step of its bytes stands for, where it goes through bytes.
    scale: Option<f32>,
}

struct GraphWriter<'a> {
    weights: WeightStore,
    nodes: Vec<Node>,
    /// Height and width of the map that was written last.
    side: usize,
    /// Those of the maps to come, where they go through bytes.
    ranges: Option<std::slice::Iter<'a, ActivationRange>>,
}

impl GraphWriter<'_> {
    /// Adds a convolution, and its ReLU6 where it has one.
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
        // Clipped once more where bytes do it too: ONNX Runtime sees that and leaves it out.
        let clipped = if self.ranges.is_some() { format!("{name}_clipped") } else { name.to_owned() };
        self.nodes.push(node("Clip", &[&sum, "lowest", "highest"], &clipped, Vec::new()));
        self.quantise(&clipped, name)
    }

    /// Sends a map through bytes, called `to` afterwards; in a network of floats it stays what it is.
    ///
    /// These pairs are what runtimes make integer operators of.
    fn quantise(&mut self, input_map: &str, to: &str) -> FeatureMap {
        let Some(ranges) = &mut self.ranges else { return FeatureMap { name: input_map.into(), scale: None } };
        let (scale, zero) = ranges.next().expect("there is a range for each map").scale();
        let (scale_name, zero_name, bytes) = (format!("{to}_scale"), format!("{to}_zero"), format!("{to}_bytes"));
        self.weights.add_f32(&scale_name, &[], &[scale]);
        self.weights.add_raw(&zero_name, &[], UINT8, vec![zero]);
        self.nodes.push(node("QuantizeLinear", &[input_map, &scale_name, &zero_name], &bytes, Vec::new()));
        self.nodes.push(node("DequantizeLinear", &[&bytes, &scale_name, &zero_name], to, Vec::new()));
        FeatureMap { name: to.into(), scale: Some(scale) }
    }

    /// Weights as signed bytes with a scale an output, and the bias in 32 bits, in units of products.
    fn add_int8_weights(&mut self, name: &str, dims: &[i64], convolution: &Convolution, input_scale: f32) {
        let weights_per_output = convolution.weight.len() / convolution.outputs;
        let (mut scales, mut weights, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for (output_weights, bias) in convolution.weight.chunks_exact(weights_per_output).zip(&convolution.bias) {
            let largest = output_weights.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // An output whose weights are all zero has any scale; one of tiny weights must hold its bias.
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
