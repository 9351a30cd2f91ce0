//! The training loop: AdamW over epochs of batches, with early stopping and checkpoints.

use anyhow::{Result, bail};

use crate::cells::prior;
use crate::data::index::Row;
use crate::features::samples::{self, Sample};
use crate::head::checkpoint::{self, BestEpoch, Checkpoints, TrainingState};
use crate::head::dataloader::DataLoader;
use crate::head::held_out::HeldOutEval;
use crate::head::loss::Objective;
use crate::head::model::{Layers, Moments};
use crate::head::recipe::Recipe;
use crate::head::schedule;
use crate::head::trainable;
use crate::head::trainer::Trainer;
use crate::io::interrupt;
use crate::io::progress::Progress;

/// Epochs between evaluations on held-out pictures, without early stopping.
const EVAL_EVERY: usize = 5;
/// Maximum number of places on which early stopping evaluates.
const EARLY_STOP_PLACES: usize = 600;

/// Checkpoints and progress output of training runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointConfig {
    /// Where to store checkpoints, if at all.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// Print progress as lines of JSON instead of a progress bar.
    pub(crate) json: bool,
}

/// Trains the heads of a recipe, averages them and adds the prior.
///
/// # Errors
/// When there are no pictures to train on, the loss is not finite, or Ctrl-C was pressed.
pub(crate) fn train(
    name: &str,
    samples: &[&Sample],
    objective: &Objective<'_>,
    recipe: &Recipe,
    moments: &Moments,
    held_out: Option<&HeldOutEval<'_>>,
    checkpointing: &CheckpointConfig,
) -> Result<Layers> {
    let heads = (0..recipe.train.heads as u64).map(|i| {
        let name = if recipe.train.heads > 1 { format!("{name} head {}", i + 1) } else { name.to_owned() };
        let seed = recipe.train.seed.wrapping_add(i);
        Run { name, seed, objective, recipe, moments, held_out, checkpointing }.train(samples)
    });
    let mut layers = trainable::average_heads(heads.collect::<Result<_>>()?);
    let rows: Vec<&Row> = samples.iter().map(|sample| &sample.row).collect();
    let prior = prior::bias(&recipe.prior, objective.table, || objective.label_mass(&rows))?;
    if let Some((_, bias)) = layers.last_mut() {
        bias.iter_mut().zip(prior).for_each(|(bias, prior)| *bias += prior);
    }
    Ok(layers)
}

/// The training run of one head.
struct Run<'a> {
    name: String,
    seed: u64,
    objective: &'a Objective<'a>,
    recipe: &'a Recipe,
    moments: &'a Moments,
    held_out: Option<&'a HeldOutEval<'a>>,
    checkpointing: &'a CheckpointConfig,
}

impl Run<'_> {
    fn train(&self, samples: &[&Sample]) -> Result<Layers> {
        let (early_stop, train) = (&self.recipe.early_stop, &self.recipe.train);
        let is_held_out = |s: &&&Sample| early_stop.patience > 0 && samples::is_held_out(&s.row, early_stop.parts);
        let (out, rest): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(is_held_out);
        let early_stop_eval = HeldOutEval::new(self.objective.table, &out, self.moments, EARLY_STOP_PLACES);
        if early_stop.patience > 0 && early_stop_eval.is_empty() {
            bail!("early_stop: no picture in the held-out fold has coordinates; lower early_stop.parts");
        }
        let loader = DataLoader::new(&rest, self.objective, self.recipe, self.seed, self.moments);
        if loader.is_empty() {
            bail!("{}: no pictures are left to train on", self.name);
        }
        let fingerprint = checkpoint::fingerprint(self.recipe, self.seed, samples, self.objective.table, self.moments)?;
        let checkpoints = self.checkpointing.checkpoints.as_ref();
        let mut trainer = Trainer::new(self.objective, self.recipe, self.moments, self.seed)?;
        let mut state = TrainingState::default();
        if let Some(found) = checkpoints.map(|kept| kept.load(&self.name, &fingerprint)).transpose()?.flatten() {
            state = found;
            trainer.load(std::mem::take(&mut state.bytes))?;
        }
        let steps = loader.len().div_ceil(train.batch);
        let position = (state.epoch * steps, train.epochs * steps);
        let mut progress = Progress::new(&self.name, train.epochs, position, self.checkpointing.json)?;
        let has_stopped = |state: &TrainingState| {
            let best = state.best.as_ref();
            best.is_some_and(|best| early_stop.patience > 0 && state.epoch - best.epoch >= early_stop.patience)
        };
        while state.epoch < train.epochs && !has_stopped(&state) {
            let (order, mut random) = loader.epoch(state.epoch);
            for (i, pictures) in order.chunks(train.batch).enumerate() {
                if interrupt::is_stopped() {
                    return Err(self.interrupted(&state));
                }
                let step = state.epoch * steps + i;
                let rate = schedule::rate_at(step, train.epochs * steps, train);
                let loss = trainer.step(loader.batch(pictures, &mut random), rate)?;
                if !loss.is_finite() {
                    bail!(self.diverged(loss, step, &state));
                }
                progress.step(loss);
            }
            let layers = trainer.fold()?;
            if !layers.iter().all(|(weights, bias)| weights.iter().chain(bias).all(|x| x.is_finite())) {
                bail!(self.diverged(f32::NAN, (state.epoch + 1) * steps, &state));
            }
            state.epoch += 1;
            let is_eval_due = state.epoch % EVAL_EVERY == 0 || state.epoch == train.epochs;
            let points = match self.held_out.filter(|held_out| is_eval_due && !held_out.is_empty()) {
                _ if early_stop.patience > 0 => Some(early_stop_eval.points(&layers)?),
                Some(held_out) => Some(held_out.points(&layers)?),
                None => None,
            };
            if let Some(points) = points.filter(|_| early_stop.patience > 0)
                && state.best.as_ref().is_none_or(|best| points > best.points)
            {
                state.best = Some(BestEpoch { epoch: state.epoch, points, layers });
            }
            if let Some(checkpoints) = checkpoints {
                let state = TrainingState { bytes: trainer.save()?, ..state.clone() };
                checkpoints.save(&self.name, &fingerprint, &state)?;
            }
            progress.epoch(state.epoch, points);
        }
        match state.best {
            Some(best) => Ok(best.layers),
            None => trainer.fold(),
        }
    }

    /// The available checkpoints, as the end of an error message.
    fn resume_hint(&self, state: &TrainingState) -> Option<String> {
        let checkpoints = self.checkpointing.checkpoints.as_ref()?;
        if state.epoch == 0 {
            return checkpoints
                .has_any()
                .then(|| format!("the checkpoints of earlier heads are in {}", checkpoints.dir.display()));
        }
        Some(format!("the checkpoint after epoch {} is {}", state.epoch, checkpoints.file(&self.name).display()))
    }

    fn diverged(&self, loss: f32, steps: usize, state: &TrainingState) -> String {
        let lr = self.recipe.train.lr;
        let problem = format!(
            "{}: the loss is {loss} after {steps} steps: the learning rate {lr} is too high for this data",
            self.name
        );
        match self.resume_hint(state) {
            Some(hint) => format!("{problem}; {hint}; continue with --resume and a lower --set train.lr"),
            None => format!("{problem}; try a lower --set train.lr (see `lr-find`)"),
        }
    }

    fn interrupted(&self, state: &TrainingState) -> anyhow::Error {
        let name = &self.name;
        interrupt::stopped(match self.resume_hint(state) {
            Some(hint) => format!("stopped in {name}; {hint}; run the same command with --resume to continue"),
            None => format!("stopped in {name} before the first checkpoint"),
        })
    }
}
