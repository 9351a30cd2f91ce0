mod cut_off;
mod files;
#[cfg(feature = "heic")]
mod heic;
mod jpeg_writer;
mod shown;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;

/// Red on the left, blue on the right, darker towards the bottom.
fn picture() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, y| {
        let light = 255 - 4 * y as u8;
        if x < 24 { Rgb([light, 0, 0]) } else { Rgb([0, 0, light]) }
    })
}

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG file with another segment behind its start.
fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

fn png_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(body);
    [&(body.len() as u32).to_be_bytes()[..], kind, body, &crc.sum().to_be_bytes()].concat()
}

/// A PNG file with another chunk in front of its last (`IEND`) or behind its first one (`IHDR`).
fn with_chunk(png: &[u8], kind: &[u8; 4], body: &[u8], is_last: bool) -> Vec<u8> {
    let at = if is_last { png.len() - 12 } else { 33 };
    [&png[..at], &png_chunk(kind, body), &png[at..]].concat()
}

fn webp_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&kind[..], &(body.len() as u32).to_le_bytes(), body, &b"\0"[..body.len() % 2]].concat()
}

fn webp_file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    [&b"RIFF"[..], &(chunks.len() as u32 + 4).to_le_bytes(), b"WEBP", &chunks].concat()
}

/// The header of an extended WebP file for [`picture`].
fn vp8x(flags: u8) -> Vec<u8> {
    webp_chunk(b"VP8X", &[flags, 0, 0, 0, 47, 0, 0, 31, 0, 0])
}

/// [`picture`] as the body of a lossless WebP chunk.
fn lossless() -> Vec<u8> {
    let file = encode(picture(), ImageFormat::WebP);
    assert_eq!(&file[12..16], b"VP8L");
    file[20..20 + u32::from_le_bytes(file[16..20].try_into().unwrap()) as usize].to_vec()
}

fn reason(bytes: &[u8]) -> String {
    from_bytes(bytes).unwrap_err().to_string()
}
