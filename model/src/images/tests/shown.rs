//! Pictures as they are shown: upright, on white, in sRGB.

use super::jpeg_writer::Jpeg;
use super::*;
use crate::images::exif::tests::exif;

/// [`picture`] turned by 90° clockwise, as orientation 6 demands.
fn turned() -> RgbImage {
    image::imageops::rotate90(&picture())
}

fn is_close(a: &RgbImage, b: &RgbImage) -> bool {
    a.dimensions() == b.dimensions() && a.iter().zip(b.iter()).all(|(a, b)| a.abs_diff(*b) < 40)
}

#[test]
fn orientation_is_honoured_wherever_browsers_honour_it() {
    let (jpeg, png) = (encode(picture(), ImageFormat::Jpeg), encode(picture(), ImageFormat::Png));
    let upright = image::imageops::rotate90(&from_bytes(&jpeg).unwrap());
    for kind in [1, 3, 4] {
        let prefixed = [&b"Exif\0\0"[..], &exif(6, kind)].concat();
        let tagged = with_segment(&jpeg, 0xe1, &prefixed);
        assert!(from_bytes(&tagged).unwrap() == upright, "type {kind}");
        let behind_xmp = with_segment(&tagged, 0xe1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>");
        assert!(from_bytes(&behind_xmp).unwrap() == upright);
    }
    let hex: String = [&b"Exif\0\0"[..], &exif(6, 3)].concat().iter().map(|byte| format!("{byte:02x}")).collect();
    let profile = format!("\nexif\n      32\n{}\n{}\n", &hex[..20], &hex[20..]);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, profile.as_bytes()).unwrap();
    let text = |between: &[u8], text: &[u8]| [&b"Raw profile type exif\0"[..], between, text].concat();
    let zlib = zlib.finish().unwrap();
    for is_last in [false, true] {
        for (kind, body) in [
            (b"eXIf", exif(6, 3)),
            (b"eXIf", [&b"Exif\0\0"[..], &exif(6, 3)].concat()),
            (b"tEXt", text(b"", profile.as_bytes())),
            (b"tEXt", [&b"Raw profile type APP1\0"[..], profile.as_bytes()].concat()),
            (b"zTXt", text(b"\0", &zlib)),
            (b"iTXt", text(b"\0\0\0\0", profile.as_bytes())),
            (b"iTXt", text(b"\x01\0\0\0", &zlib)),
        ] {
            let name = String::from_utf8_lossy(kind);
            assert!(from_bytes(&with_chunk(&png, kind, &body, is_last)).unwrap() == turned(), "{name} {is_last}");
        }
    }
    for prefix in [&b""[..], b"Exif\0\0"] {
        let data = webp_chunk(b"EXIF", &[prefix, &exif(6, 3)].concat());
        for flags in [0, 0x08] {
            let webp = webp_file(&[vp8x(flags), webp_chunk(b"VP8L", &lossless()), data.clone()]);
            assert!(from_bytes(&webp).unwrap() == turned(), "{flags}");
        }
    }
}

#[test]
fn webp_flags_that_contradict_the_chunks_are_corrected() {
    let pixels = webp_chunk(b"VP8L", &lossless());
    for flags in [0x02, 0x04, 0x08, 0x10, 0x20, 0x3e] {
        assert!(from_bytes(&webp_file(&[vp8x(flags), pixels.clone()])).unwrap() == picture(), "{flags:#x}");
    }
    let frame = webp_chunk(b"ANMF", &[&[0; 6][..], &[47, 0, 0, 31, 0, 0, 100, 0, 0, 0], &pixels].concat());
    let header = webp_chunk(b"ANIM", &[0; 6]);
    for flags in [0, 0x02, 0x0e] {
        assert!(
            from_bytes(&webp_file(&[vp8x(flags), header.clone(), frame.clone()])).unwrap() == picture(),
            "{flags:#x}"
        );
        assert!(from_bytes(&webp_file(&[vp8x(flags), frame.clone()])).unwrap() == picture(), "{flags:#x}");
    }
}

#[test]
fn transparent_margins_are_removed() {
    let inner = picture();
    let noise = |x: u32, y: u32| image::Rgba([(x * 37) as u8, (y * 91) as u8, (x * y) as u8, 0]);
    let mut padded = image::RgbaImage::from_fn(inner.width() + 30, inner.height() + 17, noise);
    image::imageops::overlay(&mut padded, &DynamicImage::from(inner.clone()).into_rgba8(), 20, 5);
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert!(from_bytes(&encode(padded.clone(), format)).unwrap() == inner, "{format:?}");
    }
    let empty = image::RgbaImage::from_fn(9, 7, noise);
    assert_eq!(from_bytes(&encode(empty, ImageFormat::Png)).unwrap(), RgbImage::from_pixel(9, 7, image::Rgb([255; 3])));
}

#[test]
fn what_is_transparent_is_white_whatever_colour_it_hides() {
    let visible = |x: u32| !(12..30).contains(&x);
    let hidden = image::RgbaImage::from_fn(48, 32, |x, y| {
        let [r, g, b] = picture().get_pixel(x, y).0;
        if visible(x) { image::Rgba([r, g, b, 255]) } else { image::Rgba([(x * y) as u8, (7 * y) as u8, 99, 0]) }
    });
    let expected =
        RgbImage::from_fn(48, 32, |x, y| if visible(x) { *picture().get_pixel(x, y) } else { Rgb([255; 3]) });
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
        assert!(from_bytes(&encode(hidden.clone(), format)).unwrap() == expected, "{format:?}");
    }
    let deep = encode(DynamicImage::from(hidden).into_rgba16(), ImageFormat::Png);
    assert!(from_bytes(&deep).unwrap() == expected);
}

#[test]
fn all_formats_and_depths_give_the_same_pixels() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        assert!(from_bytes(&encode(picture(), format)).unwrap() == picture(), "{format:?}");
        let file = encode(picture(), format);
        let metadata = metadata(&file).unwrap();
        assert_eq!((metadata.width, metadata.height), (48, 32), "{format:?}");
    }
    let dynamic = DynamicImage::from(picture());
    assert!(from_bytes(&encode(dynamic.to_rgb16(), ImageFormat::Png)).unwrap() == picture());
    assert!(is_close(&from_bytes(&encode(picture(), ImageFormat::Gif)).unwrap(), &picture()));
    for grey in [encode(dynamic.to_luma8(), ImageFormat::Png), encode(dynamic.to_luma16(), ImageFormat::Png)] {
        assert!(is_close(&from_bytes(&grey).unwrap(), &DynamicImage::from(dynamic.to_luma8()).into_rgb8()));
    }
}

#[test]
fn scans_of_one_colour_each_decode_as_interleaved_ones() {
    // Brighter to the right, redder downwards.
    let sample = |i: usize, x: f64, y: f64| [(40.0 + 180.0 * x) as u8, 128, (128.0 + 60.0 * y) as u8][i];
    for sampling in [[(2, 2), (1, 1), (1, 1)], [(2, 1), (1, 1), (1, 1)], [(1, 2), (1, 1), (1, 1)], [(1, 1); 3]] {
        for size in [(64, 64), (61, 45)] {
            let file =
                |has_separate_scans| Jpeg { size, sampling, has_separate_scans, restart_interval: 0 }.encode(sample);
            let [apart, together] = [true, false].map(|separate| from_bytes(&file(separate)).unwrap());
            assert_eq!(apart.dimensions(), (size.0.into(), size.1.into()));
            assert!(is_close(&apart, &together), "{sampling:?} {size:?}");
            let [corner, far] = [(2, 2), (58, 42)].map(|(x, y)| apart.get_pixel(x, y).0);
            assert!(far[0] > corner[0] + 100 && corner[1].abs_diff(corner[2]) < 40, "{corner:?} {far:?}");
        }
    }
}

#[test]
fn profiles_are_converted_and_srgb_changes_no_bit() {
    let part = |number: u8, of: u8, part: &[u8]| [&b"ICC_PROFILE\0"[..], &[number, of], part].concat();
    let jpeg = encode(picture(), ImageFormat::Jpeg);
    let plain = from_bytes(&jpeg).unwrap();
    let srgb = moxcms::ColorProfile::new_srgb().encode().unwrap();
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    assert!(from_bytes(&with_segment(&jpeg, 0xe2, &part(1, 1, &srgb))).unwrap() == plain);
    assert!(from_bytes(&with_segment(&jpeg, 0xe2, &part(1, 1, b"nonsense"))).unwrap() == plain);
    let converted = from_bytes(&with_segment(&jpeg, 0xe2, &part(1, 1, &p3))).unwrap();
    assert!(converted != plain && is_close(&converted, &plain));
    // In two segments, the second one first.
    let (first, second) = p3.split_at(p3.len() / 2);
    let both = with_segment(&with_segment(&jpeg, 0xe2, &part(1, 2, first)), 0xe2, &part(2, 2, second));
    assert!(from_bytes(&both).unwrap() == converted);
    let png = with_chunk(&encode(plain.clone(), ImageFormat::Png), b"iCCP", &compressed_profile(&p3), false);
    assert!(from_bytes(&png).unwrap() == converted);
    let flagged = with_chunk(&png, b"sRGB", &[0], false);
    assert!(from_bytes(&flagged).unwrap() == plain);
}

fn compressed_profile(profile: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(b"name\0\0".to_vec(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, profile).unwrap();
    zlib.finish().unwrap()
}
