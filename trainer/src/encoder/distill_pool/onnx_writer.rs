//! What gathers a vision transformer's tokens, as nodes behind a network that gives those.

use anyhow::Result;
use landfall_model::onnx::{int, ints, node};

use crate::onnx::{EMBEDDING, Precision, TOKENS, WeightStore, append, batch_of};

/// Attention of learned queries over the tokens, and a linear layer behind it.
pub(super) struct PoolingWeights {
    /// Numbers of a token, W.
    pub(super) width: usize,
    /// Queries `[W, Q]`.
    pub(super) queries: Vec<f32>,
    /// Weights `[(Q + 1) W, D]` of the layer that reads what the queries gathered and, behind that, the first token.
    pub(super) weight: Vec<f32>,
    /// Bias `[D]`.
    pub(super) bias: Vec<f32>,
}

/// What is added to a variance: less than that of any token, however it is scaled.
const EPSILON: f32 = 1e-12;

/// The network of `tokens` (the bytes of an ONNX file) with a pooling behind it, which gives `[N, D]`. Tokens are brought
/// to mean 0 and variance 1 first.
///
/// # Errors
/// When the bytes are no ONNX network.
pub(super) fn append_pooling(tokens: &[u8], pooling: &PoolingWeights, precision: Precision) -> Result<Vec<u8>> {
    let PoolingWeights { width, queries, weight, bias } = pooling;
    let (wide, count, dim) = (*width as i64, (queries.len() / width) as i64, bias.len());
    let mut weights = WeightStore::new(precision);
    weights.add_f32("pool_epsilon", &[1], &[EPSILON]);
    weights.add_f32("pool_queries", &[wide, count], queries);
    weights.add("pool_weight", &[(count + 1) * wide, dim as i64], 1, weight);
    weights.add_f32("pool_bias", &[dim as i64], bias);
    weights.add_i64("pool_first", &[1], &[0]);
    let along = || vec![ints("axes", vec![-1]), int("keepdims", 1)];
    let nodes = vec![
        node("ReduceMean", &[TOKENS], "pool_mean", along()),
        node("Sub", &[TOKENS, "pool_mean"], "pool_centred", Vec::new()),
        node("Mul", &["pool_centred", "pool_centred"], "pool_squares", Vec::new()),
        node("ReduceMean", &["pool_squares"], "pool_variance", along()),
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
