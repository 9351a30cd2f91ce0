//! Networks as ONNX: what a head and an encoder have in common.

use half::f16;
use landfall_model::onnx::{
    Dimension, FLOAT, FLOAT16, Graph, Model, Node, OperatorSet, Shape, TensorProto, TensorType, Type, ValueInfo, int,
    node, tensor,
};

mod encoder;
mod head;

pub use encoder::{INPUT as PIXELS, OUTPUT as FEATURES, encoder};
pub use head::{OUTPUT as LOGITS, head};

/// IR version 8 and operator set 17 load in every runtime since mid-2022.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// In half as many bytes; they are made 32-bit floats again when the network is loaded.
    F16,
}

impl Precision {
    /// By how much burn and ONNX Runtime may differ: in logits, and in features by the largest of them.
    pub fn tolerance(self) -> f32 {
        match self {
            Self::F32 => 1e-4,
            Self::F16 => 1e-2,
        }
    }
}

/// The weights of a network, as they are stored.
struct Weights {
    precision: Precision,
    stored: Vec<TensorProto>,
    casts: Vec<Node>,
}

impl Weights {
    fn new(precision: Precision) -> Self {
        Self { precision, stored: Vec::new(), casts: Vec::new() }
    }

    /// Numbers that are too few to be worth less precision.
    fn exact(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.stored.push(tensor(name, dims, values));
    }

    fn add(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        if self.precision == Precision::F32 {
            return self.exact(name, dims, values);
        }
        let half = format!("{name}_half");
        let raw_data = values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        self.casts.push(node("Cast", &[&half], name, vec![int("to", FLOAT.into())]));
        self.stored.push(TensorProto { dims: dims.to_vec(), data_type: FLOAT16, name: half, raw_data });
    }

    /// What is stored, and the nodes that make weights of it.
    fn finish(self) -> (Vec<TensorProto>, Vec<Node>) {
        (self.stored, self.casts)
    }
}

fn model(graph: Graph) -> Model {
    Model {
        ir_version: IR_VERSION,
        producer_name: "landfall-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    }
}

/// A float tensor of these sizes for each of a number of examples that is left open.
fn batch_of(name: &str, sizes: &[usize]) -> ValueInfo {
    let open = Dimension { value: None, parameter: Some("N".into()) };
    let sizes = sizes.iter().map(|size| Dimension { value: Some(*size as i64), parameter: None });
    let dim = std::iter::once(open).chain(sizes).collect();
    let tensor = TensorType { element: FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor: Some(tensor) }) }
}
