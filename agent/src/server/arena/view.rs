//! What is seen of an image in a direction.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use image::RgbImage;
use image::imageops::{crop_imm, interpolate_bilinear};
use landfall_common::picture::fit_within;

/// Horizontal field of view of a panorama in degrees, as on the page.
pub(super) const HFOV_DEG: f64 = 100.0;
/// The width of a photo counts as this many degrees when a part of it is chosen by its heading.
const PHOTO_WIDTH_DEG: f64 = 60.0;
/// Maximum magnification.
pub(super) const MAX_ZOOM: f64 = 8.0;

/// A direction and a magnification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::server) struct Gaze {
    /// Degrees clockwise from north; on a photo, from its centre.
    pub heading: f64,
    /// Degrees above the horizon; on a photo, above its centre.
    pub pitch: f64,
    pub zoom: f64,
}

impl Gaze {
    /// # Errors
    /// Which number is not a direction or a magnification.
    pub(super) fn new(heading: f64, pitch: f64, zoom: f64) -> Result<Self, String> {
        if !heading.is_finite() {
            return Err("`heading` is not a number of degrees".to_owned());
        }
        if !(-90.0..=90.0).contains(&pitch) {
            return Err(format!("`pitch` must be from -90 (down) to 90 (up), not {pitch}"));
        }
        if !(1.0..=MAX_ZOOM).contains(&zoom) {
            return Err(format!("`zoom` must be from 1 to {MAX_ZOOM}, not {zoom}"));
        }
        Ok(Self { heading: heading.rem_euclid(360.0), pitch, zoom })
    }
}

/// A rectilinear view of an equirectangular panorama, whose centre column faces north.
pub(super) fn of_panorama(panorama: &RgbImage, gaze: Gaze, (width_px, height_px): (u32, u32)) -> RgbImage {
    let (width, height) = (f64::from(width_px), f64::from(height_px));
    let focal = gaze.zoom * width / 2.0 / (HFOV_DEG / 2.0).to_radians().tan();
    let (sin, cos) = if gaze.pitch == 0.0 { (0.0, 1.0) } else { gaze.pitch.to_radians().sin_cos() };
    let (across, down) = (f64::from(panorama.width()), f64::from(panorama.height()));
    RgbImage::from_fn(width_px, height_px, |x, y| {
        let (right, below) = (f64::from(x) + 0.5 - width / 2.0, f64::from(y) + 0.5 - height / 2.0);
        let (ahead, above) = (focal * cos + below * sin, focal * sin - below * cos);
        let yaw = gaze.heading.to_radians() + right.atan2(ahead);
        let pitch = above.atan2(right.hypot(ahead));
        let column = (yaw + PI).rem_euclid(TAU) / TAU * across - 0.5;
        let row = (FRAC_PI_2 - pitch) / PI * down - 0.5;
        let (column, row) = (column.clamp(0.0, across - 1.0), row.clamp(0.0, down - 1.0));
        *interpolate_bilinear(panorama, column as f32, row as f32)
            .as_ref()
            .unwrap_or_else(|| panorama.get_pixel(column as u32, row as u32))
    })
}

/// A part of a photo, not larger than this size. Directions beyond its edges show its edges.
pub(super) fn of_photo(photo: &RgbImage, gaze: Gaze, size_px: (u32, u32)) -> RgbImage {
    let part = |side: u32| ((f64::from(side) / gaze.zoom).round() as u32).clamp(1, side.max(1));
    let (width, height) = (part(photo.width()), part(photo.height()));
    let degrees_per_px = PHOTO_WIDTH_DEG / f64::from(photo.width().max(1));
    let heading = (gaze.heading + 180.0).rem_euclid(360.0) - 180.0;
    let start = |side: u32, part: u32, degrees: f64| {
        let middle = f64::from(side) / 2.0 + degrees / degrees_per_px;
        (middle - f64::from(part) / 2.0).round().clamp(0.0, f64::from(side.saturating_sub(part))) as u32
    };
    let (left, top) = (start(photo.width(), width, heading), start(photo.height(), height, -gaze.pitch));
    fit_within(&crop_imm(photo, left, top, width, height).to_image(), size_px)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn gaze(heading: f64, pitch: f64, zoom: f64) -> Gaze {
        Gaze::new(heading, pitch, zoom).unwrap()
    }

    /// Quarters of the horizon in four colours, north in the middle; the sky is white and the ground black.
    const COLOURS: [[u8; 3]; 4] = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]];

    fn panorama() -> RgbImage {
        RgbImage::from_fn(720, 360, |x, y| {
            let heading = (f64::from(x) / 2.0 - 180.0 + 45.0).rem_euclid(360.0);
            match y {
                0..80 => Rgb([255; 3]),
                280.. => Rgb([0; 3]),
                _ => Rgb(COLOURS[(heading / 90.0) as usize]),
            }
        })
    }

    #[test]
    fn a_view_shows_what_lies_in_its_direction() {
        let panorama = panorama();
        let size = (768, 576);
        for (n, colour) in COLOURS.iter().enumerate() {
            let seen = of_panorama(&panorama, gaze(90.0 * n as f64, 0.0, 1.0), size);
            assert_eq!(seen.get_pixel(384, 288).0, *colour);
            // Its edges are 50 degrees off: 45 of them are its own.
            let left = COLOURS[(n + 3) % 4];
            assert_eq!((seen.get_pixel(0, 288).0, seen.get_pixel(80, 288).0), (left, *colour));
            // Twice as large, they are 31 degrees off.
            let seen = of_panorama(&panorama, gaze(90.0 * n as f64, 0.0, 2.0), size);
            assert_eq!((seen.get_pixel(0, 288).0, seen.get_pixel(767, 288).0), (*colour, *colour));
        }
        let view = |heading| of_panorama(&panorama, gaze(heading, 0.0, 1.0), size);
        assert_eq!(view(-90.0), view(270.0));
    }

    #[test]
    fn a_view_up_shows_the_sky_and_one_down_the_ground() {
        let panorama = panorama();
        for heading in [0.0, 120.0] {
            for (pitch, colour) in [(90.0, [255; 3]), (60.0, [255; 3]), (-60.0, [0; 3]), (-90.0, [0; 3])] {
                let seen = of_panorama(&panorama, gaze(heading, pitch, 1.0), (80, 60));
                assert_eq!(seen.get_pixel(40, 30).0, colour, "{heading} {pitch}");
            }
        }
        // 50 degrees above the horizon the sky begins: looking up by 45, 5 degrees above the centre.
        let seen = of_panorama(&panorama, gaze(0.0, 45.0, 1.0), (80, 60));
        assert_eq!((seen.get_pixel(40, 33).0, seen.get_pixel(40, 24).0), (COLOURS[0], [255; 3]));
    }

    #[test]
    fn a_photo_is_shown_whole_and_then_in_parts() {
        // Nine fields.
        let photo = RgbImage::from_fn(300, 150, |x, y| Rgb([(x / 100) as u8 * 100, (y / 50) as u8 * 100, 0]));
        let seen = |heading, pitch, zoom| of_photo(&photo, gaze(heading, pitch, zoom), (200, 200));
        assert_eq!(seen(0.0, 0.0, 1.0).dimensions(), (200, 100));
        assert_eq!(seen(120.0, -40.0, 1.0), seen(0.0, 0.0, 1.0), "there is nothing beside the photo");
        for (heading, pitch, field) in [
            (0.0, 0.0, [100, 100, 0]),
            (-20.0, 0.0, [0, 100, 0]),
            (340.0, 10.0, [0, 0, 0]),
            (20.0, -10.0, [200, 200, 0]),
            (180.0, -90.0, [0, 200, 0]),
        ] {
            let part = seen(heading, pitch, 3.0);
            assert_eq!(part.dimensions(), (100, 50));
            assert!(part.pixels().all(|pixel| pixel.0 == field), "{heading} {pitch}: {:?}", part.get_pixel(50, 25));
        }
        // Nor is anything left of the smallest photo.
        assert_eq!(of_photo(&RgbImage::new(1, 1), gaze(40.0, 3.0, 8.0), (200, 200)).dimensions(), (1, 1));
    }

    #[test]
    fn impossible_directions_are_refused() {
        for (heading, pitch, zoom) in [
            (f64::NAN, 0.0, 1.0),
            (f64::INFINITY, 0.0, 1.0),
            (0.0, 90.5, 1.0),
            (0.0, f64::NAN, 1.0),
            (0.0, 0.0, 0.9),
            (0.0, 0.0, 8.1),
        ] {
            assert!(Gaze::new(heading, pitch, zoom).is_err(), "{heading} {pitch} {zoom}");
        }
        assert_eq!(gaze(-450.0, 0.0, 1.0).heading, 270.0);
    }
}
