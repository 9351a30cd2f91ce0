//! The recipe of a head: one TOML file that holds everything that decides the result.
//!
//! Paths in it are relative to the working directory and may be given on the command line instead. Every setting has a
//! default, each step beyond a plain linear head is off by default, and `--set section.key=value` changes one.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

mod args;

pub(crate) use args::RecipeArgs;

use crate::cells::prior::Prior;

/// A whole recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipe {
    /// What is learned from.
    pub(crate) data: Data,
    /// What a picture should be answered with.
    pub(crate) label: Labels,
    /// How the weights are found.
    pub(crate) train: Training,
    /// Which pictures an epoch sees.
    pub(crate) sampling: Sampling,
    /// Several views of a place seen as one.
    pub(crate) multi_view: MultiView,
    /// Auxiliary targets: coarser cells and countries, learned beside the cells.
    pub(crate) hierarchy: Hierarchy,
    /// Other partitions learned beside the cells.
    pub(crate) staggered: Staggered,
    /// Fixed embeddings of the cells, which the output layer may use.
    pub(crate) cell_embeddings: CellEmbeddings,
    /// A yes or no for each class.
    pub(crate) sigmoids: Sigmoids,
    /// A loss in lost points.
    pub(crate) km_loss: KmLoss,
    /// What is known of where pictures come from.
    pub(crate) prior: Prior,
    /// Stopping when a part held out is no longer answered better.
    pub(crate) early_stop: EarlyStop,
}

/// What is learned from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// Feature folders; a picture in more than one is seen through one at a time, drawn anew each epoch.
    pub(crate) features: Vec<PathBuf>,
    /// Index of the pictures (csv or parquet).
    pub(crate) index: PathBuf,
    /// Splits of the index; all when empty.
    pub(crate) split: Vec<String>,
    /// Cell table, as `partition` writes it.
    pub(crate) cells: PathBuf,
}

/// What a picture should be answered with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Labels {
    /// Length of the soft labels in kilometres: a cell so much further away gets 1/e of the mass.
    pub(crate) tau_km: f64,
    /// Share of each label spread evenly over all classes.
    pub(crate) smoothing: f32,
    /// Weight of a row that knows only its country; one with a place weighs 1.
    pub(crate) country_weight: f32,
}

/// How the weights are found.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Training {
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// So many heads, of seeds that follow each other, averaged into one.
    pub(crate) heads: usize,
    /// Passes over the pictures.
    pub(crate) epochs: usize,
    /// Pictures a step.
    pub(crate) batch: usize,
    /// Highest learning rate.
    // Serialised under its former name: the fingerprints of checkpoints and `head.json` have it.
    #[serde(rename(serialize = "rate"), alias = "rate")]
    pub(crate) lr: f64,
    /// Share of the steps in which the learning rate rises; it then falls as a cosine.
    pub(crate) warm_up: f64,
    /// Weight decay of AdamW.
    pub(crate) weight_decay: f32,
    /// Share of the inputs, and of the hidden units, dropped out.
    pub(crate) dropout: f32,
    /// Units of a hidden layer; 0 for a linear head.
    pub(crate) hidden: usize,
    /// Alpha of the Beta distribution by which embeddings and labels of two pictures are mixed; 0 for no mixing.
    pub(crate) mixup: f32,
}

/// Which pictures an epoch sees.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sampling {
    /// Maximum number of images per exact coordinate and epoch, drawn anew each epoch; 0 for all.
    pub(crate) cap_per_coordinate: usize,
    /// Maximum number of images per cell and epoch, drawn anew each epoch; 0 for all.
    pub(crate) cap_per_cell: usize,
    /// Cells are drawn by their number of pictures to this power: 1 as they come, 0 each cell alike.
    pub(crate) balance: f64,
}

/// Several views of a place seen as one: an example is the mean of their standardised embeddings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MultiView {
    /// Share of the examples that are made of several views, where a group has several.
    pub(crate) share: f64,
    /// Fewest and most views of one, as `[2, 4]`.
    pub(crate) views: [usize; 2],
}

/// Auxiliary targets: coarser cells and countries, learned beside the cells, each with its own cross-entropy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hierarchy {
    /// S2 levels.
    pub(crate) levels: Vec<u64>,
    /// Whether countries are learned too.
    pub(crate) country: bool,
    /// Weight of each coarse cross-entropy; that of the cells weighs 1.
    pub(crate) loss: f32,
    /// Weight of the log-probability of the coarse cell in the logit of a cell.
    pub(crate) read_out: f32,
    /// Coarse probabilities are the sums of the cells', not those of heads of their own; there is nothing to read out.
    pub(crate) sums: bool,
}

/// Other partitions learned beside the cells; each cell reads the one that its mean location lies in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Staggered {
    /// Cell tables.
    pub(crate) cells: Vec<PathBuf>,
    /// Weight of each cross-entropy.
    pub(crate) loss: f32,
    /// Weight of the log-probability of the cell of the other partition in the logit of a cell.
    pub(crate) read_out: f32,
}

/// Fixed embeddings E of the cells: logits = (x A) E' + x W + b, which is one linear layer once trained.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CellEmbeddings {
    /// File of little-endian f32, one row a cell in the order of the table; none when empty.
    pub(crate) file: PathBuf,
    /// Weight decay of A.
    pub(crate) weight_decay: f32,
    /// Learning rate of A, as a multiple of the others'.
    #[serde(rename(serialize = "rate_factor"), alias = "rate_factor")]
    pub(crate) lr_factor: f64,
    /// Whether W is learned too.
    pub(crate) free: bool,
}

/// A yes or no for each class instead of one distribution over all: the multi-label way of the project that Landfall
/// follows. The read-outs of the hierarchy then add up what a cell and all around it say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sigmoids {
    /// Whether it is so.
    pub(crate) on: bool,
    /// What a yes weighs; a no weighs 1.
    pub(crate) positive_weight: f32,
}

/// A loss in lost points: the mean of 1 - exp(-d / length) over the posterior.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KmLoss {
    /// Its weight; 0 for none.
    pub(crate) weight: f32,
    /// The length in kilometres; long ones make it a mean distance, short ones forgive what is far.
    pub(crate) length_km: f64,
}

/// Stopping when a part held out of the training pictures is no longer answered better.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EarlyStop {
    /// Epochs without more points before it stops and the best epoch is taken; 0 for never.
    pub(crate) patience: usize,
    /// Number of folds, of which one is held out.
    pub(crate) parts: usize,
}

impl Default for Labels {
    fn default() -> Self {
        Self { tau_km: 150.0, smoothing: 0.1, country_weight: 0.5 }
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
        Self { file: PathBuf::new(), weight_decay: 0.1, lr_factor: 1.0, free: true }
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

impl Recipe {
    /// Says which setting makes no sense.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) fn check(&self) -> Result<()> {
        let (label, train, views) = (&self.label, &self.train, &self.multi_view);
        let share = |x: f64| (0.0..1.0).contains(&x);
        let weight = |x: f32| x.is_finite() && x >= 0.0;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let wrong = [
            (!positive(label.tau_km), "label.tau_km must be a positive number of kilometres"),
            (!share(label.smoothing.into()), "label.smoothing is a share: from 0 to just below 1"),
            (!share(train.dropout.into()), "train.dropout is a share: from 0 to just below 1"),
            (!share(train.warm_up), "train.warm_up is a share: from 0 to just below 1"),
            (!(0.0..=1.0).contains(&views.share), "multi_view.share is a share: from 0 to 1"),
            (!(1..=views.views[1]).contains(&views.views[0]), "multi_view.views is the fewest and the most, from 1 on"),
            (!positive(train.lr), "train.lr must be above 0"),
            (train.epochs == 0 || train.batch == 0 || train.heads == 0, "train.epochs, batch and heads start at 1"),
            (!weight(label.country_weight), "label.country_weight must not be below 0"),
            (!weight(train.weight_decay), "train.weight_decay must not be below 0"),
            (!weight(train.mixup), "train.mixup must not be below 0"),
            (!weight(self.hierarchy.loss) || !weight(self.staggered.loss), "a loss's weight must not be below 0"),
            (!positive(self.sigmoids.positive_weight.into()), "sigmoids.positive_weight must be above 0"),
            (
                self.sigmoids.on && self.hierarchy.sums,
                "sigmoids have no probabilities to sum: hierarchy.sums must be off",
            ),
            (!weight(self.km_loss.weight), "km_loss.weight must not be below 0"),
            (!positive(self.km_loss.length_km), "km_loss.length_km must be above 0"),
            (!self.prior.less_train.is_finite(), "prior.less_train must be a number"),
            (!self.prior.plus_game.is_finite(), "prior.plus_game must be a number"),
            (!self.hierarchy.read_out.is_finite(), "hierarchy.read_out must be a number"),
            (!self.staggered.read_out.is_finite(), "staggered.read_out must be a number"),
            (!positive(self.prior.length_km), "prior.length_km must be above 0"),
            (!positive(self.prior.pseudo_counts), "prior.pseudo_counts must be above 0"),
            (!weight(self.cell_embeddings.weight_decay), "cell_embeddings.weight_decay must not be below 0"),
            (!positive(self.cell_embeddings.lr_factor), "cell_embeddings.lr_factor must be above 0"),
            (!(self.sampling.balance.is_finite() && self.sampling.balance >= 0.0), "sampling.balance starts at 0"),
            (self.early_stop.parts < 2, "early_stop.parts starts at 2"),
            (self.hierarchy.levels.iter().any(|level| *level > 30), "hierarchy.levels lie between 0 and 30"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, why)) => bail!("{why}"),
            None => Ok(()),
        }
    }

    /// Everything but the paths of the data: what a head says of how it was trained.
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
