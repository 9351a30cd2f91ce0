//! One step at a time: a student with its optimisers and the average of its weights.

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

/// A student while it learns.
pub(super) struct StudentOptimizer<'a> {
    recipe: &'a Recipe,
    device: Device,
    student: Student,
    trunk: ModuleOptimizer,
    heads: ModuleOptimizer,
    /// The running average of the student's weights.
    ema: Student,
}

impl<'a> StudentOptimizer<'a> {
    /// A student before its first step.
    pub(super) fn new(recipe: &'a Recipe, student: Student, device: Device) -> Self {
        let train = &recipe.train;
        let adam = || {
            let clip = GradientClippingConfig::Norm(train.clip);
            AdamWConfig::new().with_weight_decay(train.weight_decay).with_grad_clipping(Some(clip)).init()
        };
        Self { recipe, device, ema: student.valid(), student, trunk: adam(), heads: adam() }
    }

    /// Learns from a batch; gives the loss before it, which may be no number: then nothing was learned.
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
        let of_heads = GradientsParams::from_module(&mut gradients, &trained.heads);
        let of_trunk = GradientsParams::from_module(&mut gradients, &trained.trunk);
        let Student { trunk, heads } = self.student.clone();
        self.student = Student {
            trunk: if of_trunk.is_empty() {
                trunk
            } else {
                self.trunk.step(lr * stage.encoder_lr_scale, trunk, of_trunk)
            },
            heads: self.heads.step(lr, heads, of_heads),
        };
        let mut current = CurrentWeights::default();
        self.student.visit(&mut current);
        self.ema = self.ema.clone().map(&mut EmaUpdate { current: &current, decay: self.recipe.train.ema_decay });
        value
    }

    /// The student with the average of its weights, on the processor.
    pub(super) fn averaged(&self) -> Student {
        self.ema.clone().to_device(&Device::flex())
    }

    /// Network, optimiser of the encoder, optimiser of the heads, average.
    pub(super) fn save(&self) -> Result<Vec<Vec<u8>>> {
        let cannot = |e| anyhow!("burn cannot write its own state: {e:?}");
        let student = self.student.clone().into_record().into_bytes().map_err(cannot)?;
        let (trunk, heads) = (self.trunk.into_bytes().map_err(cannot)?, self.heads.into_bytes().map_err(cannot)?);
        let average = self.ema.clone().into_record().into_bytes().map_err(cannot)?;
        Ok([student, trunk, heads, average].map(|bytes| bytes.to_vec()).to_vec())
    }

    /// Goes on from what [`StudentOptimizer::save`] gave.
    pub(super) fn load(&mut self, bytes: Vec<Vec<u8>>) -> Result<()> {
        let cannot = |e| anyhow!("burn cannot read the state in a checkpoint: {e:?}");
        let [student, trunk, heads, average] = bytes.try_into().map_err(|_| anyhow!("a checkpoint has four parts"))?;
        let record = |bytes| ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(cannot);
        self.student = self.student.clone().load_record(record(student)?);
        self.trunk = self.trunk.clone().from_bytes(Bytes::from_bytes_vec(trunk)).map_err(cannot)?;
        self.heads = self.heads.clone().from_bytes(Bytes::from_bytes_vec(heads)).map_err(cannot)?;
        self.ema = self.ema.clone().load_record(record(average)?);
        Ok(())
    }
}

/// The weights that learn, as one row each.
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

/// Moves averages towards the weights as they are now.
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
