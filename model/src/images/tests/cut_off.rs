//! Truncated files of which enough is left.

use super::jpeg_writer::{Jpeg, progressive};
use super::*;

fn noise(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * y * 7) as u8, (x * 13 + y * y) as u8, (x ^ y) as u8]))
}

/// JPEG files of all kinds, with heights of at least 30 units.
fn jpegs() -> Vec<(&'static str, Vec<u8>)> {
    let sample = |i: usize, x: f64, y: f64| [(250.0 * ((7.0 * x + 11.0 * y) % 1.0)) as u8, (200.0 * y) as u8, 90][i];
    let file = |sampling, has_separate_scans, restart_interval| {
        Jpeg { size: (150, 500), sampling, has_separate_scans, restart_interval }.encode(sample)
    };
    let subsampled = [(2, 2), (1, 1), (1, 1)];
    vec![
        ("plain", encode(noise(90, 320), ImageFormat::Jpeg)),
        ("grey", encode(DynamicImage::from(noise(90, 320)).to_luma8(), ImageFormat::Jpeg)),
        ("subsampled", file(subsampled, false, 0)),
        ("tall samples", file([(1, 2), (1, 1), (1, 1)], false, 0)),
        ("restarts", file(subsampled, false, 7)),
        ("restarts per row", file([(1, 1); 3], false, 19)),
        ("separate scans", file([(1, 1); 3], true, 0)),
        ("separate subsampled scans", file(subsampled, true, 0)),
        ("progressive", progressive_jpeg().0),
    ]
}

fn progressive_jpeg() -> (Vec<u8>, [usize; 4]) {
    progressive(13, 40, |x, y| ((x * 9 + y * 5) as i32 % 120 - 60, (x * y) as i32 % 9 - 4))
}

/// Whether `part` has the upper rows of `whole`. Chroma of the last row is interpolated with what is below it.
fn is_upper_part(part: &RgbImage, whole: &RgbImage) -> bool {
    let sure = part.height() - u32::from(part.height() < whole.height());
    part.width() == whole.width()
        && part.rows().zip(whole.rows()).take(sure as usize).all(|(a, b)| a.zip(b).all(|(a, b)| a == b))
}

#[test]
fn a_jpeg_whose_end_marker_is_missing_is_complete() {
    for (name, file) in jpegs() {
        let whole = decode(&file).unwrap();
        assert_eq!(whole.warning, None, "{name}");
        for end in [&b""[..], b"\xff", &[0; 5000], b"\xff\xe1\0\x08Exif"] {
            let part = decode(&[&file[..file.len() - 2], end].concat()).unwrap();
            assert_eq!(part.warning, Some(Warning::NoEnd("JPEG")), "{name}");
            assert!(part.image == whole.image, "{name}");
        }
    }
}

#[test]
fn missing_rows_of_a_jpeg_are_removed_and_named() {
    for (name, file) in jpegs().into_iter().filter(|(name, _)| !name.contains("pro") && !name.contains("separate")) {
        let whole = from_bytes(&file).unwrap();
        let cut = &file[..file.len() * 97 / 100];
        // A program that closes truncated files, and one that reserved the space of the rest.
        for end in [&b""[..], b"\xff\xd9", &vec![0; file.len() / 30]] {
            let part = decode(&[cut, end].concat()).unwrap();
            let Some(Warning::MissingRows { format: "JPEG", percent }) = part.warning else {
                panic!("{name}: {:?}", part.warning)
            };
            let missing = whole.height() - part.image.height();
            assert!((1..=8).contains(&percent) && missing * 100 <= percent * whole.height(), "{name}: {percent} %");
            assert!(is_upper_part(&part.image, &whole), "{name}");
        }
        for percent in [20, 50, 80] {
            for end in [&b""[..], b"\xff\xd9", &vec![0; file.len() / 3]] {
                let why = reason(&[&file[..file.len() * percent / 100], end].concat());
                assert_eq!(why, "the JPEG file is cut off: its end is missing", "{name}");
            }
        }
    }
    let message = Warning::MissingRows { format: "JPEG", percent: 4 }.to_string();
    assert_eq!(message, "the JPEG file is cut off: the last 4 % of the picture are missing");
}

#[test]
fn a_progressive_jpeg_may_lack_fine_detail() {
    let (file, scans) = progressive_jpeg();
    let whole = from_bytes(&file).unwrap();
    // Nearly all rows of the last scan are there.
    let refined = decode(&file[..file.len() - 8]).unwrap();
    assert!(matches!(refined.warning, Some(Warning::MissingRows { percent: 1..=9, .. })), "{:?}", refined.warning);
    assert!(refined.image.height() < whole.height() && is_upper_part(&refined.image, &whole));
    for (cut, expected) in [
        (scans[1] + 3, None),
        (scans[1] + (scans[2] - scans[1]) / 2, None),
        (scans[2], Some(Warning::NoEnd("JPEG"))),
        (scans[2] + 20, Some(Warning::NoDetail("JPEG"))),
        (scans[3] + (file.len() - scans[3]) / 2, Some(Warning::NoDetail("JPEG"))),
    ] {
        match (decode(&file[..cut]), expected) {
            (Ok(part), Some(_)) => {
                assert_eq!(part.warning, expected, "{cut}");
                let furthest = part.image.iter().zip(whole.iter()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(part.image.dimensions() == whole.dimensions() && furthest < Some(6), "{cut}: {furthest:?}");
            }
            (Err(error), None) => {
                assert!(error.to_string().contains("cut off"), "{error}");
                let closed = reason(&[&file[..cut], b"\xff\xd9"].concat());
                assert!(closed.contains("cut off") || closed.contains("damaged"), "{closed}");
            }
            (other, _) => panic!("{cut}: {:?}", other.map(|part| part.warning)),
        }
    }
}

#[test]
fn no_truncated_file_is_decoded_without_a_word() {
    let png = encode(noise(40, 30), ImageFormat::Png);
    for (name, file) in jpegs().into_iter().chain([("PNG", png)]) {
        // Nothing is missing without the checksum of the end.
        let last = if name == "PNG" { file.len() - 4 } else { file.len() - 1 };
        for end in (0..last).filter(|end| end % 41 == 0 || last - end < 100) {
            if let Ok(decoded) = decode(&file[..end]) {
                assert!(decoded.warning.is_some(), "{name}, {end} of {} bytes", file.len());
            }
        }
    }
}

#[test]
fn complete_pictures_of_one_colour_are_no_truncated_files() {
    for (width, height) in [(1, 1), (20, 3), (64, 64), (500, 400)] {
        let flat = encode(RgbImage::from_pixel(width, height, Rgb([128; 3])), ImageFormat::Jpeg);
        let decoded = decode(&flat).unwrap();
        assert_eq!((decoded.warning, decoded.image.dimensions()), (None, (width, height)));
        let decoded = decode(&[&flat[..], b"\xff\xd8 a second picture \xff\xd9"].concat()).unwrap();
        assert_eq!(decoded.warning, None);
    }
}

#[test]
fn a_png_whose_end_is_missing_may_have_all_pixels() {
    let whole = noise(40, 30);
    let file = encode(whole.clone(), ImageFormat::Png);
    // The last chunk, and the checksum of the one before it.
    for missing in [1, 4, 5, 12, 13, 16] {
        let part = decode(&file[..file.len() - missing]).unwrap();
        assert!(part.image == whole, "{missing}");
        // An end chunk without its checksum is one.
        assert_eq!(part.warning, (missing > 4).then_some(Warning::NoEnd("PNG")), "{missing}");
    }
    assert_eq!(reason(&file[..file.len() * 3 / 4]), "the PNG file is cut off: its end is missing");
}
