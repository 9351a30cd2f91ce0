//! The number of wheel turns: as many as needed while the pin, from which the zoom factor is measured, stays in the
//! box.

use crate::geometry::{Pixel, Rect};

/// The zoom factor per turn of the wheel, once it is known.
#[derive(Default)]
pub(super) struct WheelZoom {
    pub(super) factor: Option<f64>,
    /// Turns without effect since the last one that zoomed.
    pub(super) failed_attempts: usize,
}

impl WheelZoom {
    /// The number of turns that zoom by the needed factor within the room. `None` if there is no room. The first turns
    /// are made in any case, to measure the factor.
    pub(super) fn towards(&self, needed: f64, room: f64, first: bool) -> Option<usize> {
        let Some(factor) = self.factor else { return Some(1) };
        let fit = (room.ln() / factor.ln()).floor().max(if first { 1.0 } else { 0.0 });
        let count = (needed.ln() / factor.ln()).ceil().clamp(1.0, 40.0).min(fit);
        (count >= 1.0).then_some(count as usize)
    }

    /// Records that `count` turns zoomed by this factor.
    pub(super) fn record(&mut self, count: usize, factor: f64) {
        self.failed_attempts = 0;
        self.factor = Some(factor.powf(1.0 / count as f64).max(1.01));
    }
}

/// The factor by which a pin at the offset `from` from a pixel can move away from it within the box.
pub(super) fn room(canvas: &Rect, about: Pixel, from: Pixel) -> f64 {
    let factor_to_edge = |direction: f64, at: f64, start: f64, side: f64| match direction {
        direction if direction > 0.0 => (start + 0.97 * side - at) / direction,
        direction if direction < 0.0 => (start + 0.03 * side - at) / direction,
        _ => f64::INFINITY,
    };
    let across = factor_to_edge(from.x, about.x, canvas.x, canvas.width);
    across.min(factor_to_edge(from.y, about.y, canvas.y, canvas.height)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheel_turns_are_limited_by_the_zoom_needed_and_by_the_room() {
        let mut wheel_zoom = WheelZoom { factor: None, failed_attempts: 2 };
        assert_eq!(wheel_zoom.towards(13.0, 9.0, true), Some(1));
        wheel_zoom.record(2, 1.44);
        assert_eq!(wheel_zoom.failed_attempts, 0);
        assert_eq!(wheel_zoom.towards(1.5, 9.0, true), Some(3));
        assert_eq!(wheel_zoom.towards(13.0, 1.5, true), Some(2));
        assert_eq!((wheel_zoom.towards(13.0, 1.1, true), wheel_zoom.towards(13.0, 1.1, false)), (Some(1), None));
    }

    #[test]
    fn room_ends_where_the_pin_would_leave_the_box() {
        let canvas = Rect { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };
        let about = Pixel { x: 100.0, y: 100.0 };
        assert!((room(&canvas, about, Pixel { x: 20.0, y: 0.0 }) - (582.0 - 100.0) / 20.0).abs() < 1e-9);
        assert!((room(&canvas, about, Pixel { x: 20.0, y: -20.0 }) - 88.0 / 20.0).abs() < 1e-9);
    }
}
