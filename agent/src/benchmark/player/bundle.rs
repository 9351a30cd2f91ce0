//! A bundle of this program.

use std::sync::Arc;

use anyhow::Result;
use landfall_model::{Classifier, images};

use crate::benchmark::player::Asked;
use crate::benchmark::protocol::{Guess, Reply};
use crate::benchmark::summary::EVENT_KM;
use crate::error::describe;
use crate::inference::{Objective, posterior_for, predict_from};
use crate::server::arena::world_map;

/// Answers with the pin of the highest expected score.
#[derive(Clone)]
pub(crate) struct BundlePlayer(pub Arc<Classifier>);

impl BundlePlayer {
    pub(super) async fn ask(&self, asked: &Asked) -> Result<Reply, String> {
        let (classifier, jpegs) = (Arc::clone(&self.0), asked.views.iter().map(|view| view.jpeg.clone()).collect());
        let located = tokio::task::spawn_blocking(move || locate(&classifier, jpegs)).await;
        located.map_err(anyhow::Error::from).flatten().map(Reply::Guess).map_err(|error| describe(&error))
    }
}

fn locate(classifier: &Classifier, jpegs: Vec<Vec<u8>>) -> Result<Guess> {
    let pictures = jpegs.iter().map(|jpeg| images::from_bytes(jpeg)).collect::<Result<Vec<_>, _>>()?;
    let logits = classifier.logits(&pictures)?;
    let map = world_map();
    let posterior = posterior_for(&classifier.bundle, &logits, Objective::Round(&map))?;
    let prediction = predict_from(&posterior, Objective::Round(&map));
    Ok(Guess {
        at: prediction.point,
        confidence: Some(posterior.mass_within(prediction.point, EVENT_KM * 1000.0).clamp(0.0, 1.0)),
        radius_km: Some(prediction.radius_50_km.round()),
        cost_usd: None,
    })
}
