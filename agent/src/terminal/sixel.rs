//! Sixels, the image format of DEC terminals: bands of six pixel rows, one colour after another.
//!
//! Our own encoder, because the existing crate depends on a colour quantiser with a dozen dependencies; a fixed palette with
//! dithering is enough for thumbnails.

use std::fmt::Write;

use image::imageops::{self, ColorMap};
use image::{Rgb, RgbImage};

/// Levels of red, green and blue: 240 colours, within the 256 that terminals support.
const LEVELS: [usize; 3] = [6, 8, 5];

/// The fixed palette.
struct FixedPalette;

impl FixedPalette {
    fn colour(index: usize) -> [usize; 3] {
        [index / (LEVELS[1] * LEVELS[2]), index / LEVELS[2] % LEVELS[1], index % LEVELS[2]]
    }
}

impl ColorMap for FixedPalette {
    type Color = Rgb<u8>;

    fn index_of(&self, colour: &Rgb<u8>) -> usize {
        let level = |i: usize| (usize::from(colour.0[i]) * (LEVELS[i] - 1) + 127) / 255;
        (level(0) * LEVELS[1] + level(1)) * LEVELS[2] + level(2)
    }

    fn map_color(&self, colour: &mut Rgb<u8>) {
        let levels = Self::colour(self.index_of(colour));
        colour.0 = std::array::from_fn(|i| (levels[i] * 255 / (LEVELS[i] - 1)) as u8);
    }
}

/// Encodes an image as sixels.
pub(super) fn encode(picture: &RgbImage) -> String {
    let (width, height) = picture.dimensions();
    let mut dithered = picture.clone();
    imageops::dither(&mut dithered, &FixedPalette);
    let mut text = format!("\x1bPq\"1;1;{width};{height}");
    let mut known = [false; LEVELS[0] * LEVELS[1] * LEVELS[2]];
    for top in (0..height).step_by(6) {
        let band: Vec<Vec<usize>> = (top..(top + 6).min(height))
            .map(|y| (0..width).map(|x| FixedPalette.index_of(dithered.get_pixel(x, y))).collect())
            .collect();
        let mut colours: Vec<usize> = band.iter().flatten().copied().collect();
        colours.sort_unstable();
        colours.dedup();
        for colour in colours {
            let sixels: Vec<u8> = (0..width as usize)
                .map(|x| band.iter().enumerate().map(|(y, row)| u8::from(row[x] == colour) << y).sum())
                .collect();
            if !known[colour] {
                known[colour] = true;
                let levels = FixedPalette::colour(colour);
                let [r, g, b]: [usize; 3] = std::array::from_fn(|i| levels[i] * 100 / (LEVELS[i] - 1));
                let _ = write!(text, "#{colour};2;{r};{g};{b}"); // writing to a String cannot fail
            }
            let _ = write!(text, "#{colour}");
            for run in sixels.chunk_by(|a, b| a == b) {
                let character = char::from(b'?' + run[0]);
                let _ = match run.len() {
                    n @ 0..4 => write!(text, "{}", character.to_string().repeat(n)),
                    n => write!(text, "!{n}{character}"),
                };
            }
            text.push('$'); // back to the left edge for the next colour
        }
        text.push('-');
    }
    text + "\x1b\\"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_has_its_colour() {
        // Corners of the palette, which dithering does not change. Seven rows make two bands.
        let picture = RgbImage::from_fn(5, 7, |x, _| if x < 4 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let (red, blue) = (FixedPalette.index_of(&Rgb([255, 0, 0])), FixedPalette.index_of(&Rgb([0, 0, 255])));
        let expected = format!(
            "\x1bPq\"1;1;5;7#{blue};2;0;0;100#{blue}!4?~$#{red};2;100;0;0#{red}!4~?$-#{blue}!4?@$#{red}!4@?$-\x1b\\"
        );
        assert_eq!(encode(&picture), expected);
    }
}
