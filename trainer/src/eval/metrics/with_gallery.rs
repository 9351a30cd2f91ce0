//! What a gallery of located pictures adds to the answers of `locate`.

use landfall_common::statistics::bootstrap::{Groups, Interval};
use landfall_model::{LatLng, MapScale};
use serde::Serialize;

use crate::eval::metrics::{Quality, RoundResult, quality};

/// Quality with a gallery, and its gain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WithGallery {
    /// Number of pictures in the gallery.
    pub(crate) pictures: usize,
    /// Quality of the centre of the most likely peak, the answer of `locate`.
    pub(crate) mode: Quality,
    /// Mean gain of that answer in points, with the interval of a bootstrap over `groups`.
    pub(crate) gain: Interval,
}

impl WithGallery {
    /// Compares results with a gallery and without it, in the same order. `None` if there are none.
    pub(crate) fn new(with: &[RoundResult], without: &[RoundResult], groups: &Groups, pictures: usize) -> Option<Self> {
        let modes: Vec<(LatLng, LatLng)> = with.iter().map(|result| (result.truth, result.mode)).collect();
        let points = |result: &RoundResult| MapScale::WORLD.exact_points(result.truth.distance_m(result.mode));
        let all: Vec<usize> = (0..with.len()).collect();
        let gains: Vec<f64> = with.iter().zip(without).map(|(with, without)| points(with) - points(without)).collect();
        let gain = groups.mean(&gains, &all);
        Some(Self { pictures, mode: quality(&modes)?, gain })
    }
}
