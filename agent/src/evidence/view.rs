//! An image as the encoder sees it, with parts of it covered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::Result;
use image::RgbImage;
use landfall_model::preprocess::{self, Preprocess, Square};
use landfall_model::{Classifier, Error};
use serde::Serialize;

/// A rectangle of an image. Its sides are fractions of those of the image, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Part {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Part {
    pub(crate) const WHOLE: Self = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };

    /// The area of what it has in common with another part, as a fraction of the image.
    fn shared(self, other: Self) -> f64 {
        let along = |a: f64, a_side: f64, b: f64, b_side: f64| ((a + a_side).min(b + b_side) - a.max(b)).max(0.0);
        along(self.left, self.width, other.left, other.width) * along(self.top, self.height, other.top, other.height)
    }
}

/// What a part is covered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The mean colour of the encoder's training images, which its input represents by zeros.
    Grey,
    /// The picture, blurred until only its colours can be told.
    Blur,
}

/// A part to cover, in all squares that are encoded or in one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covering {
    pub part: Part,
    pub square: Option<usize>,
}

/// An image with the encoder input and embedding of each of its squares.
pub(crate) struct EncodedView {
    /// Width and height of the image in pixels.
    size: (u32, u32),
    /// Side of the encoder's input in pixels.
    input_px: usize,
    squares: Vec<Part>,
    tensors: Vec<Vec<f32>>,
    /// The tensors blurred, computed when they are first needed.
    blurred: OnceLock<Vec<Vec<f32>>>,
    embeddings: Vec<Vec<f32>>,
}

impl EncodedView {
    /// `embedding` is that of the image if it was computed before.
    ///
    /// # Errors
    /// When inference fails.
    pub(crate) fn new(classifier: &Classifier, picture: &RgbImage, embedding: Option<&[f32]>) -> Result<Self> {
        let Preprocess { size, details, .. } = &classifier.bundle.manifest.preprocess;
        let tensors: Vec<Vec<f32>> = classifier.bundle.manifest.preprocess.tensors(picture).collect();
        let embeddings = match embedding {
            Some(all) => all.chunks(all.len().div_ceil(tensors.len()).max(1)).map(<[f32]>::to_vec).collect(),
            None => tensors.iter().map(|tensor| embed(classifier, 0, tensor)).collect::<Result<_, _>>()?,
        };
        let squares = [Square::CENTRAL].iter().chain(details).map(|square| part_of(*square, picture.dimensions()));
        Ok(Self {
            size: picture.dimensions(),
            input_px: *size as usize,
            squares: squares.collect(),
            tensors,
            blurred: OnceLock::new(),
            embeddings,
        })
    }

    /// The embedding of the image.
    pub(crate) fn embedding(&self) -> Vec<f32> {
        self.embeddings.concat()
    }

    /// A number that depends on the pixels.
    pub(crate) fn fingerprint(&self) -> u64 {
        let bits = self.tensors.iter().flatten().map(|x| u64::from(x.to_bits()));
        bits.fold(0, |hash: u64, bits| hash.rotate_left(5).wrapping_add(bits).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Width and height of the image in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The smallest rectangle with all squares. What is outside of it does not count.
    pub(crate) fn visible_area(&self) -> Part {
        let least = |edge: fn(&Part) -> f64| self.squares.iter().map(edge).fold(1.0, f64::min);
        let most = |edge: fn(&Part) -> f64| self.squares.iter().map(edge).fold(0.0, f64::max);
        let (left, top) = (least(|square| square.left), least(|square| square.top));
        let (right, bottom) = (most(|square| square.left + square.width), most(|square| square.top + square.height));
        Part { left, top, width: right - left, height: bottom - top }
    }

    /// The square that shows most of a part; the central one, which comes first, if several show as much.
    pub(crate) fn square_that_shows(&self, part: Part) -> usize {
        let shown: Vec<f64> = self.squares.iter().map(|square| square.shared(part)).collect();
        (0..shown.len()).fold(0, |best, i| if shown[i] > shown[best] + 1e-9 { i } else { best })
    }

    /// The logits of the image with each of these parts covered in turn, computed on all sessions of the encoder.
    ///
    /// # Errors
    /// When inference fails.
    pub(crate) fn logits_with_parts_covered(
        &self,
        classifier: &Classifier,
        coverings: &[Covering],
        fill: Fill,
    ) -> Result<Vec<Vec<f32>>> {
        // One job per square that changes, so that the work divides evenly among the sessions.
        let squares = 0..self.squares.len();
        let jobs = coverings.iter().enumerate().flat_map(|(i, covering)| {
            let is_covered = move |square: &usize| covering.square.is_none_or(|only| only == *square);
            squares.clone().filter(is_covered).map(move |square| (i, square))
        });
        let changes = |&(i, square): &(usize, usize)| !self.pixels(coverings[i].part, square).is_empty();
        let jobs: Vec<(usize, usize)> = jobs.filter(changes).collect();
        let next = AtomicUsize::new(0);
        let embedded: Mutex<HashMap<(usize, usize), Embedded>> = Mutex::default();
        std::thread::scope(|scope| {
            for worker in 0..classifier.encoder().workers().min(jobs.len()) {
                let (next, embedded, jobs) = (&next, &embedded, &jobs);
                scope.spawn(move || {
                    while let Some(&(i, square)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tensor = self.covered(coverings[i].part, square, fill);
                        let embedding = embed(classifier, worker, &tensor);
                        embedded.lock().unwrap_or_else(|e| e.into_inner()).insert((i, square), embedding);
                    }
                });
            }
        });
        let mut embedded = embedded.into_inner().unwrap_or_else(|e| e.into_inner());
        let logits = (0..coverings.len()).map(|i| {
            let mut embeddings = self.embeddings.clone();
            for (square, embedding) in embeddings.iter_mut().enumerate() {
                if let Some(covered) = embedded.remove(&(i, square)) {
                    *embedding = covered?;
                }
            }
            Ok(classifier.head(&embeddings.concat())?)
        });
        logits.collect()
    }

    /// The rows and columns of a square's input that show a part.
    fn pixels(&self, part: Part, square: usize) -> Pixels {
        let shown = self.squares[square];
        let along = |from: f64, length: f64, origin: f64, side: f64| {
            let pixel = |at: f64| {
                ((at - origin) / side * self.input_px as f64).round().clamp(0.0, self.input_px as f64) as usize
            };
            (pixel(from), pixel(from + length))
        };
        Pixels {
            columns: along(part.left, part.width, shown.left, shown.width),
            rows: along(part.top, part.height, shown.top, shown.height),
        }
    }

    /// The input of a square with a part replaced.
    fn covered(&self, part: Part, square: usize, fill: Fill) -> Vec<f32> {
        let Pixels { columns, rows } = self.pixels(part, square);
        let mut tensor = self.tensors[square].clone();
        let plane_size = self.input_px * self.input_px;
        for (i, plane) in tensor.chunks_mut(plane_size).enumerate() {
            for row in rows.0..rows.1 {
                let span = row * self.input_px + columns.0..row * self.input_px + columns.1;
                match fill {
                    Fill::Grey => plane[span].fill(0.0),
                    Fill::Blur => {
                        let from = &self.blurred(square)[i * plane_size..][span.clone()];
                        plane[span].copy_from_slice(from);
                    }
                }
            }
        }
        tensor
    }

    /// A square's input, blurred.
    fn blurred(&self, square: usize) -> &[f32] {
        let side = self.input_px;
        let blur = |tensor: &Vec<f32>| tensor.chunks(side * side).flat_map(|plane| blurred(plane, side)).collect();
        &self.blurred.get_or_init(|| self.tensors.iter().map(blur).collect())[square]
    }
}

/// The embedding of a square, or why there is none.
type Embedded = landfall_model::Result<Vec<f32>>;

/// A range of rows and one of columns.
struct Pixels {
    columns: (usize, usize),
    rows: (usize, usize),
}

impl Pixels {
    fn is_empty(&self) -> bool {
        self.columns.0 >= self.columns.1 || self.rows.0 >= self.rows.1
    }
}

/// Width of the blur as a fraction of the side of a square.
const BLUR: f64 = 0.25;

/// A plane after two passes of a box filter in each direction.
fn blurred(plane: &[f32], side: usize) -> Vec<f32> {
    let radius = ((BLUR * side as f64 / 2.0).round() as usize).max(1);
    let pass = |plane: &[f32]| -> Vec<f32> {
        // Filters the rows and transposes.
        let mut out = vec![0.0; side * side];
        let mut sums = vec![0.0; side + 1];
        for (y, row) in plane.chunks(side).enumerate() {
            for (x, value) in row.iter().enumerate() {
                sums[x + 1] = sums[x] + f64::from(*value);
            }
            for x in 0..side {
                let (from, to) = (x.saturating_sub(radius), (x + radius + 1).min(side));
                out[x * side + y] = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
            }
        }
        out
    };
    (0..4).fold(plane.to_vec(), |plane, _| pass(&plane))
}

/// The part of an image that a square shows.
fn part_of(square: Square, (width, height): (u32, u32)) -> Part {
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let side = square.side * width.min(height);
    Part {
        left: square.x * (width - side) / width,
        top: square.y * (height - side) / height,
        width: side / width,
        height: side / height,
    }
}

fn embed(classifier: &Classifier, worker: usize, tensor: &[f32]) -> Result<Vec<f32>, Error> {
    let mut embedding = classifier.encoder().embed_tensor(worker, tensor)?;
    preprocess::normalise(&mut embedding);
    Ok(embedding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(size: (u32, u32)) -> EncodedView {
        let squares = [Square::CENTRAL, Square { side: 0.5, x: 0.0, y: 0.5 }].map(|square| part_of(square, size));
        let ramp = (0..3 * 64).map(|i| i as f32).collect::<Vec<_>>();
        EncodedView {
            size,
            input_px: 8,
            squares: squares.into(),
            tensors: vec![ramp.clone(), ramp],
            blurred: OnceLock::new(),
            embeddings: vec![],
        }
    }

    #[test]
    fn parts_are_covered_where_a_square_shows_them() {
        let view = view((200, 100));
        let part = Part { left: 0.0, top: 0.25, width: 0.375, height: 0.25 };
        // The central square begins at a quarter of the width, and the detail is the left quarter of the image.
        let Pixels { columns, rows } = view.pixels(part, 0);
        assert_eq!((columns, rows), ((0, 2), (2, 4)));
        let Pixels { columns, rows } = view.pixels(part, 1);
        assert_eq!((columns, rows), ((0, 8), (0, 4)));
        let covered = view.covered(part, 0, Fill::Grey);
        assert_eq!(covered.iter().filter(|x| **x == 0.0).count(), 3 * 2 * 2 + 1);
        assert!(view.pixels(Part { left: 0.8, ..part }, 0).is_empty());
    }

    #[test]
    fn a_blur_keeps_at_most_the_colours() {
        let mut view = view((100, 100));
        let range =
            |plane: &[f32]| plane.iter().copied().fold(0.0, f32::max) - plane.iter().copied().fold(1e9, f32::min);
        assert!(range(&view.blurred(0)[..64]) < 0.9 * range(&view.tensors[0][..64]));
        view.tensors[0].fill(2.0);
        view.blurred = OnceLock::new();
        assert!(view.blurred(0).iter().all(|x| (x - 2.0).abs() < 1e-5));
    }
}
