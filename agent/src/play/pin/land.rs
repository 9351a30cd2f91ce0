//! Detects which part of the world a drawn map shows from a screenshot: land and sea differ in colour, so the best fit
//! is where land and sea explain most of the variance of the colours.

use std::sync::OnceLock;

use image::RgbImage;
use landfall_common::draw::mercator;
use landfall_model::{LatLng, countries};
use tiny_skia::{FillRule, Mask, PathBuilder, Transform};

use crate::geometry::{Pixel, Rect};
use crate::play::pin::projection::Projection;
use crate::site::StartView;

/// Number of sampled pixels in the three stages of the search.
const FEW: usize = 64;
const SOME: usize = 400;
const MANY: usize = 2500;
/// Number of fits that the first stage passes on to the second.
const PROMISING: usize = 4096;
/// Fraction of pixels at each end of the brightness range that is clipped: lines and labels, neither land nor sea.
const FEW_COLOURED: f64 = 0.1;
/// Side of the grid of land and sea, in cells per world.
const GRID: usize = 720;
/// Maximum height of the world relative to the box in the search.
const LARGEST: f64 = 16.0;
/// Minimum fit of a rounded view relative to the best.
const NEARLY: f64 = 0.97;
/// Number of best fits that are refined.
const BEST: usize = 24;

/// A screenshot of a map.
pub(crate) struct MapScreenshot {
    canvas: Rect,
    samples: Samples,
}

/// Pixels with their colours.
struct Samples {
    pixels: Vec<(Pixel, [f64; 3])>,
    /// Sum of the colours.
    sum: [f64; 3],
    /// Variance of the colours, summed over pixels and channels.
    variance: f64,
}

/// Accesses a field of a view.
type Field = fn(&mut StartView) -> &mut f64;

/// A projection and its fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LandFit {
    /// The projection.
    pub projection: Projection,
    /// Fraction of the variance of the colours that land and sea explain, 0 to 1.
    pub share: f64,
}

impl MapScreenshot {
    /// Samples a screenshot of any size that shows the box `canvas`.
    pub(crate) fn new(picture: &RgbImage, canvas: Rect) -> Self {
        let step = (canvas.width * canvas.height / MANY as f64).sqrt();
        let (across, down) = ((canvas.width / step) as u32, (canvas.height / step) as u32);
        let sample = |i: u32, j: u32| {
            let (x, y) = ((f64::from(i) + 0.5) / f64::from(across), (f64::from(j) + 0.5) / f64::from(down));
            let pixel = picture.get_pixel(
                ((x * f64::from(picture.width())) as u32).min(picture.width() - 1),
                ((y * f64::from(picture.height())) as u32).min(picture.height() - 1),
            );
            (canvas.at(x, y), pixel.0.map(f64::from))
        };
        let is_empty = picture.width() == 0 || picture.height() == 0;
        let samples = (0..if is_empty { 0 } else { down }).flat_map(|j| (0..across).map(move |i| sample(i, j)));
        let mut samples: Vec<_> = samples.collect();
        // Lines and labels are few and differ from both colours: clip them to the common range.
        for channel in 0..3 {
            let mut values: Vec<f64> = samples.iter().map(|(_, colour)| colour[channel]).collect();
            values.sort_by(f64::total_cmp);
            let at = |part: f64| values.get((part * values.len() as f64) as usize).copied().unwrap_or_default();
            let (low, high) = (at(FEW_COLOURED), at(1.0 - FEW_COLOURED));
            samples.iter_mut().for_each(|(_, colour)| colour[channel] = colour[channel].clamp(low, high));
        }
        Self { canvas, samples: Samples::new(samples) }
    }

    /// The fit of a projection.
    pub(crate) fn fit(&self, projection: Projection) -> LandFit {
        let is_land = |n: usize| countries::at(projection.place(self.samples.pixels[n].0)).is_some();
        LandFit { projection, share: self.samples.share(is_land) }
    }

    /// The local maximum of the fit from a projection.
    pub(crate) fn nearest(&self, from: Projection) -> LandFit {
        self.climb(from, &|projection| self.fit(projection).share, 12.0, 0.2)
    }

    /// The global maximum of the fit, if land and sea explain anything.
    pub(crate) fn search(&self) -> Option<LandFit> {
        if self.samples.is_plain() {
            return None;
        }
        let land = grid();
        let [few, some] = [FEW, SOME].map(|count| self.samples.about(count));
        let Rect { x, y, width, height } = self.canvas;
        let (mut fits, mut world) = (Vec::new(), height);
        while world <= LARGEST * height {
            let step = height / 20.0;
            // The corner of the world lies left of the box by less than a world and not below its top edge.
            let lefts = (0..(world / step).ceil() as usize).map(|i| x - i as f64 * step);
            let tops = (0..=((world - height) / step) as usize).map(|j| y - j as f64 * step);
            // The cells of the pixels for each position, once: there are a million combinations.
            let columns = |left: f64| few.pixels.iter().map(|(at, _)| column((at.x - left) / world)).collect();
            let rows = |top: f64| few.pixels.iter().map(|(at, _)| row((at.y - top) / world)).collect();
            let lefts: Vec<(f64, Vec<usize>)> = lefts.map(|left| (left, columns(left))).collect();
            for (top, rows) in tops.map(|top| -> (f64, Vec<usize>) { (top, rows(top)) }) {
                for (left, columns) in &lefts {
                    let projection = Projection { world, corner: Pixel { x: *left, y: top } };
                    let share = few.share(|n| land[rows[n] + columns[n]]);
                    fits.push(LandFit { projection, share });
                }
            }
            world *= 1.08;
        }
        let by_share = |a: &LandFit, b: &LandFit| b.share.total_cmp(&a.share);
        if fits.len() > PROMISING {
            fits.select_nth_unstable_by(PROMISING, by_share);
            fits.truncate(PROMISING);
        }
        let rough = |Projection { world, corner }: Projection| {
            let cell = |at: Pixel| row((at.y - corner.y) / world) + column((at.x - corner.x) / world);
            some.share(|n| land[cell(some.pixels[n].0)])
        };
        let again = |fit: &LandFit| LandFit { share: rough(fit.projection), ..*fit };
        let mut fits: Vec<LandFit> = fits.iter().map(again).collect();
        fits.sort_by(by_share);
        fits.truncate(BEST);
        let close = |fit: &LandFit| self.climb(fit.projection, &rough, width.min(height) / 40.0, 0.04);
        let best = fits.iter().map(close).max_by(|a, b| a.share.total_cmp(&b.share))?;
        Some(self.nearest(best.projection)).filter(|fit| fit.share > 0.0)
    }

    /// Hill climbing by moving and zooming in decreasing steps.
    fn climb(&self, from: Projection, share: &dyn Fn(Projection) -> f64, step_px: f64, step_zoom: f64) -> LandFit {
        let mut best = LandFit { projection: from, share: share(from) };
        let centre = self.canvas.centre();
        let (mut step, mut zoom) = (step_px, step_zoom);
        while step > 0.2 {
            let moves = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
                .map(|(x, y)| best.projection.moved_by(Pixel { x: x * step, y: y * step }));
            let zooms = [1.0 + zoom, 1.0 / (1.0 + zoom)].map(|factor| best.projection.zoomed(centre, factor));
            let tried =
                moves.into_iter().chain(zooms).map(|projection| LandFit { projection, share: share(projection) });
            match tried.max_by(|a, b| a.share.total_cmp(&b.share)).filter(|fit| fit.share > best.share) {
                Some(better) => best = better,
                None => (step, zoom) = (step / 2.0, zoom / 2.0),
            }
        }
        best
    }

    /// The view as written in a profile: pages start at round numbers, so the roundest values within a pixel that fit
    /// nearly as well. The world is `tile_size` pixels wide at zoom 0.
    pub(crate) fn rounded(&self, fit: &LandFit, tile_size: f64) -> StartView {
        let (centre, world) = (self.canvas.centre(), fit.projection.world);
        let LatLng { lat, lng } = fit.projection.place(centre);
        let mut view = StartView { lat, lng, zoom: (world / tile_size).log2(), tile_size, repeats: true };
        // One pixel at the edge of the box in zoom levels, and two in its middle in degrees.
        let (zooms, degrees) =
            (2.0 / self.canvas.width.max(self.canvas.height) / std::f64::consts::LN_2, 720.0 / world);
        let fields: [(Field, &[f64], f64); 3] = [
            (|view| &mut view.zoom, &[1.0, 0.5, 0.25, 0.1, 0.01], zooms),
            (|view| &mut view.lat, &[10.0, 5.0, 1.0, 0.5, 0.1], degrees),
            (|view| &mut view.lng, &[10.0, 5.0, 1.0, 0.5, 0.1], degrees),
        ];
        for (field, steps, slack) in fields {
            let exact = *field(&mut view);
            let round = steps.iter().map(|step| (exact / step).round() * step).find(|round| {
                let mut rounder = view;
                *field(&mut rounder) = *round;
                let at = LatLng { lat: rounder.lat, lng: rounder.lng };
                let share = self.fit(Projection::with(at, centre, rounder.world_px())).share;
                (round - exact).abs() < slack && share >= NEARLY * fit.share
            });
            *field(&mut view) = round.unwrap_or(exact) + 0.0; // no -0.0
        }
        view
    }

    /// Maximum distance in pixels between two projections at the corners of the box.
    pub(crate) fn apart(&self, a: &Projection, b: &Projection) -> f64 {
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(x, y)| self.canvas.at(x, y));
        let apart = |at: Pixel| {
            let zoom = b.world / a.world;
            let there =
                Pixel { x: b.corner.x + (at.x - a.corner.x) * zoom, y: b.corner.y + (at.y - a.corner.y) * zoom };
            let there = b.copy(there, at);
            (there.x - at.x).hypot(there.y - at.y)
        };
        corners.into_iter().map(apart).fold(0.0, f64::max)
    }
}

impl Samples {
    fn new(pixels: Vec<(Pixel, [f64; 3])>) -> Self {
        let sum = |channel: usize| pixels.iter().map(|(_, colour)| colour[channel]).sum::<f64>();
        let sum = [0, 1, 2].map(sum);
        let squares: f64 = pixels.iter().flat_map(|(_, colour)| colour.map(|x| x * x)).sum();
        let variance = squares - square_by_count(sum, pixels.len());
        Self { pixels, sum, variance }
    }

    /// About `count` of the pixels, evenly spaced.
    fn about(&self, count: usize) -> Self {
        let every = self.pixels.len().div_ceil(count).max(1) | 1; // odd, to avoid sampling whole columns
        Self::new(self.pixels.iter().step_by(every).copied().collect())
    }

    /// An image of a single colour, up to noise, has no information.
    fn is_plain(&self) -> bool {
        self.pixels.is_empty() || self.variance <= self.pixels.len() as f64
    }

    /// Fraction of the variance of the colours between land and sea. `is_land` is asked with the index of a pixel.
    fn share(&self, is_land: impl Fn(usize) -> bool) -> f64 {
        let (mut land, mut sum) = (0, [0.0; 3]);
        for (n, (_, colour)) in self.pixels.iter().enumerate() {
            if is_land(n) {
                land += 1;
                sum[0] += colour[0];
                sum[1] += colour[1];
                sum[2] += colour[2];
            }
        }
        let sea = self.pixels.len() - land;
        if land == 0 || sea == 0 || self.is_plain() {
            return 0.0;
        }
        let rest = [0, 1, 2].map(|channel| self.sum[channel] - sum[channel]);
        let mean = square_by_count(self.sum, self.pixels.len());
        (square_by_count(sum, land) + square_by_count(rest, sea) - mean) / self.variance
    }
}

/// The squared length of the sum of `count` colours, divided by their number.
fn square_by_count(sum: [f64; 3], count: usize) -> f64 {
    sum.iter().map(|x| x * x).sum::<f64>() / count as f64
}

/// Land and sea in Web Mercator, row by row from the north, and a row of sea for what lies beyond the world.
fn grid() -> &'static [bool] {
    static LAND: OnceLock<Vec<bool>> = OnceLock::new();
    LAND.get_or_init(|| {
        let land = land_mask().map_or_else(|| vec![0; GRID * GRID], |mask| mask.take());
        land.into_iter().map(|cell| cell > 0).chain(std::iter::repeat_n(false, GRID)).collect()
    })
}

/// The polygons of all countries, filled.
fn land_mask() -> Option<Mask> {
    let mut mask = Mask::new(GRID as u32, GRID as u32)?;
    for polygon in countries::all().iter().flat_map(|country| &country.shape.0) {
        let mut path = PathBuilder::new();
        for ring in std::iter::once(polygon.exterior()).chain(polygon.interiors()) {
            let points = ring.0.iter().map(|at| mercator::project(LatLng { lat: at.y, lng: at.x }));
            for (n, (x, y)) in points.map(|(x, y)| ((x * GRID as f64) as f32, (y * GRID as f64) as f32)).enumerate() {
                if n == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
            }
            path.close();
        }
        if let Some(path) = path.finish() {
            mask.fill_path(&path, FillRule::EvenOdd, false, Transform::identity());
        }
    }
    Some(mask)
}

/// The column of [`grid`] for a fraction of the world from its left edge; the world repeats.
fn column(across: f64) -> usize {
    (((across - across.floor()) * GRID as f64) as usize).min(GRID - 1)
}

/// The index in [`grid`] of the first cell of a row, for a fraction of the world from its top.
fn row(down: f64) -> usize {
    let row = if (0.0..1.0).contains(&down) { (down * GRID as f64) as usize } else { GRID };
    row * GRID
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const CANVAS: Rect = Rect { x: 31.0, y: 57.5, width: 480.0, height: 320.0 };

    /// A map of brown land in a blue sea, with noise, a graticule, and a button.
    fn drawn(projection: Projection) -> RgbImage {
        RgbImage::from_fn(480, 320, |x, y| {
            let at = Pixel { x: CANVAS.x + f64::from(x) + 0.5, y: CANVAS.y + f64::from(y) + 0.5 };
            let noise = (x * 7919 + y * 104_729) % 23;
            let colour = match countries::at(projection.place(at)) {
                _ if x < 40 && y < 80 => [250, 250, 250],
                _ if x % 60 == 0 || y % 60 == 0 => [120, 120, 130],
                Some(_) => [200, 190, 160],
                None => [160, 200, 225],
            };
            Rgb(colour.map(|value| (value - noise) as u8))
        })
    }

    #[test]
    fn finds_views_by_land_and_sea() {
        for (lat, lng, zoom) in [(20.0, 0.0, 0.3), (20.0, 10.0, 1.0), (-25.0, 134.0, 2.5), (48.0, 8.0, 3.2)] {
            let middle = LatLng::new(lat, lng).unwrap();
            let actual = Projection::with(middle, CANVAS.centre(), 512.0 * f64::exp2(zoom)).clamped_to(&CANVAS, true);
            let screenshot = MapScreenshot::new(&drawn(actual), CANVAS);
            let found = screenshot.search().unwrap();
            let apart = screenshot.apart(&actual, &found.projection);
            assert!(found.share > 0.3 && apart < 3.0, "{lat} {lng} {zoom}: {found:?}, {apart} px apart");
            let written = screenshot.rounded(&found, 512.0);
            // Rounding changes the view only slightly.
            let at = LatLng::new(written.lat, written.lng).unwrap();
            let rounded = Projection::with(at, CANVAS.centre(), written.world_px());
            assert!(screenshot.apart(&found.projection, &rounded) < 4.0, "{found:?} written as {written}");
            // From a wrong view nearby, too.
            let near = screenshot.nearest(actual.moved_by(Pixel { x: 7.0, y: -5.0 }).zoomed(CANVAS.centre(), 1.03));
            assert!(screenshot.apart(&actual, &near.projection) < 3.0, "{near:?}");
        }
    }

    #[test]
    fn the_grid_agrees_with_the_borders() {
        let world = Projection { world: GRID as f64, corner: Pixel { x: 0.0, y: 0.0 } };
        let cells = (0..GRID * GRID).step_by(97);
        let differs = |cell: &usize| {
            let middle = Pixel { x: (cell % GRID) as f64 + 0.5, y: (cell / GRID) as f64 + 0.5 };
            grid()[*cell] != countries::at(world.place(middle)).is_some()
        };
        // Coasts within rounding errors of the middle of a cell.
        let (count, different) = (cells.clone().count(), cells.filter(differs).count());
        assert!(count > 5000 && different <= 5, "{different} of {count}");
    }

    #[test]
    fn images_without_land_have_no_fit() {
        let screenshot = MapScreenshot::new(&RgbImage::from_pixel(480, 320, Rgb([9, 9, 9])), CANVAS);
        assert!(screenshot.search().is_none());
        assert!(MapScreenshot::new(&RgbImage::new(0, 0), CANVAS).search().is_none());
    }
}
