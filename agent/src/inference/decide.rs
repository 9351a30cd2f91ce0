//! From logits to an answer: the one place where views are fused and the pin is chosen, for play, replay and locate.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::decide::Answer;
use landfall_model::{Bundle, Posterior, pin};

use crate::inference::area::narrow;
use crate::record::Map;

/// What the answer is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Question<'a> {
    /// A round on this map: the pin with the highest expected score.
    Round(&'a Map),
    /// A photograph: the middle of the likeliest peak.
    Photo,
}

/// What the logits of one place's views, a row each, say of where it is: of a round to somebody who knows its map.
///
/// # Errors
/// When the logits are not the bundle's.
pub fn believe<'a>(bundle: &'a Bundle, logits: &[Vec<f32>], question: Question<'_>) -> Result<Posterior<'a>> {
    let posterior = bundle.fuse(logits).ok_or_else(|| {
        usage_error(format!(
            "the logits are not of bundle {}: it wants {} finite numbers a view",
            bundle.manifest.id(),
            bundle.cells.cells.len()
        ))
    })?;
    Ok(match question {
        Question::Round(map) => narrow(posterior, &map.area),
        Question::Photo => posterior,
    })
}

/// Answers from the logits of one place's views, a row each.
///
/// # Errors
/// As [`believe`].
pub fn decide(bundle: &Bundle, logits: &[Vec<f32>], question: Question<'_>) -> Result<Answer> {
    Ok(answer(&believe(bundle, logits, question)?, question))
}

/// The answer that a belief gives.
pub fn answer(posterior: &Posterior<'_>, question: Question<'_>) -> Answer {
    match question {
        Question::Round(map) => {
            let mut pin = pin::best(posterior, map.scale_m);
            pin.expected_score = map.worth(pin.expected_score);
            Answer::with_pin(posterior, pin)
        }
        Question::Photo => Answer::of_photo(posterior),
    }
}
