//! Occlusion maps (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks"): parts of a view are
//! hidden one after another, and the loss of probability of the prediction is shown as an overlay.
//!
//! The method needs only the bundle and works with any encoder.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use landfall_common::exit::usage_error;
use landfall_model::cells::arc_m;
use landfall_model::{Bundle, Classifier, LatLng, preprocess};

use crate::analysis::report::embedded_image;
use crate::analysis::report::source::LoadedRound;
use crate::inference::{Objective, posterior_for};
use crate::record::recorded_image;

/// Maximum size in bytes of all decoded images of a round, which are in memory at the same time.
const MAX_BYTES: usize = 512 << 20;
/// Number of parts along the shorter side of a view.
const GRID_SIDE: u32 = 7;
/// Margin of a patch as a fraction of its part: patches overlap, so that objects on an edge are hidden completely.
const OVERLAP: f64 = 0.5;
/// Radius in metres of the region around the pin; cells belong to it by their mean location.
const REGION_M: f64 = 300_000.0;
/// Losses below this, in nats, are noise.
const MIN_LOSS_NATS: f64 = 0.02;
/// Minimum loss, in nats, that is drawn fully opaque, so that small losses remain pale.
const FULL_COLOUR_NATS: f64 = 0.2;
/// The accent colour of the style sheet, and its maximum opacity.
const COLOUR: ([u8; 3], f64) = ([222, 52, 30], 205.0);

/// The loss of the prediction when each part of a view is hidden.
pub(super) struct OcclusionMap {
    /// Number of columns and rows.
    pub(super) grid: (u32, u32),
    /// Decrease of the log probability of the region in nats, row by row.
    pub(super) losses: Vec<f64>,
}

/// Computes the occlusion map of each view of a round.
///
/// # Errors
/// When an image cannot be read, the round has no prediction, or inference fails.
pub(super) fn explain(classifier: &Classifier, loaded: &LoadedRound) -> Result<Vec<OcclusionMap>> {
    let round = &loaded.round;
    let pin =
        round.guess.context(usage_error("the round has no prediction to explain; replay it with --record first"))?;
    let (mut pictures, mut bytes) = (Vec::new(), 0);
    for view in &round.views {
        let picture = recorded_image(&loaded.dir, &view.file)?;
        bytes += picture.as_raw().len();
        if bytes > MAX_BYTES {
            return Err(usage_error("its images are too large to explain: more than 170 megapixels together"));
        }
        pictures.push(picture);
    }
    let region = region(&classifier.bundle, pin);
    let views = pictures.iter().map(|picture| EncodedView::new(classifier, picture)).collect::<Result<Vec<_>>>()?;
    let logits = views.iter().map(|view| classifier.head(&view.embeddings.concat())).collect::<Result<Vec<_>, _>>()?;
    let log_mass = |logits: &[Vec<f32>]| {
        let posterior = posterior_for(&classifier.bundle, logits, Objective::Round(&round.map))?;
        let log_p = posterior.log_probabilities();
        anyhow::Ok(region.iter().map(|cell| log_p[*cell].exp()).sum::<f64>().max(f64::MIN_POSITIVE).ln())
    };
    let before = log_mass(&logits)?;
    let mut explained = Vec::new();
    for (i, view) in views.iter().enumerate() {
        let hidden = view.logits_with_parts_hidden(classifier)?;
        let loss = |row: &Vec<f32>| {
            let mut all = logits.clone();
            all[i].clone_from(row);
            anyhow::Ok(before - log_mass(&all)?)
        };
        let losses = hidden.iter().map(loss).collect::<Result<Vec<_>>>()?;
        explained.push(OcclusionMap { grid: grid_size(view.picture), losses });
    }
    Ok(explained)
}

/// The cells around a pin, at least one.
fn region(bundle: &Bundle, pin: LatLng) -> Vec<usize> {
    let v = pin.to_unit_vector();
    let near = bundle.cells.vectors().iter().enumerate().filter(|(_, u)| arc_m(**u, v) <= REGION_M).map(|(i, _)| i);
    let near: Vec<usize> = near.collect();
    if near.is_empty() { bundle.cells.nearest(pin).into_iter().collect() } else { near }
}

/// Number of columns and rows of an image, so that parts are nearly square.
fn grid_size(picture: &RgbImage) -> (u32, u32) {
    let (width, height) = picture.dimensions();
    let along = |side: u32| {
        let parts = f64::from(GRID_SIDE) * f64::from(side) / f64::from(width.min(height).max(1));
        (parts.round() as u32).clamp(GRID_SIDE, 3 * GRID_SIDE)
    };
    (along(width), along(height))
}

/// An image with the encoder input and embedding of each crop.
struct EncodedView<'a> {
    picture: &'a RgbImage,
    tensors: Vec<Vec<f32>>,
    embeddings: Vec<Vec<f32>>,
}

impl<'a> EncodedView<'a> {
    fn new(classifier: &Classifier, picture: &'a RgbImage) -> Result<Self> {
        let tensors: Vec<Vec<f32>> = classifier.bundle.manifest.preprocess.tensors(picture).collect();
        let embeddings = tensors.iter().map(|tensor| embed(classifier, 0, tensor)).collect::<Result<_>>()?;
        Ok(Self { picture, tensors, embeddings })
    }

    /// The logits with each part hidden, row by row, computed on all sessions of the encoder in parallel.
    fn logits_with_parts_hidden(&self, classifier: &Classifier) -> Result<Vec<Vec<f32>>> {
        let (across, down) = grid_size(self.picture);
        let count = (across * down) as usize;
        let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
        std::thread::scope(|scope| {
            for worker in 0..classifier.encoder().workers() {
                let (next, rows) = (&next, &rows);
                scope.spawn(move || {
                    while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < count) {
                        let row = self.logits_without(classifier, worker, i as u32 % across, i as u32 / across);
                        rows.lock().unwrap_or_else(|e| e.into_inner()).push((i, row));
                    }
                });
            }
        });
        let mut rows = rows.into_inner().unwrap_or_else(|e| e.into_inner());
        rows.sort_by_key(|(i, _)| *i);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The logits with one part hidden. Crops without that part reuse their embedding.
    fn logits_without(&self, classifier: &Classifier, worker: usize, column: u32, row: u32) -> Result<Vec<f32>> {
        let preprocess = &classifier.bundle.manifest.preprocess;
        // The mean colour of the encoder input, which is zero after normalisation.
        let grey = Rgb(preprocess.mean.map(|mean| (255.0 * mean).round() as u8));
        let covered = with_patch(self.picture, grid_size(self.picture), (column, row), grey);
        let mut embeddings = self.embeddings.clone();
        for (i, tensor) in preprocess.tensors(&covered).enumerate() {
            if tensor != self.tensors[i] {
                embeddings[i] = embed(classifier, worker, &tensor)?;
            }
        }
        Ok(classifier.head(&embeddings.concat())?)
    }
}

fn embed(classifier: &Classifier, worker: usize, tensor: &[f32]) -> Result<Vec<f32>> {
    let mut embedding = classifier.encoder().embed_tensor(worker, tensor)?;
    preprocess::normalise(&mut embedding);
    Ok(embedding)
}

/// An image with a patch over one of its parts.
fn with_patch(picture: &RgbImage, (across, down): (u32, u32), (column, row): (u32, u32), grey: Rgb<u8>) -> RgbImage {
    let span = |i: u32, parts: u32, side: u32| {
        let part = f64::from(side) / f64::from(parts);
        let from = (f64::from(i) - OVERLAP) * part;
        let to = (f64::from(i + 1) + OVERLAP) * part;
        (from.round().max(0.0) as u32)..(to.round() as u32).min(side)
    };
    let mut covered = picture.clone();
    for y in span(row, down, picture.height()) {
        for x in span(column, across, picture.width()) {
            covered.put_pixel(x, y, grey);
        }
    }
    covered
}

impl OcclusionMap {
    /// The maximum loss of a part.
    pub(super) fn max_loss(&self) -> f64 {
        self.losses.iter().copied().fold(0.0, f64::max)
    }

    /// An overlay for the view with one pixel per part, opaque at a loss of `full_loss`. Gains are not shown. `None`
    /// without losses.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(super) fn overlay(&self, full_loss: f64) -> Result<Option<String>> {
        if full_loss < MIN_LOSS_NATS || self.max_loss() < MIN_LOSS_NATS {
            return Ok(None);
        }
        let (across, down) = self.grid;
        let ([r, g, b], opaque) = COLOUR;
        let full = full_loss.max(FULL_COLOUR_NATS);
        let pixel = |x: u32, y: u32| {
            let loss = self.losses.get((y * across + x) as usize).copied().unwrap_or_default();
            Rgba([r, g, b, (opaque * (loss / full).clamp(0.0, 1.0)) as u8])
        };
        embedded_image::embed_png(&RgbaImage::from_fn(across, down, pixel)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Round;
    use std::path::Path;

    #[test]
    fn parts_are_square_and_patches_overlap() {
        assert_eq!(grid_size(&RgbImage::new(800, 800)), (7, 7));
        assert_eq!(grid_size(&RgbImage::new(1280, 720)), (12, 7));
        let covered = with_patch(&RgbImage::new(70, 70), (7, 7), (0, 3), Rgb([9; 3]));
        let hidden = covered.pixels().filter(|pixel| pixel.0 == [9; 3]).count();
        assert_eq!(hidden, 15 * 20); // 1.5 parts wide, 2 parts high
        assert_eq!(covered.get_pixel(14, 25).0, [9; 3]);
        assert_eq!(covered.get_pixel(15, 25).0, [0; 3]);
    }

    #[test]
    fn overlay_is_opaque_at_the_maximum_loss() {
        let occlusions = OcclusionMap { grid: (2, 1), losses: vec![0.5, -3.0] };
        let uri = occlusions.overlay(0.5).unwrap().unwrap();
        let whole = embedded_image::embed_png(&RgbaImage::from_fn(2, 1, |x, _| {
            Rgba([222, 52, 30, if x == 0 { 205 } else { 0 }])
        }));
        assert_eq!(uri, whole.unwrap());
        assert!(OcclusionMap { grid: (1, 1), losses: vec![0.001] }.overlay(0.5).unwrap().is_none());
    }

    #[test]
    fn hiding_visible_parts_changes_the_prediction_and_hiding_invisible_ones_does_not() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds/rome-colosseum");
        let round = Round::read(&dir.join("round.json")).unwrap();
        let classifier = Classifier::load(Bundle::find("pocket").unwrap()).unwrap();
        let picture = preprocess::open(dir.join("view_000.jpg")).unwrap();
        let view = EncodedView::new(&classifier, &picture).unwrap();
        // The same as the classifier.
        let logits = classifier.logits(std::slice::from_ref(&picture)).unwrap();
        assert_eq!(classifier.head(&view.embeddings.concat()).unwrap(), logits[0]);
        let loaded = LoadedRound { dir, round, replayed: None };
        let occlusions = explain(&classifier, &loaded).unwrap();
        assert_eq!(
            (occlusions.len(), occlusions[0].losses.len() as u32),
            (1, occlusions[0].grid.0 * occlusions[0].grid.1)
        );
        // The corners of a wide image are in no crop, the centre is.
        assert!(occlusions[0].max_loss() > MIN_LOSS_NATS, "{:?}", occlusions[0].losses);
        let nowhere = LoadedRound { dir: loaded.dir.join("nowhere"), ..loaded };
        assert!(explain(&classifier, &nowhere).is_err());
    }
}
