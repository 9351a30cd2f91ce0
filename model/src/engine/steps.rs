//! Statically quantised networks, computed in floats that hold integers.
//!
//! rten has no products of the bytes of such a network: it would convert them to floats before every layer. The sums then
//! differ in their last bits from the integers of ONNX Runtime, some bytes are rounded differently, and each changes those of
//! the next layers. Here activations are kept as floats in steps of their scale, relative to the zero point. Products and
//! sums of integers are exact in floats up to 2²⁴, so that every byte is that of ONNX Runtime; and the conversions are gone.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::onnx::adapter::floats;
use crate::onnx::raw::{
    GRAPH_INITIALIZER, GRAPH_NODE, USUAL_GROWTH, check_growth, damaged, decode_node, decode_tensor, fields, with_graph,
    write,
};
use crate::onnx::{ATTRIBUTE_INT, ATTRIBUTE_INTS, FLOAT, INT8, INT32, Node, TensorProto, UINT8, int, node, tensor};

/// Added and subtracted again, it rounds a float of less than 2²² to an integer, half to even. rten's `Round` takes a third
/// of the time of a network, since it calls a function per value on x86 processors without SSE 4.1.
const ROUNDER: f32 = 1.5 * (1 << 23) as f32;

/// Rewrites a network (the bytes of an ONNX file) whose activations are quantised to unsigned bytes with constant scales.
/// Other networks are not changed, nor are layers of an unknown form.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network.
pub(super) fn in_steps(network: &[u8]) -> Result<Vec<u8>, String> {
    with_graph(network, graph)
}

fn graph(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let fields = fields(bytes).map_err(damaged)?;
    let mut known = Known::default();
    for field in &fields {
        if field.tag == GRAPH_NODE {
            let node = decode_node(field.payload)?;
            known.makers.extend(node.output.iter().map(|output| (output.clone(), known.nodes.len())));
            known.nodes.push(node);
        } else if field.tag == GRAPH_INITIALIZER {
            let tensor = decode_tensor(field.payload)?;
            known.tensors.insert(tensor.name.clone(), tensor);
        }
    }
    known.find_integer_convolutions();
    let mut rewritten = Vec::with_capacity(bytes.len() + USUAL_GROWTH);
    for (field, node) in fields.iter().filter(|field| field.tag == GRAPH_NODE).zip(&known.nodes) {
        match known.in_steps(node) {
            Some(Part { nodes, tensors }) => {
                nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten));
                tensors.iter().for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut rewritten));
            }
            // A layer that nothing uses any more is not run.
            None => rewritten.extend_from_slice(field.whole),
        }
        check_growth(bytes, &rewritten)?;
    }
    fields.iter().filter(|field| field.tag != GRAPH_NODE).for_each(|field| rewritten.extend_from_slice(field.whole));
    Ok(rewritten)
}

/// Nodes and their tensors.
#[derive(Default)]
struct Part {
    nodes: Vec<Node>,
    tensors: Vec<TensorProto>,
}

impl Part {
    fn node(&mut self, op: &str, input: &[&str], output: &str) {
        self.nodes.push(node(op, input, output, Vec::new()));
    }

    fn round(&mut self, input: &str, output: &str) {
        let rounder = self.tensor(format!("{output}_rounder"), &[], &[ROUNDER]);
        let shifted = format!("{output}_shifted");
        self.node("Add", &[input, &rounder], &shifted);
        self.node("Sub", &[&shifted, &rounder], output);
    }

    fn tensor(&mut self, name: String, dims: &[i64], values: &[f32]) -> String {
        self.tensors.push(tensor(&name, dims, values));
        name
    }
}

/// How a tensor of bytes is quantised.
#[derive(Clone, Copy)]
struct Scale {
    step: f32,
    zero: u8,
}

impl Scale {
    /// The smallest and the largest byte in steps from the zero point.
    fn range(self) -> (f32, f32) {
        (-f32::from(self.zero), f32::from(u8::MAX - self.zero))
    }
}

/// The contents of a graph by name.
#[derive(Default)]
struct Known {
    /// The nodes in their order.
    nodes: Vec<Node>,
    /// The index of the node that computes a tensor.
    makers: HashMap<String, usize>,
    tensors: HashMap<String, TensorProto>,
    /// Inputs and outputs of the convolutions of `onnx::exact_conv`, which are integers below 2²⁴.
    integers: HashSet<String>,
}

impl Known {
    fn find_integer_convolutions(&mut self) {
        let weights = |conv: &Node| self.maker(conv.input.get(1)?, "Cast")?.input.first();
        let is_integer = |conv: &&Node| {
            let weights = weights(conv).and_then(|weights| self.tensors.get(weights));
            conv.op_type == "Conv" && conv.input.len() == 2 && weights.is_some_and(|weights| weights.data_type == INT8)
        };
        let convolutions = self.nodes.iter().filter(is_integer);
        self.integers =
            convolutions.flat_map(|conv| conv.input.first().into_iter().chain(&conv.output)).cloned().collect();
    }

    /// The replacement of a node; `None` to keep it.
    fn in_steps(&self, node: &Node) -> Option<Part> {
        match node.op_type.as_str() {
            "QuantizeLinear" => self.quantised(node),
            "DequantizeLinear" => {
                let bytes = node.input.first()?;
                let Scale { step, .. } = self.scale(self.maker(bytes, "QuantizeLinear")?)?;
                let mut part = Part::default();
                let step = part.tensor(format!("{}_of_step", node.output[0]), &[], &[step]);
                part.node("Mul", &[&steps_of(bytes), &step], node.output.first()?);
                Some(part)
            }
            "Round" => {
                let (input, output) = (node.input.first()?, node.output.first()?);
                let mut part = Part::default();
                if self.integers.contains(input) {
                    part.node("Identity", &[input], output);
                } else if self.integers.contains(output) {
                    // The sums of products with bytes are below 2²⁴, so that these are below 2²².
                    part.round(input, output);
                } else {
                    return None;
                }
                Some(part)
            }
            _ => None,
        }
    }

    /// A layer with bytes as its output: the layer's values in steps, limited and rounded.
    fn quantised(&self, quantise: &Node) -> Option<Part> {
        let scale = self.scale(quantise)?;
        let (lowest, highest) = scale.range();
        let (input, output) = (quantise.input.first()?, steps_of(quantise.output.first()?));
        let exact = format!("{output}_exact");
        let layer = self
            .maker(input, "Clip")
            .filter(|clip| self.clips_nothing(clip, scale))
            .map_or(input, |clip| &clip.input[0]);
        let part = self.convolution(layer, scale, &exact).or_else(|| self.sum(layer, scale, &exact));
        let mut part = part.unwrap_or_else(|| {
            let mut part = Part::default();
            let step = part.tensor(format!("{output}_step"), &[], &[scale.step]);
            part.node("Div", &[input, &step], &exact);
            part
        });
        let lowest = part.tensor(format!("{output}_lowest"), &[], &[lowest]);
        let highest = part.tensor(format!("{output}_highest"), &[], &[highest]);
        let limited = format!("{output}_limited");
        part.node("Clip", &[&exact, &lowest, &highest], &limited);
        part.round(&limited, &output);
        Some(part)
    }

    /// A convolution of bytes, in steps of its output.
    fn convolution(&self, layer: &str, scale: Scale, output: &str) -> Option<Part> {
        let conv = self.maker(layer, "Conv")?;
        let [input, weights, bias] = conv.input.as_slice() else { return None };
        let (bytes, input) = self.activations(input)?;
        let (weights, weight_steps) = self.weights(weights, INT8)?;
        let (bias, _) = self.weights(bias, INT32)?;
        let outputs = usize::try_from(*weights.dims.first()?).ok()?;
        let bias: Vec<f32> =
            bias.raw_data.chunks_exact(4).map(|x| i32::from_le_bytes([x[0], x[1], x[2], x[3]]) as f32).collect();
        let is_known = |kind| [ATTRIBUTE_INT, ATTRIBUTE_INTS].contains(&kind);
        if bias.len() != outputs
            || ![1, outputs].contains(&weight_steps.len())
            || !conv.attribute.iter().all(|attribute| is_known(attribute.kind))
        {
            return None;
        }
        // In the order in which ONNX Runtime computes them.
        let factors: Vec<f32> = weight_steps.iter().map(|step| input.step * step / scale.step).collect();
        let name = |what: &str| format!("{output}_{what}");
        let mut part = Part::default();
        let bias = part.tensor(name("bias"), &[outputs as i64], &bias);
        let factors = part.tensor(name("factors"), &[1, factors.len() as i64, 1, 1], &factors);
        part.nodes.push(node("Cast", &[&weights.name], &name("weights"), vec![int("to", FLOAT.into())]));
        let input = [&*steps_of(bytes), &name("weights"), &bias];
        part.nodes.push(node("Conv", &input, &name("sums"), conv.attribute.clone()));
        part.node("Mul", &[&name("sums"), &factors], output);
        Some(part)
    }

    /// A sum of bytes, in steps of its output.
    fn sum(&self, layer: &str, scale: Scale, output: &str) -> Option<Part> {
        let [a, b] = self.maker(layer, "Add")?.input.as_slice() else { return None };
        let mut part = Part::default();
        for (input, which) in [(a, "a"), (b, "b")] {
            let (bytes, input) = self.activations(input)?;
            let factor = part.tensor(format!("{output}_{which}_factor"), &[], &[input.step / scale.step]);
            part.node("Mul", &[&steps_of(bytes), &factor], &format!("{output}_{which}"));
        }
        part.node("Add", &[&format!("{output}_a"), &format!("{output}_b")], output);
        Some(part)
    }

    /// The bytes that a tensor of floats is made of, if they are quantised activations.
    fn activations(&self, floats: &str) -> Option<(&str, Scale)> {
        let bytes = self.maker(floats, "DequantizeLinear")?.input.first()?;
        Some((bytes, self.scale(self.maker(bytes, "QuantizeLinear")?)?))
    }

    /// The integers and the scales that a tensor of floats is made of, if they are constant and have no zero points.
    fn weights(&self, floats_of: &str, data_type: i32) -> Option<(&TensorProto, Vec<f32>)> {
        let dequantise = self.maker(floats_of, "DequantizeLinear")?;
        let integers = self.tensors.get(dequantise.input.first()?)?;
        let has_zeros = match dequantise.input.get(2) {
            Some(zeros) => self.tensors.get(zeros)?.raw_data.iter().any(|byte| *byte != 0),
            None => false,
        };
        // One scale for all, or one per output, which is the first axis.
        let is_per_output = dequantise.attribute.iter().all(|attribute| attribute.name == "axis" && attribute.i == 0);
        let scales = floats(&self.tensors.get(dequantise.input.get(1)?)?.raw_data);
        let is_known = integers.data_type == data_type && !has_zeros && (is_per_output || scales.len() == 1);
        is_known.then_some((integers, scales))
    }

    /// The scale of quantised activations, if they are unsigned bytes with one scale.
    fn scale(&self, quantise: &Node) -> Option<Scale> {
        let [_, step, zero] = quantise.input.as_slice() else { return None };
        let (step, zero) = (self.tensors.get(step)?, self.tensors.get(zero)?);
        let &[step] = floats(&step.raw_data).as_slice() else { return None };
        let &[byte] = zero.raw_data.as_slice() else { return None };
        (zero.data_type == UINT8 && step > 0.0).then_some(Scale { step, zero: byte })
    }

    /// Whether all bytes are within the limits of a node.
    fn clips_nothing(&self, clip: &Node, scale: Scale) -> bool {
        let limit = |i: usize| floats(&self.tensors.get(clip.input.get(i)?)?.raw_data).pop();
        let (lowest, highest) = scale.range();
        limit(1).zip(limit(2)).is_some_and(|(low, high)| {
            let steps = |limit: f32| libm::rintf(limit / scale.step);
            steps(low) <= lowest && steps(high) >= highest
        })
    }

    /// The node that computes a tensor, if it is of this kind.
    fn maker(&self, name: &str, op: &str) -> Option<&Node> {
        self.makers.get(name).map(|number| &self.nodes[*number]).filter(|node| node.op_type == op)
    }
}

/// The name of quantised activations in steps.
fn steps_of(bytes: &str) -> String {
    format!("{bytes}_in_steps")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::rten::Session;
    use crate::onnx::{Graph, Model, OperatorSet, ValueInfo, ints};

    fn integers(name: &str, data_type: i32, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
        TensorProto { dims: dims.to_vec(), data_type, name: name.into(), raw_data }
    }

    /// Two channels of one pixel are quantised, convolved, clipped, quantised, and added to what they were: bytes with zero
    /// point 100 and the scales 1/2 and 1/4.
    fn network(zero_type: i32) -> Vec<u8> {
        let dequantised = |bytes: &str, step: &str, zero: &str, output: &str| {
            node("DequantizeLinear", &[bytes, step, zero], output, vec![int("axis", 0)])
        };
        let nodes = vec![
            node("QuantizeLinear", &["x", "half", "zero"], "x_bytes", Vec::new()),
            dequantised("x_bytes", "half", "zero", "x_floats"),
            dequantised("weights", "weight_steps", "", "w"),
            dequantised("bias", "bias_steps", "", "b"),
            node("Conv", &["x_floats", "w", "b"], "conv", vec![ints("kernel_shape", vec![1, 1])]),
            node("Clip", &["conv", "low", "high"], "clipped", Vec::new()),
            node("QuantizeLinear", &["clipped", "quarter", "zero"], "y_bytes", Vec::new()),
            dequantised("y_bytes", "quarter", "zero", "y_floats"),
            node("Add", &["x_floats", "y_floats"], "added", Vec::new()),
            node("QuantizeLinear", &["added", "half", "zero"], "z_bytes", Vec::new()),
            dequantised("z_bytes", "half", "zero", "z"),
        ];
        let nodes = nodes.into_iter().map(|mut node| {
            node.input.retain(|input| !input.is_empty());
            node
        });
        let weights = [3i8, -2, 1, 5].iter().map(|weight| weight.cast_unsigned()).collect();
        let bias = [7i32, -9].iter().flat_map(|bias| bias.to_le_bytes()).collect();
        let initializer = vec![
            tensor("half", &[], &[0.5]),
            tensor("quarter", &[], &[0.25]),
            integers("zero", zero_type, &[], vec![100]),
            integers("weights", INT8, &[2, 2, 1, 1], weights),
            tensor("weight_steps", &[2], &[0.3, 0.7]),
            integers("bias", INT32, &[2], bias),
            tensor("bias_steps", &[2], &[0.15, 0.35]),
            tensor("low", &[], &[-1e3]),
            tensor("high", &[], &[1e3]),
        ];
        let value = |name: &str| ValueInfo { name: name.into(), ..ValueInfo::default() };
        let graph = Graph {
            node: nodes.collect(),
            initializer,
            input: vec![value("x")],
            output: vec![value("z")],
            ..Graph::default()
        };
        let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
        Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec()
    }

    fn ops(network: &[u8]) -> Vec<String> {
        let graph = Model::decode(network).unwrap().graph.unwrap();
        graph.node.into_iter().map(|node| node.op_type).collect()
    }

    #[test]
    fn bytes_are_those_of_integer_arithmetic() {
        let rewritten = in_steps(&network(UINT8)).unwrap();
        assert!(!ops(&rewritten).contains(&"QuantizeLinear".to_owned()), "{:?}", ops(&rewritten));
        let mut session = Session::load(Path::new("a.onnx"), &network(UINT8), 1).unwrap().remove(0);
        let steps = |x: f32| x.round_ties_even().clamp(-100.0, 155.0);
        for x in [[0.0, 0.0], [1.25, -3.75], [20.0, 7.3], [-80.0, 90.0], [12.26, -0.24]] {
            let q = x.map(|x: f32| steps(x / 0.5));
            let y = [
                steps((3.0 * q[0] - 2.0 * q[1] + 7.0) * (0.5 * 0.3 / 0.25)),
                steps((q[0] + 5.0 * q[1] - 9.0) * (0.5 * 0.7 / 0.25)),
            ];
            let z = [0, 1].map(|i| steps(q[i] + y[i] * 0.5) * 0.5);
            assert_eq!(session.run(&[1, 2, 1, 1], &x, "x", &["z"]).unwrap(), [z.to_vec()], "{x:?}");
        }
    }

    #[test]
    fn clipping_within_the_range_of_the_bytes_is_kept() {
        let known = |high: f32| {
            let mut known = Known::default();
            known.tensors.insert("low".into(), tensor("low", &[], &[0.0]));
            known.tensors.insert("high".into(), tensor("high", &[], &[high]));
            known
        };
        let clip = node("Clip", &["x", "low", "high"], "y", Vec::new());
        // Six units in 255 steps, as after a ReLU6.
        let scale = Scale { step: 6.0 / 255.0, zero: 0 };
        assert!(known(6.0).clips_nothing(&clip, scale));
        assert!(!known(5.9).clips_nothing(&clip, scale));
        assert!(!known(6.0).clips_nothing(&clip, Scale { zero: 10, ..scale }), "negative bytes are clipped");
    }

    #[test]
    fn other_networks_are_not_changed() {
        let signed = network(INT8);
        assert_eq!(ops(&in_steps(&signed).unwrap()), ops(&signed));
        assert!(in_steps(&signed[..signed.len() / 2]).unwrap_err().contains("not an ONNX network"));
    }
}
