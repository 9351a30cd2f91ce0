//! What a drawn map shows, told by its coasts as a person tells it: land and sea are of different colours, so the map lies
//! where the world's land and sea part the picture's colours best.

use image::RgbImage;
use landfall_model::LatLng;
use landfall_model::countries;

/// First the picture is looked at by so many pixels, spread over it.
const COARSE: f64 = 1500.0;
/// The world may be so many times higher than the picture: closer maps show too few coasts.
const CLOSEST: f64 = 8.0;
/// From one size of the world to the next.
const STEP: f64 = 1.09;
/// One pixel in so many may be of a colour that is neither land's nor sea's, at each end.
const RARE: usize = 12;
/// So much of the colours' variance land and sea must explain.
const SURE: f64 = 0.4;
/// Then so many of the best sizes are looked at closely, by so many.
const FINALISTS: usize = 4;
const FINE: f64 = 5000.0;

/// A map's view: what is in the middle of the picture, and how wide the world is in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sight {
    pub(super) middle: LatLng,
    pub(super) world: f64,
    /// How much of the colours land and sea explain, from 0 to 1.
    pub(super) sure: f64,
}

/// A view as it is searched: the middle as fractions of the world from its north-western corner.
#[derive(Clone, Copy)]
struct View {
    across: f64,
    down: f64,
    world: f64,
}

/// The view of a map of the world, in Web Mercator and with north up, that shows nothing beyond the poles. `None` when the
/// picture is of no such map, or shows too little of coasts.
pub(super) fn view(picture: &RgbImage) -> Option<Sight> {
    let mut best: Vec<(f64, View)> = Vec::new();
    let small = Samples::of(picture, COARSE);
    let mut world = f64::from(picture.height());
    while world < CLOSEST * f64::from(picture.height()) {
        best.extend(small.best(world));
        world *= STEP;
    }
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    let fine = Samples::of(picture, FINE);
    let refined = best.into_iter().take(FINALISTS).map(|(_, view)| {
        let mut land = Land::of(view.world);
        let (sure, view) = fine.refine(view, small.every, &mut land);
        (sure, view, land)
    });
    let (sure, view, mut land) = refined.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (sure, view) = fine.rounded(sure, view, &mut land);
    (sure >= SURE).then(|| Sight { middle: place(view.across, view.down), world: view.world, sure })
}

fn place(across: f64, down: f64) -> LatLng {
    let lat = (std::f64::consts::PI * (1.0 - 2.0 * down)).sinh().atan().to_degrees();
    LatLng { lat, lng: (across.rem_euclid(1.0)) * 360.0 - 180.0 }
}

/// How far down the world a latitude is.
fn down_of(lat: f64) -> f64 {
    let phi = lat.to_radians();
    0.5 - (phi.tan() + 1.0 / phi.cos()).ln() / std::f64::consts::TAU
}

fn is_land(across: f64, down: f64) -> bool {
    countries::at(place(across, down)).is_some()
}

/// Land and sea to half a pixel of the world, found out once: to ask which country a place is in takes long at borders.
struct Land {
    side: usize,
    known: Vec<Option<bool>>,
}

impl Land {
    fn of(world: f64) -> Self {
        let side = (2.0 * world) as usize;
        Self { side, known: vec![None; side * side] }
    }

    fn is_at(&mut self, across: f64, down: f64) -> bool {
        let side = self.side as f64;
        let cell = |part: f64| ((part * side) as usize).min(self.side - 1);
        let (x, y) = (cell(across.rem_euclid(1.0)), cell(down.clamp(0.0, 1.0)));
        *self.known[y * self.side + x].get_or_insert_with(|| is_land((x as f64 + 0.5) / side, (y as f64 + 0.5) / side))
    }
}

/// Pixels of a picture, a grid of them.
struct Samples {
    columns: usize,
    rows: usize,
    every: f64,
    /// Where the first is, from the picture's edges.
    first: f64,
    width: f64,
    height: f64,
    /// Colours, row by row.
    colours: Vec<[f32; 3]>,
    /// Sum of squares about the mean, of all.
    total: f64,
    mean: [f64; 3],
}

impl Samples {
    /// About so many.
    fn of(picture: &RgbImage, count: f64) -> Self {
        let step = (f64::from(picture.width() * picture.height()) / count).sqrt().round().max(1.0) as u32;
        let (columns, rows) = (picture.width() / step, picture.height() / step);
        let mut colours = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let pixel = picture.get_pixel(column * step + step / 2, row * step + step / 2);
                colours.push(pixel.0.map(f32::from));
            }
        }
        // Words and lines on the map are few, and of colours far from those of land and sea: no further than most.
        for c in 0..3 {
            let mut levels: Vec<f32> = colours.iter().map(|colour: &[f32; 3]| colour[c]).collect();
            levels.sort_by(f32::total_cmp);
            let (low, high) = (levels.len() / RARE, levels.len().saturating_sub(1 + levels.len() / RARE));
            if let (Some(low), Some(high)) = (levels.get(low), levels.get(high)) {
                colours.iter_mut().for_each(|colour| colour[c] = colour[c].clamp(*low, *high));
            }
        }
        let count = colours.len().max(1) as f64;
        let mean = [0, 1, 2].map(|c| colours.iter().map(|colour| f64::from(colour[c])).sum::<f64>() / count);
        let squares = |colour: &[f32; 3]| (0..3).map(|c| (f64::from(colour[c]) - mean[c]).powi(2)).sum::<f64>();
        let total = colours.iter().map(squares).sum();
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        Self {
            columns: columns as usize,
            rows: rows as usize,
            every: f64::from(step),
            first: f64::from(step / 2) + 0.5,
            width,
            height,
            colours,
            total,
            mean,
        }
    }

    /// What part of the variance is explained when these sums of colour are on land, of so many samples.
    fn explained(&self, land: usize, sums: [f64; 3]) -> f64 {
        let (all, land) = (self.colours.len() as f64, land as f64);
        if land < 0.03 * all || land > 0.97 * all || self.total <= 0.0 {
            return 0.0;
        }
        // Of two classes: the squared difference of the means, by how many are in each.
        let between = (0..3).map(|c| {
            let on_land = sums[c] / land;
            let at_sea = (self.mean[c] * all - sums[c]) / (all - land);
            (on_land - at_sea).powi(2)
        });
        between.sum::<f64>() * land * (all - land) / all / self.total
    }

    /// The best view with a world of this size, by whole samples.
    fn best(&self, world: f64) -> Option<(f64, View)> {
        let side = (world / self.every).round() as usize;
        let at = |i: usize| (i as f64 + 0.5) / side as f64;
        let land: Vec<bool> = (0..side * side).map(|i| is_land(at(i % side), at(i / side))).collect();
        let mut best: Option<(f64, View)> = None;
        for top in 0..=side.checked_sub(self.rows)? {
            for left in 0..side {
                let (mut count, mut sums) = (0_usize, [0.0_f32; 3]);
                for row in 0..self.rows {
                    let line = &land[(top + row) * side..][..side];
                    let colours = &self.colours[row * self.columns..][..self.columns];
                    let mut x = left;
                    for colour in colours {
                        if line[x] {
                            count += 1;
                            (0..3).for_each(|c| sums[c] += colour[c]);
                        }
                        x = if x + 1 == side { 0 } else { x + 1 };
                    }
                }
                let score = self.explained(count, sums.map(f64::from));
                if best.is_none_or(|(highest, _)| score > highest) {
                    let middle = |start: usize, pixels: f64| (start as f64 * self.every + pixels / 2.0) / world;
                    let view = View { across: middle(left, self.width), down: middle(top, self.height), world };
                    best = Some((score, view));
                }
            }
        }
        best
    }

    fn score(&self, view: View, land: &mut Land) -> f64 {
        let (mut count, mut sums) = (0, [0.0; 3]);
        for row in 0..self.rows {
            let down = view.down + (row as f64 * self.every + self.first - self.height / 2.0) / view.world;
            // Nothing beyond the poles is shown; half a pixel is for rounding.
            if !(-0.5 / view.world..=1.0 + 0.5 / view.world).contains(&down) {
                return 0.0;
            }
            for column in 0..self.columns {
                let across = view.across + (column as f64 * self.every + self.first - self.width / 2.0) / view.world;
                if land.is_at(across, down) {
                    count += 1;
                    let colour = self.colours[row * self.columns + column];
                    (0..3).for_each(|c| sums[c] += f64::from(colour[c]));
                }
            }
        }
        self.explained(count, sums)
    }

    /// Moves and enlarges a view in ever smaller steps, the first within so many pixels, for as long as that explains more.
    fn refine(&self, view: View, within: f64, land: &mut Land) -> (f64, View) {
        let mut best = (self.score(view, land), view);
        let mut step = within / 2.0;
        while step > 0.2 {
            let from = best.0;
            let View { across, down, world } = best.1;
            let by = step / world;
            let factor = 1.0 + 2.0 * step / self.width.max(self.height);
            let neighbours = [
                View { across: across + by, ..best.1 },
                View { across: across - by, ..best.1 },
                View { down: down + by, ..best.1 },
                View { down: down - by, ..best.1 },
                View { world: world * factor, ..best.1 },
                View { world: world / factor, ..best.1 },
            ];
            for view in neighbours {
                let score = self.score(view, land);
                if score > best.0 {
                    best = (score, view);
                }
            }
            if best.0 <= from {
                step /= 2.0;
            }
        }
        best
    }

    /// Pages begin at round numbers: the roundest within a pixel, which is as far as pictures are off, that explain nearly as
    /// much.
    fn rounded(&self, sure: f64, view: View, land: &mut Land) -> (f64, View) {
        let (mut best, worst) = ((sure, view), 0.95 * sure);
        let mut attempt = |change: &dyn Fn(View) -> View| {
            let view = change(best.1);
            let score = self.score(view, land);
            if score >= worst {
                best = (score, view);
            }
            score >= worst
        };
        // How far off a pixel at the picture's edge may be, as a factor of the world's size.
        let slack = 2.0 / self.width.max(self.height);
        let zoom = (view.world / 512.0).log2();
        for to in [1.0, 0.5, 0.25, 0.1] {
            let round = (zoom / to).round() * to;
            if ((round - zoom) * std::f64::consts::LN_2).abs() < slack
                && attempt(&|view| View { world: 512.0 * round.exp2(), ..view })
            {
                break;
            }
        }
        let middle = place(view.across, view.down);
        let degrees = 360.0 / view.world;
        let nearest =
            |value: f64, to: f64| Some((value / to).round() * to).filter(|round| (round - value).abs() < degrees);
        // Both together, for one that is off draws the other along.
        let steps = [10.0, 5.0, 1.0, 0.5, 0.1];
        let lats: Vec<f64> = steps.iter().filter_map(|to| nearest(middle.lat, *to)).chain([middle.lat]).collect();
        let lngs: Vec<f64> = steps.iter().filter_map(|to| nearest(middle.lng, *to)).chain([middle.lng]).collect();
        let mut pairs: Vec<(usize, usize)> =
            (0..lats.len()).flat_map(|i| (0..lngs.len()).map(move |j| (i, j))).collect();
        pairs.sort_by_key(|(i, j)| i + j);
        _ = pairs
            .into_iter()
            .any(|(i, j)| attempt(&|view| View { down: down_of(lats[i]), across: lngs[j] / 360.0 + 0.5, ..view }));
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of land and sea, with words and noise on it as maps have.
    fn drawn(view: View, (width, height): (u32, u32)) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let at = |pixel: u32, side: u32| f64::from(pixel) + 0.5 - f64::from(side) / 2.0;
            let land = is_land(view.across + at(x, width) / view.world, view.down + at(y, height) / view.world);
            let noise = ((x * 7 + y * 13) % 23) as u8;
            let word = (x / 40 + y / 30) % 5 == 0 && (x + 2 * y) % 11 == 0;
            match (word, land) {
                (true, _) => image::Rgb([60, 60, 60]),
                (_, true) => image::Rgb([220 + noise, 215, 200 + noise]),
                (_, false) => image::Rgb([170, 200 + noise, 220]),
            }
        })
    }

    #[test]
    fn coasts_tell_what_a_map_shows() {
        for (lat, lng, zoom, size, off_px) in [
            (20.0, 0.0, 0.5, (611, 503), 0.01),
            (30.0, -98.0, 2.0, (400, 300), 0.01),
            (47.3, 13.37, 1.3, (503, 400), 2.0),
        ] {
            let world = 512.0 * f64::exp2(zoom);
            let view = View { across: lng / 360.0 + 0.5, down: down_of(lat), world };
            let seen = super::view(&drawn(view, size)).unwrap();
            let off = LatLng { lat, lng }.distance_m(seen.middle) / (40_030_000.0 * lat.to_radians().cos() / world);
            assert!(
                off <= off_px && (seen.world / world - 1.0).abs() < 0.004,
                "{lat} {lng} {zoom}: {seen:?}, {off} px off"
            );
        }
    }

    #[test]
    fn what_is_no_map_of_the_world_is_not_taken_for_one() {
        let plain = RgbImage::from_pixel(400, 300, image::Rgb([170, 200, 220]));
        assert_eq!(view(&plain), None);
        let waves =
            RgbImage::from_fn(400, 300, |x, y| image::Rgb([((x * x + 3 * y) % 251) as u8, (y % 200) as u8, 90]));
        assert_eq!(view(&waves), None);
    }
}
