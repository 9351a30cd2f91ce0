//! The number of wheel turns: as many as needed while the pin, from which the zoom factor is measured, stays in the box.

use crate::geometry::{Pixel, Rect};

/// The zoom factor per turn of the wheel, once it is known.
#[derive(Default)]
pub(super) struct WheelZoom {
    pub(super) factor: Option<f64>,
    /// Turns without effect since the last one that zoomed.
    pub(super) in_vain: usize,
}

impl WheelZoom {
    /// The number of turns that zoom by the needed factor within the room. `None` if there is no room. The first turns are made
    /// in any case, to measure the factor.
    pub(super) fn towards(&self, needed: f64, room: f64, first: bool) -> Option<usize> {
        let Some(factor) = self.factor else { return Some(1) };
        let fit = (room.ln() / factor.ln()).floor().max(if first { 1.0 } else { 0.0 });
        let count = (needed.ln() / factor.ln()).ceil().clamp(1.0, 40.0).min(fit);
        (count >= 1.0).then_some(count as usize)
    }

    /// Records that `count` turns zoomed by this factor.
    pub(super) fn were(&mut self, count: usize, factor: f64) {
        self.in_vain = 0;
        self.factor = Some(factor.powf(1.0 / count as f64).max(1.01));
    }
}

/// The factor by which a pin at the offset `from` from a pixel can move away from it within the box.
pub(super) fn room(canvas: &Rect, about: Pixel, from: Pixel) -> f64 {
    let free = |way: f64, at: f64, start: f64, side: f64| match way {
        way if way > 0.0 => (start + 0.97 * side - at) / way,
        way if way < 0.0 => (start + 0.03 * side - at) / way,
        _ => f64::INFINITY,
    };
    let across = free(from.x, about.x, canvas.x, canvas.width);
    across.min(free(from.y, about.y, canvas.y, canvas.height)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_is_turned_as_often_as_is_needed_and_there_is_room_for() {
        let mut turns = WheelZoom { factor: None, in_vain: 2 };
        assert_eq!(turns.towards(13.0, 9.0, true), Some(1));
        turns.were(2, 1.44);
        assert_eq!(turns.in_vain, 0);
        assert_eq!(turns.towards(1.5, 9.0, true), Some(3));
        assert_eq!(turns.towards(13.0, 1.5, true), Some(2));
        assert_eq!((turns.towards(13.0, 1.1, true), turns.towards(13.0, 1.1, false)), (Some(1), None));
    }

    #[test]
    fn the_room_ends_where_the_pin_would_leave_the_box() {
        let canvas = Rect { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };
        let about = Pixel { x: 100.0, y: 100.0 };
        assert!((room(&canvas, about, Pixel { x: 20.0, y: 0.0 }) - (582.0 - 100.0) / 20.0).abs() < 1e-9);
        assert!((room(&canvas, about, Pixel { x: 20.0, y: -20.0 }) - 88.0 / 20.0).abs() < 1e-9);
    }
}
