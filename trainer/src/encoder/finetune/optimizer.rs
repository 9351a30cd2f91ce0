//! Training steps of a student, with an exponential moving average (EMA) of its weights.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor, TensorData};

use super::batches::Batch;
use super::recipe::{Recipe, Stage};
use super::student::{self, Student, Targets};
use crate::encoder::lite;

/// A student with its optimizers and the EMA of its weights.
pub(super) struct StudentOptimizer<'a> {
    recipe: &'a Recipe,
    device: Device,
    student: Student,
    trunk: ModuleOptimizer,
    heads: ModuleOptimizer,
    /// The student with the EMA of its weights.
    ema: Student,
}

impl<'a> StudentOptimizer<'a> {
    /// The state before the first step.
    pub(super) fn new(recipe: &'a Recipe, student: Student, device: Device) -> Self {
        let train = &recipe.train;
        let adam = || {
            let clip = GradientClippingConfig::Norm(train.clip);
            AdamWConfig::new().with_weight_decay(train.weight_decay).with_grad_clipping(Some(clip)).init()
        };
        Self { recipe, device, ema: student.valid(), student, trunk: adam(), heads: adam() }
    }

    /// Trains on a batch and returns its loss. If the loss is not finite, the weights are unchanged.
    pub(super) fn step(&mut self, batch: Batch, stage: &Stage, lr: f64) -> f32 {
        let Batch { n, squares, patches, embedding, posterior } = batch;
        let tensor = |values: Vec<f32>, rows: usize| {
            let width = values.len() / rows;
            Tensor::<2>::from_data(TensorData::new(values, [rows, width]), &self.device)
        };
        let patches =
            Tensor::<4>::from_data(TensorData::new(patches, lite::patches_shape(squares, stage.side)), &self.device);
        let targets = Targets { embedding: tensor(embedding, squares), posterior: tensor(posterior, n) };
        let trained = self.student.clone().frozen(stage.frozen);
        let loss = student::loss(trained.forward(patches, n), targets, &self.recipe.train);
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            return value;
        }
        let mut gradients = loss.backward();
        let heads_gradients = GradientsParams::from_module(&mut gradients, &trained.heads);
        let trunk_gradients = GradientsParams::from_module(&mut gradients, &trained.trunk);
        let Student { trunk, heads } = self.student.clone();
        self.student = Student {
            trunk: if trunk_gradients.is_empty() {
                trunk
            } else {
                self.trunk.step(lr * stage.encoder_lr_scale, trunk, trunk_gradients)
            },
            heads: self.heads.step(lr, heads, heads_gradients),
        };
        let mut current = CurrentWeights::default();
        self.student.visit(&mut current);
        self.ema = self.ema.clone().map(&mut EmaUpdate { current: &current, decay: self.recipe.train.ema_decay });
        value
    }

    /// The student with the EMA of its weights, on the CPU.
    pub(super) fn averaged(&self) -> Student {
        self.ema.clone().to_device(&Device::flex())
    }

    /// Serialises the network, the optimizers of the encoder and of the heads, and the EMA.
    pub(super) fn save(&self) -> Result<Vec<Vec<u8>>> {
        let failed = |e| anyhow!("cannot serialise the training state: {e:?}");
        let student = self.student.clone().into_record().into_bytes().map_err(failed)?;
        let (trunk, heads) = (self.trunk.into_bytes().map_err(failed)?, self.heads.into_bytes().map_err(failed)?);
        let ema = self.ema.clone().into_record().into_bytes().map_err(failed)?;
        Ok([student, trunk, heads, ema].map(|bytes| bytes.to_vec()).to_vec())
    }

    /// Restores the state from [`StudentOptimizer::save`].
    pub(super) fn load(&mut self, bytes: Vec<Vec<u8>>) -> Result<()> {
        let failed = |e| anyhow!("cannot read the training state in the checkpoint: {e:?}");
        let [student, trunk, heads, ema] = bytes.try_into().map_err(|_| {
            anyhow!("the checkpoint does not have the four parts of a fine-tuning run; start again without --resume")
        })?;
        let record = |bytes| ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(failed);
        self.student = self.student.clone().load_record(record(student)?);
        self.trunk = self.trunk.clone().from_bytes(Bytes::from_bytes_vec(trunk)).map_err(failed)?;
        self.heads = self.heads.clone().from_bytes(Bytes::from_bytes_vec(heads)).map_err(failed)?;
        self.ema = self.ema.clone().load_record(record(ema)?);
        Ok(())
    }
}

/// The trainable weights, flattened.
#[derive(Default)]
struct CurrentWeights(HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for CurrentWeights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.0.insert(param.id, value.inner().flatten(0, D - 1));
        }
    }
}

/// Updates the EMA with the current weights.
struct EmaUpdate<'a> {
    current: &'a CurrentWeights,
    decay: f32,
}

impl ModuleMapper for EmaUpdate<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(now) = self.current.0.get(&param.id) else { return param };
        param.map(|average| {
            let now = now.clone().reshape(average.shape());
            average * self.decay + now * (1.0 - self.decay)
        })
    }
}
