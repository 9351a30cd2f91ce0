//! Files that are none, that claim too much, and that are damaged.

use super::*;

/// Start and header of files that claim to be of this size.
fn claims(width: u32, height: u32) -> Vec<(&'static str, Vec<u8>)> {
    let (w, h) = ((width as u16).to_be_bytes(), (height as u16).to_be_bytes());
    let mut jpeg = encode(picture(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[h, w].concat());
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let png =
        [&b"\x89PNG\r\n\x1a\n"[..], &png_chunk(b"IHDR", &header), &encode(picture(), ImageFormat::Png)[33..]].concat();
    let mut gif = encode(picture(), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[(width as u16).to_le_bytes(), (height as u16).to_le_bytes()].concat());
    let mut bmp = encode(picture(), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[width.to_le_bytes(), height.to_le_bytes()].concat());
    let mut tiff = encode(picture(), ImageFormat::Tiff);
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    for i in 0..usize::from(u16::from_le_bytes([tiff[directory], tiff[directory + 1]])) {
        let entry = directory + 2 + 12 * i;
        let size = match u16::from_le_bytes([tiff[entry], tiff[entry + 1]]) {
            0x100 => width,
            0x101 => height,
            _ => continue,
        };
        tiff[entry + 2..entry + 12].copy_from_slice(
            &[4_u32.to_le_bytes()[..2].to_vec(), 1_u32.to_le_bytes().to_vec(), size.to_le_bytes().to_vec()].concat(),
        );
    }
    let side = |side: u32| (side - 1).to_le_bytes()[..3].to_vec();
    let canvas = webp_chunk(b"VP8X", &[vec![2, 0, 0, 0], side(width), side(height)].concat());
    let frame = [&[0; 6][..], &[47, 0, 0, 31, 0, 0, 100, 0, 0, 0], &webp_chunk(b"VP8L", &lossless())].concat();
    let webp = webp_file(&[canvas, webp_chunk(b"ANIM", &[0; 6]), webp_chunk(b"ANMF", &frame)]);
    vec![("JPEG", jpeg), ("PNG", png), ("GIF", gif), ("BMP", bmp), ("TIFF", tiff), ("WebP", webp)]
}

#[test]
fn a_claimed_size_is_checked_before_anything_is_decoded() {
    for (name, file) in claims(65500, 65500) {
        let why = reason(&file);
        let is_size = why == "it claims to have 65500 x 65500 pixels; at most 500 megapixels are read";
        assert!(is_size || (name == "TIFF" && why.contains("TIFF")), "{name}: {why}");
        assert!(metadata(&file).is_err(), "{name}");
    }
    assert!(reason(&claims(20_000, 20_000)[0].1).contains("cut off"), "a JPEG file of so few bytes");
    for (name, file) in claims(20_000, 20_000).split_off(2) {
        let why = reason(&file);
        assert!(why.starts_with("there is not enough memory for 20000 x 20000") || name == "TIFF", "{name}: {why}");
    }
    assert!(from_bytes(&encode(picture(), ImageFormat::Jpeg)).is_ok(), "the next picture is read");
}

#[test]
fn large_pictures_are_decoded_smaller_where_memory_demands_it() {
    let sized = |width, height| Metadata { width, height, ..Metadata::default() };
    let phone = sized(16320, 12240);
    assert_eq!(divisor(&phone, 3 * phone.pixels()), 1);
    assert_eq!(divisor(&phone, 6 * phone.pixels()), 2, "a copy is needed to turn it");
    assert_eq!(divisor(&sized(22360, 22360), 9 * 500_000_000), 4);

    let smooth = RgbImage::from_fn(90, 67, |x, y| Rgb([2 * x as u8, 3 * y as u8, 128]));
    let jpeg = encode(smooth.clone(), ImageFormat::Jpeg);
    let png = encode(smooth.clone(), ImageFormat::Png);
    let alpha = encode(DynamicImage::from(smooth.clone()).into_rgba16(), ImageFormat::Png);
    for scale in [2, 4] {
        let jpeg::Pixels::Rgb(from_jpeg) = jpeg::decode_scaled(&jpeg, &metadata(&jpeg).unwrap(), scale).unwrap() else {
            panic!("three colours");
        };
        let of_png = |png: &[u8]| {
            let (metadata, layout) = super::super::png::read(png).unwrap();
            super::super::png::decode_scaled(png, &metadata, &layout, scale).unwrap()
        };
        for small in [from_jpeg, of_png(&png), of_png(&alpha)] {
            assert_eq!(small.dimensions(), (90_u32.div_ceil(scale), 67_u32.div_ceil(scale)));
            for (x, y, pixel) in small.enumerate_pixels() {
                let [left, top] = [x, y].map(|at| at * scale + scale / 2);
                let large = smooth.get_pixel(left.min(89), top.min(66));
                assert!(pixel.0.iter().zip(large.0).all(|(a, b)| a.abs_diff(b) < 12), "{pixel:?} {large:?}");
            }
        }
    }
}

#[test]
fn cut_off_and_empty_files_are_named() {
    assert_eq!(reason(b""), "the file is empty");
    for (format, name) in [(ImageFormat::Jpeg, "JPEG"), (ImageFormat::Png, "PNG"), (ImageFormat::WebP, "WebP")] {
        let noise = RgbImage::from_fn(80, 80, |x, y| Rgb([(x * y * 7) as u8, (x * 13 + y * y) as u8, (x ^ y) as u8]));
        let whole = encode(noise, format);
        assert!(from_bytes(&whole).is_ok());
        for percent in [30, 60, 85] {
            let why = reason(&whole[..whole.len() * percent / 100]);
            assert_eq!(why, format!("the {name} file is cut off: its end is missing"), "{percent} %");
        }
        assert!(reason(&whole[..20]).contains(name), "{name}");
    }
}

#[test]
fn what_is_not_read_is_named() {
    let mut arithmetic = encode(picture(), ImageFormat::Jpeg);
    let frame = arithmetic.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    arithmetic[frame + 1] = 0xc9;
    assert_eq!(reason(&arithmetic), "JPEG with arithmetic coding is not supported here: convert it to JPEG");
    assert_eq!(reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), "HEIC is not supported here: convert it to JPEG");
    assert_eq!(reason(b"<html>"), "the file is an HTML page, not a picture");
    assert_eq!(reason(&[7; 99]), "the file is in no known picture format");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("IMG_1.DNG");
    std::fs::write(&file, b"II*\0\x08\0\0\0\0\0\0\0\0\0").unwrap();
    let error = anyhow_like(&open(&file).unwrap_err());
    assert!(
        error.ends_with("IMG_1.DNG: not a readable image: DNG is not supported here: convert it to JPEG"),
        "{error}"
    );
    let error = anyhow_like(&open(dir.path()).unwrap_err());
    assert!(error.ends_with("not a readable image: it is a directory"), "{error}");
}

fn anyhow_like(error: &crate::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[cfg(unix)]
#[test]
fn a_named_pipe_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = anyhow_like(&open(&pipe).unwrap_err());
    assert!(error.contains("it is a named pipe"), "{error}");
    assert!(matches!(open("/dev/zero"), Err(Error::Image { .. })));
}

#[test]
fn the_end_of_what_is_no_picture_is_not_read() {
    assert_eq!(read_picture(std::io::repeat(0)).unwrap().len(), START_BYTES);
    let picture = encode(picture(), ImageFormat::Bmp);
    assert!(picture.len() > START_BYTES && read_picture(&picture[..]).unwrap() == picture);
}

#[test]
fn damaged_files_are_errors_or_pictures() {
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let exif = exif::tests::exif(6, 3);
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let jpeg = with_segment(&encode(picture(), ImageFormat::Jpeg), 0xe1, &[&b"Exif\0\0"[..], &exif].concat());
    let files = [
        with_segment(&jpeg, 0xe2, &[&b"ICC_PROFILE\0\x01\x01"[..], &p3].concat()),
        jpeg_writer::Jpeg {
            size: (40, 40),
            sampling: [(2, 2), (1, 1), (1, 1)],
            has_separate_scans: true,
            restart_interval: 0,
        }
        .encode(|i, x, y| (200.0 * x * y) as u8 + 10 * i as u8),
        with_chunk(&encode(picture(), ImageFormat::Png), b"eXIf", &exif, false),
        webp_file(&[vp8x(0x08), webp_chunk(b"VP8L", &lossless()), webp_chunk(b"EXIF", &exif)]),
        encode(picture(), ImageFormat::Gif),
        encode(picture(), ImageFormat::Bmp),
        encode(picture(), ImageFormat::Tiff),
    ];
    for file in files {
        for _ in 0..150 {
            let mut damaged = file.clone();
            for _ in 0..=random(6) {
                // Headers are hit more often than pixels.
                let end = if random(2) == 0 { damaged.len() } else { damaged.len().min(200) };
                let (at, value) = (random(end), random(256) as u8);
                match random(4) {
                    0 => damaged.truncate(at + 1),
                    1 => damaged.insert(at, value),
                    _ => damaged[at] = value,
                }
            }
            _ = metadata(&damaged);
            if let Ok(picture) = from_bytes(&damaged) {
                assert!(picture.width() > 0 && picture.height() > 0);
            }
        }
    }
}
