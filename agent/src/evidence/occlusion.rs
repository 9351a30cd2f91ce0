//! Occlusion maps (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks"): parts of an image are
//! covered one after another, and the loss of probability of the prediction is the value of the part.
//!
//! The method needs only the bundle and works with any encoder.

use anyhow::Result;
use landfall_model::Classifier;

use crate::evidence::view::{Covering, EncodedView, Fill, Part};

/// Number of parts along the shorter side of a full map.
const FULL_SIDE: u32 = 7;
/// Margin of a patch of a full map as a fraction of its part: patches overlap, so that objects on an edge are covered
/// completely.
const FULL_MARGIN: f64 = 0.5;
/// Number of parts along the shorter side of the area in the coarse step, and along the longer side at most.
const COARSE_SIDES: (u32, u32) = (3, 4);
/// Margin of a patch as a fraction of its part in the coarse and the fine step.
const MARGIN: f64 = 0.25;
/// Number of coarse parts that are divided into four in the fine step: those with the largest losses.
const DIVIDED: usize = 1;

/// The loss of the prediction when each part of an area is covered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OcclusionMap {
    /// The area of the image that is divided into parts.
    pub area: Part,
    /// Number of columns and rows.
    pub grid: (u32, u32),
    /// Decrease of the log probability of the answer in nats, row by row.
    pub losses: Vec<f64>,
}

/// A map of the whole image with many parts, each covered in all squares.
///
/// # Errors
/// When inference or `loss` fails.
pub(crate) fn full_map(
    classifier: &Classifier,
    view: &EncodedView,
    loss: impl Fn(Vec<f32>) -> Result<f64>,
) -> Result<OcclusionMap> {
    let grid = grid_size(view.size(), (FULL_SIDE, 3 * FULL_SIDE));
    let coverings: Vec<Covering> =
        cells(grid).map(|cell| Covering { part: patch(Part::WHOLE, grid, cell, FULL_MARGIN), square: None }).collect();
    let logits = view.logits_with_parts_covered(classifier, &coverings, Fill::Grey)?;
    Ok(OcclusionMap { area: Part::WHOLE, grid, losses: logits.into_iter().map(loss).collect::<Result<_>>()? })
}

/// A map from fewer runs of the encoder: large parts first, then the quarters of those that matter most. Each patch is
/// covered only in the square that shows most of it.
///
/// # Errors
/// When inference or `loss` fails.
pub(crate) fn coarse_to_fine(
    classifier: &Classifier,
    view: &EncodedView,
    fill: Fill,
    loss: impl Fn(Vec<f32>) -> Result<f64>,
) -> Result<OcclusionMap> {
    let area = view.visible_area();
    let coarse = grid_size((to_px(area.width, view.size().0), to_px(area.height, view.size().1)), COARSE_SIDES);
    let losses = |grid: (u32, u32), cells: &[(u32, u32)]| {
        let covering = |cell: &(u32, u32)| {
            let part = patch(area, grid, *cell, MARGIN);
            Covering { part, square: Some(view.square_that_shows(part)) }
        };
        let coverings: Vec<Covering> = cells.iter().map(covering).collect();
        let logits = view.logits_with_parts_covered(classifier, &coverings, fill)?;
        logits.into_iter().map(&loss).collect::<Result<Vec<f64>>>()
    };
    let coarse_cells: Vec<(u32, u32)> = cells(coarse).collect();
    let coarse_losses = losses(coarse, &coarse_cells)?;
    let mut order: Vec<usize> = (0..coarse_cells.len()).collect();
    order.sort_by(|a, b| coarse_losses[*b].total_cmp(&coarse_losses[*a]));

    let fine = (2 * coarse.0, 2 * coarse.1);
    let mut map = vec![0.0; (fine.0 * fine.1) as usize];
    let quarters =
        |(column, row): (u32, u32)| [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| (2 * column + x, 2 * row + y));
    let index = |(column, row): (u32, u32)| (row * fine.0 + column) as usize;
    for (cell, loss) in coarse_cells.iter().zip(&coarse_losses) {
        quarters(*cell).iter().for_each(|quarter| map[index(*quarter)] = *loss);
    }
    let divided: Vec<usize> = order.into_iter().take(DIVIDED).filter(|i| coarse_losses[*i] > 0.0).collect();
    let fine_cells: Vec<(u32, u32)> = divided.iter().flat_map(|i| quarters(coarse_cells[*i])).collect();
    let fine_losses = losses(fine, &fine_cells)?;
    for ((i, cells), losses) in divided.iter().zip(fine_cells.chunks(4)).zip(fine_losses.chunks(4)) {
        // The quarters share the loss of their cell in proportion to their own, so that losses of patches of different
        // sizes can be compared.
        let sum: f64 = losses.iter().map(|loss| loss.max(0.0)).sum();
        for (cell, loss) in cells.iter().zip(losses) {
            let share = if sum > 0.0 { loss.max(0.0) / sum } else { 0.25 };
            map[index(*cell)] = 4.0 * share * coarse_losses[*i];
        }
    }
    Ok(OcclusionMap { area, grid: fine, losses: map })
}

/// Number of columns and rows for an area of this size in pixels, so that parts are nearly square. `sides`: number along
/// the shorter side, and along the longer side at most.
fn grid_size((width, height): (u32, u32), (short, max): (u32, u32)) -> (u32, u32) {
    let along = |side: u32| {
        let parts = f64::from(short) * f64::from(side) / f64::from(width.min(height).max(1));
        (parts.round() as u32).clamp(short, max)
    };
    (along(width), along(height))
}

fn to_px(share: f64, side: u32) -> u32 {
    (share * f64::from(side)).round() as u32
}

/// The columns and rows of the parts, row by row.
fn cells((across, down): (u32, u32)) -> impl Iterator<Item = (u32, u32)> {
    (0..down).flat_map(move |row| (0..across).map(move |column| (column, row)))
}

/// A part of a grid over an area, with a margin.
fn patch(area: Part, (across, down): (u32, u32), (column, row): (u32, u32), margin: f64) -> Part {
    let span = |i: u32, parts: u32, origin: f64, side: f64| {
        let at = |parts_from_origin: f64| origin + (parts_from_origin / f64::from(parts)).clamp(0.0, 1.0) * side;
        let (from, to) = (at(f64::from(i) - margin), at(f64::from(i + 1) + margin));
        (from, to - from)
    };
    let (left, width) = span(column, across, area.left, area.width);
    let (top, height) = span(row, down, area.top, area.height);
    Part { left, top, width, height }
}

impl OcclusionMap {
    /// The maximum loss of a part, at least 0.
    pub(crate) fn max_loss(&self) -> f64 {
        self.losses.iter().copied().fold(0.0, f64::max)
    }

    /// The loss at a point of the image, 0 to 1 from the left and from the top, interpolated between the centres of parts. 0
    /// outside of the area.
    pub(crate) fn loss_at(&self, x: f64, y: f64) -> f64 {
        let (across, down) = self.grid;
        let position = |at: f64, origin: f64, side: f64, parts: u32| (at - origin) / side * f64::from(parts) - 0.5;
        let (x, y) =
            (position(x, self.area.left, self.area.width, across), position(y, self.area.top, self.area.height, down));
        if !(-0.5..f64::from(across) - 0.5).contains(&x) || !(-0.5..f64::from(down) - 0.5).contains(&y) {
            return 0.0;
        }
        let loss = |column: f64, row: f64| {
            let column = (column.max(0.0) as u32).min(across - 1);
            let row = (row.max(0.0) as u32).min(down - 1);
            self.losses.get((row * across + column) as usize).copied().unwrap_or_default().max(0.0)
        };
        let (column, row) = (x.floor(), y.floor());
        let (to_right, below) = (x - column, y - row);
        let along_row = |row: f64| loss(column, row) * (1.0 - to_right) + loss(column + 1.0, row) * to_right;
        along_row(row) * (1.0 - below) + along_row(row + 1.0) * below
    }

    /// Up to `n` rectangles of `side` by `side` parts with the largest sums of losses, the largest first. They have at most
    /// half of their parts in common.
    pub(crate) fn most_important(&self, side: u32, n: usize) -> Vec<Part> {
        let (across, down) = self.grid;
        let (width, height) = (side.min(across), side.min(down));
        let sum = |(column, row): (u32, u32)| -> f64 {
            let inside = (row..row + height).flat_map(|row| (column..column + width).map(move |column| (column, row)));
            inside.filter_map(|(column, row)| self.losses.get((row * across + column) as usize)).sum()
        };
        let mut windows: Vec<(f64, (u32, u32))> =
            cells((across - width + 1, down - height + 1)).map(|cell| (sum(cell), cell)).collect();
        windows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shared = |a: (u32, u32), b: (u32, u32)| {
            width.saturating_sub(a.0.abs_diff(b.0)) * height.saturating_sub(a.1.abs_diff(b.1))
        };
        let mut chosen: Vec<(u32, u32)> = Vec::new();
        for (_, cell) in windows {
            if chosen.len() < n && chosen.iter().all(|other| 2 * shared(*other, cell) <= width * height) {
                chosen.push(cell);
            }
        }
        let along = |i: u32, parts: u32, origin: f64, side: f64| origin + f64::from(i) / f64::from(parts) * side;
        let part = |(column, row): (u32, u32)| Part {
            left: along(column, across, self.area.left, self.area.width),
            top: along(row, down, self.area.top, self.area.height),
            width: f64::from(width) / f64::from(across) * self.area.width,
            height: f64::from(height) / f64::from(down) * self.area.height,
        };
        chosen.into_iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_square_and_patches_overlap() {
        assert_eq!(grid_size((800, 800), (7, 21)), (7, 7));
        assert_eq!(grid_size((1280, 720), (7, 21)), (12, 7));
        assert_eq!(grid_size((1280, 720), COARSE_SIDES), (4, 3));
        let inner = patch(Part::WHOLE, (7, 7), (3, 3), 0.5);
        assert!((inner.left - 2.5 / 7.0).abs() < 1e-12 && (inner.height - 2.0 / 7.0).abs() < 1e-12);
        let corner = patch(Part::WHOLE, (7, 7), (0, 6), 0.5);
        assert!(corner.left == 0.0 && (corner.top + corner.height - 1.0).abs() < 1e-12);
        assert!((corner.width - 1.5 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn the_most_important_part_has_the_largest_losses() {
        let mut losses = vec![0.0; 24];
        [(8, 1.0), (9, 0.5), (14, 0.5), (15, -0.2), (20, 1.2)].iter().for_each(|(i, loss)| losses[*i] = *loss);
        let area = Part { left: 0.25, top: 0.0, width: 0.5, height: 1.0 };
        let map = OcclusionMap { area, grid: (6, 4), losses };
        let parts = map.most_important(2, 2);
        let part = parts[0];
        // Columns 2 and 3, rows 1 and 2: 1.0 + 0.5 + 0.5 - 0.2 exceeds 0.5 + 1.2 of the columns 1 and 2 below.
        assert!((part.left - (0.25 + 0.5 / 3.0)).abs() < 1e-12 && (part.top - 0.25).abs() < 1e-12, "{part:?}");
        assert!((part.width - 0.5 / 3.0).abs() < 1e-12 && (part.height - 0.5).abs() < 1e-12, "{part:?}");
        assert!(parts[1].left != part.left && parts[1].top >= 0.0, "{parts:?}");
        assert_eq!(map.most_important(9, 3).len(), 1);
    }
}
