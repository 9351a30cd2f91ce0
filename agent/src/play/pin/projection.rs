//! The projection of a map onto the viewport: Web Mercator with the size of the world and the position of its corner.

use landfall_common::draw::mercator::{self, MAX_LAT_DEG};
use landfall_model::LatLng;
use landfall_model::latlng::EARTH_RADIUS_M;

use crate::geometry::{Pixel, Rect};

/// Size and position of the world on the viewport.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Projection {
    /// Width of the world in CSS pixels.
    pub world: f64,
    /// The pixel of longitude -180 at the northern edge.
    pub corner: Pixel,
}

impl Projection {
    /// The projection with a world of `world` pixels in width and a place at a pixel.
    pub(crate) fn with(place: LatLng, at: Pixel, world: f64) -> Self {
        let (across, down) = mercator::project(place);
        Self { world, corner: Pixel { x: at.x - across * world, y: at.y - down * world } }
    }

    /// The pixel of a place; of its copies in repeated worlds the one nearest to `near`.
    pub(crate) fn pixel(&self, place: LatLng, near: Pixel) -> Pixel {
        let (across, down) = mercator::project(place);
        self.copy(Pixel { x: self.corner.x + across * self.world, y: self.corner.y + down * self.world }, near)
    }

    /// Of the copies of a pixel in repeated worlds, the one nearest to `near`.
    pub(crate) fn copy(&self, of: Pixel, near: Pixel) -> Pixel {
        Pixel { x: of.x + ((near.x - of.x) / self.world).round() * self.world, ..of }
    }

    /// The place at a pixel. Above and below the map, the latitude is clamped to its edge.
    pub(crate) fn place(&self, pixel: Pixel) -> LatLng {
        mercator::unproject(((pixel.x - self.corner.x) / self.world, (pixel.y - self.corner.y) / self.world))
    }

    /// Metres per pixel at a place.
    pub(crate) fn metres_per_pixel(&self, place: LatLng) -> f64 {
        std::f64::consts::TAU * EARTH_RADIUS_M * place.lat.clamp(-MAX_LAT_DEG, MAX_LAT_DEG).to_radians().cos()
            / self.world
    }

    /// Whether both show the same region at the same size.
    pub(crate) fn approx_eq(&self, other: &Self) -> bool {
        (self.world - other.world).abs() < 0.5
            && (self.corner.x - other.corner.x).abs() < 0.5
            && (self.corner.y - other.corner.y).abs() < 0.5
    }

    /// The map moved right and down.
    pub(crate) fn moved_by(self, by: Pixel) -> Self {
        Self { corner: Pixel { x: self.corner.x + by.x, y: self.corner.y + by.y }, ..self }
    }

    /// The map zoomed about a fixed pixel.
    pub(crate) fn zoomed(self, about: Pixel, factor: f64) -> Self {
        let corner =
            Pixel { x: about.x + (self.corner.x - about.x) * factor, y: about.y + (self.corner.y - about.y) * factor };
        Self { world: self.world * factor, corner }
    }

    /// The map constrained to a box that never shows anything beyond the poles, nor beyond the sides of a world that does not
    /// repeat: a world that is too small is enlarged to fill the box and moved to cover it.
    pub(crate) fn clamped_to(self, canvas: &Rect, repeats: bool) -> Self {
        let least = if repeats { canvas.height } else { canvas.height.max(canvas.width) };
        let map = if self.world < least { self.zoomed(canvas.centre(), least / self.world) } else { self };
        // Not `clamp`, which panics if a rounding error puts the lower bound above the upper one.
        let held = |corner: f64, start: f64, side: f64| corner.max(start + side - map.world).min(start);
        let y = held(map.corner.y, canvas.y, canvas.height);
        let x = if repeats { map.corner.x } else { held(map.corner.x, canvas.x, canvas.width) };
        Self { corner: Pixel { x, y }, ..map }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LYON: LatLng = LatLng { lat: 45.76, lng: 4.83 };

    #[test]
    fn places_and_pixels_are_inverse_and_zooming_keeps_a_pixel() {
        let map = Projection::with(LYON, Pixel { x: 300.0, y: 200.0 }, 1024.0);
        let at = map.pixel(LYON, Pixel { x: 0.0, y: 0.0 });
        assert!((at.x - 300.0).abs() < 1e-9 && (at.y - 200.0).abs() < 1e-9, "{at:?}");
        let about = Pixel { x: 411.0, y: 73.0 };
        let closer = map.zoomed(about, 13.7);
        assert!(closer.place(about).distance_m(map.place(about)) < 1e-3);
        let place = map.moved_by(Pixel { x: -7.0, y: 9.0 }).place(Pixel { x: 293.0, y: 209.0 });
        assert!(place.distance_m(LYON) < 1e-3);
    }

    #[test]
    fn maps_do_not_extend_beyond_the_poles() {
        let canvas = Rect { x: 10.0, y: 20.0, width: 700.0, height: 600.0 };
        let filled = Projection::with(LYON, canvas.centre(), 512.0).clamped_to(&canvas, true);
        assert!((filled.world - 600.0).abs() < 1e-9 && (filled.corner.y - 20.0).abs() < 1e-9);
        assert!((filled.place(canvas.centre()).lng - LYON.lng).abs() < 1e-9);
        let north = Projection::with(LatLng { lat: 85.0, lng: 0.0 }, canvas.centre(), 1024.0).clamped_to(&canvas, true);
        assert!((north.corner.y - 20.0).abs() < 1e-9);
        let single = Projection::with(LYON, canvas.centre(), 512.0).clamped_to(&canvas, false);
        assert!((single.world - 700.0).abs() < 1e-9 && (single.corner.x - 10.0).abs() < 1e-9);
    }
}
