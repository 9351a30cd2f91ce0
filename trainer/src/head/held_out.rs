//! Places that a head is measured on while it trains.

use anyhow::{Result, bail};
use burn::tensor::Device;
use landfall_model::posterior::Posterior;
use landfall_model::{CellTable, LatLng, MapScale, pin};
use rayon::prelude::*;

use crate::features::samples::Sample;
use crate::head::model::{self, Layers, Moments, Network};

/// Places whose points can be measured again and again.
pub(crate) struct HeldOutEval<'a> {
    table: &'a CellTable,
    truths: Vec<LatLng>,
    inputs: Vec<Vec<f32>>,
}

impl<'a> HeldOutEval<'a> {
    /// At most `most` of the samples with a place, evenly taken, each through its first variant.
    pub(crate) fn new(table: &'a CellTable, samples: &[&Sample], moments: &Moments, most: usize) -> Self {
        let places: Vec<(LatLng, &Sample)> = samples.iter().filter_map(|s| s.row.at.map(|at| (at, *s))).collect();
        let step = places.len().div_ceil(most).max(1);
        let taken = || places.iter().step_by(step);
        let inputs = taken().map(|(_, sample)| model::standardise(&sample.variants[0], moments)).collect();
        Self { table, truths: taken().map(|(at, _)| *at).collect(), inputs }
    }

    /// Whether there is nothing to measure with.
    pub(crate) fn is_empty(&self) -> bool {
        self.truths.is_empty()
    }

    /// Mean points of the best pins on the World map, one view, untempered.
    ///
    /// # Errors
    /// When a logit is no number.
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
            None => bail!("the head answers with what are no numbers"),
        }
    }
}
