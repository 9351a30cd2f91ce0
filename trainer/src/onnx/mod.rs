//! Shared code for writing ONNX networks. Each writer is in the module of its network.

use half::f16;
use landfall_model::onnx::{
    Dimension, FLOAT, FLOAT16, Graph, INT8, INT64, Model, Node, OperatorSet, Shape, TensorProto, TensorType, Type,
    ValueInfo, int, node, tensor,
};

mod surgery;

pub(crate) use surgery::{append, truncate, with_outputs};

/// Name of an encoder's input, `[N, 3, S, S]`.
pub(crate) const PIXELS: &str = "pixel_values";
/// Name of an encoder's output and of a head's input, `[N, D]`.
pub(crate) const EMBEDDING: &str = "image_embeds";
/// Name of a head's output, `[N, cells]`.
pub(crate) const LOGITS: &str = "cell_logits";
/// Name of the token output of a truncated vision transformer, `[N, T, W]`.
pub(crate) const TOKENS: &str = "tokens";

/// IR version 8 and operator set 17 are supported by every runtime since mid-2022.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Storage format of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats, converted to 32-bit floats when the network is loaded.
    F16,
    /// 8-bit integers with one scale per output, converted to 32-bit floats when the network is loaded. Inference is as
    /// fast as with 32-bit floats.
    Int8,
}

impl Precision {
    /// Maximum difference between burn and ONNX Runtime: absolute for logits, relative to the largest value for
    /// embeddings and, with 8-bit weights, for logits.
    pub(crate) fn tolerance(self) -> f32 {
        match self {
            Self::F32 => 1e-4,
            Self::F16 => 1e-2,
            Self::Int8 => 2e-2,
        }
    }
}

/// The stored weights of a network.
pub(crate) struct WeightStore {
    precision: Precision,
    initializers: Vec<TensorProto>,
    /// Nodes that convert stored weights to floats; runtimes evaluate them once at load time.
    restore_nodes: Vec<Node>,
}

impl WeightStore {
    pub(crate) fn new(precision: Precision) -> Self {
        Self { precision, initializers: Vec::new(), restore_nodes: Vec::new() }
    }

    /// Adds a small tensor in full precision.
    pub(crate) fn add_f32(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.initializers.push(tensor(name, dims, values));
    }

    /// Adds a tensor with any ONNX data type.
    pub(crate) fn add_raw(&mut self, name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) {
        self.initializers.push(TensorProto { dims: dims.to_vec(), data_type, name: name.into(), raw_data });
    }

    /// Adds a tensor of integers, such as indices.
    pub(crate) fn add_i64(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        self.add_raw(name, dims, INT64, values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    /// Adds weights in the store's precision; their outputs are along `axis`.
    pub(crate) fn add(&mut self, name: &str, dims: &[i64], axis: usize, values: &[f32]) {
        match self.precision {
            Precision::F32 => self.add_f32(name, dims, values),
            Precision::F16 => {
                let raw_data = values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
                self.add_with_cast(name, dims, FLOAT16, raw_data);
            }
            Precision::Int8 => {
                let inner = dims[axis + 1..].iter().product::<i64>() as usize;
                let scale_of = |i: usize| i / inner % dims[axis] as usize;
                let mut scales = vec![0.0f32; dims[axis] as usize];
                values.iter().enumerate().for_each(|(i, x)| scales[scale_of(i)] = scales[scale_of(i)].max(x.abs()));
                // Any scale works for an output whose weights are all zero.
                scales.iter_mut().for_each(|scale| *scale = if *scale > 0.0 { *scale / 127.0 } else { 1.0 });
                let rounded = |(i, x): (usize, &f32)| (x / scales[scale_of(i)]).round() as i8 as u8;
                let raw_data = values.iter().enumerate().map(rounded).collect();
                let (quantised, scale) = (format!("{name}_whole"), format!("{name}_scale"));
                self.add_with_cast(&quantised, dims, INT8, raw_data);
                let shape: Vec<i64> = (0..dims.len()).map(|i| if i == axis { dims[axis] } else { 1 }).collect();
                self.add_f32(&scale, &shape, &scales);
                self.restore_nodes.push(node("Mul", &[&quantised, &scale], name, Vec::new()));
            }
        }
    }

    /// Stores a tensor, and adds the node that converts it to floats called `name`.
    fn add_with_cast(&mut self, name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) {
        let stored = format!("{name}_stored");
        self.restore_nodes.push(node("Cast", &[&stored], name, vec![int("to", FLOAT.into())]));
        self.add_raw(&stored, dims, data_type, raw_data);
    }

    /// The stored tensors, and the nodes that convert them to weights.
    pub(crate) fn finish(self) -> (Vec<TensorProto>, Vec<Node>) {
        (self.initializers, self.restore_nodes)
    }
}

pub(crate) fn model(graph: Graph) -> Model {
    Model {
        ir_version: IR_VERSION,
        producer_name: "landfall-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    }
}

/// A float tensor with an open batch dimension and these sizes.
pub(crate) fn batch_of(name: &str, sizes: &[usize]) -> ValueInfo {
    let open = Dimension { value: None, parameter: Some("N".into()) };
    let sizes = sizes.iter().map(|size| Dimension { value: Some(*size as i64), parameter: None });
    let dim = std::iter::once(open).chain(sizes).collect();
    let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
}
