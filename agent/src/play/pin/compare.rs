//! Whether a drawn map has only moved between two screenshots, or also zoomed: in which case its lines, borders
//! and labels have shifted relative to each other. This is independent of the pin, which is where a click puts it in either case.

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use crate::geometry::{Pixel, Rect};

/// Minimum difference of neighbouring grey levels along a line of the map.
const EDGE_LEVELS: i32 = 14;
/// Minimum number of pixels on lines, below which a picture says nothing.
const MIN_EDGES: usize = 150;
/// Radius around pins that is not compared, in pixels.
const PIN_RADIUS: f64 = 46.0;
/// Tolerance of a line in pixels.
const REACH: i64 = 2;
/// Fraction of a picture's lines that the other shows too, above which both show the same map.
const SAME: f64 = 0.6;

/// Pixels whose grey levels differ by no more are equal, and the fraction of equal pixels of two pictures of the same view,
/// one of which may lack some tiles.
const EQUAL_LEVELS: u8 = 2;
const MOSTLY_EQUAL: f64 = 0.8;

/// A screenshot of the map in CSS pixels, and its box.
pub(super) struct MapPicture {
    grey: GrayImage,
    canvas: Rect,
}

impl MapPicture {
    pub(super) fn new(picture: &image::RgbImage, canvas: Rect) -> Self {
        let grey = DynamicImage::ImageLuma8(DynamicImage::ImageRgb8(picture.clone()).into_luma8());
        let (width, height) = (canvas.width.round().max(1.0) as u32, canvas.height.round().max(1.0) as u32);
        // The size of the canvas, unless a pixel of the screen is not a CSS pixel.
        let is_same_size = (grey.width(), grey.height()) == (width, height);
        let grey = if is_same_size { grey } else { grey.resize_exact(width, height, FilterType::Triangle) };
        Self { grey: grey.into_luma8(), canvas }
    }

    /// The picture itself, for later rounds.
    pub(super) fn grey(&self) -> &GrayImage {
        &self.grey
    }

    /// The picture and the box that it shows.
    pub(super) fn into_parts(self) -> (GrayImage, Rect) {
        (self.grey, self.canvas)
    }

    /// Whether this shows the same as `before`, moved right and down by `by`. `None` if the pictures say nothing. `pins`
    /// are the positions of the pin in either.
    pub(super) fn is_moved(&self, before: &Self, by: Pixel, pins: &[Pixel]) -> Option<bool> {
        if self.grey.dimensions() != before.grey.dimensions() {
            return None;
        }
        let pins: Vec<Pixel> =
            pins.iter().map(|pin| Pixel { x: pin.x - self.canvas.x, y: pin.y - self.canvas.y }).collect();
        let back = Pixel { x: -by.x, y: -by.y };
        let there = share(&edges(&self.grey), &edges(&before.grey), back, &pins);
        let here = share(&edges(&before.grey), &edges(&self.grey), by, &pins);
        // A picture taken while tiles were still loading has fewer lines; all of them are in the other.
        match (there, here) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0.0).max(b.unwrap_or(0.0)) >= SAME),
        }
    }

    /// Whether this shows the same as a picture of an earlier round. `None` if the pictures say nothing.
    pub(super) fn is_same_as(&self, earlier: &GrayImage) -> Option<bool> {
        if self.grey.dimensions() != earlier.dimensions() {
            return None;
        }
        let (now, then, by) = (edges(&self.grey), edges(earlier), Pixel { x: 0.0, y: 0.0 });
        match (share(&now, &then, by, &[]), share(&then, &now, by, &[])) {
            (None, None) => None,
            (a, b) => {
                let are_found = [a, b].map(|share| share.is_some_and(|share| share >= SAME));
                // The lines of one may be among the many of the other by chance, or because tiles were still loading.
                Some(are_found == [true; 2] || are_found.contains(&true) && self.equal_pixels(earlier) >= MOSTLY_EQUAL)
            }
        }
    }

    /// The fraction of pixels that are equal.
    fn equal_pixels(&self, other: &GrayImage) -> f64 {
        let equal = self.grey.iter().zip(other.iter()).filter(|(a, b)| a.abs_diff(**b) <= EQUAL_LEVELS).count();
        equal as f64 / self.grey.len().max(1) as f64
    }
}

/// Pixels on lines.
struct Edges {
    width: i64,
    height: i64,
    on: Vec<bool>,
}

impl Edges {
    fn at(&self, x: i64, y: i64) -> bool {
        (0..self.width).contains(&x) && (0..self.height).contains(&y) && self.on[(y * self.width + x) as usize]
    }
}

fn edges(grey: &GrayImage) -> Edges {
    let (width, height) = (i64::from(grey.width()), i64::from(grey.height()));
    let level = |x: i64, y: i64| i32::from(grey.get_pixel(x as u32, y as u32).0[0]);
    let is_edge = |x: i64, y: i64| {
        x + 1 < width
            && y + 1 < height
            && ((level(x + 1, y) - level(x, y)).abs() > EDGE_LEVELS
                || (level(x, y + 1) - level(x, y)).abs() > EDGE_LEVELS)
    };
    let on = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| is_edge(x, y)).collect();
    Edges { width, height, on }
}

/// The fraction of lines in `of` that are in `other` too, moved by `by`; `None` if there are too few.
fn share(of: &Edges, other: &Edges, by: Pixel, pins: &[Pixel]) -> Option<f64> {
    let (dx, dy) = (by.x.round() as i64, by.y.round() as i64);
    let is_near_pin = |x: i64, y: i64| pins.iter().any(|pin| (pin.x - x as f64).hypot(pin.y - y as f64) < PIN_RADIUS);
    let (mut all, mut same) = (0usize, 0usize);
    for y in 0..of.height {
        for x in 0..of.width {
            let (tx, ty) = (x + dx, y + dy);
            let is_inside = (REACH..other.width - REACH).contains(&tx) && (REACH..other.height - REACH).contains(&ty);
            if !of.at(x, y) || !is_inside || is_near_pin(x, y) || is_near_pin(tx, ty) {
                continue;
            }
            all += 1;
            let is_there = (-REACH..=REACH).any(|i| (-REACH..=REACH).any(|j| other.at(tx + i, ty + j)));
            same += usize::from(is_there);
        }
    }
    (all >= MIN_EDGES).then(|| same as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Rect = Rect { x: 20.0, y: 30.0, width: 380.0, height: 280.0 };

    /// A map of frames, a pin at its centre.
    fn picture(corner: (f64, f64), tile: f64) -> MapPicture {
        let grey = |x: u32, y: u32| {
            let (u, v) = ((f64::from(x) - corner.0) / tile, (f64::from(y) - corner.1) / tile);
            let is_frame = (u.rem_euclid(1.0) * tile) < 1.5 || (v.rem_euclid(1.0) * tile) < 1.5;
            let is_pin = (f64::from(x) - 190.0).hypot(f64::from(y) - 130.0) < 14.0;
            if is_pin {
                30
            } else if is_frame {
                90
            } else {
                190 + ((u.floor() * 37.0 + v.floor() * 91.0).rem_euclid(40.0)) as u8
            }
        };
        let picture = image::RgbImage::from_fn(380, 280, |x, y| image::Rgb([grey(x, y); 3]));
        MapPicture::new(&picture, CANVAS)
    }

    #[test]
    fn moves_are_told_from_zooms() {
        let before = picture((-30.0, -50.0), 79.0);
        let pins = [CANVAS.centre()];
        let by = Pixel { x: 41.0, y: -23.0 };
        assert_eq!(picture((11.0, -73.0), 79.0).is_moved(&before, by, &pins), Some(true));
        assert_eq!(picture((11.0, -73.0), 79.0).is_moved(&before, Pixel { x: 0.0, y: 0.0 }, &pins), Some(false));
        assert_eq!(picture((-30.0, -50.0), 362.0).is_moved(&before, by, &pins), Some(false));
        let same = |a: &MapPicture, b: &MapPicture| a.is_same_as(b.grey());
        assert_eq!(same(&before, &before), Some(true));
        assert_eq!(same(&picture((-70.0, -50.0), 79.0), &before), Some(false));
        // Twice as large: every line is one of those of the smaller map.
        assert_eq!(same(&picture((-30.0, -50.0), 79.0 * 2.0), &before), Some(false));
        // An empty map says nothing.
        let empty = MapPicture::new(&image::RgbImage::from_pixel(380, 280, image::Rgb([200; 3])), CANVAS);
        assert_eq!(empty.is_moved(&empty, by, &pins), None);
    }
}
