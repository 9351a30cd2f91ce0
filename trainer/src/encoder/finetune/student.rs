//! The student network: an encoder with two heads, one for the teacher's embedding of each square and one for logits
//! over cells from all squares of a picture.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::recipe::Training;
use crate::encoder::lite::{self, Lite};
use crate::head::model;
use crate::head::model::{Layers, Moments};
use crate::head::trainable;

/// An encoder with two heads.
#[derive(Module, Debug)]
pub(super) struct Student {
    pub(super) trunk: Lite,
    /// The layers that train at the full learning rate.
    pub(super) heads: Heads,
}

/// The heads on top of the encoder during training.
#[derive(Module, Debug)]
pub(super) struct Heads {
    /// From features to the standardised teacher embedding of the same square.
    project: Linear,
    /// From the concatenated embeddings of the squares of a picture to logits over cells or, with cell embeddings, to
    /// the space of these.
    cells: Linear,
    /// Cell embeddings `[E, cells]`, frozen.
    embeddings: Option<Param<Tensor<2>>>,
}

/// Output for `S` squares, the first of which are `K` squares of each of `N` pictures.
pub(super) struct StudentOutput {
    /// Predicted teacher embedding of each square, of unit length, `[S, D]`.
    pub(super) embedding: Tensor<2>,
    /// Logits `[N, cells]`.
    pub(super) logits: Tensor<2>,
}

impl Student {
    /// A pretrained encoder with untrained heads, for the given embedding size, number of squares and number of cells.
    /// The projection of a previously fine-tuned encoder is kept.
    ///
    /// # Errors
    /// When the weights or the cell embeddings cannot be read.
    pub(super) fn new(
        pretrained: &Path,
        cell_embeddings: Option<&Path>,
        (dim, squares): (usize, usize),
        cells: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let embeddings = cell_embeddings.map(|file| trainable::read_embeddings(file, cells, device)).transpose()?;
        let width = embeddings.as_ref().map_or(cells, |embeddings| embeddings.dims()[0]);
        let mut random = StdRng::seed_from_u64(seed);
        let mut linear = |inputs: usize, outputs: usize| {
            // Burn's default initialisation, but seeded.
            let bound = (inputs as f32).sqrt().recip();
            let weights = (0..inputs * outputs).map(|_| (2.0 * random.random::<f32>() - 1.0) * bound).collect();
            model::linear_layer(weights, vec![0.0; outputs], device)
        };
        let student = Self {
            trunk: Lite::read(pretrained, device)?,
            heads: Heads {
                project: match lite::projection(pretrained)? {
                    Some((weights, bias)) if bias.len() == dim => model::linear_layer(weights, bias, device),
                    _ => linear(lite::FEATURES, dim),
                },
                cells: linear(dim * squares, width),
                embeddings: embeddings.map(|embeddings| Param::from_tensor(embeddings).no_grad()),
            },
        };
        Ok(student.map(&mut AssignIds(0)))
    }

    /// The student with the stem and the first `blocks` blocks frozen; the whole encoder is frozen if that is all of
    /// its blocks.
    pub(super) fn frozen(mut self, blocks: usize) -> Self {
        self.trunk = if blocks < self.trunk.depth() { self.trunk.frozen(blocks) } else { self.trunk.no_grad() };
        self
    }

    /// The embeddings `[N, D]` of squares, given as patches from [`lite::patches`].
    pub(super) fn embed(&self, patches: Tensor<4>) -> Tensor<2> {
        self.heads.project.forward(self.trunk.forward(patches))
    }

    /// Output for the squares of `n` pictures in order, followed by further squares.
    pub(super) fn forward(&self, patches: Tensor<4>, n: usize) -> StudentOutput {
        self.heads.forward(self.embed(patches), n)
    }

    /// Weights `[1280, D]` and bias of the layer from features to embeddings.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(super) fn projection(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Linear { weight, bias, .. } = &self.heads.project;
        let bias = bias.as_ref().context("the projection has no bias")?;
        Ok((model::to_vec(weight.val().into_data())?, model::to_vec(bias.val().into_data())?))
    }

    /// The student's head for `export`: moments, and the layer from the concatenated embeddings of the squares of a
    /// picture to logits.
    ///
    /// # Errors
    /// When tensor data cannot be extracted from burn.
    pub(super) fn head(&self) -> Result<(Moments, Layers)> {
        let Linear { weight, bias, .. } = &self.heads.cells;
        let bias = bias.as_ref().context("the head has no bias")?.val().unsqueeze::<2>();
        let to_cells = |x: Tensor<2>| match &self.heads.embeddings {
            Some(embeddings) => x.matmul(embeddings.val()),
            None => x,
        };
        // A head scales its input to unit length; these moments restore the scale of `Heads::forward`.
        let numbers = weight.dims()[0];
        let deviation = vec![(numbers as f32).sqrt().recip(); numbers];
        let layer = (model::to_vec(to_cells(weight.val()).into_data())?, model::to_vec(to_cells(bias).into_data())?);
        Ok((Moments { mean: vec![0.0; numbers], deviation }, vec![layer]))
    }
}

impl Heads {
    fn forward(&self, embedding: Tensor<2>, n: usize) -> StudentOutput {
        let (dim, width) = (embedding.dims()[1], self.cells.weight.dims()[0]);
        let length = embedding.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-6);
        let embedding = embedding / length;
        // Scaled to values of about 1.
        let concatenated = embedding.clone().narrow(0, 0, n * width / dim).reshape([n, width]) * (dim as f32).sqrt();
        let to_cells = self.cells.forward(concatenated);
        let logits = match &self.embeddings {
            Some(embeddings) => to_cells.matmul(embeddings.val()),
            None => to_cells,
        };
        StudentOutput { embedding, logits }
    }
}

/// The training targets of a batch.
pub(super) struct Targets {
    /// The teacher's embeddings of squares, standardised and of unit length, `[S, D]`.
    pub(super) embedding: Tensor<2>,
    /// The teacher's posteriors over cells for the pictures with all squares, `[N, cells]`.
    pub(super) posterior: Tensor<2>,
}

/// The loss of a batch: the weighted sum of 1 - cosine similarity to the teacher's embedding and the cross-entropy to
/// its posterior.
pub(super) fn loss(output: StudentOutput, targets: Targets, weights: &Training) -> Tensor<1> {
    let embedding_loss = ((output.embedding * targets.embedding).sum_dim(1).neg() + 1.0).mean();
    let posterior_loss = (activation::log_softmax(output.logits, 1) * targets.posterior).sum_dim(1).neg();
    embedding_loss * weights.embedding + posterior_loss.mean() * weights.posterior
}

/// Numbers parameters in traversal order, because checkpoints look up optimizer state by these ids.
struct AssignIds(u64);

impl ModuleMapper for AssignIds {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        Param::initialized(ParamId::from(self.0), param.val())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::encoder_spec::EncoderSpec;
    use crate::features::samples;
    use burn::tensor::TensorData;

    #[test]
    fn the_exported_head_gives_the_logits_of_training() {
        let (encoders, device) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("encoders"), Device::flex());
        let spec = EncoderSpec::read(&encoders.join("efficientnet-lite0.json")).unwrap();
        let pretrained = spec.encoder.locate(&encoders).unwrap().network;
        let student = Student::new(&pretrained, None, (8, 3), 5, 1, &device).unwrap();
        let (pictures, side) = (2, 32);
        let shape = lite::patches_shape(pictures * 3, side);
        let patches = (0..shape.iter().product()).map(|i| (i as f32 * 0.37).sin()).collect();
        let patches = Tensor::<4>::from_data(TensorData::new::<f32, _>(patches, shape), &device);
        let output = model::to_vec(student.forward(patches.clone(), pictures).logits.into_data()).unwrap();

        let (moments, layers) = student.head().unwrap();
        let network = model::Network::new(layers, &device);
        let squares = model::to_vec(student.embed(patches).into_data()).unwrap();
        let squares: Vec<f32> = squares.chunks(8).flat_map(samples::unit_vector).collect();
        let inputs: Vec<Vec<f32>> = squares.chunks(3 * 8).map(|joined| model::standardise(joined, &moments)).collect();
        let logits = model::logits(&network, &inputs, &device).unwrap().concat();
        assert_eq!(output.len(), pictures * 5);
        assert!(output.iter().zip(&logits).all(|(a, b)| (a - b).abs() < 1e-4), "{output:?} {logits:?}");
    }
}
