//! Conversion to sRGB from the colour space of an ICC profile, such as Display P3 or CMYK.

use image::RgbImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// A profile that changes no colour by more than this is a variant of sRGB, and the pixels are left unchanged.
const SRGB_TOLERANCE: u8 = 2;
/// Grid points per channel of the lookup table.
const RGB_POINTS: usize = 65;
const CMYK_POINTS: usize = 17;
/// Smaller images are converted by one thread.
const MIN_BYTES_PER_THREAD: usize = 3 << 20;

/// Converts an image to sRGB. A profile that is damaged or does not match the image is ignored.
pub(super) fn to_srgb(picture: &mut RgbImage, profile: &[u8], is_grey: bool) {
    let Ok(profile) = ColorProfile::new_from_slice(profile) else { return };
    match (profile.color_space, is_grey) {
        (DataColorSpace::Rgb, false) => {
            if let Some(grid) = rgb_grid(&profile) {
                in_parallel(picture, |pixels| {
                    for pixel in pixels.as_chunks_mut::<3>().0 {
                        *pixel = grid.at(*pixel);
                    }
                });
            }
        }
        (DataColorSpace::Gray, true) => {
            if let Some(table) = grey_table(&profile) {
                picture.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = table[usize::from(pixel[0])]);
            }
        }
        _ => {}
    }
}

/// Converts CMYK pixels (255 for full ink) to sRGB; `None` if the profile is not for CMYK.
pub(super) fn inks_to_srgb(inks: &[u8], profile: &[u8]) -> Option<Vec<u8>> {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    if profile.color_space != DataColorSpace::Cmyk {
        return None;
    }
    let grid = Grid::<4>::new(&profile, CMYK_POINTS, Layout::Rgba)?;
    Some(inks.as_chunks::<4>().0.iter().flat_map(|pixel| grid.at(*pixel)).collect())
}

fn in_parallel(picture: &mut RgbImage, work: impl Fn(&mut [u8]) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = (picture.len() / 3).div_ceil(threads) * 3;
    if threads == 1 || share < MIN_BYTES_PER_THREAD {
        return work(picture);
    }
    std::thread::scope(|scope| {
        for part in picture.chunks_mut(share) {
            let work = &work;
            scope.spawn(move || work(part));
        }
    });
}

/// Converts 8-bit colours with a profile; `None` if it cannot be used.
fn convert(profile: &ColorProfile, layout: Layout, colours: &[u8], channels: usize) -> Option<Vec<u8>> {
    let options = TransformOptions::default();
    let transform = profile.create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
    let mut converted = vec![0; colours.len() / channels * 3];
    transform.transform(colours, &mut converted).ok()?;
    Some(converted)
}

fn is_same(colours: &[u8], converted: &[u8]) -> bool {
    colours.iter().zip(converted).all(|(a, b)| a.abs_diff(*b) <= SRGB_TOLERANCE)
}

/// `None` if the profile is sRGB or unusable.
fn rgb_grid(profile: &ColorProfile) -> Option<Grid<3>> {
    const STEPS: [u8; 9] = [0, 32, 64, 96, 128, 160, 192, 224, 255];
    let samples: Vec<u8> = STEPS
        .iter()
        .flat_map(|r| STEPS.iter().flat_map(move |g| STEPS.iter().flat_map(move |b| [*r, *g, *b])))
        .collect();
    if is_same(&samples, &convert(profile, Layout::Rgb, &samples, 3)?) {
        return None;
    }
    Grid::new(profile, RGB_POINTS, Layout::Rgb)
}

/// `None` if the profile is sRGB's grey curve or unusable.
fn grey_table(profile: &ColorProfile) -> Option<Vec<[u8; 3]>> {
    let greys: Vec<u8> = (0..=255).collect();
    let converted = convert(profile, Layout::Gray, &greys, 1)?;
    let same: Vec<u8> = greys.iter().flat_map(|grey| [*grey; 3]).collect();
    (!is_same(&same, &converted)).then(|| converted.as_chunks().0.to_vec())
}

/// A lookup table from `N` channels to sRGB. It gives the same result on every processor, whatever vector code the
/// library chooses, and is fast enough for large images.
struct Grid<const N: usize> {
    points: Vec<[u16; 3]>,
    /// For each channel value: the grid point below it, the offset to the next one, and the fraction of it in 255ths.
    steps: [(usize, usize, u32); 256],
    /// Distance between neighbours in `points`, for each channel.
    strides: [usize; N],
}

impl<const N: usize> Grid<N> {
    fn new(profile: &ColorProfile, side: usize, layout: Layout) -> Option<Self> {
        let options = TransformOptions::default();
        let transform = profile.create_transform_16bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
        let strides: [usize; N] = std::array::from_fn(|colour| side.pow((N - 1 - colour) as u32));
        let value = |step: usize| u16::try_from(step * 65535 / (side - 1)).unwrap_or(u16::MAX);
        let colours: Vec<u16> =
            (0..side.pow(N as u32)).flat_map(|point| strides.map(|stride| value(point / stride % side))).collect();
        let mut converted = vec![0; colours.len() / N * 3];
        transform.transform(&colours, &mut converted).ok()?;
        let steps = std::array::from_fn(|value| {
            let scaled = value * (side - 1);
            (scaled / 255, usize::from(scaled / 255 < side - 1), (scaled % 255) as u32)
        });
        Some(Self { points: converted.as_chunks().0.to_vec(), steps, strides })
    }

    /// Interpolates within the simplex of grid points around a colour.
    fn at(&self, colour: [u8; N]) -> [u8; 3] {
        let mut at = 0;
        let mut axes = [(0, 0); N];
        for ((axis, value), stride) in axes.iter_mut().zip(colour).zip(self.strides) {
            let (below, next, share) = self.steps[usize::from(value)];
            at += below * stride;
            *axis = (share, next * stride);
        }
        for i in 1..N {
            for j in (1..=i).rev() {
                if axes[j].0 > axes[j - 1].0 {
                    axes.swap(j, j - 1);
                }
            }
        }
        let mut sums = [0_u32; 3];
        let mut remaining = 255;
        let mut add = |at: usize, share: u32| {
            for (sum, value) in sums.iter_mut().zip(self.points[at]) {
                *sum += u32::from(value) * share;
            }
        };
        for (share, step) in axes {
            add(at, remaining - share);
            remaining = share;
            at += step;
        }
        add(at, remaining);
        // Shares of 255 and values up to 65,535.
        sums.map(|sum| u8::try_from((sum + 32767) / 65535).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> RgbImage {
        RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, 2 * (x + y) as u8]))
    }

    #[test]
    fn srgb_changes_nothing_and_neither_do_damaged_or_foreign_profiles() {
        let srgb = ColorProfile::new_srgb().encode().unwrap();
        let grey = ColorProfile::new_gray_with_gamma(1.8).encode().unwrap();
        for (profile, is_grey) in
            [(&srgb[..], false), (&srgb[..200], false), (b"", false), (&grey, false), (&srgb, true)]
        {
            let mut picture = gradient();
            to_srgb(&mut picture, profile, is_grey);
            assert!(picture == gradient());
        }
        assert_eq!(inks_to_srgb(&[0; 4], &srgb), None);
    }

    #[test]
    fn display_p3_becomes_srgb() {
        let p3 = ColorProfile::new_display_p3();
        let mut picture = gradient();
        to_srgb(&mut picture, &p3.encode().unwrap(), false);
        let exact = convert(&p3, Layout::Rgb, &gradient(), 3).unwrap();
        let furthest = picture.iter().zip(&exact).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(furthest <= Some(4), "{furthest:?}");
        // A red of Display P3 that sRGB has too, from the definitions of both.
        let mut red = RgbImage::from_pixel(1, 1, image::Rgb([200, 60, 60]));
        to_srgb(&mut red, &p3.encode().unwrap(), false);
        let [r, g, b] = red.get_pixel(0, 0).0;
        assert!(r.abs_diff(217) <= 2 && g.abs_diff(42) <= 2 && b.abs_diff(52) <= 2, "{r} {g} {b}");
        // Large images are converted in parallel.
        let mut large = image::imageops::resize(&gradient(), 2048, 2048, image::imageops::FilterType::Nearest);
        to_srgb(&mut large, &p3.encode().unwrap(), false);
        assert!(picture.enumerate_pixels().all(|(x, y, pixel)| large.get_pixel(32 * x + 9, 32 * y + 9) == pixel));
    }

    #[test]
    fn greys_of_another_gamma_become_those_of_srgb() {
        let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
        let mut picture = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8; 3]));
        to_srgb(&mut picture, &profile, true);
        let [r, g, b] = picture.get_pixel(55, 0).0; // linear 0.2157 is 0.5 in sRGB
        assert!(r == g && g == b && r.abs_diff(128) <= 1, "{r}");
        assert_eq!((picture.get_pixel(0, 0)[0], picture.get_pixel(255, 0)[0]), (0, 255));
    }

    /// A CMYK profile whose black is black, and whose cyan, magenta and yellow are light blue, pink and pale yellow.
    fn printer() -> Vec<u8> {
        let identity: Vec<u8> = (0..=255).collect();
        let lab = |point: usize| {
            let ink = |bit: usize| (point >> bit & 1) as f64;
            let (cyan, magenta, yellow, black) = (ink(3), ink(2), ink(1), ink(0));
            let light = (1.0 - 0.3 * cyan - 0.3 * magenta - 0.1 * yellow) * (1.0 - black);
            let (a, b) = (40.0 * (magenta - cyan) * (1.0 - black), 40.0 * (yellow - cyan) * (1.0 - black));
            [(255.0 * light) as u8, (128.0 + a) as u8, (128.0 + b) as u8]
        };
        let mut table = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
        for i in 0..9 {
            table.extend(if i % 4 == 0 { 0x1_0000_u32 } else { 0 }.to_be_bytes());
        }
        (0..4).for_each(|_| table.extend(&identity));
        (0..16).for_each(|point| table.extend(lab(point)));
        (0..3).for_each(|_| table.extend(&identity));
        let mut profile = vec![0; 128];
        profile[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
        profile[12..24].copy_from_slice(b"prtrCMYKLab ");
        profile[36..40].copy_from_slice(b"acsp");
        profile[68..80].copy_from_slice(b"\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d");
        profile.extend(
            [&1_u32.to_be_bytes()[..], b"A2B0", &144_u32.to_be_bytes(), &(table.len() as u32).to_be_bytes()].concat(),
        );
        profile.extend(table);
        let length = profile.len() as u32;
        profile[..4].copy_from_slice(&length.to_be_bytes());
        profile
    }

    #[test]
    fn inks_become_the_colours_that_their_profile_describes() {
        let inks =
            [[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 128]].concat();
        let srgb = inks_to_srgb(&inks, &printer()).unwrap();
        let [white, black, cyan, magenta, yellow, grey] = srgb.as_chunks::<3>().0 else { panic!("six pixels") };
        assert!(white.iter().all(|value| *value > 250) && black.iter().all(|value| *value < 6), "{white:?} {black:?}");
        assert!(cyan[2] > cyan[0] + 80 && magenta[0] > magenta[1] + 60 && yellow[0] > yellow[2] + 40, "{srgb:?}");
        assert!(grey[0] > 60 && grey[0] < 180 && grey[0].abs_diff(grey[2]) < 6, "{grey:?}");
    }
}
