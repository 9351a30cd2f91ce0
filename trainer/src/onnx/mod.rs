//! What all writers of ONNX networks have in common. Each writer lies beside the network that it writes.

use half::f16;
use landfall_model::onnx::{
    Dimension, FLOAT, FLOAT16, Graph, INT8, INT64, Model, Node, OperatorSet, Shape, TensorProto, TensorType, Type,
    ValueInfo, int, node, tensor,
};

mod surgery;

pub(crate) use surgery::{append, truncate};

/// Name of an encoder's input, `[N, 3, S, S]`.
pub(crate) const PIXELS: &str = "pixel_values";
/// Name of an encoder's output and of a head's input, `[N, D]`.
pub(crate) const EMBEDDING: &str = "image_embeds";
/// Name of a head's output, `[N, cells]`.
pub(crate) const LOGITS: &str = "cell_logits";
/// Name of the tokens that a truncated vision transformer gives, `[N, T, W]`.
pub(crate) const TOKENS: &str = "tokens";

/// IR version 8 and operator set 17 load in every runtime since mid-2022.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Precision {
    /// As they are.
    #[default]
    F32,
    /// In half as many bytes; they are made 32-bit floats again when the network is loaded.
    F16,
    /// In a quarter of the bytes, with a scale for each output; they are made 32-bit floats again when the network is
    /// loaded, and activations stay such floats: it answers as fast as with those.
    Int8,
}

impl Precision {
    /// By how much burn and ONNX Runtime may differ: in logits, and in embeddings by the largest number; with 8-bit
    /// weights in logits too by the largest.
    pub(crate) fn tolerance(self) -> f32 {
        match self {
            Self::F32 => 1e-4,
            Self::F16 => 1e-2,
            Self::Int8 => 2e-2,
        }
    }
}

/// The weights of a network, as they are stored.
pub(crate) struct WeightStore {
    precision: Precision,
    initializers: Vec<TensorProto>,
    /// What makes weights of what is stored, once, when the network is loaded.
    restore_nodes: Vec<Node>,
}

impl WeightStore {
    pub(crate) fn new(precision: Precision) -> Self {
        Self { precision, initializers: Vec::new(), restore_nodes: Vec::new() }
    }

    /// Numbers that are too few to be worth less precision.
    pub(crate) fn add_f32(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.initializers.push(tensor(name, dims, values));
    }

    /// Numbers of some kind of ONNX's.
    pub(crate) fn add_raw(&mut self, name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) {
        self.initializers.push(TensorProto { dims: dims.to_vec(), data_type, name: name.into(), raw_data });
    }

    /// Whole numbers, such as places.
    pub(crate) fn add_i64(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        self.add_raw(name, dims, INT64, values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    /// Weights whose outputs lie along `axis`.
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
                // An output whose weights are all zero has any scale.
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

    /// Stores numbers, and the node that makes floats called `name` of them.
    fn add_with_cast(&mut self, name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) {
        let stored = format!("{name}_stored");
        self.restore_nodes.push(node("Cast", &[&stored], name, vec![int("to", FLOAT.into())]));
        self.add_raw(&stored, dims, data_type, raw_data);
    }

    /// What is stored, and the nodes that make weights of it.
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

/// A float tensor of these sizes for each of a number of examples that is left open.
pub(crate) fn batch_of(name: &str, sizes: &[usize]) -> ValueInfo {
    let open = Dimension { value: None, parameter: Some("N".into()) };
    let sizes = sizes.iter().map(|size| Dimension { value: Some(*size as i64), parameter: None });
    let dim = std::iter::once(open).chain(sizes).collect();
    let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
}
