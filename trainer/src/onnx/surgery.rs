//! Edits of existing ONNX networks: truncation after a tensor, and appended nodes. Unknown fields are preserved.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use landfall_model::onnx::raw::{
    Field, GRAPH_INITIALIZER, GRAPH_NODE, GRAPH_OUTPUT, GRAPH_VALUE_INFO, MODEL_GRAPH, fields, with_graph, write,
};
use landfall_model::onnx::{FLOAT, Node, TensorProto, TensorType, Type, ValueInfo, node};
use prost::Message;

/// Attribute types that contain subgraphs, whose nodes may read any tensor.
const SUBGRAPH_KINDS: [i32; 2] = [5, 10];

/// Truncates a network (the bytes of an ONNX file) to the nodes that the float tensor `last` depends on; `last` becomes
/// its only output, called `output`.
///
/// # Errors
/// When the bytes are not an ONNX network, no node outputs that tensor, or a required node contains a subgraph.
pub(crate) fn truncate(model: &[u8], last: &str, output: &str) -> Result<Vec<u8>> {
    let graph = graph_fields(model)?;
    let nodes: Vec<(Node, &Field<'_>)> = graph
        .iter()
        .filter(|field| field.tag == GRAPH_NODE)
        .map(|field| Ok((Node::decode(field.payload)?, field)))
        .collect::<Result<_>>()?;
    if !nodes.iter().any(|(node, _)| node.output.iter().any(|name| name == last)) {
        bail!("no node outputs `{last}`");
    }
    let mut wanted = HashSet::from([last.to_owned()]);
    let mut kept_nodes = HashSet::new();
    // Nodes are in topological order.
    for (i, (node, _)) in nodes.iter().enumerate().rev() {
        if node.output.iter().any(|name| wanted.contains(name)) {
            if node.attribute.iter().any(|attribute| SUBGRAPH_KINDS.contains(&attribute.kind)) {
                bail!("node `{}` ({}) contains a subgraph, which is not supported", node.name, node.op_type);
            }
            wanted.extend(node.input.iter().cloned());
            kept_nodes.insert(i);
        }
    }
    let mut nodes_so_far = 0;
    let keep = |field: &Field<'_>| {
        Ok(match field.tag {
            GRAPH_NODE => {
                nodes_so_far += 1;
                kept_nodes.contains(&(nodes_so_far - 1))
            }
            GRAPH_INITIALIZER => wanted.contains(&TensorProto::decode(field.payload)?.name),
            GRAPH_OUTPUT | GRAPH_VALUE_INFO => false,
            _ => true,
        })
    };
    rewrite_graph(model, keep, |graph| {
        write(GRAPH_NODE, &node("Identity", &[last], output, Vec::new()).encode_to_vec(), graph);
        let tensor = TensorType { element: FLOAT, shape: None };
        let output = ValueInfo { name: output.into(), r#type: Some(Type { tensor: Some(tensor) }) };
        write(GRAPH_OUTPUT, &output.encode_to_vec(), graph);
    })
}

/// Adds float tensors of a network to its outputs.
///
/// # Errors
/// When the bytes are not an ONNX network.
pub(crate) fn with_outputs(model: &[u8], names: &[&str]) -> Result<Vec<u8>> {
    rewrite_graph(
        model,
        |_| Ok(true),
        |graph| {
            for name in names {
                let tensor = TensorType { element: FLOAT, shape: None };
                let output = ValueInfo { name: (*name).into(), r#type: Some(Type { tensor: Some(tensor) }) };
                write(GRAPH_OUTPUT, &output.encode_to_vec(), graph);
            }
        },
    )
}

/// Appends nodes and their weights to a network and replaces its outputs by `output`.
///
/// # Errors
/// When the bytes are not an ONNX network.
pub(crate) fn append(model: &[u8], nodes: &[Node], weights: &[TensorProto], output: &ValueInfo) -> Result<Vec<u8>> {
    rewrite_graph(
        model,
        |field| Ok(field.tag != GRAPH_OUTPUT),
        |graph| {
            nodes.iter().for_each(|node| write(GRAPH_NODE, &node.encode_to_vec(), graph));
            weights.iter().for_each(|tensor| write(GRAPH_INITIALIZER, &tensor.encode_to_vec(), graph));
            write(GRAPH_OUTPUT, &output.encode_to_vec(), graph);
        },
    )
}

/// Rewrites the graph of a network with the fields selected by `keep`, followed by the fields that `add` writes.
fn rewrite_graph(
    model: &[u8],
    mut keep: impl FnMut(&Field<'_>) -> Result<bool>,
    add: impl FnOnce(&mut Vec<u8>),
) -> Result<Vec<u8>> {
    let mut graph = Vec::with_capacity(model.len());
    for field in graph_fields(model)? {
        if keep(&field)? {
            graph.extend_from_slice(field.whole);
        }
    }
    add(&mut graph);
    with_graph(model, |_| Ok(graph.clone())).map_err(anyhow::Error::msg)
}

fn graph_fields(model: &[u8]) -> Result<Vec<Field<'_>>> {
    let damaged = "not a valid ONNX network";
    let graph = fields(model).context(damaged)?.into_iter().find(|field| field.tag == MODEL_GRAPH);
    fields(graph.context(damaged)?.payload).context(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{batch_of, model};
    use landfall_model::onnx::{Graph, Model, tensor};

    fn network() -> Vec<u8> {
        let nodes = vec![
            node("Add", &["x", "one"], "a", Vec::new()),
            node("Mul", &["x", "two"], "aside", Vec::new()),
            node("Add", &["a", "two"], "b", Vec::new()),
            node("Mul", &["b", "three"], "y", Vec::new()),
        ];
        let initializer = ["one", "two", "three"].map(|name| tensor(name, &[1], &[1.0])).into();
        let (input, output) = (vec![batch_of("x", &[4])], vec![batch_of("y", &[4])]);
        model(Graph { node: nodes, name: "n".into(), initializer, input, output }).encode_to_vec()
    }

    #[test]
    fn truncating_drops_unused_nodes_and_appending_adds_outputs() {
        let short = truncate(&network(), "b", "tokens").unwrap();
        let longer = node("Neg", &["tokens"], "z", Vec::new());
        let longer = append(&short, &[longer], &[tensor("four", &[1], &[4.0])], &batch_of("z", &[4])).unwrap();
        let graph = Model::decode(longer.as_slice()).unwrap().graph.unwrap();
        let outputs: Vec<&str> = graph.node.iter().map(|node| node.output[0].as_str()).collect();
        assert_eq!(outputs, ["a", "b", "tokens", "z"]);
        let weights: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(weights, ["one", "two", "four"]);
        assert_eq!(graph.output, [batch_of("z", &[4])]);
        assert_eq!(graph.input, [batch_of("x", &[4])]);
    }

    #[test]
    fn a_network_that_cannot_be_truncated_is_an_error() {
        assert!(truncate(&network(), "c", "tokens").unwrap_err().to_string().contains("no node outputs `c`"));
        let half = &network()[..40];
        assert!(format!("{:#}", truncate(half, "b", "tokens").unwrap_err()).contains("not a valid ONNX network"));
    }
}
