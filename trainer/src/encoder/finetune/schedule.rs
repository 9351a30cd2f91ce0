//! The training loop of a fine-tuning run: stages, epochs and checkpoints.

use anyhow::{Result, bail};

use super::batches::Batches;
use super::held_out::HeldOutSet;
use super::optimizer::StudentOptimizer;
use super::recipe::{Recipe, Stage};
use crate::head::checkpoint::{Checkpoints, TrainingState};
use crate::io::interrupt;
use crate::io::progress::Progress;

/// Steps between checkpoints within an epoch.
const CHECKPOINT_EVERY: usize = 100;
/// Epochs between evaluations on held-out pictures.
const EVAL_EVERY: usize = 5;

/// The parts of a fine-tuning run.
pub(super) struct Schedule<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) batches: &'a Batches<'a>,
    pub(super) held_out: Option<&'a HeldOutSet<'a>>,
    pub(super) checkpoints: &'a Checkpoints,
    pub(super) fingerprint: &'a str,
    /// Maximum total number of steps.
    pub(super) max_steps: Option<usize>,
    pub(super) json: bool,
}

/// The position of a step in the schedule.
struct Position<'a> {
    stage: &'a Stage,
    /// Number of the stage, counted from 1.
    number: usize,
    /// Step within the stage, counted from 0.
    step: usize,
}

/// How a run ended.
pub(super) enum Outcome {
    /// All stages are done.
    Finished,
    /// The maximum number of steps is reached; loss of the first and of the last step of this run.
    Stopped { first: f32, last: f32 },
}

const RUN_NAME: &str = "finetune";

impl Schedule<'_> {
    /// Runs the remaining steps.
    ///
    /// # Errors
    /// When a picture or a checkpoint cannot be used, the loss is not finite, or Ctrl-C was pressed.
    pub(super) fn run(&self, optimizer: &mut StudentOptimizer<'_>) -> Result<Outcome> {
        let mut done = 0;
        if let Some(state) = self.checkpoints.load(RUN_NAME, self.fingerprint)? {
            done = state.epoch;
            optimizer.load(state.bytes)?;
        }
        let steps = self.batches.steps();
        let total_steps: usize = self.recipe.stage.iter().map(|stage| stage.steps(steps)).sum();
        let all = self.max_steps.unwrap_or(usize::MAX).min(total_steps);
        let mut progress = Progress::new(RUN_NAME, total_steps.div_ceil(steps), (done, total_steps), self.json)?
            .with_pictures(self.recipe.train.batch);
        let (mut first, mut last) = (None, f32::NAN);
        let mut next = (done < all).then(|| self.batches.batch(self.position(done).stage, done)).transpose()?;
        while let Some(batch) = next.take() {
            let Position { stage, number, step, .. } = self.position(done);
            let lr = stage.lr_at(step, stage.steps(steps));
            // The next batch is prepared during the training step.
            let (loss, prepared) = std::thread::scope(|scope| {
                let ahead = (done + 1 < all).then(|| {
                    let stage = self.position(done + 1).stage;
                    scope.spawn(move || self.batches.batch(stage, done + 1))
                });
                (optimizer.step(batch, stage, lr), ahead.map(|thread| thread.join()))
            });
            if !loss.is_finite() {
                bail!(
                    "the loss is {loss} after {done} steps, in stage {number}: lower its lr or encoder_lr_scale{}",
                    self.resume_hint()
                );
            }
            done += 1;
            (first, last) = (first.or(Some(loss)), loss);
            progress.step(loss);
            next = match prepared {
                Some(Ok(batch)) => Some(batch?),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => None,
            };
            let is_whole_epoch = done.is_multiple_of(steps);
            if is_whole_epoch || done.is_multiple_of(CHECKPOINT_EVERY) || done == all {
                let state = TrainingState { epoch: done, bytes: optimizer.save()?, best: None };
                self.checkpoints.save(RUN_NAME, self.fingerprint, &state)?;
            }
            if is_whole_epoch || done == total_steps {
                let is_eval_due = (done / steps).is_multiple_of(EVAL_EVERY) || done == total_steps;
                let due = self.held_out.filter(|_| is_eval_due);
                progress.epoch(done.div_ceil(steps), due.map(|out| out.points(&optimizer.averaged())).transpose()?);
            }
            if interrupt::is_stopped() {
                drop(progress);
                return Err(interrupt::stopped(format!("stopped after {done} steps{}", self.resume_hint())));
            }
        }
        match first {
            Some(first) if done < total_steps => Ok(Outcome::Stopped { first, last }),
            _ => Ok(Outcome::Finished),
        }
    }

    /// The position of the step after `done` steps.
    fn position(&self, done: usize) -> Position<'_> {
        let (mut before, steps) = (0, self.batches.steps());
        let mut stages = self.recipe.stage.iter().enumerate();
        loop {
            let (number, stage) = stages.next().expect("every step is in a stage");
            let step = done - before;
            if step < stage.steps(steps) {
                return Position { stage, number: number + 1, step };
            }
            before += stage.steps(steps);
        }
    }

    /// The last checkpoint, as the end of an error message.
    fn resume_hint(&self) -> String {
        let file = self.checkpoints.file(RUN_NAME);
        if !file.exists() {
            return String::new();
        }
        format!("; the last checkpoint is {}; run the same command with --resume to continue", file.display())
    }
}
