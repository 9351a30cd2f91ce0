//! Thinking while looking: every picture is classified beside the browser as soon as it is taken, and what is believed so
//! far says whether another view is worth its time.

use std::sync::Arc;

use anyhow::Result;
use landfall_model::decide::Answer;
use landfall_model::{Classifier, Posterior, preprocess};
use tokio::task::JoinHandle;

use crate::inference::decide::{Question, answer, believe};
use crate::inference::stopping::gain_of_another;
use crate::record::Map;

/// What a round is thought about with.
#[derive(Clone)]
pub struct Mind {
    /// What knows the world.
    pub classifier: Arc<Classifier>,
    /// The map that is played.
    pub map: Map,
    /// A view that would bring fewer points is not taken.
    pub min_gain: f64,
}

/// The logits of one view, on their way.
pub struct Thought(JoinHandle<Result<Vec<f32>>>);

impl Mind {
    /// Begins to think about a picture, beside everything else.
    pub fn begin(&self, jpeg: &[u8]) -> Thought {
        let (classifier, jpeg) = (Arc::clone(&self.classifier), jpeg.to_owned());
        Thought(tokio::task::spawn_blocking(move || {
            let embedding = classifier.encoder().embed(0, &preprocess::from_bytes(&jpeg)?)?;
            Ok(classifier.head(&embedding)?)
        }))
    }

    /// The answer that these views give, a row of logits each.
    ///
    /// # Errors
    /// As [`believe`].
    pub fn answer(&self, logits: &[Vec<f32>]) -> Result<Answer> {
        Ok(self.answer_of(&self.belief(logits)?))
    }

    /// What is believed after these views.
    ///
    /// # Errors
    /// As [`believe`].
    pub fn belief(&self, logits: &[Vec<f32>]) -> Result<Posterior<'_>> {
        believe(&self.classifier.bundle, logits, Question::Round(&self.map))
    }

    /// The answer that a belief gives.
    pub fn answer_of(&self, posterior: &Posterior<'_>) -> Answer {
        answer(posterior, Question::Round(&self.map))
    }

    /// Whether it is worth going on, when these views have been thought about and so many taken.
    ///
    /// # Errors
    /// As [`believe`].
    pub fn wants_more(&self, logits: &[Vec<f32>], taken: usize) -> Result<bool> {
        let promised = self.map.usual(self.answer(logits)?.pin.expected_score);
        Ok(self.map.worth(gain_of_another(taken, promised)) >= self.min_gain)
    }
}

impl Thought {
    /// Its end.
    ///
    /// # Errors
    /// When the picture cannot be read or a network fails.
    pub async fn end(self) -> Result<Vec<f32>> {
        self.0.await?
    }
}
