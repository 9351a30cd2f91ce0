//! The head: a small network from the encoder's embedding to logits over cells, in burn.
//!
//! An embedding is scaled to unit length and standardised by the mean and standard deviation of the training pictures,
//! then passes through one linear layer, or two with a ReLU in between.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData, activation};
use landfall_common::fs::{f32_from_le_bytes, read_json, read_limited, write_atomic, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};

/// Weights `[in, out]`, in row-major order, and bias of each layer.
pub(crate) type Layers = Vec<(Vec<f32>, Vec<f32>)>;

/// The trained layers.
#[derive(Module, Debug)]
pub(crate) struct Network {
    /// One or two linear layers, weights `[in, out]`.
    pub(crate) layers: Vec<Linear>,
}

impl Network {
    /// Creates a network from these layers.
    pub(crate) fn new(layers: Layers, device: &Device) -> Self {
        Self { layers: layers.into_iter().map(|(weights, bias)| linear_layer(weights, bias, device)).collect() }
    }

    /// Logits `[N, cells]` of standardised embeddings `[N, dim]`.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len().saturating_sub(1);
        self.layers.iter().enumerate().fold(input, |x, (i, layer)| {
            let x = layer.forward(x);
            if i < last { activation::relu(x) } else { x }
        })
    }
}

/// A linear layer with these weights, `[in, out]` in row-major order, and bias.
pub(crate) fn linear_layer(weights: Vec<f32>, bias: Vec<f32>, device: &Device) -> Linear {
    let (outputs, inputs) = (bias.len(), weights.len() / bias.len());
    Linear {
        weight: Param::from_tensor(Tensor::from_data(TensorData::new(weights, [inputs, outputs]), device)),
        bias: Some(Param::from_tensor(Tensor::from_data(TensorData::new(bias, [outputs]), device))),
    }
}

/// Extracts the values of a burn tensor.
pub(crate) fn to_vec(data: TensorData) -> Result<Vec<f32>> {
    data.try_into_vec().map_err(|e| anyhow::anyhow!("cannot extract tensor data from burn: {e:?}"))
}

/// Contents of `head.json` in the folder of a head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HeadDescription {
    /// Encoder and preprocessing that produced the features.
    pub(crate) encoder: EncoderSpec,
    /// Layer sizes: embedding, hidden layer if any, cells.
    pub(crate) sizes: Vec<usize>,
    /// SHA-256 of the cell table.
    pub(crate) cells_sha256: String,
    /// Softmax temperature per number of views, fitted on held-out pictures.
    pub(crate) temperature: BTreeMap<usize, f64>,
    /// Recipe of the training run.
    pub(crate) settings: serde_json::Value,
    /// Quality on held-out pictures.
    pub(crate) held_out: serde_json::Value,
    /// Mean of the unit embeddings of the training pictures.
    pub(crate) mean: Vec<f32>,
    /// Standard deviation of the unit embeddings.
    pub(crate) deviation: Vec<f32>,
}

/// A trained head.
#[derive(Debug)]
pub(crate) struct Head {
    /// Contents of `head.json`.
    pub(crate) description: HeadDescription,
    /// Its weights.
    pub(crate) network: Network,
}

/// Mean and standard deviation of unit embeddings, per dimension.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    /// Mean.
    pub(crate) mean: Vec<f32>,
    /// Standard deviation, never 0.
    pub(crate) deviation: Vec<f32>,
}

impl Moments {
    /// The moments over all variants of the samples.
    pub(crate) fn of_samples(samples: &[&Sample]) -> Self {
        let dim = samples.first().map_or(0, |s| s.variants[0].len());
        Self::of(samples.iter().flat_map(|s| s.variants.iter().map(Vec::as_slice)), dim)
    }

    /// The moments of embeddings with `dim` values.
    pub(crate) fn of<'a>(embeddings: impl Iterator<Item = &'a [f32]> + Clone, dim: usize) -> Self {
        let n = embeddings.clone().count().max(1) as f64;
        let (mut mean, mut square) = (vec![0.0f64; dim], vec![0.0f64; dim]);
        for embedding in embeddings {
            for (i, x) in samples::unit_vector(embedding).iter().enumerate() {
                mean[i] += f64::from(*x) / n;
                square[i] += f64::from(*x) * f64::from(*x) / n;
            }
        }
        // The lower bound prevents division by 0 for dimensions that do not vary.
        let deviation = |(square, mean): (&f64, &f64)| (square - mean * mean).max(1e-8).sqrt() as f32;
        let deviation = square.iter().zip(&mean).map(deviation).collect();
        Self { mean: mean.iter().map(|x| *x as f32).collect(), deviation }
    }
}

/// Scales an embedding to unit length and standardises it.
pub(crate) fn standardise(embedding: &[f32], moments: &Moments) -> Vec<f32> {
    let moments = moments.mean.iter().zip(&moments.deviation);
    samples::unit_vector(embedding).iter().zip(moments).map(|(x, (m, s))| (x - m) / s).collect()
}

/// Logits of standardised embeddings, computed in blocks to limit memory.
///
/// # Errors
/// When tensor data cannot be extracted from burn.
pub(crate) fn logits(network: &Network, inputs: &[Vec<f32>], device: &Device) -> Result<Vec<Vec<f32>>> {
    let mut rows = Vec::with_capacity(inputs.len());
    for block in inputs.chunks(1024) {
        let input = Tensor::from_data(TensorData::new(block.concat(), [block.len(), block[0].len()]), device);
        let output = network.forward(input);
        let cells = output.dims()[1];
        let values = to_vec(output.into_data())?;
        rows.extend(values.chunks_exact(cells).map(<[f32]>::to_vec));
    }
    Ok(rows)
}

impl Head {
    /// Logits over cells for each raw embedding.
    ///
    /// # Errors
    /// When an embedding has the wrong length.
    pub(crate) fn logits(&self, embeddings: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let HeadDescription { mean, deviation, .. } = &self.description;
        let moments = Moments { mean: mean.clone(), deviation: deviation.clone() };
        if let Some(odd) = embeddings.iter().find(|embedding| embedding.len() != mean.len()) {
            bail!("an embedding has {} values, but the head expects {}", odd.len(), mean.len());
        }
        let inputs: Vec<Vec<f32>> = embeddings.iter().map(|e| standardise(e, &moments)).collect();
        logits(&self.network, &inputs, &Device::flex())
    }

    /// Weights `[in, out]` and bias of each layer.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(crate) fn layers(&self) -> Result<Layers> {
        let layer = |layer: &Linear| {
            let bias = layer.bias.as_ref().context("a layer has no bias")?;
            Ok((to_vec(layer.weight.val().into_data())?, to_vec(bias.val().into_data())?))
        };
        self.network.layers.iter().map(layer).collect()
    }

    /// Writes `head.json` and `weights.f32` (weights, then bias, of each layer, little-endian).
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let numbers = self.layers()?.into_iter().flat_map(|(weights, bias)| weights.into_iter().chain(bias));
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        write_atomic(&dir.join("weights.f32"), &bytes)?;
        write_json(&dir.join("head.json"), &self.description)
    }

    /// Reads what [`Head::save`] wrote.
    ///
    /// # Errors
    /// When a file is missing or truncated.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let description: HeadDescription = read_json(&dir.join("head.json"), "the description of a head")?;
        let file = dir.join("weights.f32");
        let mismatch = || format!("{} does not match the layer sizes in head.json; run `fit` again", file.display());
        let layer = |pair: &[usize]| pair[0].checked_add(1)?.checked_mul(pair[1])?.checked_mul(4);
        let is_possible = description.sizes.len() >= 2 && !description.sizes.contains(&0);
        let wanted = description.sizes.windows(2).map(layer).try_fold(0usize, |sum, bytes| sum.checked_add(bytes?));
        let wanted = wanted.filter(|_| is_possible).with_context(mismatch)?;
        let bytes = read_limited(&file, wanted as u64).with_context(mismatch)?;
        if bytes.len() != wanted {
            bail!(mismatch());
        }
        let numbers = f32_from_le_bytes(&bytes);
        let mut rest = numbers.as_slice();
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at(n);
            rest = left;
            taken.to_vec()
        };
        let sizes = description.sizes.windows(2);
        let layers = sizes.map(|pair| (take(pair[0] * pair[1]), take(pair[1]))).collect();
        Ok(Self { description, network: Network::new(layers, &Device::flex()) })
    }
}
