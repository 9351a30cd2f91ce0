//! The occlusion map over a picture, with the highlighted part outlined.

use image::{Rgb, RgbImage};
use landfall_common::picture::fit_within;

use crate::evidence::occlusion::OcclusionMap;
use crate::evidence::view::Part;

/// Maximum length of a side in pixels.
const MAX_SIDE_PX: u32 = 1280;
/// The accent colour of the reports, and its maximum opacity.
pub(crate) const COLOUR: ([u8; 3], f64) = ([222, 52, 30], 205.0);
/// Minimum loss, in nats, that is drawn fully opaque, so that small losses remain pale.
pub(crate) const FULL_COLOUR_NATS: f64 = 0.2;
/// Maximum opacity over a picture, of 1: what is below must be recognisable.
const OPACITY: f64 = 0.5;
/// Colours of the outline: dark inside light, so that it shows on any picture.
const OUTLINE: [Rgb<u8>; 2] = [Rgb([255, 255, 255]), Rgb([20, 24, 31])];

/// Draws a map over a smaller copy of its picture.
pub(crate) fn draw(picture: &RgbImage, map: &OcclusionMap, highlighted: Part) -> RgbImage {
    let mut drawn = fit_within(picture, (MAX_SIDE_PX, MAX_SIDE_PX));
    let (width, height) = drawn.dimensions();
    let full = map.max_loss().max(FULL_COLOUR_NATS);
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let (u, v) = ((f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height));
        let opacity = OPACITY * (map.loss_at(u, v) / full).clamp(0.0, 1.0);
        for (channel, colour) in pixel.0.iter_mut().zip(COLOUR.0) {
            *channel = (f64::from(*channel) * (1.0 - opacity) + f64::from(colour) * opacity).round() as u8;
        }
    }
    let thickness = (width.max(height) / 320).max(1);
    for (ring, colour) in OUTLINE.into_iter().enumerate() {
        outline(&mut drawn, highlighted, ring as u32 * thickness, thickness, colour);
    }
    drawn
}

/// Outlines a part, `inset` pixels inside of it.
fn outline(picture: &mut RgbImage, part: Part, inset: u32, thickness: u32, colour: Rgb<u8>) {
    let (width, height) = picture.dimensions();
    let edge = |at: f64, side: u32| ((at * f64::from(side)).round().max(0.0) as u32).min(side);
    let (left, right) = (edge(part.left, width) + inset, edge(part.left + part.width, width).saturating_sub(inset));
    let (top, bottom) = (edge(part.top, height) + inset, edge(part.top + part.height, height).saturating_sub(inset));
    for y in top..bottom {
        for x in left..right {
            let from_edge = (x - left).min(right - 1 - x).min(y - top).min(bottom - 1 - y);
            if from_edge < thickness {
                picture.put_pixel(x, y, colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_red_and_the_highlighted_part_is_outlined() {
        let grey = RgbImage::from_pixel(400, 200, Rgb([100; 3]));
        let map = OcclusionMap { area: Part::WHOLE, grid: (4, 2), losses: vec![0., 0., 0., 1., 0., 0., 0., -3.] };
        let part = Part { left: 0.75, top: 0.0, width: 0.25, height: 0.5 };
        let drawn = draw(&grey, &map, part);
        assert_eq!(drawn.dimensions(), (400, 200));
        let [r, g, b] = drawn.get_pixel(350, 50).0;
        assert!(r > 150 && g < 80 && b < 80, "{:?}", (r, g, b));
        assert_eq!(drawn.get_pixel(50, 50).0, [100; 3]);
        assert_eq!(drawn.get_pixel(350, 150).0, [100; 3], "gains are not drawn");
        assert_eq!((drawn.get_pixel(300, 50), drawn.get_pixel(301, 50)), (&OUTLINE[0], &OUTLINE[1]));
        // Large pictures are drawn smaller.
        assert_eq!(draw(&RgbImage::new(2560, 1000), &map, part).dimensions(), (1280, 500));
    }
}
