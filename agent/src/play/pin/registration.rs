//! The projection of a map from two pictures of it, one of which has a known projection. Both have about the same scale; what
//! is unknown is how far the map is shifted sideways, and its scale to a fraction of a per cent. If the pictures agree at no
//! shift, or at several, the projection stays unknown.

use image::GrayImage;

use crate::geometry::{Pixel, Rect};
use crate::play::pin::projection::Projection;

/// Grey levels within which two pixels are equal.
const SAME_LEVELS: i32 = 2;
/// Maximum fraction of pixels that differ at the right shift: lines and labels.
const MAX_DIFFERING: f64 = 0.35;
/// Other shifts must have more than this many times the differing pixels, and so much more.
const DISTINCT: (f64, f64) = (2.0, 0.02);
/// Shifts in pixels that count as the same.
const SAME_SHIFT: usize = 6;
/// Minimum fraction of the reference that the shifted picture must show.
const MIN_OVERLAP: f64 = 0.25;
/// Relative error of the scale, and steps of the search in two stages.
const SCALE_ERROR: f64 = 0.004;
const SCALE_STEPS: [f64; 2] = [0.002, 0.0005];
/// Step in pixels of the second stage, and its range around the best shift.
const FINE_STEP_PX: f64 = 0.1;
const FINE_RANGE_PX: f64 = 1.6;
/// Distances in pixels between samples in the two stages.
const SPACING: [u32; 2] = [4, 2];
/// Differences above this many grey levels count the same: those of labels and pins.
const CLIPPED_LEVELS: f64 = 40.0;
/// Radius around the pin that is not compared, in pixels.
const PIN_RADIUS: f64 = 46.0;

/// A picture of the map whose projection is known.
pub(super) struct Reference {
    pub(super) picture: GrayImage,
    pub(super) projection: Projection,
}

/// A picture of the map now: its box, where its pin is, and its projection but for a shift sideways.
pub(super) struct Unknown<'a> {
    pub(super) picture: &'a GrayImage,
    pub(super) canvas: Rect,
    pub(super) pin: Pixel,
    pub(super) projection: Projection,
    /// The pixel about which the map was zoomed, so that another scale moves everything away from it.
    pub(super) about: Pixel,
}

/// A pixel of the reference: its position in the world, each 0 to 1, and its grey level.
struct Sample {
    across: f64,
    down: f64,
    level: f64,
}

/// The projection of the map; `None` if the pictures do not determine it.
pub(super) fn locate(reference: &Reference, now: &Unknown<'_>) -> Option<Projection> {
    if reference.picture.dimensions() != now.picture.dimensions() || now.projection.world < 100.0 {
        return None;
    }
    let [coarse, fine] = SPACING.map(|spacing| samples(reference, &now.canvas, spacing));
    let scales = |range: f64, step: f64| {
        let count = (range / step).round() as i32;
        (-count..=count).map(move |i| 1.0 + f64::from(i) * step)
    };
    let candidate =
        |scale: f64, shift: f64| now.projection.zoomed(now.about, scale).moved_by(Pixel { x: shift, y: 0.0 });
    // For each shift, the fraction of differing pixels at the best scale, and that scale.
    let at_shift = |shift: i32| {
        let at = |scale: f64| Some((now.differing(&coarse, candidate(scale, f64::from(shift)))?, scale));
        scales(SCALE_ERROR, SCALE_STEPS[0]).filter_map(at).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((1.0, 1.0))
    };
    let found: Vec<(f64, f64)> = (0..now.projection.world.ceil() as i32).map(at_shift).collect();
    let best = (0..found.len()).min_by(|a, b| found[*a].0.total_cmp(&found[*b].0))?;
    let ((differing, scale), shift) = (found[best], best as f64);
    let second = other_minimum(&found, best);
    tracing::debug!(differing, second, shift, "where the map is");
    if differing > MAX_DIFFERING || second < DISTINCT.0 * differing + DISTINCT.1 {
        return None;
    }
    let count = (FINE_RANGE_PX / FINE_STEP_PX).round() as i32;
    let fine_shifts = (-count..=count).map(|i| shift + f64::from(i) * FINE_STEP_PX);
    // Where the pictures have one line only, the best fit would run away to the largest scale tried.
    let is_possible = |scale: &f64| (scale - 1.0).abs() <= SCALE_ERROR;
    let fine_scales = scales(2.0 * SCALE_STEPS[0], SCALE_STEPS[1]).map(|by| scale * by).filter(is_possible);
    let fits = fine_scales.flat_map(|scale| fine_shifts.clone().map(move |shift| candidate(scale, shift)));
    let fits = fits.filter_map(|projection| Some((now.difference(&fine, projection)?, projection)));
    fits.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, projection)| projection)
}

/// The lowest of the other minima along the shifts, which go around the world. On the slopes beside the best there is none.
fn other_minimum(found: &[(f64, f64)], best: usize) -> f64 {
    let count = found.len();
    let is_minimum = |at: usize| {
        let around = (0..=2 * SAME_SHIFT).map(|i| found[(at + count + i - SAME_SHIFT) % count].0);
        around.fold(f64::INFINITY, f64::min) >= found[at].0
    };
    let is_other = |at: usize| at.abs_diff(best).min(count - at.abs_diff(best)) > SAME_SHIFT;
    (0..count).filter(|at| is_other(*at) && is_minimum(*at)).map(|at| found[at].0).fold(1.0, f64::min)
}

/// Pixels of the reference, in rows that are displaced against each other, so that no line is missed.
fn samples(reference: &Reference, canvas: &Rect, spacing: u32) -> Vec<Sample> {
    let Reference { picture, projection } = reference;
    let row = |y: u32| ((y / spacing) % spacing..picture.width()).step_by(spacing as usize).map(move |x| (x, y));
    let sample = |(x, y): (u32, u32)| Sample {
        across: (canvas.x + f64::from(x) + 0.5 - projection.corner.x) / projection.world,
        down: (canvas.y + f64::from(y) + 0.5 - projection.corner.y) / projection.world,
        level: f64::from(picture.get_pixel(x, y).0[0]),
    };
    (0..picture.height()).step_by(spacing as usize).flat_map(row).map(sample).collect()
}

impl Unknown<'_> {
    /// The pixel of a sample in the picture, if it shows it and the pin is not near.
    fn pixel(&self, sample: &Sample, projection: &Projection) -> Option<Pixel> {
        let x = projection.corner.x + sample.across * projection.world - self.canvas.x;
        let y = projection.corner.y + sample.down * projection.world - self.canvas.y - 0.5;
        let x = x.rem_euclid(projection.world) - 0.5;
        let (width, height) = (f64::from(self.picture.width()), f64::from(self.picture.height()));
        let is_inside = x >= 0.0 && y >= 0.0 && x <= width - 1.0 && y <= height - 1.0;
        let is_free = || {
            let (dx, dy) = (self.canvas.x + x - self.pin.x, self.canvas.y + y - self.pin.y);
            dx * dx + dy * dy > PIN_RADIUS * PIN_RADIUS
        };
        (is_inside && is_free()).then_some(Pixel { x, y })
    }

    /// The fraction of samples that differ; `None` if the picture shows too few of them.
    fn differing(&self, samples: &[Sample], projection: Projection) -> Option<f64> {
        let (mut all, mut differing) = (0usize, 0usize);
        for sample in samples {
            let Some(at) = self.pixel(sample, &projection) else { continue };
            let level = self.picture.get_pixel(at.x.round() as u32, at.y.round() as u32).0[0];
            all += 1;
            differing += usize::from((i32::from(level) - sample.level as i32).abs() > SAME_LEVELS);
        }
        (all as f64 >= MIN_OVERLAP * samples.len() as f64 && all > 0).then(|| differing as f64 / all as f64)
    }

    /// The mean difference of the samples in grey levels, between pixels too.
    fn difference(&self, samples: &[Sample], projection: Projection) -> Option<f64> {
        let (mut all, mut sum) = (0usize, 0.0);
        for sample in samples {
            let Some(at) = self.pixel(sample, &projection) else { continue };
            all += 1;
            sum += (self.level(at) - sample.level).abs().min(CLIPPED_LEVELS);
        }
        (all as f64 >= MIN_OVERLAP * samples.len() as f64 && all > 0).then(|| sum / all as f64)
    }

    /// The grey level at a point inside the picture, between its pixels.
    fn level(&self, at: Pixel) -> f64 {
        let (left, top) = (at.x.floor() as u32, at.y.floor() as u32);
        let (right, bottom) = ((left + 1).min(self.picture.width() - 1), (top + 1).min(self.picture.height() - 1));
        let level = |x: u32, y: u32| f64::from(self.picture.get_pixel(x, y).0[0]);
        let (u, v) = (at.x - f64::from(left), at.y - f64::from(top));
        let upper = level(left, top) * (1.0 - u) + level(right, top) * u;
        let lower = level(left, bottom) * (1.0 - u) + level(right, bottom) * u;
        upper * (1.0 - v) + lower * v
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::LatLng;

    const CANVAS: Rect = Rect { x: 20.0, y: 30.0, width: 380.0, height: 280.0 };

    /// A map of four tiles of slightly different shades with frames, as it is drawn with this projection.
    fn picture(projection: &Projection, is_flat: bool) -> GrayImage {
        let level = |x: f64, y: f64| {
            let across = ((CANVAS.x + x - projection.corner.x) / projection.world).rem_euclid(1.0);
            let down = (CANVAS.y + y - projection.corner.y) / projection.world;
            let (u, v) = ((across * 2.0).fract(), (down * 2.0).rem_euclid(1.0));
            let frame = 1.0 / 256.0;
            let is_frame = u < frame || u > 1.0 - frame || v < frame || v > 1.0 - frame;
            match (is_flat, is_frame) {
                (true, _) => 200.0,
                (_, true) => 90.0,
                _ => 207.0 - 3.0 * (across * 2.0).floor() + 11.0 * (down * 2.0).floor(),
            }
        };
        let fine: Vec<f64> = (0..5).map(|i| 0.1 + 0.2 * f64::from(i)).collect();
        GrayImage::from_fn(380, 280, |x, y| {
            let levels = fine.iter().flat_map(|dx| fine.iter().map(move |dy| (dx, dy)));
            let sum: f64 = levels.map(|(dx, dy)| level(f64::from(x) + dx, f64::from(y) + dy)).sum();
            image::Luma([(sum / 25.0).round() as u8])
        })
    }

    fn located(is_flat: bool) -> (Option<Projection>, Projection) {
        let start = Projection::with(LatLng { lat: 20.0, lng: 0.0 }, CANVAS.centre(), 630.3);
        let reference = Reference { picture: picture(&start, is_flat), projection: start };
        let about = Pixel { x: 210.0, y: 170.0 };
        let out = Projection { world: 280.0, corner: Pixel { x: 20.0, y: 30.0 } };
        let estimate = out.zoomed(about, 2.35);
        let truth = out.zoomed(about, 2.35 * 1.0031).moved_by(Pixel { x: 122.37, y: 0.0 });
        let now = Unknown {
            picture: &picture(&truth, is_flat),
            canvas: CANVAS,
            pin: Pixel { x: 300.0, y: 170.0 },
            projection: estimate,
            about,
        };
        (locate(&reference, &now), truth)
    }

    #[test]
    fn a_map_is_found_again_by_the_picture_of_its_start() {
        let (found, truth) = located(false);
        let found = found.unwrap();
        // Exact where the pictures have a line; with only one, the scale remains uncertain.
        let at = truth.pixel(LatLng { lat: 0.0, lng: 0.0 }, CANVAS.centre());
        let off_m = found.place(at).distance_m(truth.place(at));
        assert!(off_m < 8_000.0 && (found.world / truth.world - 1.0).abs() < 0.009, "{off_m} m, {found:?} {truth:?}");
    }

    #[test]
    fn a_map_without_features_stays_unknown() {
        assert_eq!(located(true).0, None);
    }
}
