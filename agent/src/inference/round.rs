//! Inference during a round: each view is classified in the background while the browser turns to the next, and the
//! posterior so far decides whether another view is worth its time.

use std::sync::Arc;

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
            let embedding = classifier.encoder().embed(0, &preprocess::from_bytes(&jpeg)?)?;
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

impl PendingLogits {
    /// Waits for the logits.
    ///
    /// # Errors
    /// When the image cannot be decoded or a network fails.
    pub async fn wait(self) -> Result<Vec<f32>> {
        self.0.await?
    }
}
