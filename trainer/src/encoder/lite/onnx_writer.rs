//! An encoder as an ONNX network, that computes with floats or, in its convolutions, with bytes.

use landfall_model::onnx::{Graph, INT8, INT32, Node, UINT8, int, ints, node};
use prost::Message;

use super::{Convolution, FEATURES, Plain, PlainBlock};
use crate::encoder::padding::same_padding;
use crate::onnx::{EMBEDDING, PIXELS, Precision, Weights, batch_of, model};

/// Largest whole number that stands for a weight. With one bit less than fits, sums of two products never leave 16 bits,
/// where processors without instructions for bytes would cut them off: all of them then give the same numbers.
const LARGEST_WEIGHT: f32 = 63.0;

/// So many blocks compute with floats in any case. Channels of the stem differ by orders of magnitude, and its depthwise
/// convolution does not mix them: one scale for all would lose most of them. After two blocks that is over, at an eighth of
/// the work.
const IN_FLOATS: usize = 2;

/// Smallest and largest number of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    /// The smallest, at most 0.
    pub(crate) low: f32,
    /// The largest, at least 0.
    pub(crate) high: f32,
}

impl Range {
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
    Floats(Precision),
    /// Bytes in its convolutions behind the first blocks, by the ranges of all maps in the order in which
    /// [`super::Lite::forward_watched`] shows them.
    Bytes(&'a [Range]),
}

/// The bytes of an encoder's ONNX file, for pictures of `size` pixels a side. `projection` is the weights `[1280, D]` and
/// the bias of the layer from features to embeddings.
///
/// # Panics
/// When there are fewer ranges than maps.
pub(crate) fn encoder(
    network: &Plain,
    projection: (Vec<f32>, Vec<f32>),
    size: usize,
    arithmetic: Arithmetic<'_>,
) -> Vec<u8> {
    let (precision, ranges) = match arithmetic {
        Arithmetic::Floats(precision) => (precision, None),
        Arithmetic::Bytes(ranges) => (Precision::Int8, Some(ranges.iter())),
    };
    let mut writer = Writer { weights: Weights::new(precision), nodes: Vec::new(), side: size, ranges: None };
    writer.weights.exact("lowest", &[], &[0.0]);
    writer.weights.exact("highest", &[], &[6.0]);
    let input = Map { name: PIXELS.into(), scale: None };
    let mut from = writer.convolution("stem", &input, &network.stem);
    for (i, block) in network.blocks.iter().enumerate() {
        let input = from.clone();
        for (part, convolution) in block.convolutions.iter().enumerate() {
            from = writer.convolution(&format!("block_{i}_{part}"), &from, convolution);
        }
        if block.is_residual {
            let sum = format!("block_{i}_sum");
            writer.nodes.push(node("Add", &[&input.name, &from.name], &sum, Vec::new()));
            from = writer.rounded(&sum, &format!("block_{i}"));
        }
        if i + 1 == IN_FLOATS
            && let Some(mut ranges) = ranges.clone()
        {
            // The last map so far is the first in bytes.
            let maps = |block: &PlainBlock| block.convolutions.len() + usize::from(block.is_residual);
            let so_far = 1 + network.blocks[..IN_FLOATS].iter().map(maps).sum::<usize>();
            ranges.nth(so_far - 2);
            writer.ranges = Some(ranges);
            from = writer.rounded(&from.name, &format!("block_{i}"));
        }
    }
    let from = writer.convolution("top", &from, &network.top);
    writer.nodes.push(node("GlobalAveragePool", &[&from.name], "pooled", Vec::new()));
    writer.nodes.push(node("Flatten", &["pooled"], "features", vec![int("axis", 1)]));
    let (weight, bias) = projection;
    let dim = bias.len();
    writer.weights.add("projection_weight", &[FEATURES as i64, dim as i64], 1, &weight);
    writer.weights.exact("projection_bias", &[dim as i64], &bias);
    writer.nodes.push(node("Gemm", &["features", "projection_weight", "projection_bias"], EMBEDDING, Vec::new()));
    let (initializer, restore) = writer.weights.finish();
    let graph = Graph {
        node: restore.into_iter().chain(writer.nodes).collect(),
        name: "encoder".into(),
        initializer,
        input: vec![batch_of(PIXELS, &[3, size, size])],
        output: vec![batch_of(EMBEDDING, &[dim])],
    };
    model(graph).encode_to_vec()
}

/// A map in the network that is written.
#[derive(Clone)]
struct Map {
    name: String,
    /// What one step of its bytes stands for, where it goes through bytes.
    scale: Option<f32>,
}

struct Writer<'a> {
    weights: Weights,
    nodes: Vec<Node>,
    /// Height and width of the map that was written last.
    side: usize,
    /// Those of the maps to come, where they go through bytes.
    ranges: Option<std::slice::Iter<'a, Range>>,
}

impl Writer<'_> {
    /// Adds a convolution, and its ReLU6 where it has one.
    fn convolution(&mut self, name: &str, from: &Map, convolution: &Convolution) -> Map {
        let Convolution { kernel, stride, inputs, outputs, groups, .. } = *convolution;
        let (weight, bias) = (format!("{name}_weight"), format!("{name}_bias"));
        let dims = [outputs, inputs / groups, kernel, kernel].map(|n| n as i64);
        match from.scale {
            None => {
                self.weights.add(&weight, &dims, 0, &convolution.weight);
                self.weights.exact(&bias, &[outputs as i64], &convolution.bias);
            }
            Some(scale) => self.whole(name, &dims, convolution, scale),
        }
        let (before, after) = same_padding(self.side, kernel, stride);
        let [before, after, kernel, stride_] = [before, after, kernel, stride].map(|n| n as i64);
        let attributes = vec![
            ints("kernel_shape", vec![kernel; 2]),
            ints("pads", vec![before, before, after, after]),
            ints("strides", vec![stride_; 2]),
            int("group", groups as i64),
        ];
        let sum = format!("{name}_sum");
        self.nodes.push(node("Conv", &[&from.name, &weight, &bias], &sum, attributes));
        self.side = self.side.div_ceil(stride);
        if !convolution.is_relu6 {
            return self.rounded(&sum, name);
        }
        // Clipped once more where bytes do it too: ONNX Runtime sees that and leaves it out.
        let clipped = if self.ranges.is_some() { format!("{name}_clipped") } else { name.to_owned() };
        self.nodes.push(node("Clip", &[&sum, "lowest", "highest"], &clipped, Vec::new()));
        self.rounded(&clipped, name)
    }

    /// Sends a map through bytes, called `to` afterwards; in a network of floats it stays what it is.
    ///
    /// These pairs are what runtimes make integer operators of.
    fn rounded(&mut self, from: &str, to: &str) -> Map {
        let Some(ranges) = &mut self.ranges else { return Map { name: from.into(), scale: None } };
        let (scale, zero) = ranges.next().expect("there is a range for each map").scale();
        let (scale_name, zero_name, bytes) = (format!("{to}_scale"), format!("{to}_zero"), format!("{to}_bytes"));
        self.weights.exact(&scale_name, &[], &[scale]);
        self.weights.raw(&zero_name, &[], UINT8, vec![zero]);
        self.nodes.push(node("QuantizeLinear", &[from, &scale_name, &zero_name], &bytes, Vec::new()));
        self.nodes.push(node("DequantizeLinear", &[&bytes, &scale_name, &zero_name], to, Vec::new()));
        Map { name: to.into(), scale: Some(scale) }
    }

    /// Weights as signed bytes with a scale an output, and the bias in 32 bits, in units of products.
    fn whole(&mut self, name: &str, dims: &[i64], convolution: &Convolution, of_input: f32) {
        let of_output = convolution.weight.len() / convolution.outputs;
        let (mut scales, mut weights, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for (of_one, bias) in convolution.weight.chunks_exact(of_output).zip(&convolution.bias) {
            let largest = of_one.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // An output whose weights are all zero has any scale; one of tiny weights must hold its bias.
            let least = bias.abs() / of_input / (i32::MAX / 2) as f32;
            let scale = (largest / LARGEST_WEIGHT).max(least).max(f32::MIN_POSITIVE);
            scales.push(scale);
            weights.extend(of_one.iter().map(|x| (x / scale).round() as i8 as u8));
            biases.push((f64::from(*bias) / (f64::from(of_input) * f64::from(scale))).round() as i32);
        }
        let outputs = [convolution.outputs as i64];
        let of_bias: Vec<f32> = scales.iter().map(|scale| scale * of_input).collect();
        let biases = biases.iter().flat_map(|x| x.to_le_bytes()).collect();
        for (part, dims, kind, raw, scales) in
            [("weight", dims, INT8, weights, scales), ("bias", &outputs, INT32, biases, of_bias)]
        {
            let to = format!("{name}_{part}");
            let (stored, scale) = (format!("{to}_whole"), format!("{to}_scale"));
            self.weights.raw(&stored, dims, kind, raw);
            self.weights.exact(&scale, &outputs, &scales);
            self.nodes.push(node("DequantizeLinear", &[&stored, &scale], &to, vec![int("axis", 0)]));
        }
    }
}
