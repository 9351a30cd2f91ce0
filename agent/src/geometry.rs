//! Points and rectangles of the viewport.

use serde::{Deserialize, Serialize};

/// A point of the viewport in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixel {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

impl std::ops::Add for Pixel {
    type Output = Self;

    fn add(self, by: Self) -> Self {
        Self { x: self.x + by.x, y: self.y + by.y }
    }
}

/// A rectangle of the viewport in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Rect {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// The centre.
    pub fn centre(&self) -> Pixel {
        self.at(0.5, 0.5)
    }

    /// The point at these fractions of width and height.
    pub fn at(&self, across: f64, down: f64) -> Pixel {
        Pixel { x: self.x + across * self.width, y: self.y + down * self.height }
    }

    /// The rectangle moved right and down.
    pub fn moved_by(self, by: Pixel) -> Self {
        Self { x: self.x + by.x, y: self.y + by.y, ..self }
    }

    /// Whether the point lies at least `margin` (a fraction of the side) inside.
    pub fn holds(&self, point: Pixel, margin: f64) -> bool {
        let inside = |value: f64, start: f64, length: f64| {
            value >= start + margin * length && value <= start + (1.0 - margin) * length
        };
        inside(point.x, self.x, self.width) && inside(point.y, self.y, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_inside_a_margin() {
        let rect = Rect { x: 100.0, y: 50.0, width: 200.0, height: 100.0 };
        assert_eq!(rect.centre(), Pixel { x: 200.0, y: 100.0 });
        assert!(rect.holds(Pixel { x: 101.0, y: 51.0 }, 0.0));
        assert!(!rect.holds(Pixel { x: 101.0, y: 51.0 }, 0.1));
        assert!(!rect.holds(Pixel { x: 200.0, y: 151.0 }, 0.0));
    }
}
