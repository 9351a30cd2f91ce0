//! Who decides where the pin goes: a bundle, or another player who is shown the views.

use std::sync::Arc;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use landfall_model::prediction::TopCell;
use landfall_model::{Classifier, LatLng};

use crate::inference::{self, CellProbability, RoundInference};
use crate::play::look::CapturedView;
use crate::record::Map;

/// Who decides where the pin goes.
pub enum Decider<'a> {
    /// A bundle. It also decides how many views are taken.
    Bundle(Arc<Classifier>),
    /// Another player, by the name that the record gets. It sees four views all around, or the photo.
    Player(String, AskPlayer<'a>),
}

/// Asks a player for the place of a round, by the number of the round in the game, from 1, and its views. The error is the
/// reason why there is no guess.
pub(crate) type AskPlayer<'a> = Box<dyn Fn(u32, Vec<CapturedView>) -> LocalBoxFuture<'a, Result<LatLng, String>> + 'a>;

impl From<Arc<Classifier>> for Decider<'_> {
    fn from(classifier: Arc<Classifier>) -> Self {
        Self::Bundle(classifier)
    }
}

impl<'a> Decider<'a> {
    /// Name in the record of a game: `name@version` of a bundle.
    pub(super) fn id(&self) -> String {
        match self {
            Self::Bundle(classifier) => classifier.bundle.manifest.id(),
            Self::Player(name, _) => name.clone(),
        }
    }

    pub(super) fn on_map(self, map: Map, min_gain: f64) -> RoundDecider<'a> {
        match self {
            Self::Bundle(classifier) => RoundDecider::Bundle(RoundInference { classifier, map, min_gain }),
            Self::Player(_, ask) => RoundDecider::Player(ask),
        }
    }
}

/// Decides the rounds of a game.
pub(super) enum RoundDecider<'a> {
    Bundle(RoundInference),
    Player(AskPlayer<'a>),
}

/// Where the pin goes, and what a bundle says about it.
pub(super) struct Decision {
    /// The error is the reason why there is no guess.
    pub at: Result<LatLng, String>,
    pub top: Vec<TopCell>,
    pub place: Option<String>,
    pub expected_score: Option<f64>,
    pub heat: Vec<CellProbability>,
}

impl RoundDecider<'_> {
    pub(super) fn inference(&self) -> Option<&RoundInference> {
        match self {
            Self::Bundle(inference) => Some(inference),
            Self::Player(_) => None,
        }
    }

    /// Decides round `n` from its views.
    ///
    /// # Errors
    /// When the logits of a view do not fit the bundle.
    pub(super) async fn decide(&self, n: u32, views: Vec<CapturedView>) -> Result<Decision> {
        let inference = match self {
            Self::Bundle(inference) => inference,
            Self::Player(ask) => {
                let at = ask(n, views).await;
                return Ok(Decision { at, top: Vec::new(), place: None, expected_score: None, heat: Vec::new() });
            }
        };
        let rows: Vec<Vec<f32>> = views.into_iter().map(|view| view.logits).collect();
        let posterior = inference.posterior(&rows)?;
        let prediction = inference.predict_from(&posterior);
        tracing::info!(
            views = rows.len(),
            place = prediction.place,
            expected_score = prediction.expected_score,
            "predicted"
        );
        Ok(Decision {
            at: Ok(prediction.point),
            top: prediction.candidates,
            place: Some(prediction.place),
            expected_score: Some(prediction.expected_score),
            heat: inference::cell_probabilities(&posterior),
        })
    }
}
