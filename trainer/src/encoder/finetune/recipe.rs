//! The recipe of a fine-tuned encoder: one TOML file with all settings that determine the result.
//!
//! Renamed keys are serialised under their former names, which checkpoint fingerprints and `head.json` use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::fs::read_toml;
use serde::{Deserialize, Serialize};

use super::pictures::Augmentation;

/// A recipe. Paths are relative to the working directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Training data.
    pub(super) data: Data,
    /// The teacher.
    pub(super) teacher: Teacher,
    /// The student.
    pub(super) student: StudentConfig,
    /// Optimization.
    pub(super) train: Training,
    /// Data augmentation.
    #[serde(default)]
    pub(super) augment: Augmentation,
    /// Training stages, in order.
    pub(super) stage: Vec<Stage>,
}

/// Training data.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    /// Splits of the index to use; all if empty.
    #[serde(default)]
    pub(super) split: Vec<String>,
    /// Folder for the cache of decoded pictures.
    pub(super) cache: PathBuf,
}

/// The teacher.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Teacher {
    /// Folder of the teacher bundle.
    pub(super) bundle: PathBuf,
    /// Feature folders of the teacher's encoder, written by `embed`. The first has features of all squares; further
    /// folders have features of only the central square (`embed --whole`), and are not used to learn the posterior.
    pub(super) features: Vec<PathBuf>,
}

/// The student.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudentConfig {
    /// Description of the initial encoder: EfficientNet-Lite0 from PyTorch, or an encoder written by `finetune`, as in
    /// the `bundle.json` of a bundle.
    pub(super) encoder: PathBuf,
    /// Fixed cell embeddings, if any.
    pub(super) cell_embeddings: Option<PathBuf>,
    /// Input side in pixels of the trained encoder.
    pub(super) side: u32,
}

/// Optimization.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Training {
    /// Random seed.
    pub(super) seed: u64,
    /// Batch size, in pictures.
    pub(super) batch: usize,
    /// Weight decay of AdamW.
    pub(super) weight_decay: f32,
    /// Gradient clipping norm, per parameter.
    pub(super) clip: f32,
    /// Decay of the EMA of the weights, which are the ones that are exported; 0 for no averaging.
    #[serde(rename(serialize = "average"), alias = "average")]
    pub(super) ema_decay: f32,
    /// Weight of the embedding loss: 1 - cosine similarity to the teacher's embedding.
    pub(super) embedding: f32,
    /// Weight of the cross-entropy to the teacher's posterior.
    pub(super) posterior: f32,
    /// Mixup: both parameters of the Beta distribution; 0 for no mixup.
    #[serde(default)]
    pub(super) mixup: f32,
}

/// A training stage.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    /// Number of epochs; may be fractional.
    pub(super) epochs: f64,
    /// Side of the training pictures in pixels.
    pub(super) side: usize,
    /// Number of frozen blocks after the stem, which is frozen too.
    #[serde(default)]
    pub(super) frozen: usize,
    /// Highest learning rate of the heads.
    #[serde(rename(serialize = "rate"), alias = "rate")]
    pub(super) lr: f64,
    /// Learning rate of the encoder, as a multiple of `lr`.
    #[serde(default, rename(serialize = "trunk"), alias = "trunk")]
    pub(super) encoder_lr_scale: f64,
    /// Warm-up, as a share of the steps; the learning rates then decay as a cosine.
    #[serde(default)]
    pub(super) warm_up: f64,
    /// Final learning rate of the cosine decay, as a share of the highest.
    #[serde(default, rename(serialize = "end"), alias = "end")]
    pub(super) final_lr_fraction: f64,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key (the message names the line), or a setting is invalid.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let recipe: Self = read_toml(file)?;
        recipe.check().with_context(|| format!("invalid setting in {}", file.display()))?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let weight = |x: f32| x.is_finite() && x >= 0.0;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let (train, augment) = (&self.train, &self.augment);
        let stage = |is_invalid: fn(&Stage) -> bool| self.stage.iter().any(is_invalid);
        let problems = [
            (self.stage.is_empty(), "at least one [[stage]] is required"),
            (!(1..=1_000_000).contains(&train.batch), "train.batch must be between 1 and 1,000,000"),
            (self.teacher.features.is_empty(), "teacher.features must name at least one folder"),
            (!positive(train.clip.into()), "train.clip must be above 0"),
            (!(0.0..1.0).contains(&train.ema_decay), "train.ema_decay must be at least 0 and below 1"),
            (!weight(train.mixup), "train.mixup must be at least 0"),
            (!(32..=320).contains(&self.student.side), "student.side must be between 32 and 320"),
            (!(positive(augment.scale) && augment.scale <= 1.0), "augment.scale must be above 0 and at most 1"),
            (!share(augment.jpeg), "augment.jpeg must be between 0 and 1"),
            (
                !(1..=augment.quality[1]).contains(&augment.quality[0]),
                "augment.quality must be a minimum of at least 1 and a maximum",
            ),
            (stage(|s| !(s.epochs > 0.0 && s.epochs <= 1e4)), "stage.epochs must be above 0"),
            (
                stage(|s| !(32..=2048).contains(&s.side) || !s.side.is_multiple_of(32)),
                "stage.side must be a multiple of 32 and at most 2048",
            ),
            (self.stage.iter().any(|s| !positive(s.lr)), "stage.lr must be above 0"),
            (stage(|s| !(0.0..=1.0).contains(&s.final_lr_fraction)), "stage.final_lr_fraction must be between 0 and 1"),
            (
                stage(|s| !(s.encoder_lr_scale >= 0.0 && s.encoder_lr_scale.is_finite())),
                "stage.encoder_lr_scale must be at least 0",
            ),
            (!weight(train.weight_decay), "train.weight_decay must be at least 0"),
            (
                !weight(train.embedding) || !weight(train.posterior),
                "train.embedding and train.posterior must be at least 0",
            ),
            (!weight(augment.colour), "augment.colour must be at least 0"),
            (stage(|s| !(0.0..1.0).contains(&s.warm_up)), "stage.warm_up must be at least 0 and below 1"),
        ];
        match problems.into_iter().find(|(is_invalid, _)| *is_invalid) {
            Some((_, why)) => bail!("{why}"),
            None => Ok(()),
        }
    }
}

impl Stage {
    /// Number of steps of the stage.
    pub(super) fn steps(&self, steps_per_epoch: usize) -> usize {
        ((self.epochs * steps_per_epoch as f64).round() as usize).max(1)
    }

    /// Learning rate of the heads at a step of the stage.
    pub(super) fn lr_at(&self, step: usize, steps: usize) -> f64 {
        let done = (step as f64 + 1.0) / steps as f64;
        if done < self.warm_up {
            return self.lr * done / self.warm_up;
        }
        let decayed = (done - self.warm_up) / (1.0 - self.warm_up);
        self.lr
            * (self.final_lr_fraction
                + (1.0 - self.final_lr_fraction) * 0.5 * (1.0 + (std::f64::consts::PI * decayed).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_of_former_versions_are_equivalent() {
        let trainer = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |file: &str| serde_json::to_string(&Recipe::read(&trainer.join(file)).unwrap()).unwrap();
        let former = read("tests/compat/pocket.toml");
        assert_eq!(former, read("recipes/pocket.toml"));
        for setting in [r#""average":0.995"#, r#""rate":0.001,"trunk":0.5,"warm_up":0.05,"end":0.2"#] {
            assert!(former.contains(setting), "checkpoints of former versions contain {setting}: {former}");
        }
    }
}
