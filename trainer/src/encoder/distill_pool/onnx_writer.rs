//! Appends the pooling layer to the ONNX network of a truncated encoder.

use anyhow::Result;
use landfall_model::onnx::{int, ints, node};

use crate::onnx::{EMBEDDING, Precision, TOKENS, WeightStore, append, batch_of};

/// Weights of attention pooling and of the linear layer after it.
pub(super) struct PoolingWeights {
    /// Number of values per token, W.
    pub(super) width: usize,
    /// Queries `[W, Q]`.
    pub(super) queries: Vec<f32>,
    /// Weights `[(Q + 1) W, D]` of the layer on the pooled tokens, followed by the first token.
    pub(super) weight: Vec<f32>,
    /// Bias `[D]`.
    pub(super) bias: Vec<f32>,
}

/// Added to variances to avoid division by 0; far below the variance of any token.
const EPSILON: f32 = 1e-12;

/// Appends pooling to the network `tokens` (the bytes of an ONNX file); the output is `[N, D]`. Tokens are first
/// normalised to mean 0 and variance 1.
///
/// # Errors
/// When the bytes are not an ONNX network.
pub(super) fn append_pooling(tokens: &[u8], pooling: &PoolingWeights, precision: Precision) -> Result<Vec<u8>> {
    let PoolingWeights { width, queries, weight, bias } = pooling;
    let (wide, count, dim) = (*width as i64, (queries.len() / width) as i64, bias.len());
    let mut weights = WeightStore::new(precision);
    weights.add_f32("pool_epsilon", &[1], &[EPSILON]);
    weights.add_f32("pool_queries", &[wide, count], queries);
    weights.add("pool_weight", &[(count + 1) * wide, dim as i64], 1, weight);
    weights.add_f32("pool_bias", &[dim as i64], bias);
    weights.add_i64("pool_first", &[1], &[0]);
    let last_axis = || vec![ints("axes", vec![-1]), int("keepdims", 1)];
    let nodes = vec![
        node("ReduceMean", &[TOKENS], "pool_mean", last_axis()),
        node("Sub", &[TOKENS, "pool_mean"], "pool_centred", Vec::new()),
        node("Mul", &["pool_centred", "pool_centred"], "pool_squares", Vec::new()),
        node("ReduceMean", &["pool_squares"], "pool_variance", last_axis()),
        node("Add", &["pool_variance", "pool_epsilon"], "pool_above_zero", Vec::new()),
        node("Sqrt", &["pool_above_zero"], "pool_deviation", Vec::new()),
        node("Div", &["pool_centred", "pool_deviation"], "pool_tokens", Vec::new()),
        node("MatMul", &["pool_tokens", "pool_queries"], "pool_scores", Vec::new()),
        node("Transpose", &["pool_scores"], "pool_by_query", vec![ints("perm", vec![0, 2, 1])]),
        node("Softmax", &["pool_by_query"], "pool_attention", vec![int("axis", -1)]),
        node("MatMul", &["pool_attention", "pool_tokens"], "pool_gathered", Vec::new()),
        node("Gather", &["pool_tokens", "pool_first"], "pool_class", vec![int("axis", 1)]),
        node("Concat", &["pool_gathered", "pool_class"], "pool_all", vec![int("axis", 1)]),
        node("Flatten", &["pool_all"], "pool_flat", vec![int("axis", 1)]),
        node("Gemm", &["pool_flat", "pool_weight", "pool_bias"], EMBEDDING, Vec::new()),
    ];
    let (initializer, mut all) = weights.finish();
    all.extend(nodes);
    append(tokens, &all, &initializer, &batch_of(EMBEDDING, &[dim]))
}
