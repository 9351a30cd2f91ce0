//! The course of a fine-tuning run: stage after stage, epoch after epoch, with checkpoints between.

use anyhow::{Result, bail};
use landfall_common::exit::environment_error;

use super::batches::Lessons;
use super::held_out::HeldOut;
use super::optimizer::Learner;
use super::recipe::{Recipe, Stage};
use crate::head::checkpoint::{Checkpoints, TrainingState};
use crate::io::interrupt;
use crate::io::progress::Progress;

/// Steps between two checkpoints inside of an epoch.
const KEEP_EVERY: usize = 100;
/// Epochs between two looks at pictures held out.
const LOOK_EVERY: usize = 5;

/// What a run consists of.
pub(super) struct Course<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) lessons: &'a Lessons<'a>,
    pub(super) held_out: Option<&'a HeldOut<'a>>,
    pub(super) checkpoints: &'a Checkpoints,
    pub(super) fingerprint: &'a str,
    /// Stop after so many steps in all.
    pub(super) most: Option<usize>,
    pub(super) json: bool,
}

/// Where in the course a step stands.
struct Place<'a> {
    stage: &'a Stage,
    /// Number of the stage, the first being 1.
    number: usize,
    /// Step of the stage, from 0 on.
    step: usize,
}

/// How a run ended.
pub(super) enum End {
    /// All stages are done.
    Done,
    /// The number of steps that was asked for is reached: loss of the first and of the last of them.
    Stopped { first: f32, last: f32 },
}

const RUN: &str = "finetune";

impl Course<'_> {
    /// Goes through what is left of the course.
    ///
    /// # Errors
    /// When a picture or a checkpoint cannot be used, the loss stops being a number, or Ctrl-C was pressed.
    pub(super) fn run(&self, learner: &mut Learner<'_>) -> Result<End> {
        let mut done = 0;
        if let Some(state) = self.checkpoints.load(RUN, self.fingerprint)? {
            done = state.epoch;
            learner.load(state.bytes)?;
        }
        let steps = self.lessons.steps();
        let whole: usize = self.recipe.stage.iter().map(|stage| stage.steps(steps)).sum();
        let all = self.most.unwrap_or(usize::MAX).min(whole);
        let mut live =
            Progress::new(RUN, whole.div_ceil(steps), (done, whole), self.json)?.with_pictures(self.recipe.train.batch);
        let (mut first, mut last) = (None, f32::NAN);
        let mut next = (done < all).then(|| self.lessons.batch(self.place(done).stage, done)).transpose()?;
        while let Some(batch) = next.take() {
            let Place { stage, number, step, .. } = self.place(done);
            let lr = stage.lr_at(step, stage.steps(steps));
            // The next batch is made while this one is learned from.
            let (loss, made) = std::thread::scope(|scope| {
                let ahead = (done + 1 < all).then(|| {
                    let stage = self.place(done + 1).stage;
                    scope.spawn(move || self.lessons.batch(stage, done + 1))
                });
                (learner.step(batch, stage, lr), ahead.map(|thread| thread.join()))
            });
            if !loss.is_finite() {
                bail!(
                    "the loss is {loss} after {done} steps, in stage {number}: lower its rate, or that of the encoder{}",
                    self.kept()
                );
            }
            done += 1;
            (first, last) = (first.or(Some(loss)), loss);
            live.step(loss);
            next = match made {
                Some(Ok(batch)) => Some(batch?),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => None,
            };
            let is_whole_epoch = done.is_multiple_of(steps);
            if is_whole_epoch || done.is_multiple_of(KEEP_EVERY) || done == all {
                let state = TrainingState { epoch: done, bytes: learner.save()?, best: None };
                self.checkpoints.save(RUN, self.fingerprint, &state)?;
            }
            if is_whole_epoch || done == whole {
                let is_time = (done / steps).is_multiple_of(LOOK_EVERY) || done == whole;
                let look = self.held_out.filter(|_| is_time);
                live.epoch(done.div_ceil(steps), look.map(|out| out.points(&learner.averaged())).transpose()?);
            }
            if interrupt::is_stopped() {
                drop(live);
                return Err(environment_error(format!("stopped after {done} steps{}", self.kept())));
            }
        }
        match first {
            Some(first) if done < whole => Ok(End::Stopped { first, last }),
            _ => Ok(End::Done),
        }
    }

    /// Where the step after `done` steps stands.
    fn place(&self, done: usize) -> Place<'_> {
        let (mut before, steps) = (0, self.lessons.steps());
        let mut stages = self.recipe.stage.iter().enumerate();
        loop {
            let (number, stage) = stages.next().expect("a step of the course lies in a stage");
            let step = done - before;
            if step < stage.steps(steps) {
                return Place { stage, number: number + 1, step };
            }
            before += stage.steps(steps);
        }
    }

    /// Where a run may go on from, as the end of a sentence.
    fn kept(&self) -> String {
        let file = self.checkpoints.file(RUN);
        if !file.exists() {
            return String::new();
        }
        format!("; the last checkpoint is kept in {}: the same command with --resume goes on from it", file.display())
    }
}
