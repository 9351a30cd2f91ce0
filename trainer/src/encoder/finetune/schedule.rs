//! The schedule of a fine-tuning run: stage after stage, epoch after epoch, with checkpoints in between.

use anyhow::{Result, bail};

use super::batches::Batches;
use super::held_out::HeldOutSet;
use super::optimizer::StudentOptimizer;
use super::recipe::{Recipe, Stage};
use crate::head::checkpoint::{Checkpoints, TrainingState};
use crate::io::interrupt;
use crate::io::progress::Progress;

/// Steps between two checkpoints inside of an epoch.
const CHECKPOINT_EVERY: usize = 100;
/// Epochs between two looks at pictures held out.
const EVAL_EVERY: usize = 5;

/// What a run consists of.
pub(super) struct Schedule<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) batches: &'a Batches<'a>,
    pub(super) held_out: Option<&'a HeldOutSet<'a>>,
    pub(super) checkpoints: &'a Checkpoints,
    pub(super) fingerprint: &'a str,
    /// Stop after this total number of steps.
    pub(super) max_steps: Option<usize>,
    pub(super) json: bool,
}

/// The position of a step in the schedule.
struct Position<'a> {
    stage: &'a Stage,
    /// Number of the stage, the first being 1.
    number: usize,
    /// Step of the stage, from 0 on.
    step: usize,
}

/// How a run ended.
pub(super) enum Outcome {
    /// All stages are done.
    Finished,
    /// The number of steps that was asked for is reached: loss of the first and of the last of them.
    Stopped { first: f32, last: f32 },
}

const RUN_NAME: &str = "finetune";

impl Schedule<'_> {
    /// Runs the steps that are left.
    ///
    /// # Errors
    /// When a picture or a checkpoint cannot be used, the loss stops being a number, or Ctrl-C was pressed.
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
            // The next batch is made while this one is learned from.
            let (loss, made) = std::thread::scope(|scope| {
                let ahead = (done + 1 < all).then(|| {
                    let stage = self.position(done + 1).stage;
                    scope.spawn(move || self.batches.batch(stage, done + 1))
                });
                (optimizer.step(batch, stage, lr), ahead.map(|thread| thread.join()))
            });
            if !loss.is_finite() {
                bail!(
                    "the loss is {loss} after {done} steps, in stage {number}: lower its rate, or that of the encoder{}",
                    self.resume_hint()
                );
            }
            done += 1;
            (first, last) = (first.or(Some(loss)), loss);
            progress.step(loss);
            next = match made {
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

    /// Where the step after `done` steps stands.
    fn position(&self, done: usize) -> Position<'_> {
        let (mut before, steps) = (0, self.batches.steps());
        let mut stages = self.recipe.stage.iter().enumerate();
        loop {
            let (number, stage) = stages.next().expect("a step of the course lies in a stage");
            let step = done - before;
            if step < stage.steps(steps) {
                return Position { stage, number: number + 1, step };
            }
            before += stage.steps(steps);
        }
    }

    /// Where a run may go on from, as the end of a sentence.
    fn resume_hint(&self) -> String {
        let file = self.checkpoints.file(RUN_NAME);
        if !file.exists() {
            return String::new();
        }
        format!("; the last checkpoint is kept in {}: the same command with --resume goes on from it", file.display())
    }
}
