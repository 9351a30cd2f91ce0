//! The occlusion maps of a recorded round.

use anyhow::{Context, Result};
use image::{Rgba, RgbaImage};
use landfall_common::exit::usage_error;
use landfall_model::cells::arc_m;
use landfall_model::{Bundle, Classifier, LatLng};

use crate::analysis::report::embedded_image;
use crate::analysis::report::source::LoadedRound;
use crate::evidence::drawing::{COLOUR, FULL_COLOUR_NATS};
pub(super) use crate::evidence::occlusion::OcclusionMap;
use crate::evidence::occlusion::full_map;
use crate::evidence::view::EncodedView;
use crate::inference::{Objective, posterior_for};
use crate::record::recorded_image;

/// Maximum size in bytes of all decoded images of a round.
const MAX_BYTES: usize = 512 << 20;
/// Radius in metres of the region around the pin; cells belong to it by their mean location.
const REGION_M: f64 = 300_000.0;
/// Losses below this, in nats, are noise.
const MIN_LOSS_NATS: f64 = 0.02;

/// Computes the occlusion map of each view of a round.
///
/// # Errors
/// When an image cannot be read, the round has no prediction, or inference fails.
pub(super) fn explain(classifier: &Classifier, loaded: &LoadedRound) -> Result<Vec<OcclusionMap>> {
    let round = &loaded.round;
    let pin =
        round.guess.context(usage_error("the round has no prediction to explain; replay it with --record first"))?;
    let (mut views, mut bytes) = (Vec::new(), 0);
    for view in &round.views {
        let picture = recorded_image(&loaded.dir, &view.file)?;
        bytes += picture.as_raw().len();
        if bytes > MAX_BYTES {
            return Err(usage_error("its images are too large to explain: more than 170 megapixels together"));
        }
        views.push(EncodedView::new(classifier, &picture, None)?);
    }
    let region = region(&classifier.bundle, pin);
    let logits = views.iter().map(|view| classifier.head(&view.embedding())).collect::<Result<Vec<_>, _>>()?;
    let log_mass = |logits: &[Vec<f32>]| {
        let posterior = posterior_for(&classifier.bundle, logits, Objective::Round(&round.map))?;
        let log_p = posterior.log_probabilities();
        anyhow::Ok(region.iter().map(|cell| log_p[*cell].exp()).sum::<f64>().max(f64::MIN_POSITIVE).ln())
    };
    let before = log_mass(&logits)?;
    let of_view = |(i, view): (usize, &EncodedView)| {
        full_map(classifier, view, |row| {
            let mut all = logits.clone();
            all[i] = row;
            Ok(before - log_mass(&all)?)
        })
    };
    views.iter().enumerate().map(of_view).collect()
}

/// The cells around a pin, at least one.
fn region(bundle: &Bundle, pin: LatLng) -> Vec<usize> {
    let v = pin.to_unit_vector();
    let near = bundle.cells.vectors().iter().enumerate().filter(|(_, u)| arc_m(**u, v) <= REGION_M).map(|(i, _)| i);
    let near: Vec<usize> = near.collect();
    if near.is_empty() { bundle.cells.nearest(pin).into_iter().collect() } else { near }
}

/// An overlay for the view with one pixel per part, opaque at a loss of `full_loss`. Gains are not shown. `None`
/// without losses.
///
/// # Errors
/// When it cannot be encoded.
pub(super) fn overlay(map: &OcclusionMap, full_loss: f64) -> Result<Option<String>> {
    if full_loss < MIN_LOSS_NATS || map.max_loss() < MIN_LOSS_NATS {
        return Ok(None);
    }
    let (across, down) = map.grid;
    let ([r, g, b], opaque) = COLOUR;
    let full = full_loss.max(FULL_COLOUR_NATS);
    let pixel = |x: u32, y: u32| {
        let loss = map.losses.get((y * across + x) as usize).copied().unwrap_or_default();
        Rgba([r, g, b, (opaque * (loss / full).clamp(0.0, 1.0)) as u8])
    };
    embedded_image::embed_png(&RgbaImage::from_fn(across, down, pixel)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::view::Part;
    use crate::record::Round;
    use landfall_model::preprocess;
    use std::path::Path;

    #[test]
    fn overlay_is_opaque_at_the_maximum_loss() {
        let map = |grid, losses| OcclusionMap { area: Part::WHOLE, grid, losses };
        let uri = overlay(&map((2, 1), vec![0.5, -3.0]), 0.5).unwrap().unwrap();
        let whole = embedded_image::embed_png(&RgbaImage::from_fn(2, 1, |x, _| {
            Rgba([222, 52, 30, if x == 0 { 205 } else { 0 }])
        }));
        assert_eq!(uri, whole.unwrap());
        assert!(overlay(&map((1, 1), vec![0.001]), 0.5).unwrap().is_none());
    }

    #[test]
    fn hiding_visible_parts_changes_the_prediction_and_hiding_invisible_ones_does_not() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds/rome-colosseum");
        let round = Round::read(&dir.join("round.json")).unwrap();
        let classifier = Classifier::load(Bundle::find("pocket").unwrap()).unwrap();
        let picture = preprocess::open(dir.join("view_000.jpg")).unwrap();
        let view = EncodedView::new(&classifier, &picture, None).unwrap();
        // The same as the classifier.
        let logits = classifier.logits(std::slice::from_ref(&picture)).unwrap();
        assert_eq!(classifier.head(&view.embedding()).unwrap(), logits[0]);
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
