//! Makes copies of photos with an estimated or confirmed location in their EXIF data.
//!
//! Existing data keeps its bytes and position: a GPS directory is appended and a pointer to it is inserted. Maker
//! notes, which contain absolute offsets, therefore remain valid.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use anyhow::{Context, Result};
use img_parts::jpeg::markers::APP1;
use img_parts::jpeg::{Jpeg, JpegSegment};
use img_parts::{Bytes, DynImage, ImageEXIF};
use landfall_common::exit::usage_error;
use landfall_model::LatLng;
use landfall_model::metadata::{Metadata, gps};

/// Tag of the pointer to the GPS directory, in the first directory.
const GPS_POINTER: u16 = 0x8825;
const LATITUDE: u16 = 0x0002;
const LONGITUDE: u16 = 0x0004;
const GPS_ERROR: u16 = 0x001f;
/// Value types of TIFF 6.0.
const BYTE: u16 = 1;
const ASCII: u16 = 2;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const UNDEFINED: u16 = 7;
/// Maximum size in bytes of the EXIF data in a segment of a JPEG.
const MAX_SEGMENT_BYTES: usize = 65_527;
/// What precedes EXIF data in a segment of a JPEG.
const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// The character code that precedes the description of the method.
const METHOD_CODE: &str = "ASCII\0\0\0";

/// How the description of the method begins that tells copies from photos with a measured position. Earlier versions wrote
/// the last one.
const METHODS: [&str; 3] = ["estimate by Landfall ", "confirmed by a person with Landfall ", "guess by Landfall "];

/// The location to write.
#[derive(Clone, Debug)]
pub(crate) struct Geotag<'a> {
    pub at: LatLng,
    /// Radius in metres within which the place is with a probability of 90 %; `None` if a person chose the location.
    pub error_m: Option<f64>,
    /// The bundle, `name@version`.
    pub bundle: &'a str,
    pub source: GeotagSource,
}

/// Where a location comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeotagSource {
    /// Estimated from the picture.
    Picture,
    /// Estimated from the picture and from what else was known.
    PictureAndHints,
    /// Estimated, and accepted by a person.
    Accepted,
    /// Chosen by a person.
    Corrected,
}

impl Geotag<'_> {
    /// The description of the method, for `GPSProcessingMethod`.
    pub(crate) fn method(&self) -> String {
        let [estimate, confirmed, _] = METHODS;
        let bundle = self.bundle;
        match self.source {
            GeotagSource::Picture => format!("{estimate}{bundle} from the picture alone; 90 % within the error"),
            GeotagSource::PictureAndHints => {
                format!("{estimate}{bundle} from the picture and what else was known; 90 % within the error")
            }
            GeotagSource::Accepted => format!("{confirmed}{bundle}, which estimated it; 90 % within the error"),
            GeotagSource::Corrected => format!("{confirmed}{bundle}, whose estimate was corrected"),
        }
    }
}

/// Whether a description of a method is one that [`Geotag::method`] gives.
pub(crate) fn is_own_method(text: &str) -> bool {
    METHODS.iter().any(|method| text.starts_with(method))
}

/// The copy of the photo `file` with the location; `None` if it has a position in EXIF or XMP already.
///
/// Everything else is copied as it is: other segments and chunks, gain maps and second images, and what follows the image,
/// such as the video of a motion photo.
///
/// # Errors
/// When the photo is not a JPEG, PNG or WebP file, or its EXIF data is invalid or too large.
pub(crate) fn geotagged_copy(file: &Path, geotag: &Geotag<'_>) -> Result<Option<Vec<u8>>> {
    let bytes = std::fs::read(file).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
    let unusable = |reason: String| usage_error(format!("{}: cannot write a copy: {reason}", file.display()));
    // An unusable position, such as 0, 0, is replaced.
    if matches!(gps::position_in(&mut Cursor::new(&bytes)), Ok(Some(_))) {
        return Ok(None);
    }
    insert_into_image(bytes, geotag).map(Some).map_err(unusable)
}

/// Whether a file is a copy that [`geotagged_copy`] made.
pub(crate) fn is_copy(file: &Path) -> bool {
    let exif = File::open(file).ok().and_then(|open| Metadata::read(&mut BufReader::new(open)).ok());
    let marks = |exif: &Vec<u8>| {
        let code = METHOD_CODE.as_bytes();
        let codes = exif.windows(code.len()).enumerate().filter(|(_, bytes)| *bytes == code);
        codes
            .into_iter()
            .any(|(i, _)| METHODS.iter().any(|method| exif[i + code.len()..].starts_with(method.as_bytes())))
    };
    exif.is_some_and(|metadata| metadata.exif.iter().any(marks))
}

/// The image file `bytes` with the location in its EXIF data.
fn insert_into_image(bytes: Vec<u8>, geotag: &Geotag<'_>) -> Result<Vec<u8>, String> {
    let metadata = Metadata::read(&mut Cursor::new(&bytes)).map_err(|error| error.to_string())?;
    let bytes = Bytes::from(bytes);
    let parsed = DynImage::from_bytes(bytes.clone()).map_err(|error| error.to_string())?;
    let mut image = parsed.ok_or("it is not a JPEG, PNG or WebP file")?;
    let exif = insert_geotag(metadata.exif.first().map(Vec::as_slice), geotag)?;
    if exif.len() > MAX_SEGMENT_BYTES {
        return Err(format!("there is no room left in its EXIF data, which has at most {MAX_SEGMENT_BYTES} bytes"));
    }
    // In JPEG files, what follows the image belongs to its last segment.
    let length = match &image {
        DynImage::Jpeg(_) => bytes.len(),
        DynImage::Png(png) => png.len(),
        DynImage::WebP(webp) => webp.len() as usize,
    };
    let trailing = bytes.slice(length.min(bytes.len())..);
    image.set_exif(Some(exif.into()));
    if let DynImage::Jpeg(jpeg) = &mut image {
        restore_further_exif(jpeg, metadata.exif.get(1..).unwrap_or_default());
    }
    Ok([image.encoder().bytes(), trailing].concat())
}

/// Puts the EXIF segments after the first back, which `set_exif` removes.
fn restore_further_exif(jpeg: &mut Jpeg, further: &[Vec<u8>]) {
    let is_exif = |segment: &JpegSegment| segment.marker() == APP1 && segment.contents().starts_with(EXIF_PREFIX);
    let segments = jpeg.segments_mut();
    let Some(first) = segments.iter().position(is_exif) else { return };
    let restored = further.iter().map(|exif| [EXIF_PREFIX, exif].concat());
    let restored = restored.map(|exif| JpegSegment::new_with_contents(APP1, exif.into())).collect::<Vec<_>>();
    segments.splice(first + 1..first + 1, restored);
}

/// EXIF data with the location, in place of the position that it has.
///
/// # Errors
/// A message, when the data is invalid.
pub(crate) fn insert_geotag(exif: Option<&[u8]>, geotag: &Geotag<'_>) -> Result<Vec<u8>, String> {
    // An empty directory, big-endian.
    let mut tiff = Tiff::new(exif.unwrap_or(b"MM\0\x2a\0\0\0\x08\0\0\0\0\0\0"))?;
    let main = tiff.long(4)?;
    let (mut entries, after) = tiff.directory(main)?;
    let pointer = entries.iter().find(|(_, entry)| entry.tag == GPS_POINTER).copied();
    // A pointer to nowhere is replaced.
    let existing = pointer.and_then(|(_, entry)| tiff.directory(tiff.order.long(entry.value)).ok());
    let mut gps = existing.map_or_else(Vec::new, |(gps, _)| gps);
    for (tag, kind, count, value) in fields(geotag, tiff.order) {
        let value = tiff.push_value(value);
        gps.retain(|(_, entry)| entry.tag != tag);
        gps.push((0, Entry { tag, kind, count, value }));
    }
    if geotag.error_m.is_none() {
        gps.retain(|(_, entry)| entry.tag != GPS_ERROR); // that of another position
    }
    let at = tiff.push_directory(&mut gps, 0);
    match pointer {
        Some((offset, _)) => tiff.set_pointer(offset, at),
        None => {
            let value = tiff.order.long_bytes(at);
            entries.push((0, Entry { tag: GPS_POINTER, kind: LONG, count: 1, value }));
            let moved = tiff.push_directory(&mut entries, after);
            tiff.set_long(4, moved);
        }
    }
    Ok(tiff.bytes)
}

/// Tag, type, number of values, and bytes.
type Field = (u16, u16, u32, Vec<u8>);

/// The GPS fields of EXIF 2.31.
fn fields(geotag: &Geotag<'_>, order: ByteOrder) -> Vec<Field> {
    let rationals = |numbers: &[(u32, u32)]| {
        numbers.iter().flat_map(|(a, b)| [order.long_bytes(*a), order.long_bytes(*b)].concat()).collect::<Vec<u8>>()
    };
    // In hundredths of an arc second, which is 30 cm.
    let degrees = |degrees: f64| {
        let whole = (degrees.abs() * 360_000.0).round() as u32;
        rationals(&[(whole / 360_000, 1), (whole / 6_000 % 60, 1), (whole % 6_000, 100)])
    };
    let text = |tag: u16, text: &str| {
        let bytes = [text.as_bytes(), b"\0"].concat();
        (tag, ASCII, bytes.len() as u32, bytes)
    };
    let method = format!("{METHOD_CODE}{}", geotag.method());
    let mut fields = vec![
        (0x0000, BYTE, 4, vec![2, 3, 0, 0]),
        text(0x0001, if geotag.at.lat < 0.0 { "S" } else { "N" }),
        (LATITUDE, RATIONAL, 3, degrees(geotag.at.lat)),
        text(0x0003, if geotag.at.lng < 0.0 { "W" } else { "E" }),
        (LONGITUDE, RATIONAL, 3, degrees(geotag.at.lng)),
        text(0x0012, "WGS-84"),
        (0x001b, UNDEFINED, method.len() as u32, method.into_bytes()),
    ];
    if let Some(error_m) = geotag.error_m {
        fields.push((GPS_ERROR, RATIONAL, 1, rationals(&[(error_m.round() as u32, 1)])));
    }
    fields
}

/// Byte order.
#[derive(Clone, Copy)]
enum ByteOrder {
    Big,
    Little,
}

impl ByteOrder {
    fn short(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn long(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    fn short_bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }

    fn long_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }
}

/// An entry of a directory. `value` is the value, or its offset if it is larger than four bytes.
#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    value: [u8; 4],
}

/// EXIF data: TIFF directories.
struct Tiff {
    bytes: Vec<u8>,
    order: ByteOrder,
}

impl Tiff {
    fn new(bytes: &[u8]) -> Result<Self, String> {
        let order = match bytes.get(..4) {
            Some(b"MM\0\x2a") => ByteOrder::Big,
            Some(b"II\x2a\0") => ByteOrder::Little,
            _ => return Err("its EXIF data is not TIFF".to_owned()),
        };
        Ok(Self { bytes: bytes.to_owned(), order })
    }

    fn bytes_at<const N: usize>(&self, offset: usize) -> Result<[u8; N], String> {
        let bytes = offset.checked_add(N).and_then(|end| self.bytes.get(offset..end)?.try_into().ok());
        bytes.ok_or_else(|| "its EXIF data is truncated".to_owned())
    }

    fn long(&self, offset: usize) -> Result<u32, String> {
        Ok(self.order.long(self.bytes_at(offset)?))
    }

    fn set_long(&mut self, offset: usize, number: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&self.order.long_bytes(number));
    }

    /// Makes the entry at this offset a pointer to a directory.
    fn set_pointer(&mut self, offset: usize, to: u32) {
        self.bytes[offset + 2..offset + 4].copy_from_slice(&self.order.short_bytes(LONG));
        self.set_long(offset + 4, 1);
        self.set_long(offset + 8, to);
    }

    /// The entries of the directory at this offset with their offsets, and the offset of the next directory.
    fn directory(&self, offset: u32) -> Result<(Vec<(usize, Entry)>, u32), String> {
        let offset = offset as usize;
        let count = usize::from(self.order.short(self.bytes_at(offset)?));
        let entry = |i: usize| {
            let offset = offset + 2 + 12 * i;
            let entry = Entry {
                tag: self.order.short(self.bytes_at(offset)?),
                kind: self.order.short(self.bytes_at(offset + 2)?),
                count: self.long(offset + 4)?,
                value: self.bytes_at(offset + 8)?,
            };
            Ok((offset, entry))
        };
        let entries: Result<Vec<_>, String> = (0..count).map(entry).collect();
        // Some writers omit the pointer after the last directory.
        Ok((entries?, self.long(offset + 2 + 12 * count).unwrap_or(0)))
    }

    /// The four bytes of a value in a directory: the value itself, or the offset at which it was appended.
    fn push_value(&mut self, mut value: Vec<u8>) -> [u8; 4] {
        if value.len() <= 4 {
            value.resize(4, 0);
            return std::array::from_fn(|i| value[i]);
        }
        let at = self.aligned_end();
        self.bytes.extend(value);
        self.order.long_bytes(at)
    }

    fn push_directory(&mut self, entries: &mut [(usize, Entry)], next: u32) -> u32 {
        entries.sort_by_key(|(_, entry)| entry.tag);
        let at = self.aligned_end();
        self.bytes.extend(self.order.short_bytes(entries.len() as u16));
        for (_, Entry { tag, kind, count, value }) in entries {
            self.bytes.extend(self.order.short_bytes(*tag));
            self.bytes.extend(self.order.short_bytes(*kind));
            self.bytes.extend(self.order.long_bytes(*count));
            self.bytes.extend(*value);
        }
        self.bytes.extend(self.order.long_bytes(next));
        at
    }

    /// Pads to an even offset, as required for values and directories, and returns it.
    fn aligned_end(&mut self) -> u32 {
        if self.bytes.len() % 2 == 1 {
            self.bytes.push(0);
        }
        self.bytes.len() as u32
    }
}

#[cfg(test)]
mod tests;
