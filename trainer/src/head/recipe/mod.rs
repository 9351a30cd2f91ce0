//! The recipe of a head: one TOML file with all settings that determine the result.
//!
//! Paths are relative to the working directory and can be overridden on the command line. Every setting has a default,
//! every extension of a linear head is off by default, and `--set section.key=value` overrides a setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

mod args;

pub(crate) use args::RecipeArgs;

use crate::cells::prior::Prior;

/// A recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipe {
    /// Training data.
    pub(crate) data: Data,
    /// Soft labels.
    pub(crate) label: Labels,
    /// Optimization.
    pub(crate) train: Training,
    /// Sampling of pictures per epoch.
    pub(crate) sampling: Sampling,
    /// Training on several views of a place.
    pub(crate) multi_view: MultiView,
    /// Auxiliary targets: coarser cells and countries.
    pub(crate) hierarchy: Hierarchy,
    /// Auxiliary targets: other partitions.
    pub(crate) staggered: Staggered,
    /// Fixed cell embeddings for the output layer.
    pub(crate) cell_embeddings: CellEmbeddings,
    /// Multi-label training with sigmoids.
    pub(crate) sigmoids: Sigmoids,
    /// Loss in expected lost points.
    pub(crate) km_loss: KmLoss,
    /// Correction of the prior over cells.
    pub(crate) prior: Prior,
    /// Early stopping on a held-out fold.
    pub(crate) early_stop: EarlyStop,
}

/// Training data.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// Feature folders; a picture in several of them is read from one chosen at random in each epoch.
    pub(crate) features: Vec<PathBuf>,
    /// Index of the pictures (CSV or Parquet).
    pub(crate) index: PathBuf,
    /// Splits of the index to use; all if empty.
    pub(crate) split: Vec<String>,
    /// Cell table written by `partition`.
    pub(crate) cells: PathBuf,
}

/// Soft labels.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Labels {
    /// Length scale of the soft labels in kilometres: label mass falls by a factor of e over this distance.
    pub(crate) tau_km: f64,
    /// Label smoothing: share of each label that is spread evenly over all classes.
    pub(crate) smoothing: f32,
    /// Weight of a row with only a country; a row with coordinates has weight 1.
    pub(crate) country_weight: f32,
    /// Weights of the rows of some data sets, by the index's column `set`; 1 for all others. They multiply
    /// `country_weight`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) set_weights: BTreeMap<String, f32>,
}

/// Optimization.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Training {
    /// Random seed.
    pub(crate) seed: u64,
    /// Number of heads, trained with consecutive seeds and averaged.
    pub(crate) heads: usize,
    /// Number of epochs.
    pub(crate) epochs: usize,
    /// Batch size.
    pub(crate) batch: usize,
    /// Highest learning rate.
    // Serialised under its former name, which checkpoint fingerprints and `head.json` use.
    #[serde(rename(serialize = "rate"), alias = "rate")]
    pub(crate) lr: f64,
    /// Warm-up, as a share of the steps; the learning rate then decays as a cosine.
    pub(crate) warm_up: f64,
    /// Weight decay of AdamW.
    pub(crate) weight_decay: f32,
    /// Dropout rate of the inputs and of the hidden units.
    pub(crate) dropout: f32,
    /// Number of hidden units; 0 for a linear head.
    pub(crate) hidden: usize,
    /// Mixup: alpha of the Beta distribution; 0 for no mixup.
    pub(crate) mixup: f32,
}

/// Sampling of pictures per epoch.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sampling {
    /// Maximum number of pictures per exact coordinate and epoch, sampled again in each epoch; 0 for all.
    pub(crate) cap_per_coordinate: usize,
    /// Maximum number of pictures per cell and epoch, sampled again in each epoch; 0 for all.
    pub(crate) cap_per_cell: usize,
    /// Cells are sampled in proportion to their number of pictures to this power: 1 for no balancing, 0 for all cells
    /// equally often.
    pub(crate) balance: f64,
}

/// Training on several views of a place: an example is the mean of their standardised embeddings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MultiView {
    /// Share of the examples that combine several views, in groups with more than one picture.
    pub(crate) share: f64,
    /// Minimum and maximum number of views, as in `[2, 4]`.
    pub(crate) views: [usize; 2],
}

/// Auxiliary targets: coarser cells and countries, each with its own cross-entropy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hierarchy {
    /// S2 levels.
    pub(crate) levels: Vec<u64>,
    /// Whether countries are a target.
    pub(crate) country: bool,
    /// Weight of each auxiliary cross-entropy; that of the cells has weight 1.
    pub(crate) loss: f32,
    /// Weight of the log-probability of the coarse cell in the logit of each cell.
    pub(crate) read_out: f32,
    /// Whether coarse probabilities are sums of the cells' probabilities instead of separate outputs; `read_out` is
    /// then ignored.
    pub(crate) sums: bool,
}

/// Auxiliary targets: other partitions. Each cell belongs to the class that contains its mean location.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Staggered {
    /// Cell tables.
    pub(crate) cells: Vec<PathBuf>,
    /// Weight of each cross-entropy.
    pub(crate) loss: f32,
    /// Weight of the log-probability of the other partition's cell in the logit of each cell.
    pub(crate) read_out: f32,
}

/// Fixed cell embeddings E: logits = (x A) E' + x W + b, which is folded into one linear layer after training.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CellEmbeddings {
    /// File of little-endian f32 values, one row per cell in the order of the table; not used if empty.
    pub(crate) file: PathBuf,
    /// Matrix A of an earlier head to start from, as written by `trainer/tools/head_projection.py`: little-endian f32
    /// values `[dim, E]` for unit embeddings; A starts at 0 if empty. With a hidden layer, `train.hidden` must be 2 E.
    #[serde(skip_serializing_if = "is_unset")]
    pub(crate) start: PathBuf,
    /// Weight decay of A.
    pub(crate) weight_decay: f32,
    /// Learning rate of A, as a multiple of `train.lr`.
    #[serde(rename(serialize = "rate_factor"), alias = "rate_factor")]
    pub(crate) lr_factor: f64,
    /// Whether W is trained too.
    pub(crate) free: bool,
}

/// Multi-label training: a sigmoid per class instead of a softmax, as in the original project. The read-outs of the
/// hierarchy then add the logits of a cell and of its ancestors.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sigmoids {
    /// Whether to use sigmoids.
    pub(crate) on: bool,
    /// Weight of positive labels; negative labels have weight 1.
    pub(crate) positive_weight: f32,
}

/// Loss in expected lost points: the mean of 1 - exp(-d / length) over the posterior.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KmLoss {
    /// Weight of the loss; 0 for none.
    pub(crate) weight: f32,
    /// Length in kilometres. A large value approaches the mean distance; a small one saturates for distant guesses.
    pub(crate) length_km: f64,
}

/// Early stopping on a held-out fold of the training pictures.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EarlyStop {
    /// Number of epochs without improvement before training stops and the best epoch is used; 0 to disable.
    pub(crate) patience: usize,
    /// Number of folds, one of which is held out.
    pub(crate) parts: usize,
}

impl Default for Labels {
    fn default() -> Self {
        Self { tau_km: 150.0, smoothing: 0.1, country_weight: 0.5, set_weights: BTreeMap::new() }
    }
}

impl Default for Training {
    fn default() -> Self {
        Self {
            seed: 1,
            heads: 1,
            epochs: 25,
            batch: 256,
            lr: 1e-3,
            warm_up: 0.1,
            weight_decay: 0.1,
            dropout: 0.3,
            hidden: 0,
            mixup: 0.0,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self { cap_per_coordinate: 0, cap_per_cell: 0, balance: 1.0 }
    }
}

impl Default for MultiView {
    fn default() -> Self {
        Self { share: 0.0, views: [2, 4] }
    }
}

impl Default for Hierarchy {
    fn default() -> Self {
        Self { levels: Vec::new(), country: false, loss: 0.5, read_out: 0.5, sums: false }
    }
}

impl Default for Staggered {
    fn default() -> Self {
        Self { cells: Vec::new(), loss: 0.5, read_out: 0.5 }
    }
}

impl Default for CellEmbeddings {
    fn default() -> Self {
        Self { file: PathBuf::new(), start: PathBuf::new(), weight_decay: 0.1, lr_factor: 1.0, free: true }
    }
}

impl Default for Sigmoids {
    fn default() -> Self {
        Self { on: false, positive_weight: 150.0 }
    }
}

impl Default for KmLoss {
    fn default() -> Self {
        Self { weight: 0.0, length_km: 1_491.686_2 }
    }
}

impl Default for EarlyStop {
    fn default() -> Self {
        Self { patience: 0, parts: 7 }
    }
}

/// Whether an optional file of a recipe is not given.
pub(crate) fn is_unset(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Limits of settings that a typing error could make larger than memory.
const MAX_COUNT: usize = 1_000_000;
const MAX_HIDDEN: usize = 1 << 16;
const MAX_VIEWS: usize = 100;

impl Recipe {
    /// Validates the settings.
    ///
    /// # Errors
    /// When a setting is invalid; the message names it.
    pub(crate) fn check(&self) -> Result<()> {
        let (label, train, views) = (&self.label, &self.train, &self.multi_view);
        let share = |x: f64| (0.0..1.0).contains(&x);
        let weight = |x: f32| x.is_finite() && x >= 0.0;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let problems = [
            (!positive(label.tau_km), "label.tau_km must be a positive number of kilometres"),
            (!share(label.smoothing.into()), "label.smoothing must be at least 0 and below 1"),
            (!share(train.dropout.into()), "train.dropout must be at least 0 and below 1"),
            (!share(train.warm_up), "train.warm_up must be at least 0 and below 1"),
            (!(0.0..=1.0).contains(&views.share), "multi_view.share must be between 0 and 1"),
            (
                !(1..=views.views[1]).contains(&views.views[0]),
                "multi_view.views must be a minimum of at least 1 and a maximum",
            ),
            (!positive(train.lr), "train.lr must be above 0"),
            (
                train.epochs == 0 || train.batch == 0 || train.heads == 0,
                "train.epochs, batch and heads must be at least 1",
            ),
            (
                train.epochs > MAX_COUNT || train.batch > MAX_COUNT || train.heads > MAX_COUNT,
                "train.epochs, batch and heads must be at most 1,000,000",
            ),
            (train.hidden > MAX_HIDDEN, "train.hidden must be at most 65,536"),
            (views.views[1] > MAX_VIEWS, "multi_view.views must be at most 100"),
            (!weight(label.country_weight), "label.country_weight must be at least 0"),
            (!label.set_weights.values().all(|x| weight(*x)), "label.set_weights must be at least 0"),
            (!weight(train.weight_decay), "train.weight_decay must be at least 0"),
            (!weight(train.mixup), "train.mixup must be at least 0"),
            (
                !weight(self.hierarchy.loss) || !weight(self.staggered.loss),
                "hierarchy.loss and staggered.loss must be at least 0",
            ),
            (!positive(self.sigmoids.positive_weight.into()), "sigmoids.positive_weight must be above 0"),
            (
                self.sigmoids.on && self.hierarchy.sums,
                "hierarchy.sums cannot be combined with sigmoids.on: sigmoids have no probabilities to sum",
            ),
            (!weight(self.km_loss.weight), "km_loss.weight must be at least 0"),
            (!positive(self.km_loss.length_km), "km_loss.length_km must be above 0"),
            (!self.prior.subtract_train.is_finite(), "prior.subtract_train must be a number"),
            (!self.prior.add_game.is_finite(), "prior.add_game must be a number"),
            (!self.hierarchy.read_out.is_finite(), "hierarchy.read_out must be a number"),
            (!self.staggered.read_out.is_finite(), "staggered.read_out must be a number"),
            (!positive(self.prior.length_km), "prior.length_km must be above 0"),
            (!positive(self.prior.pseudo_counts), "prior.pseudo_counts must be above 0"),
            (!weight(self.cell_embeddings.weight_decay), "cell_embeddings.weight_decay must be at least 0"),
            (!positive(self.cell_embeddings.lr_factor), "cell_embeddings.lr_factor must be above 0"),
            (
                !is_unset(&self.cell_embeddings.start) && is_unset(&self.cell_embeddings.file),
                "cell_embeddings.start needs cell_embeddings.file",
            ),
            (
                !(self.sampling.balance.is_finite() && self.sampling.balance >= 0.0),
                "sampling.balance must be at least 0",
            ),
            (self.early_stop.parts < 2, "early_stop.parts must be at least 2"),
            (self.hierarchy.levels.iter().any(|level| *level > 30), "hierarchy.levels must be between 0 and 30"),
        ];
        match problems.into_iter().find(|(is_invalid, _)| *is_invalid) {
            Some((_, why)) => bail!("{why}"),
            None => Ok(()),
        }
    }

    /// All settings except the paths of the data, for `head.json`.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) fn settings(&self) -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(all) = value.as_object_mut() {
            all.insert("data".into(), serde_json::json!({ "split": self.data.split }));
        }
        Ok(value)
    }
}
