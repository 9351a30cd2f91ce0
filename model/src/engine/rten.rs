//! Networks in rten, an inference library in Rust.

use std::path::Path;
use std::sync::Arc;

use rten::{LoadErrorKind, Model, ModelOptions, NodeId, RunOptions, ShapeInferenceMode, ThreadPool, Value, ValueView};

use super::steps;
use crate::error::{Cause, Error, Result};

/// The version in `Cargo.toml`.
pub(super) const VERSION: &str = "0.27";

/// A network with a thread of its own. The weights are shared with the other sessions of the network.
pub(crate) struct Session {
    model: Arc<Model>,
    options: RunOptions,
}

impl Session {
    pub(super) fn load(path: &Path, network: &[u8], count: usize) -> Result<Vec<Self>> {
        let damaged = |reason: String| Error::Network { file: path.to_owned(), source: reason.into() };
        let network = steps::in_steps(network).map_err(damaged)?;
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            // Without shapes, products and sums are not fused into batch normalisations, which round otherwise.
            .shape_inference(ShapeInferenceMode::Off)
            .load(network);
        let model = Arc::new(model.map_err(|error| match error.kind() {
            LoadErrorKind::OperatorInvalid => Error::RuntimeNeeded { file: path.to_owned(), source: error.into() },
            _ => Error::Network { file: path.to_owned(), source: error.into() },
        })?);
        let session = |_| {
            let pool = Arc::new(ThreadPool::with_num_threads(1));
            Self { model: Arc::clone(&model), options: RunOptions::default().with_thread_pool(Some(pool)) }
        };
        Ok((0..count).map(session).collect())
    }

    pub(super) fn inputs(&self) -> Vec<&str> {
        self.names(self.model.input_ids())
    }

    pub(super) fn outputs(&self) -> Vec<&str> {
        self.names(self.model.output_ids())
    }

    fn names(&self, nodes: &[NodeId]) -> Vec<&str> {
        nodes.iter().filter_map(|node| self.model.node_info(*node)?.name()).collect()
    }

    pub(super) fn run(
        &mut self,
        shape: &[usize],
        data: &[f32],
        input: &str,
        names: &[&str],
    ) -> std::result::Result<Vec<Vec<f32>>, Cause> {
        let input = self.model.node_id(input)?;
        let outputs: Vec<NodeId> =
            names.iter().map(|name| self.model.node_id(name)).collect::<std::result::Result<_, _>>()?;
        let tensor = ValueView::from_shape(shape, data)?;
        let values = self.model.run(vec![(input, tensor.into())], &outputs, Some(self.options.clone()))?;
        let floats = |value: Value| match value {
            Value::FloatTensor(tensor) => Ok(tensor.into_data()),
            _ => Err("the output is not a tensor of floats".into()),
        };
        values.into_iter().map(floats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Graph, Model as Network, Node, OperatorSet, ValueInfo, node};
    use prost::Message;

    fn network(node: Node) -> Vec<u8> {
        let value = |name: &str| ValueInfo { name: name.into(), ..ValueInfo::default() };
        let graph = Graph { node: vec![node], input: vec![value("x")], output: vec![value("y")], ..Graph::default() };
        let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
        Network { ir_version: 8, graph: Some(graph), opset_import, ..Network::default() }.encode_to_vec()
    }

    fn load(network: &[u8]) -> Result<Session> {
        Ok(Session::load(Path::new("a.onnx"), network, 1)?.remove(0))
    }

    #[test]
    fn a_network_runs_and_names_its_ends() {
        let mut session = load(&network(node("Relu", &["x"], "y", Vec::new()))).unwrap();
        assert_eq!((session.inputs(), session.outputs()), (vec!["x"], vec!["y"]));
        assert_eq!(session.run(&[1, 2], &[-1.0, 2.0], "x", &["y"]).unwrap(), [[0.0, 2.0]]);
        assert!(session.run(&[1, 2], &[-1.0, 2.0], "x", &["z"]).unwrap_err().to_string().contains('z'));
        assert!(session.run(&[1, 3], &[-1.0, 2.0], "x", &["y"]).is_err(), "data of another length");
    }

    #[test]
    fn unknown_operators_need_onnx_runtime() {
        let foreign = Node { domain: "com.microsoft".into(), ..node("MatMulIntegerToFloat", &["x"], "y", Vec::new()) };
        for unknown in [foreign, node("NoSuchOperator", &["x"], "y", Vec::new())] {
            let error = load(&network(unknown)).err().unwrap();
            assert!(matches!(&error, Error::RuntimeNeeded { .. }), "{error:?}");
            assert_eq!(error.to_string(), "a.onnx: needs ONNX Runtime, which was not found");
        }
        for damaged in [&b"no network"[..], &[]] {
            assert!(matches!(load(damaged).err().unwrap(), Error::Network { .. }));
        }
    }
}
