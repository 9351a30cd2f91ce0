//! Removes metadata from served images, so that they do not reveal the location.

use std::io::{BufReader, Cursor};
use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};

use crate::server::arena::round::ArenaRound;

const JPEG_QUALITY: u8 = 92;

/// The image of a round as JPEG: the original bytes if they have no metadata and are small enough, else re-encoded
/// upright with at most `max_side` pixels per side.
///
/// # Errors
/// When the file cannot be read or is not an image.
pub(super) fn to_served_jpeg(round: &ArenaRound) -> Result<Vec<u8>> {
    let bytes = std::fs::read(&round.picture).context("cannot read the picture")?;
    let mut decoder = ImageReader::new(Cursor::new(&bytes)).with_guessed_format()?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if width.max(height) <= round.max_side && is_bare_jpeg(&bytes) {
        drop(decoder);
        return Ok(bytes);
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    if width.max(height) > round.max_side {
        picture = picture.resize(round.max_side, round.max_side, FilterType::CatmullRom);
    }
    let mut served = Vec::new();
    JpegEncoder::new_with_quality(&mut served, JPEG_QUALITY).encode_image(&picture.to_rgb8())?;
    Ok(served)
}

/// Whether an image is an equirectangular panorama according to its XMP data and aspect ratio.
pub(super) fn is_panorama(file: &Path) -> bool {
    let read = || -> Result<bool> {
        let reader = BufReader::new(std::fs::File::open(file)?);
        let mut decoder = ImageReader::new(reader).with_guessed_format()?.into_decoder()?;
        let (width, height) = decoder.dimensions();
        let has_tag =
            decoder.xmp_metadata()?.is_some_and(|xmp| String::from_utf8_lossy(&xmp).contains("equirectangular"));
        Ok(has_tag && width == 2 * height)
    };
    read().unwrap_or(false)
}

/// Whether a JPEG file has only the segments that a decoder needs: no EXIF, XMP, IPTC, maker notes, comments or
/// trailing bytes.
fn is_bare_jpeg(bytes: &[u8]) -> bool {
    const SOI: [u8; 2] = [0xff, 0xd8];
    const EOI: [u8; 2] = [0xff, 0xd9];
    let Some(mut rest) = bytes.strip_prefix(&SOI) else { return false };
    loop {
        let [0xff, marker, high, low, ..] = *rest else { return false };
        match marker {
            // Entropy-coded scans extend to the first end marker, which must end the file. The segments between the
            // scans of a progressive file are checked too.
            0xda => {
                let scans = &rest[2..];
                let ends = scans.windows(2).position(|pair| pair == EOI) == Some(scans.len().wrapping_sub(2));
                return ends && !scans.windows(2).any(|pair| pair[0] == 0xff && is_metadata(pair[1]));
            }
            marker if is_metadata(marker) => return false,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([high, low])) + 2;
        let Some(next) = rest.get(length..) else { return false };
        rest = next;
    }
}

/// Comments and application segments, except JFIF (0), the colour profile (2) and the Adobe colour transform (14).
fn is_metadata(marker: u8) -> bool {
    matches!(marker, 0xe1 | 0xe3..=0xed | 0xef | 0xfe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::arena::photos::tests::{encode, gps, jpeg};
    use crate::server::arena::round::PictureKind;
    use exif::{Tag, Value};
    use landfall_model::LatLng;

    fn serve(bytes: &[u8], max_side: u32) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("a.jpg");
        std::fs::write(&picture, bytes).unwrap();
        let truth = LatLng::new(0.0, 0.0).unwrap();
        to_served_jpeg(&ArenaRound {
            truth,
            picture,
            kind: PictureKind::Photo,
            heading: 0.0,
            name: None,
            credits: None,
            max_side,
        })
    }

    fn holds(bytes: &[u8], needle: &[u8]) -> bool {
        bytes.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn jpeg_without_metadata_is_served_unchanged() {
        let bytes = jpeg(64, 32, None);
        assert_eq!(serve(&bytes, 64).unwrap(), bytes);
    }

    #[test]
    fn metadata_and_trailing_bytes_are_dropped() {
        let plain = jpeg(64, 32, None);
        let comment = [&plain[..2], &[0xff, 0xfe, 0, 8], b"Lyon!!", &plain[2..]].concat();
        let trailing = [&plain[..], b"Lyon!!"].concat();
        for bytes in [comment, trailing] {
            assert!(holds(&bytes, b"Lyon"));
            let served = serve(&bytes, 64).unwrap();
            assert!(!holds(&served, b"Lyon"));
            assert_eq!(image::load_from_memory(&served).unwrap().width(), 64);
        }
        let tagged = jpeg(64, 32, Some(&gps(45.0, 4.0, Some(("N", "E")))));
        assert!(holds(&tagged, b"Exif") && !holds(&serve(&tagged, 64).unwrap(), b"Exif"));
    }

    #[test]
    fn images_are_rotated_and_shrunk() {
        let turned = encode(vec![(Tag::Orientation, Value::Short(vec![6]))]);
        let served = serve(&jpeg(64, 32, Some(&turned)), 40).unwrap();
        let picture = image::load_from_memory(&served).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (20, 40));
        // Orientation 6 rotates clockwise: the left side becomes the top.
        let (top, bottom) = (picture.get_pixel(10, 2), picture.get_pixel(10, 37));
        assert!(top[0] > 150 && bottom[2] > 150, "{top:?} {bottom:?}");
    }

    #[test]
    fn invalid_images_are_errors() {
        assert!(serve(b"nonsense", 64).is_err());
    }
}
