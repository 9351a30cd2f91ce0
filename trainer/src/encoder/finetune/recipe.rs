//! The recipe of a fine-tuned encoder: one TOML file that holds everything that decides the result.
//!
//! Keys that were renamed are serialised under their former names: the fingerprints of checkpoints and `head.json` have them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::fs::read_toml;
use serde::{Deserialize, Serialize};

use super::pictures::Augmentation;

/// A whole recipe. Paths are relative to the working directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// What is learned from.
    pub(super) data: Data,
    /// Who is learned from.
    pub(super) teacher: Teacher,
    /// The network that learns.
    pub(super) student: StudentConfig,
    /// How the weights are found.
    pub(super) train: Training,
    /// How pictures are varied.
    #[serde(default)]
    pub(super) augment: Augmentation,
    /// What is trained one after the other.
    pub(super) stage: Vec<Stage>,
}

/// What is learned from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    /// Splits of the index; all when empty.
    #[serde(default)]
    pub(super) split: Vec<String>,
    /// Where decoded pictures are kept.
    pub(super) cache: PathBuf,
}

/// Who is learned from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Teacher {
    /// Folder of the bundle whose head makes the posterior.
    pub(super) bundle: PathBuf,
    /// What its encoder gave for the pictures, as `embed` writes it: through all of its squares, and in further folders
    /// of the whole alone, where its posterior is not to be learned.
    pub(super) features: Vec<PathBuf>,
}

/// The network that learns.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudentConfig {
    /// Description of the encoder that it begins with: EfficientNet-Lite0 from PyTorch, or what `finetune` made of it
    /// before, as in the `bundle.json` of a bundle.
    pub(super) encoder: PathBuf,
    /// Fixed embeddings of the cells; none when left out.
    pub(super) cell_embeddings: Option<PathBuf>,
    /// Side in pixels at which it sees each square once it is trained.
    pub(super) side: u32,
}

/// How the weights are found.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Training {
    /// Seed of everything random.
    pub(super) seed: u64,
    /// Pictures a step.
    pub(super) batch: usize,
    /// Weight decay of AdamW.
    pub(super) weight_decay: f32,
    /// Gradient clipping norm, per parameter.
    pub(super) clip: f32,
    /// Share of the averaged weights that a step keeps; what is written are the averaged ones. 0 for none.
    #[serde(rename(serialize = "average"), alias = "average")]
    pub(super) ema_decay: f32,
    /// Weight of one less the cosine to the teacher's embedding.
    pub(super) embedding: f32,
    /// Weight of the cross-entropy with the teacher's posterior.
    pub(super) posterior: f32,
    /// Both parameters of the beta distribution that pictures, and what is said of them, are blended by; 0 for none.
    #[serde(default)]
    pub(super) mixup: f32,
}

/// A part of the training.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    /// Passes over the pictures, whole or in part.
    pub(super) epochs: f64,
    /// Side of the pictures in pixels.
    pub(super) side: usize,
    /// Number of frozen blocks after the stem, which is frozen too.
    #[serde(default)]
    pub(super) frozen: usize,
    /// Highest learning rate of the heads.
    #[serde(rename(serialize = "rate"), alias = "rate")]
    pub(super) lr: f64,
    /// The encoder's, as a share of it.
    #[serde(default, rename(serialize = "trunk"), alias = "trunk")]
    pub(super) encoder_lr_scale: f64,
    /// Share of the steps in which the rates rise; they then fall as a cosine.
    #[serde(default)]
    pub(super) warm_up: f64,
    /// Where on the cosine it ends: 0 at its lowest, 1 at the highest rate.
    #[serde(default, rename(serialize = "end"), alias = "end")]
    pub(super) final_lr_fraction: f64,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, holds something unknown (the message names the line) or a setting makes no sense.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let recipe: Self = read_toml(file)?;
        recipe.check().with_context(|| format!("{} asks for what cannot be", file.display()))?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let weight = |x: f32| x.is_finite() && x >= 0.0;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let (train, augment) = (&self.train, &self.augment);
        let stage = |wrong: fn(&Stage) -> bool| self.stage.iter().any(wrong);
        let wrong = [
            (self.stage.is_empty(), "there is no stage"),
            (train.batch == 0, "train.batch starts at 1"),
            (self.teacher.features.is_empty(), "teacher.features names no folder"),
            (!positive(train.clip.into()), "train.clip must be above 0"),
            (!(0.0..1.0).contains(&train.ema_decay), "train.ema_decay is a share: from 0 to just below 1"),
            (!weight(train.mixup), "train.mixup must not be below 0"),
            (!(32..=320).contains(&self.student.side), "student.side is from 32 to 320"),
            (!(positive(augment.scale) && augment.scale <= 1.0), "augment.scale is a share: above 0, up to 1"),
            (!share(augment.jpeg), "augment.jpeg is a share: from 0 to 1"),
            (!(1..=augment.quality[1]).contains(&augment.quality[0]), "augment.quality is the lowest and the highest"),
            (stage(|s| !(s.epochs > 0.0 && s.epochs <= 1e4)), "stage.epochs must be above 0"),
            (stage(|s| s.side == 0 || !s.side.is_multiple_of(32)), "stage.side is a multiple of 32"),
            (self.stage.iter().any(|s| !positive(s.lr)), "stage.lr must be above 0"),
            (stage(|s| !(0.0..=1.0).contains(&s.final_lr_fraction)), "stage.final_lr_fraction is a share: from 0 to 1"),
            (
                stage(|s| !(s.encoder_lr_scale >= 0.0 && s.encoder_lr_scale.is_finite())),
                "stage.encoder_lr_scale must not be below 0",
            ),
            (!weight(train.weight_decay), "train.weight_decay must not be below 0"),
            (!weight(train.embedding) || !weight(train.posterior), "a loss's weight must not be below 0"),
            (!weight(augment.colour), "augment.colour must not be below 0"),
            (stage(|s| !(0.0..1.0).contains(&s.warm_up)), "stage.warm_up is a share: from 0 to just below 1"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, why)) => bail!("{why}"),
            None => Ok(()),
        }
    }
}

impl Stage {
    /// Its steps, where a pass over the pictures has `steps`.
    pub(super) fn steps(&self, steps: usize) -> usize {
        ((self.epochs * steps as f64).round() as usize).max(1)
    }

    /// The heads' learning rate at a step of the stage's.
    pub(super) fn lr_at(&self, step: usize, steps: usize) -> f64 {
        let done = (step as f64 + 1.0) / steps as f64;
        if done < self.warm_up {
            return self.lr * done / self.warm_up;
        }
        let fallen = (done - self.warm_up) / (1.0 - self.warm_up);
        self.lr
            * (self.final_lr_fraction
                + (1.0 - self.final_lr_fraction) * 0.5 * (1.0 + (std::f64::consts::PI * fallen).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_of_former_versions_mean_the_same() {
        let trainer = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |file: &str| serde_json::to_string(&Recipe::read(&trainer.join(file)).unwrap()).unwrap();
        let former = read("tests/compat/pocket.toml");
        assert_eq!(former, read("recipes/pocket.toml"));
        for setting in [r#""average":0.995"#, r#""rate":0.001,"trunk":0.5,"warm_up":0.05,"end":0.2"#] {
            assert!(former.contains(setting), "checkpoints of former versions have {setting}: {former}");
        }
    }
}
