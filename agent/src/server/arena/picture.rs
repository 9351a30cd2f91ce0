//! Removes metadata from served images, so that they do not reveal the location.

use std::borrow::Cow;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use image::DynamicImage;
use image::imageops::FilterType;
use landfall_common::picture::to_jpeg;
use landfall_model::images;
use landfall_model::metadata::Metadata;

use crate::server::arena::round::ArenaRound;

const JPEG_QUALITY: u8 = 92;

/// The image of a round as JPEG, as [`bare_jpeg`] makes it.
///
/// # Errors
/// When the file cannot be read or is not an image.
pub(super) fn to_served_jpeg(round: &ArenaRound) -> Result<Vec<u8>> {
    bare_jpeg(round.picture.read().context("cannot read the picture")?, round.max_side)
}

/// An image as JPEG: the original bytes if they have no metadata and are small enough, else re-encoded upright with at
/// most `max_side` pixels per side.
///
/// # Errors
/// When it is not an image.
pub(in crate::server) fn bare_jpeg(bytes: Cow<'_, [u8]>, max_side: u32) -> Result<Vec<u8>> {
    let metadata = images::metadata(&bytes)?;
    if metadata.width.max(metadata.height) <= max_side && is_bare_jpeg(&bytes) {
        return Ok(bytes.into_owned());
    }
    let mut picture = DynamicImage::ImageRgb8(images::from_bytes(&bytes)?);
    if picture.width().max(picture.height()) > max_side {
        picture = picture.resize(max_side, max_side, FilterType::CatmullRom);
    }
    Ok(to_jpeg(&picture.into_rgb8(), JPEG_QUALITY)?)
}

/// Whether an image is an equirectangular panorama of the whole sphere, according to its XMP data and aspect ratio.
pub(super) fn is_panorama(file: &Path) -> bool {
    // First, because it reads only the metadata and not the whole file.
    let xmp = File::open(file).and_then(|open| Metadata::read(&mut BufReader::new(open))).map(|found| found.xmp);
    let is_sphere = xmp.is_ok_and(|xmp| xmp.first().is_some_and(|xmp| is_whole_sphere(&String::from_utf8_lossy(xmp))));
    let size = || images::read(file).and_then(|bytes| images::metadata(&bytes));
    is_sphere && size().is_ok_and(|size| is_close(size.width, 2 * u64::from(size.height)))
}

/// Equal up to rounding: cameras write panoramas that are a few pixels too wide.
fn is_close(a: impl Into<u64>, b: impl Into<u64>) -> bool {
    let (a, b) = (a.into(), b.into());
    a.abs_diff(b) <= b / 100
}

/// Whether Google's panorama metadata describe an equirectangular projection of which nothing is cropped.
fn is_whole_sphere(xmp: &str) -> bool {
    let is_equirectangular = match xmp_value(xmp, "ProjectionType") {
        Some(projection) => projection.eq_ignore_ascii_case("equirectangular"),
        None => xmp.contains("equirectangular"),
    };
    let number = |name: &str| xmp_value(xmp, name).and_then(|text| text.parse::<u32>().ok());
    let is_uncropped = |cropped: &str, full: &str| match (number(cropped), number(full)) {
        (Some(cropped), Some(full)) => is_close(cropped, full),
        _ => true,
    };
    is_equirectangular
        && is_uncropped("CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
        && is_uncropped("CroppedAreaImageHeightPixels", "FullPanoHeightPixels")
}

/// The value of a property, which XMP writes as an attribute or as an element.
fn xmp_value<'a>(xmp: &'a str, name: &str) -> Option<&'a str> {
    let rest = xmp[xmp.find(name)? + name.len()..].trim_start();
    let (value, end) = match rest.strip_prefix('>') {
        Some(element) => (element, '<'),
        None => {
            let quoted = rest.strip_prefix('=')?.trim_start();
            (quoted.get(1..)?, quoted.chars().next()?)
        }
    };
    value.split(end).next().map(str::trim)
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
    use crate::server::arena::round::{Picture, PictureKind};
    use exif::{Tag, Value};
    use landfall_model::LatLng;

    fn serve(bytes: &[u8], max_side: u32) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("a.jpg");
        std::fs::write(&picture, bytes).unwrap();
        let truth = LatLng::new(0.0, 0.0).unwrap();
        to_served_jpeg(&ArenaRound {
            truth,
            picture: Picture::File(picture),
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
    fn only_whole_spheres_are_panoramas() {
        let attributes = |projection: &str, cropped: (u32, u32)| {
            format!(
                "<rdf:Description GPano:ProjectionType=\"{projection}\" GPano:FullPanoWidthPixels='1200' \
                 GPano:FullPanoHeightPixels = \"600\" GPano:CroppedAreaImageWidthPixels=\"{}\" \
                 GPano:CroppedAreaImageHeightPixels=\"{}\"/>",
                cropped.0, cropped.1
            )
        };
        let elements = |height: u32| {
            format!(
                "<GPano:ProjectionType>equirectangular</GPano:ProjectionType><GPano:FullPanoHeightPixels>600\
                 </GPano:FullPanoHeightPixels><GPano:CroppedAreaImageHeightPixels> {height} \
                 </GPano:CroppedAreaImageHeightPixels>"
            )
        };
        assert!(is_whole_sphere(&attributes("equirectangular", (1200, 600))) && is_whole_sphere(&elements(600)));
        assert!(!is_whole_sphere(&attributes("equirectangular", (600, 300))), "cropped, 2 to 1");
        assert!(!is_whole_sphere(&attributes("cylindrical", (1200, 600))) && !is_whole_sphere(&elements(200)));
        assert!(!is_whole_sphere("<x:xmpmeta/>") && !is_whole_sphere("GPano:ProjectionType=") && !is_whole_sphere(""));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.jpg");
        let xmp =
            [&b"http://ns.adobe.com/xap/1.0/\0"[..], attributes("equirectangular", (1200, 600)).as_bytes()].concat();
        for (size, expected) in [((128, 64), true), ((201, 100), true), ((128, 80), false)] {
            let plain = jpeg(size.0, size.1, None);
            let length = u16::try_from(xmp.len() + 2).unwrap().to_be_bytes();
            let tagged = [&plain[..2], &[0xff, 0xe1], &length, &xmp, &plain[2..]].concat();
            std::fs::write(&file, tagged).unwrap();
            assert_eq!(is_panorama(&file), expected, "{size:?}");
        }
    }

    #[test]
    fn invalid_images_are_errors() {
        assert!(serve(b"nonsense", 64).is_err());
    }
}
