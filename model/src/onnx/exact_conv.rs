//! Convolutions with exact sums, so that all processors and runtimes compute the same embedding.
//!
//! A quantised network is reproducible to the last bit where its sums are integers. Where it convolves floats first, each
//! processor adds in another order: one activation in a million is then rounded to a different byte, and the output changes
//! by as much as the quantisation error. Weights that are bytes times a scale need no float sums: with activations rounded to
//! a fine enough grid too, all products and sums are integers below 2²⁴, which floats represent exactly in any order.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::onnx::adapter::floats;
use crate::onnx::raw::{
    GRAPH_INITIALIZER, GRAPH_NODE, USUAL_GROWTH, check_growth, damaged, decode_node, decode_tensor, fields, with_graph,
    write,
};
use crate::onnx::{ATTRIBUTE_INT, ATTRIBUTE_INTS, INT8, Node, TensorProto, node, tensor};

/// All integers up to this value are representable as floats.
const EXACT: f64 = (1 << 24) as f64;
/// Assumed maximum of a pixel after normalisation.
const LARGEST_PIXEL: f32 = 8.0;
/// Assumed maximum of activations that are not clipped. Sums of larger ones may be inexact.
const LARGEST: f32 = 32.0;

/// Rewrites a network (the bytes of an ONNX file) to have exact sums in convolutions whose weights are bytes that are cast and
/// multiplied by one scale per output.
///
/// # Errors
/// The reason, when the bytes are not an ONNX network or such a convolution has an unknown form.
pub(crate) fn exact(network: &[u8]) -> Result<Vec<u8>, String> {
    with_graph(network, graph)
}

fn graph(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let fields = fields(bytes).map_err(damaged)?;
    let mut known = Known::default();
    for field in &fields {
        if field.tag == GRAPH_NODE {
            let node = decode_node(field.payload)?;
            let number = known.nodes.len();
            known.makers.extend(node.output.iter().map(|output| (output.clone(), number)));
            known.nodes.push(node);
        } else if field.tag == GRAPH_INITIALIZER {
            let tensor = decode_tensor(field.payload)?;
            known.tensors.insert(tensor.name.clone(), tensor);
        }
    }
    let mut rewritten = Vec::with_capacity(bytes.len() + USUAL_GROWTH);
    let mut replaced = HashSet::new();
    for (field, node) in fields.iter().filter(|field| field.tag == GRAPH_NODE).zip(&known.nodes) {
        match known.exact(node)? {
            Some((nodes, tensors)) => {
                nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), &mut rewritten));
                tensors.iter().for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), &mut rewritten));
                replaced.extend(tensors.into_iter().map(|tensor| tensor.name));
            }
            None => rewritten.extend_from_slice(field.whole),
        }
        check_growth(bytes, &rewritten)?;
    }
    for field in fields.iter().filter(|field| field.tag != GRAPH_NODE) {
        let is_replaced = field.tag == GRAPH_INITIALIZER
            && decode_tensor(field.payload).is_ok_and(|tensor| replaced.contains(&tensor.name));
        if !is_replaced {
            rewritten.extend_from_slice(field.whole);
        }
    }
    Ok(rewritten)
}

/// Nodes and their tensors.
type Part = (Vec<Node>, Vec<TensorProto>);

/// The contents of a graph by name.
#[derive(Default)]
struct Known {
    /// The nodes in their order.
    nodes: Vec<Node>,
    /// The index of the node that computes a tensor.
    makers: HashMap<String, usize>,
    tensors: HashMap<String, TensorProto>,
}

impl Known {
    /// The replacement of a node with its tensors; `None` to keep it.
    fn exact(&self, conv: &Node) -> Result<Option<Part>, String> {
        let maker = |name: &String, op: &str| self.maker(name).filter(|node| node.op_type == op);
        let weights = conv.input.get(1).filter(|_| conv.op_type == "Conv").and_then(|weights| maker(weights, "Mul"));
        let Some(Node { input: factors, .. }) = weights else { return Ok(None) };
        let Some(cast) = factors.first().and_then(|whole| maker(whole, "Cast")) else { return Ok(None) };
        let strange = || format!("the sums of convolution `{}` cannot be made exact", conv.name);
        let tensor_of = |name: Option<&String>| name.and_then(|name| self.tensors.get(name)).ok_or_else(strange);
        let (bytes, steps, shifts) =
            (tensor_of(cast.input.first())?, tensor_of(factors.get(1))?, tensor_of(conv.input.get(2))?);
        let ([input, _, bias], [output]) = (conv.input.as_slice(), conv.output.as_slice()) else {
            return Err(strange());
        };
        let outputs = bytes.dims.first().and_then(|dim| usize::try_from(*dim).ok()).unwrap_or_default();
        let (steps, shifts) = (floats(&steps.raw_data), floats(&shifts.raw_data));
        if bytes.data_type != INT8
            || outputs == 0
            || bytes.dims.len() != 4
            || bytes.raw_data.is_empty()
            || bytes.raw_data.len() % outputs != 0
            || (steps.len(), shifts.len()) != (outputs, outputs)
            || conv.attribute.iter().any(|attribute| ![ATTRIBUTE_INT, ATTRIBUTE_INTS].contains(&attribute.kind))
        {
            return Err(strange());
        }
        let sum = |weights: &[u8]| weights.iter().map(|byte| f64::from(byte.cast_signed()).abs()).sum::<f64>();
        let largest_sum = bytes.raw_data.chunks_exact(bytes.raw_data.len() / outputs).map(sum).fold(1.0, f64::max);
        let grid = libm::exp2(libm::floor(libm::log2(EXACT / (f64::from(self.largest(input)) * largest_sum)))) as f32;

        let name = |what: &str| format!("{output}_{what}");
        let each = [1, outputs as i64, 1, 1];
        let units: Vec<f32> = steps.iter().map(|step| step / grid).collect();
        let tensors = vec![
            tensor(&name("grid"), &[], &[grid]),
            tensor(&name("unit"), &each, &units),
            tensor(bias, &each, &shifts),
        ];
        let mut whole_sums = conv.clone();
        whole_sums.input = vec![name("on_grid"), factors[0].clone()];
        whole_sums.output = vec![name("sums")];
        whole_sums.name = format!("make_{}", name("sums"));
        // The second rounding has no effect but prevents runtimes from fusing the following nodes into the convolution.
        let nodes = vec![
            node("Mul", &[input, &name("grid")], &name("in_steps"), Vec::new()),
            node("Round", &[&name("in_steps")], &name("on_grid"), Vec::new()),
            whole_sums,
            node("Round", &[&name("sums")], &name("whole_sums"), Vec::new()),
            node("Mul", &[&name("whole_sums"), &name("unit")], &name("unshifted"), Vec::new()),
            node("Add", &[&name("unshifted"), bias], output, Vec::new()),
        ];
        Ok(Some((nodes, tensors)))
    }

    /// The node that computes a tensor.
    fn maker(&self, name: &str) -> Option<&Node> {
        self.makers.get(name).map(|number| &self.nodes[*number])
    }

    /// The assumed maximum of a tensor.
    fn largest(&self, name: &str) -> f32 {
        let Some(maker) = self.maker(name) else { return LARGEST_PIXEL };
        let limit = |i: usize| self.tensors.get(maker.input.get(i)?).and_then(|tensor| floats(&tensor.raw_data).pop());
        let clipped = limit(1).zip(limit(2)).filter(|_| maker.op_type == "Clip");
        clipped.map_or(LARGEST, |(low, high)| low.abs().max(high.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Attribute, Graph, Model, int};

    /// A convolution of pixels by bytes (two outputs of one 1 × 1 weight each), as `landfall-train` writes it.
    fn network(bytes: &[i8], attribute: Vec<Attribute>) -> Vec<u8> {
        let stored = bytes.iter().map(|byte| byte.cast_unsigned()).collect();
        let initializer = vec![
            TensorProto { dims: vec![2, 1, 1, 1], data_type: INT8, name: "stored".into(), raw_data: stored },
            tensor("steps", &[2, 1, 1, 1], &[0.5, 0.25]),
            tensor("bias", &[2], &[1.0, -1.0]),
        ];
        let node = vec![
            node("Cast", &["stored"], "whole", vec![int("to", 1)]),
            node("Mul", &["whole", "steps"], "weights", Vec::new()),
            node("Conv", &["pixels", "weights", "bias"], "sum", attribute),
            node("Relu", &["sum"], "output", Vec::new()),
        ];
        let graph = Graph { node, initializer, ..Graph::default() };
        Model { graph: Some(graph), ..Model::default() }.encode_to_vec()
    }

    #[test]
    fn sums_are_exact_floats() {
        let rewritten = Model::decode(exact(&network(&[-100, 64], Vec::new())).unwrap().as_slice()).unwrap();
        let graph = rewritten.graph.unwrap();
        let ops: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(ops, ["Cast", "Mul", "Mul", "Round", "Conv", "Round", "Mul", "Add", "Relu"]);
        let names: HashSet<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names.len(), ops.len(), "node names must be unique");
        let numbers = |name: &str| {
            let mut found = graph.initializer.iter().filter(|tensor| tensor.name == name);
            let tensor = found.next().unwrap();
            assert!(found.next().is_none(), "{name} is there twice");
            (tensor.dims.clone(), floats(&tensor.raw_data))
        };
        let (_, grid) = numbers("sum_grid");
        let largest = LARGEST_PIXEL * grid[0] * 100.0;
        assert!(f64::from(largest) <= EXACT && f64::from(2.0 * largest) > EXACT, "{largest}");
        assert_eq!(numbers("sum_unit"), (vec![1, 2, 1, 1], vec![0.5 / grid[0], 0.25 / grid[0]]));
        assert_eq!(numbers("bias"), (vec![1, 2, 1, 1], vec![1.0, -1.0]));
        assert_eq!(graph.node[4].input, ["sum_on_grid", "whole"]);
    }

    #[test]
    fn unknown_forms_are_errors_or_unchanged() {
        let text = Attribute { name: "auto_pad".into(), kind: 3, ..Attribute::default() };
        assert!(exact(&network(&[1, 2], vec![text])).unwrap_err().contains("make_sum"));
        assert!(exact(&network(&[1], Vec::new())).unwrap_err().contains("make_sum"));
        assert!(exact(&network(&[], Vec::new())).unwrap_err().contains("make_sum"), "weights without data");
        let whole = network(&[1, 2], Vec::new());
        assert!(exact(&whole[..whole.len() / 2]).unwrap_err().contains("not an ONNX network"));
        let mut float = Model::decode(whole.as_slice()).unwrap();
        float.graph.as_mut().unwrap().node.remove(1);
        let float = float.encode_to_vec();
        assert_eq!(Model::decode(exact(&float).unwrap().as_slice()).unwrap(), Model::decode(float.as_slice()).unwrap());
    }
}
