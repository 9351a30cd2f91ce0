//! Inference during a round: each view is classified in the background while the browser turns to the next, and the
//! posterior so far decides whether another view is worth its time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use landfall_model::{Classifier, Posterior, Prediction, preprocess};
use tokio::task::JoinHandle;

use crate::inference::decide::{Objective, posterior_for, predict_from};
use crate::inference::stopping::gain_of_another;
use crate::record::Map;

/// What inference in a round needs.
#[derive(Clone)]
pub struct RoundInference {
    /// The classifier.
    pub classifier: Arc<Classifier>,
    /// The map of the round.
    pub map: Map,
    /// Minimum expected gain, in points, for taking another view.
    pub min_gain: f64,
}

/// The logits of one view, which are still being computed.
pub struct PendingLogits(JoinHandle<Result<Vec<f32>>>);

impl RoundInference {
    /// Starts to classify an image in the background.
    pub fn start(&self, jpeg: &[u8]) -> PendingLogits {
        let (classifier, jpeg) = (Arc::clone(&self.classifier), jpeg.to_owned());
        PendingLogits(tokio::task::spawn_blocking(move || {
            let picture = preprocess::from_bytes(&jpeg)?;
            let worker = Worker::least_busy(classifier.encoder().workers());
            let embedding = classifier.encoder().embed(worker.0, &picture)?;
            Ok(classifier.head(&embedding)?)
        }))
    }

    /// The prediction from these views, one row of logits per view.
    ///
    /// # Errors
    /// As [`posterior_for`].
    pub fn predict(&self, logits: &[Vec<f32>]) -> Result<Prediction> {
        Ok(self.predict_from(&self.posterior(logits)?))
    }

    /// The posterior given these views, one row of logits per view.
    ///
    /// # Errors
    /// As [`posterior_for`].
    pub fn posterior(&self, logits: &[Vec<f32>]) -> Result<Posterior<'_>> {
        posterior_for(&self.classifier.bundle, logits, Objective::Round(&self.map))
    }

    /// The prediction from a posterior.
    pub fn predict_from(&self, posterior: &Posterior<'_>) -> Prediction {
        predict_from(posterior, Objective::Round(&self.map))
    }

    /// Whether another view is worth taking, after `taken` views of which `logits` has the rows computed so far.
    ///
    /// # Errors
    /// As [`posterior_for`].
    pub fn wants_another_view(&self, logits: &[Vec<f32>], taken: usize) -> Result<bool> {
        let expected = self.map.to_standard_points(self.predict(logits)?.expected_score);
        Ok(self.map.to_map_points(gain_of_another(taken, expected)) >= self.min_gain)
    }
}

/// Number of views that each encoder session computes or will compute next.
static BUSY: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// An encoder session in use. Games at the same time share the sessions of one classifier.
struct Worker(usize);

impl Worker {
    fn least_busy(count: usize) -> Self {
        let mut busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.len() < count {
            busy.resize(count, 0);
        }
        let least = (0..count).min_by_key(|worker| busy[*worker]).unwrap_or_default();
        busy[least] += 1;
        Self(least)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        BUSY.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

impl PendingLogits {
    /// Waits for the logits.
    ///
    /// # Errors
    /// When the image cannot be decoded or a network fails.
    pub async fn wait(self) -> Result<Vec<f32>> {
        self.0.await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_at_the_same_time_are_spread_over_the_sessions() {
        let workers: Vec<Worker> = (0..3).map(|_| Worker::least_busy(3)).collect();
        let mut taken: Vec<usize> = workers.iter().map(|worker| worker.0).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        drop(workers);
        assert_eq!(Worker::least_busy(1).0, 0);
    }
}
