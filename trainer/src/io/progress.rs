//! Progress of a training run.

use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows the progress of one run on standard error: a progress bar, or one line of JSON per epoch.
pub(crate) struct Progress {
    name: String,
    epochs: usize,
    bar: Option<ProgressBar>,
    points: Option<f64>,
    loss: RunningMean,
    /// Images per step; 0 if the number of images per second is not shown.
    pictures_per_step: usize,
    started: Instant,
    steps: usize,
}

#[derive(Default)]
struct RunningMean {
    sum: f64,
    n: usize,
}

impl Progress {
    /// Creates the progress of a run with `steps` steps, of which `done` are complete.
    ///
    /// # Errors
    /// If the template of the bar is invalid, which is a bug.
    pub(crate) fn new(name: &str, epochs: usize, (done, steps): (usize, usize), json: bool) -> Result<Self> {
        let template = "{prefix}: {wide_bar} {msg}, {eta} left";
        let bar = ProgressBar::new(steps as u64)
            .with_style(ProgressStyle::with_template(template)?)
            .with_prefix(name.to_owned())
            .with_position(done as u64);
        bar.reset_eta();
        Ok(Self {
            name: name.into(),
            epochs,
            bar: (!json).then_some(bar),
            points: None,
            loss: RunningMean::default(),
            pictures_per_step: 0,
            started: Instant::now(),
            steps: 0,
        })
    }

    /// Also shows images per second, given the images per step.
    pub(crate) fn with_pictures(mut self, pictures_per_step: usize) -> Self {
        self.pictures_per_step = pictures_per_step;
        self
    }

    fn speed(&self) -> Option<f64> {
        (self.pictures_per_step > 0)
            .then(|| (self.pictures_per_step * self.steps) as f64 / self.started.elapsed().as_secs_f64())
    }

    /// Shows the loss of a step.
    pub(crate) fn step(&mut self, loss: f32) {
        self.loss.sum += f64::from(loss);
        self.loss.n += 1;
        self.steps += 1;
        let speed = self.speed().map(|speed| format!(", {speed:.0} images/s")).unwrap_or_default();
        if let Some(bar) = &self.bar {
            let points = self.points.map(|points| format!(", held-out points {points:.0}")).unwrap_or_default();
            bar.set_message(format!("loss {:.3}{points}{speed}", self.loss.sum / self.loss.n as f64));
            bar.inc(1);
        }
    }

    /// Shows the end of an epoch, counted from 1, and the points on the held-out images if they were measured.
    pub(crate) fn epoch(&mut self, epoch: usize, points: Option<f64>) {
        self.points = points.or(self.points);
        let loss = std::mem::take(&mut self.loss);
        if self.bar.is_none() {
            let (run, loss) = (&self.name, loss.sum / loss.n.max(1) as f64);
            let mut line =
                serde_json::json!({ "run": run, "epoch": epoch, "of": self.epochs, "loss": loss, "points": points });
            if let Some(speed) = self.speed() {
                line["pictures_per_second"] = speed.into();
            }
            eprintln!("{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
