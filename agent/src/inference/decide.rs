//! From logits to a prediction: the one place where views are fused and one of the pins of `landfall_model::pin` is taken,
//! for play, replay and locate.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::pin::Pin;
use landfall_model::{Bundle, LatLng, Posterior, Prediction, Prior, pin};

use crate::inference::area::restrict_to_area;
use crate::record::Map;

/// What the prediction optimises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Objective<'a> {
    /// A round on this map: the highest expected score.
    Round(&'a Map),
    /// A photograph: the middle of the most likely region, with this prior.
    Photo(Prior),
}

impl Objective<'_> {
    fn prior(self) -> Prior {
        match self {
            Self::Round(_) => Prior::Game,
            Self::Photo(prior) => prior,
        }
    }
}

/// The posterior given the logits of all views of one place, one row per view. For a round it includes what is known of the
/// map's area.
///
/// # Errors
/// When the logits do not fit the bundle.
pub(crate) fn posterior_for<'a>(
    bundle: &'a Bundle,
    logits: &[Vec<f32>],
    objective: Objective<'_>,
) -> Result<Posterior<'a>> {
    let posterior = bundle.fuse(logits, objective.prior()).ok_or_else(|| {
        usage_error(format!(
            "the logits do not fit bundle {}: it has {} cells, and logits must be finite",
            bundle.manifest.id(),
            bundle.cells.cells.len()
        ))
    })?;
    Ok(match objective {
        Objective::Round(map) => restrict_to_area(posterior, &map.area),
        Objective::Photo(_) => posterior,
    })
}

/// The prediction from the logits of all views of one place, one row per view.
///
/// # Errors
/// As [`posterior_for`].
pub(crate) fn predict(bundle: &Bundle, logits: &[Vec<f32>], objective: Objective<'_>) -> Result<Prediction> {
    Ok(predict_from(&posterior_for(bundle, logits, objective)?, objective))
}

/// The prediction from a posterior. For a round, the expected score is in points of its map.
pub(crate) fn predict_from(posterior: &Posterior<'_>, objective: Objective<'_>) -> Prediction {
    match objective {
        Objective::Round(map) => Prediction::at_pin(posterior, best_pin(posterior, map)),
        Objective::Photo(_) => Prediction::for_photo(posterior),
    }
}

/// The pin with the highest expected score on a map, in points of the map.
fn best_pin(posterior: &Posterior<'_>, map: &Map) -> Pin {
    if let Some(law) = &map.score_law {
        return pin::best(posterior, law.table());
    }
    let pin = pin::best(posterior, map.scale_m);
    Pin { expected_score: map.to_map_points(pin.expected_score), ..pin }
}

/// The expected score of a pin on a map, in points of the map.
pub(crate) fn expected_score(posterior: &Posterior<'_>, at: LatLng, map: &Map) -> f64 {
    match &map.score_law {
        Some(law) => pin::expected_score(posterior, at, law.table()),
        None => map.to_map_points(pin::expected_score(posterior, at, map.scale_m)),
    }
}
