//! Thinking while looking: every picture is classified beside the browser as soon as it is taken, and what is believed so
//! far says whether another view is worth its time.

use std::sync::Arc;

use anyhow::Result;
use landfall_model::{Classifier, Posterior, preprocess};
use tokio::task::JoinHandle;

use crate::decide::{Answer, Question, answer, believe};
use crate::record::Map;

/// A view that promises fewer points than this is not taken, unless the user says otherwise.
pub const MIN_GAIN: f64 = 10.0;

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

/// Points that one more view brings on average, after `views` of them with which the pin promises `expected_score`.
///
/// A law fitted to what the second, third and fourth view of 149 places brought (the desktop bundle, the dev split, all
/// orders: 274, 127 and 68 points on average): `65 · (5 - expected / 1000)² / views^1.2`. Between headings that have been
/// looked at, half of a view is known already; that half is taken, not measured.
pub fn gain_of_another(views: usize, expected_score: f64) -> f64 {
    let missing = (5.0 - expected_score / 1000.0).max(0.0);
    let new = if views < super::look::HEADINGS.len() / 2 { 1.0 } else { 0.5 };
    new * 65.0 * missing * missing / (views.max(1) as f64).powf(1.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_view_brings_less_the_more_is_known() {
        // Means of what was measured, each within its error: (views, expected score, gain).
        for (views, expected, measured, error) in
            [(1, 2864.0, 284.0, 46.0), (1, 3755.0, 60.0, 40.0), (2, 2889.0, 144.0, 28.0), (3, 2892.0, 58.0, 31.0)]
        {
            let gain = gain_of_another(views, expected);
            assert!((gain - measured).abs() < 1.5 * error, "{views} {expected}: {gain}");
        }
        assert!(gain_of_another(4, 3000.0) < gain_of_another(3, 3000.0));
        assert_eq!(gain_of_another(2, 5000.0), 0.0);
    }
}
