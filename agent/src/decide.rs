//! From logits to an answer: the one place where views are fused and the pin is chosen, for play, replay and locate.

use anyhow::Result;
use landfall_model::{Bundle, LatLng, Posterior, pin, place};
use serde::{Deserialize, Serialize};

use crate::failure::wrong;
use crate::record::Map;

/// A cell and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopCell {
    /// S2 token.
    pub cell: String,
    /// Mean location of the cell.
    #[serde(flatten)]
    pub at: LatLng,
    /// Probability.
    pub p: f64,
}

/// An answer and what it rests on.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Where, and what it promises.
    pub pin: pin::Pin,
    /// In words.
    pub place: place::Place,
    /// The likeliest cells.
    pub top: Vec<TopCell>,
    /// Radius in metres around the pin that holds half of the probability, and nine tenths.
    pub radius_m: [f64; 2],
}

/// What the answer is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Question<'a> {
    /// A round on this map: the pin with the highest expected score.
    Round(&'a Map),
    /// A photograph: the middle of the likeliest peak.
    Photo,
}

const TOP: usize = 10;

/// Answers from the logits of one place's views, a row each.
///
/// # Errors
/// When the logits are not the bundle's.
pub fn decide(bundle: &Bundle, logits: &[Vec<f32>], question: Question<'_>) -> Result<Answer> {
    let temperature = bundle.manifest.temperature_for(logits.len());
    let posterior = Posterior::fuse(&bundle.cells, logits, temperature).ok_or_else(|| {
        wrong(format!(
            "the logits are not of bundle {}: it wants {} finite numbers a view",
            bundle.manifest.id(),
            bundle.cells.cells.len()
        ))
    })?;
    let (posterior, pin) = match question {
        Question::Round(map) => {
            let posterior = map.area.narrow(posterior);
            let mut pin = pin::best(&posterior, map.scale_m);
            pin.expected_score = map.worth(pin.expected_score);
            (posterior, pin)
        }
        Question::Photo => {
            let pin = pin::mode(&posterior);
            (posterior, pin)
        }
    };
    let cell = |(i, p): (usize, f64)| {
        let cell = &bundle.cells.cells[i];
        TopCell { cell: cell.token.clone(), at: cell.at, p }
    };
    Ok(Answer {
        pin,
        place: place::describe(pin.at),
        top: posterior.top(TOP).into_iter().map(cell).collect(),
        radius_m: [posterior.radius_m(pin.at, 0.5), posterior.radius_m(pin.at, 0.9)],
    })
}
