//! A small world map in characters. With colours, each character shows two dots, one above the other; without, land is drawn
//! as braille dots and the heat map in shades.

use std::fmt::Write;

use landfall_model::cells::arc_m;
use landfall_model::{LatLng, countries};

use crate::inference::CellProbability;
use crate::terminal::{Colours, TerminalCanvas};

/// Latitude of the southern and northern edge in degrees.
const LAT_RANGE_DEG: (f64, f64) = (-58.0, 80.0);
/// Metres per degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.0;
/// Minimum probability of a cell to be drawn.
const MIN_PROBABILITY: f64 = 2e-4;
/// Characters for heat without colours, each with its minimum share of the maximum.
const HEAT_SHADES: [(f64, char); 4] = [(0.6, '█'), (0.3, '▓'), (0.12, '▒'), (0.04, '░')];

type Rgb = [f64; 3];
const SEA: Rgb = [16.0, 26.0, 42.0];
const LAND: Rgb = [66.0, 80.0, 98.0];
/// Colour scale of the heat map, from low to high.
const HEAT: [Rgb; 3] = [[150.0, 60.0, 40.0], [240.0, 130.0, 30.0], [255.0, 232.0, 130.0]];

/// Kind of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapMark {
    /// The prediction.
    Guess,
    /// The true location.
    Truth,
}

impl MapMark {
    fn character(self) -> char {
        match self {
            Self::Guess => '◆',
            Self::Truth => '✚',
        }
    }

    fn colour(self) -> Rgb {
        match self {
            Self::Guess => [255.0, 255.0, 255.0],
            Self::Truth => [90.0, 240.0, 150.0],
        }
    }
}

/// Draws the world with heat map and marks; each line ends with a line break, and later marks cover earlier ones. If the true
/// location is marked, a legend follows.
pub(super) fn draw(canvas: TerminalCanvas, heat: &[CellProbability], marks: &[(MapMark, LatLng)]) -> String {
    let grid = CharacterGrid::new(canvas.columns);
    let mark_at = |row: usize, column: usize| {
        let is_here = |(_, at): &&(MapMark, LatLng)| grid.cell_of(*at) == Some((row, column));
        marks.iter().rev().find(is_here).map(|(mark, _)| *mark)
    };
    let mut text = match canvas.colours {
        Colours::True | Colours::Palette256 => grid.render_coloured(canvas.colours, &grid.heat(heat, 2), mark_at),
        Colours::Sixteen | Colours::None => grid.render_plain(canvas.colours, &grid.heat(heat, 1), mark_at),
    };
    if marks.iter().any(|(mark, _)| *mark == MapMark::Truth) {
        let _ = writeln!(text, "{} guess  {} truth", MapMark::Guess.character(), MapMark::Truth.character());
    }
    text
}

/// The character grid of a map.
struct CharacterGrid {
    columns: usize,
    rows: usize,
}

impl CharacterGrid {
    fn new(columns: u16) -> Self {
        let columns = usize::from(columns);
        // Characters are about twice as tall as they are wide.
        let rows = (columns as f64 * (LAT_RANGE_DEG.1 - LAT_RANGE_DEG.0) / 360.0 / 2.0).round() as usize;
        Self { columns, rows: rows.max(1) }
    }

    /// Row and column of the character that contains a location.
    fn cell_of(&self, at: LatLng) -> Option<(usize, usize)> {
        let row = (LAT_RANGE_DEG.1 - at.lat) / (LAT_RANGE_DEG.1 - LAT_RANGE_DEG.0) * self.rows as f64;
        let column = (at.lng + 180.0) / 360.0 * self.columns as f64;
        (0.0..self.rows as f64).contains(&row).then_some((row as usize, (column as usize).min(self.columns - 1)))
    }

    /// The location of a point in a character, given as fractions from its left and top edge.
    fn point_in_cell(&self, row: usize, column: usize, x: f64, y: f64) -> LatLng {
        let lat = LAT_RANGE_DEG.1 - (row as f64 + y) / self.rows as f64 * (LAT_RANGE_DEG.1 - LAT_RANGE_DEG.0);
        LatLng { lat, lng: (column as f64 + x) / self.columns as f64 * 360.0 - 180.0 }
    }

    /// Probability density at each dot relative to the maximum, row by row, with `dots` dots per character.
    fn heat(&self, spots: &[CellProbability], dots: usize) -> Vec<f64> {
        let spots: Vec<([f64; 3], f64, f64)> = spots
            .iter()
            .filter(|spot| spot.p > MIN_PROBABILITY)
            .map(|spot| {
                // Cells smaller than a dot fill one dot.
                let reach = spot.spread_m.max(0.35 * METRES_PER_DEGREE * 360.0 / self.columns as f64);
                (spot.at.to_unit_vector(), reach, spot.p / (reach * reach))
            })
            .collect();
        let mut density = Vec::with_capacity(self.rows * dots * self.columns);
        for line in 0..self.rows * dots {
            for column in 0..self.columns {
                let y = ((line % dots) as f64 + 0.5) / dots as f64;
                let v = self.point_in_cell(line / dots, column, 0.5, y).to_unit_vector();
                let sum = spots.iter().map(|(at, reach, weight)| {
                    let part = arc_m(*at, v) / reach;
                    if part > 4.0 { 0.0 } else { weight * (-0.5 * part * part).exp() }
                });
                density.push(sum.sum::<f64>());
            }
        }
        let most = density.iter().copied().fold(0.0, f64::max);
        density.iter_mut().for_each(|dot| *dot = if most > 0.0 { *dot / most } else { 0.0 });
        density
    }

    /// Share of land in the upper or lower half of a character, 0 to 1.
    fn land(&self, row: usize, column: usize, half: usize) -> f64 {
        let samples = [(0.25, 0.125), (0.75, 0.125), (0.25, 0.375), (0.75, 0.375)];
        let is_land =
            |(x, y): &(f64, f64)| countries::at(self.point_in_cell(row, column, *x, y + half as f64 / 2.0)).is_some();
        samples.iter().filter(|sample| is_land(sample)).count() as f64 / samples.len() as f64
    }

    fn render_coloured(
        &self,
        colours: Colours,
        heat: &[f64],
        mark_at: impl Fn(usize, usize) -> Option<MapMark>,
    ) -> String {
        let mut text = String::new();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let [upper, lower]: [Rgb; 2] = std::array::from_fn(|half| {
                    let ground = blend(SEA, LAND, self.land(row, column, half));
                    heat_colour(ground, heat[(2 * row + half) * self.columns + column])
                });
                let (front, back, character) = match mark_at(row, column) {
                    Some(mark) => (mark.colour(), blend(blend(upper, lower, 0.5), [0.0; 3], 0.55), mark.character()),
                    None => (upper, lower, '▀'),
                };
                // Writing to a String cannot fail.
                let _ = match colours {
                    Colours::True => {
                        let [[a, b, c], [d, e, f]] = [front, back].map(|colour| colour.map(|part| part as u8));
                        write!(text, "\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m{character}")
                    }
                    _ => write!(
                        text,
                        "\x1b[38;5;{};48;5;{}m{character}",
                        nearest_palette_index(front),
                        nearest_palette_index(back)
                    ),
                };
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    fn render_plain(
        &self,
        colours: Colours,
        heat: &[f64],
        mark_at: impl Fn(usize, usize) -> Option<MapMark>,
    ) -> String {
        let mut text = String::new();
        let mut put = |character: char, style: &str| match colours {
            Colours::None => text.push(character),
            _ if character == ' ' || character == '\n' => text.push(character),
            _ => {
                let _ = write!(text, "\x1b[{style}m{character}\x1b[0m");
            }
        };
        for row in 0..self.rows {
            for column in 0..self.columns {
                let heat = heat[row * self.columns + column];
                let shade = HEAT_SHADES.iter().find(|(least, _)| heat >= *least).map(|(_, shade)| *shade);
                match (mark_at(row, column), shade) {
                    (Some(MapMark::Guess), _) => put(MapMark::Guess.character(), "1;31"),
                    (Some(MapMark::Truth), _) => put(MapMark::Truth.character(), "1;32"),
                    (None, Some(shade)) => put(shade, "33"),
                    (None, None) => put(self.braille(row, column), "2"),
                }
            }
            put('\n', "");
        }
        text
    }

    /// Land in a character as braille dots, two columns by four rows. Only every other dot is set, so that heat stands out.
    fn braille(&self, row: usize, column: usize) -> char {
        // Bits of the Unicode braille patterns from U+2800, row by row.
        const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let mut bits = 0;
        for (y, line) in BITS.iter().enumerate() {
            for (x, bit) in line.iter().enumerate() {
                if (x + y) % 2 == 1 {
                    continue;
                }
                let at = self.point_in_cell(row, column, (x as f64 + 0.5) / 2.0, (y as f64 + 0.5) / 4.0);
                bits |= if countries::at(at).is_some() { *bit } else { 0 };
            }
        }
        if bits == 0 { ' ' } else { char::from_u32(0x2800 + bits).unwrap_or(' ') }
    }
}

fn blend(a: Rgb, b: Rgb, part: f64) -> Rgb {
    std::array::from_fn(|i| a[i] + part * (b[i] - a[i]))
}

/// Blends heat (0 to 1) over the colour of the ground.
fn heat_colour(ground: Rgb, heat: f64) -> Rgb {
    let heat = heat.sqrt(); // keeps a hundredth of the maximum visible
    let colour =
        if heat < 0.5 { blend(HEAT[0], HEAT[1], 2.0 * heat) } else { blend(HEAT[1], HEAT[2], 2.0 * heat - 1.0) };
    blend(ground, colour, (heat * 2.2).min(1.0))
}

/// Index of the nearest colour in the palette of 256 colours: in its 6 × 6 × 6 cube or among its greys.
fn nearest_palette_index(colour: Rgb) -> u8 {
    const LEVELS: [f64; 6] = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
    let nearest = |part: f64| {
        (0..LEVELS.len()).min_by(|a, b| (LEVELS[*a] - part).abs().total_cmp(&(LEVELS[*b] - part).abs())).unwrap_or(0)
    };
    let cube = colour.map(nearest);
    let grey = ((colour.iter().sum::<f64>() / 3.0 - 8.0) / 10.0).round().clamp(0.0, 23.0);
    let apart = |other: Rgb| (0..3).map(|i| (other[i] - colour[i]).powi(2)).sum::<f64>();
    if apart([8.0 + 10.0 * grey; 3]) < apart(cube.map(|level| LEVELS[level])) {
        return 232 + grey as u8;
    }
    (16 + 36 * cube[0] + 6 * cube[1] + cube[2]) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const LYON: LatLng = LatLng { lat: 45.76, lng: 4.83 };

    fn spot(at: LatLng, p: f64) -> CellProbability {
        CellProbability { at, spread_m: 200_000.0, p }
    }

    /// The rows without their colour escapes.
    fn rows(colours: Colours) -> Vec<Vec<char>> {
        let canvas = TerminalCanvas { columns: 72, colours };
        let text = draw(canvas, &[spot(LYON, 0.9)], &[(MapMark::Guess, LYON)]);
        console::strip_ansi_codes(&text).lines().map(|line| line.chars().collect()).collect()
    }

    #[test]
    fn the_pin_is_where_it_belongs_with_every_number_of_colours() {
        for colours in [Colours::None, Colours::Sixteen, Colours::Palette256, Colours::True] {
            let rows = rows(colours);
            assert!(rows.len() == 14 && rows.iter().all(|row| row.len() == 72), "{colours:?}: {rows:?}");
            // 45.76° N is 34.24 of 138 degrees below the northern edge; 4.83° E is 184.83 of 360 degrees from the left.
            assert_eq!(rows[3][36], '◆', "{colours:?}");
        }
    }

    #[test]
    fn land_sea_and_heat_are_told_apart() {
        let plain = rows(Colours::None);
        assert_eq!((plain[6][20], plain[8][24]), (' ', '⢕'), "the Atlantic, and Brazil: {plain:?}");
        assert!(HEAT_SHADES.iter().any(|(_, shade)| plain[3][37] == *shade || plain[3][35] == *shade), "{plain:?}");
        let canvas = TerminalCanvas { columns: 60, colours: Colours::None };
        assert!(!draw(canvas, &[], &[]).contains('\x1b'));
        let both = draw(canvas, &[], &[(MapMark::Truth, LYON), (MapMark::Guess, LatLng { lat: 0.0, lng: 0.0 })]);
        assert!(both.matches('✚').count() == 2 && both.ends_with("◆ guess  ✚ truth\n"), "{both}");

        let grid = CharacterGrid::new(72);
        let heat = grid.heat(&[spot(LYON, 0.6), spot(LatLng { lat: -33.0, lng: 151.0 }, 0.3)], 2);
        let at = |lat: f64, lng: f64| {
            let (row, column) = grid.cell_of(LatLng { lat, lng }).unwrap();
            heat[2 * row * 72 + column].max(heat[(2 * row + 1) * 72 + column])
        };
        assert!(at(45.76, 4.83) == 1.0 && (0.2..0.8).contains(&at(-33.0, 151.0)) && at(0.0, -30.0) == 0.0);
        assert_eq!(grid.cell_of(LatLng { lat: -89.0, lng: 0.0 }), None);
    }

    #[test]
    fn the_table_has_cube_and_greys() {
        assert_eq!(
            [[255.0, 0.0, 0.0], [0.0; 3], [128.0; 3], [255.0; 3]].map(nearest_palette_index),
            [196, 16, 244, 231]
        );
    }
}
