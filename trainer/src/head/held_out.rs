//! Evaluation of a head on held-out places during training.

use anyhow::{Result, bail};
use burn::tensor::Device;
use landfall_model::posterior::Posterior;
use landfall_model::{CellTable, LatLng, MapScale, pin};
use rayon::prelude::*;

use crate::features::samples::Sample;
use crate::head::model::{self, Layers, Moments, Network};

/// Held-out places with their standardised embeddings.
pub(crate) struct HeldOutEval<'a> {
    table: &'a CellTable,
    truths: Vec<LatLng>,
    inputs: Vec<Vec<f32>>,
}

impl<'a> HeldOutEval<'a> {
    /// At most `max_places` samples with coordinates, evenly spaced, each with its first variant.
    pub(crate) fn new(table: &'a CellTable, samples: &[&Sample], moments: &Moments, max_places: usize) -> Self {
        let places: Vec<(LatLng, &Sample)> = samples.iter().filter_map(|s| s.row.at.map(|at| (at, *s))).collect();
        let step = places.len().div_ceil(max_places).max(1);
        let taken = || places.iter().step_by(step);
        let inputs = taken().map(|(_, sample)| model::standardise(&sample.variants[0], moments)).collect();
        Self { table, truths: taken().map(|(at, _)| *at).collect(), inputs }
    }

    /// Whether there are no places to evaluate on.
    pub(crate) fn is_empty(&self) -> bool {
        self.truths.is_empty()
    }

    /// Mean points of the best pins on the World map, for single views at temperature 1.
    ///
    /// # Errors
    /// When a logit is NaN.
    pub(crate) fn points(&self, layers: &Layers) -> Result<f64> {
        let device = Device::flex();
        let logits = model::logits(&Network::new(layers.clone(), &device), &self.inputs, &device)?;
        let points = |(truth, logits): (&LatLng, Vec<f32>)| {
            let posterior = Posterior::fuse(self.table, &[logits], 1.0)?;
            Some(MapScale::WORLD.exact_points(pin::best(&posterior, MapScale::WORLD).at.distance_m(*truth)))
        };
        let points: Option<Vec<f64>> = self.truths.par_iter().zip(logits).map(points).collect();
        match points {
            Some(points) => Ok(points.iter().sum::<f64>() / points.len() as f64),
            None => bail!("the logits of the head are not a valid distribution (NaN or infinite values)"),
        }
    }
}
