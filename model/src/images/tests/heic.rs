//! HEIC files.

use heifer::EncodeOptions;

use super::*;

const BEST: EncodeOptions = EncodeOptions { quality: 95, max_threads: 1 };

fn heic(picture: &RgbImage) -> Vec<u8> {
    heifer::encode_rgb8(picture.width(), picture.height(), picture, &BEST).unwrap()
}

/// A file with a property of its picture in place of `pixi`, the number of bits, which decoders need not read.
fn with_property(mut file: Vec<u8>, kind: &[u8; 4], value: u8) -> Vec<u8> {
    let name = file.windows(4).position(|name| name == b"pixi").unwrap();
    file[name..name + 4].copy_from_slice(kind);
    file[name + 4] = value;
    file
}

fn is_close(a: &RgbImage, b: &RgbImage) -> bool {
    let difference: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    // Chroma at half the resolution blurs the edge between red and blue.
    a.dimensions() == b.dimensions() && difference < 8 * a.as_raw().len() as u64
}

#[test]
fn heic_is_decoded_upright() {
    use image::imageops::{rotate90, rotate180, rotate270};
    let plain = heic(&picture());
    assert!(is_close(&from_bytes(&plain).unwrap(), &picture()));
    let all = [picture(), rotate270(&picture()), rotate180(&picture()), rotate90(&picture())];
    for (quarters, expected) in (0..).zip(&all) {
        let file = with_property(plain.clone(), b"irot", quarters);
        assert_eq!(format(&file).unwrap(), Format::Heic);
        assert!(is_close(&from_bytes(&file).unwrap(), expected), "{quarters}");
        let metadata = metadata(&file).unwrap();
        assert_eq!((metadata.width, metadata.height), expected.dimensions());
    }
}

#[test]
fn pictures_in_tiles_and_general_brands_are_decoded() {
    // The encoder's tiles have 512 pixels a side.
    let large = RgbImage::from_fn(520, 24, |x, y| Rgb([(x / 5) as u8, (y / 3) as u8, 100]));
    let file = heic(&large);
    assert!(is_close(&from_bytes(&file).unwrap(), &large));
    let mut general = heic(&picture());
    let length = u32::from_be_bytes(general[..4].try_into().unwrap()) as usize;
    general[8..length].fill(0);
    general[8..12].copy_from_slice(b"mif1");
    assert!(is_close(&from_bytes(&general).unwrap(), &picture()));
}

#[test]
fn what_is_transparent_in_heic_is_white() {
    let visible = |x: u32| !(16..32).contains(&x);
    let rgba = image::RgbaImage::from_fn(48, 32, |x, _| image::Rgba([200, 20, 20, if visible(x) { 255 } else { 0 }]));
    let file = heifer::encode_rgba8(48, 32, &rgba, &BEST).unwrap();
    let expected = RgbImage::from_fn(48, 32, |x, _| if visible(x) { Rgb([200, 20, 20]) } else { Rgb([255; 3]) });
    assert!(is_close(&from_bytes(&file).unwrap(), &expected));
}

#[test]
fn what_cannot_be_decoded_says_how_to_go_on() {
    let file = heic(&picture());
    let mut other = file.clone();
    let codec = other.windows(4).position(|name| name == b"hvcC").unwrap();
    other[codec..codec + 4].copy_from_slice(b"vvcC");
    for damaged in [&other[..], &file[..file.len() / 2], &file[..file.len() - 9], &file[..60]] {
        let why = reason(damaged);
        assert!(why.contains("HEIC"), "{why}");
    }
    // Files without a description of their pictures.
    assert_eq!(reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), "HEIC is not supported here: convert it to JPEG");
}

#[test]
fn damaged_heic_files_are_errors_or_pictures() {
    let mut state = 3_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let file = heic(&picture());
    for length in 0..file.len() {
        _ = from_bytes(&file[..length]);
    }
    for _ in 0..200 {
        let mut damaged = file.clone();
        for _ in 0..=random(6) {
            let (at, value) = (random(damaged.len()), random(256) as u8);
            damaged[at] = value;
        }
        _ = metadata(&damaged);
        if let Ok(picture) = from_bytes(&damaged) {
            assert!(picture.width() > 0 && picture.height() > 0);
        }
    }
}
