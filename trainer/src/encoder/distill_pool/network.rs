//! The attention-pooling network.

use anyhow::{Context, Result};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};
use rand::RngExt;
use rand::rngs::StdRng;

use super::onnx_writer::PoolingWeights;
use crate::head::model::{self, Moments, to_vec};

/// Attention of learned queries over standardised tokens, followed by a linear layer on the pooled tokens and the first
/// token.
#[derive(Module, Debug)]
pub(super) struct AttentionPooling {
    /// `[W, Q]`.
    queries: Param<Tensor<2>>,
    project: Linear,
}

impl AttentionPooling {
    /// An untrained network, with nearly uniform attention and burn's default initialisation of the linear layer.
    pub(super) fn new((width, queries, dim): (usize, usize, usize), random: &mut StdRng, device: &Device) -> Self {
        let mut uniform = |bound: f32, n: usize| (0..n).map(|_| (2.0 * random.random::<f32>() - 1.0) * bound).collect();
        let inputs = (queries + 1) * width;
        let project =
            model::linear_layer(uniform((inputs as f32).sqrt().recip(), inputs * dim), vec![0.0; dim], device);
        let queries =
            model::linear_layer(uniform((width as f32).recip(), width * queries), vec![0.0; queries], device).weight;
        Self { queries, project }
    }

    /// Embeddings `[N, D]` of standardised tokens `[N, T, W]`, with dropout on the pooled tokens.
    pub(super) fn forward(&self, tokens: Tensor<3>, dropout: f64) -> Tensor<2> {
        let [n, count, width] = tokens.dims();
        let scores = tokens.clone().reshape([n * count, width]).matmul(self.queries.val());
        let attention = activation::softmax(scores.reshape([n as i32, count as i32, -1]), 1).swap_dims(1, 2);
        let gathered = attention.matmul(tokens.clone());
        let all = Tensor::cat(vec![gathered, tokens.narrow(1, 0, 1)], 1).flatten::<2>(1, 2);
        let all = if dropout > 0.0 { burn::nn::DropoutConfig::new(dropout).init().forward(all) } else { all };
        self.project.forward(all)
    }

    /// Folds the standardisation by `moments` (of unit-length tokens) into the weights; the result expects tokens
    /// normalised to mean 0 and variance 1.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(super) fn fold_standardisation(&self, moments: &Moments) -> Result<PoolingWeights> {
        let width = moments.mean.len();
        let length = (width as f32).sqrt();
        let mut queries = to_vec(self.queries.val().into_data())?;
        let n_queries = queries.len() / width;
        // The mean adds the same constant to the scores of all tokens, which softmax ignores.
        let scale = |i: usize| moments.deviation[i % width] * length;
        queries.iter_mut().enumerate().for_each(|(i, q)| *q /= scale(i / n_queries));
        let mut weight = to_vec(self.project.weight.val().into_data())?;
        let bias = self.project.bias.as_ref().context("the layer has no bias")?;
        let mut bias: Vec<f64> = to_vec(bias.val().into_data())?.into_iter().map(f64::from).collect();
        let dim = bias.len();
        for (i, row) in weight.chunks_exact_mut(dim).enumerate() {
            for (w, bias) in row.iter_mut().zip(&mut bias) {
                *w /= scale(i);
                *bias -= f64::from(*w) * f64::from(moments.mean[i % width] * length);
            }
        }
        Ok(PoolingWeights { width, queries, weight, bias: bias.into_iter().map(|x| x as f32).collect() })
    }
}
