//! JPEG files: their segments, and decoding.

use image::RgbImage;
use jpeg_decoder::{Decoder, PixelFormat};

use super::error::{Unreadable, Warning};
use super::jpeg_scans;
use super::metadata::Metadata;

const NAME: &str = "JPEG";
/// A truncated file is decoded if it contains at least this share of the rows.
const MIN_PERCENT: u32 = 90;
const ICC: &[u8] = b"ICC_PROFILE\0";

/// How the pixels are stored.
pub(super) struct Layout {
    /// Marker of the frame header, 0xc0 to 0xcf.
    process: u8,
    /// Horizontal and vertical sampling factors.
    sampling: Vec<(u8, u8)>,
    /// The number of components in the first scan.
    in_first_scan: usize,
    /// Where the first scan starts.
    scan: usize,
}

/// Reads the segments before the first scan.
pub(super) fn read(bytes: &[u8]) -> Result<(Metadata, Layout), Unreadable> {
    let mut metadata = Metadata::default();
    let mut layout = None;
    let mut icc = Vec::new();
    let mut rest = bytes.get(2..).ok_or(Unreadable::CutOff(NAME))?;
    loop {
        // Decoders skip bytes between segments that are not markers.
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let start = rest.windows(2).position(is_marker).ok_or(Unreadable::CutOff(NAME))?;
        let marker = rest[start + 1];
        rest = &rest[start + 2..];
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == 0xd9 {
            return Err(Unreadable::Damaged(NAME));
        }
        let length = rest.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
        let Some(segment) = length.and_then(|length| rest.get(..length.max(2))) else {
            return Err(Unreadable::CutOff(NAME));
        };
        rest = &rest[segment.len()..];
        let body = &segment[2..];
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7 => {
                let found = frame(marker, body)?;
                (metadata.width, metadata.height) = found.0;
                layout = Some(found.1);
            }
            0xda => {
                let mut layout = layout.ok_or(Unreadable::Damaged(NAME))?;
                layout.in_first_scan = body.first().copied().unwrap_or_default().into();
                layout.scan = bytes.len() - rest.len();
                metadata.icc = join(icc);
                metadata.read_orientation(bytes);
                return Ok((metadata, layout));
            }
            0xe2 => icc.extend(body.strip_prefix(ICC).and_then(|part| part.split_at_checked(2))),
            _ => {}
        }
    }
}

/// Assembles the ICC profile from its numbered parts.
fn join(mut parts: Vec<(&[u8], &[u8])>) -> Option<Vec<u8>> {
    parts.sort_by_key(|(number, _)| number[0]);
    let is_whole = parts.iter().enumerate().all(|(i, (number, _))| usize::from(number[0]) == i + 1);
    (is_whole && !parts.is_empty()).then(|| parts.iter().flat_map(|(_, part)| part.iter().copied()).collect())
}

fn frame(process: u8, body: &[u8]) -> Result<((u32, u32), Layout), Unreadable> {
    let unsupported = match process {
        0xc0..=0xc2 => None,
        0xc3 => Some("lossless JPEG"),
        0xc9..=0xcb => Some("JPEG with arithmetic coding"),
        0xf7 => Some("JPEG-LS"),
        _ => Some("hierarchical JPEG"),
    };
    if let Some(name) = unsupported {
        return Err(Unreadable::Unsupported(name));
    }
    let [precision, h1, h0, w1, w0, count, components @ ..] = body else { return Err(Unreadable::Damaged(NAME)) };
    if *precision != 8 {
        return Err(Unreadable::Unsupported("JPEG with more than 8 bits per colour"));
    }
    let size = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
    let (components, _) = components.as_chunks::<3>();
    let components = components.iter().take((*count).into());
    let sampling: Vec<(u8, u8)> = components.map(|[_, factors, _]| (factors >> 4, factors & 15)).collect();
    let is_sound = sampling.len() == usize::from(*count) && sampling.iter().all(|(h, v)| *h > 0 && *v > 0);
    if size.0 == 0 || size.1 == 0 || !is_sound {
        return Err(Unreadable::Damaged(NAME));
    }
    if !matches!(sampling.len(), 1 | 3 | 4) {
        return Err(Unreadable::Unsupported("JPEG with this number of colours"));
    }
    Ok(((size.0.into(), size.1.into()), Layout { process, sampling, in_first_scan: 0, scan: 0 }))
}

impl Layout {
    pub(super) fn is_grey(&self) -> bool {
        self.sampling.len() == 1
    }

    pub(super) fn is_cmyk(&self) -> bool {
        self.sampling.len() == 4
    }

    /// Bytes for the coefficients of all components, if decoding needs them at once.
    pub(super) fn coefficient_bytes(&self, pixels: u64) -> u64 {
        let widest = |factor: fn(&(u8, u8)) -> u8| u64::from(self.sampling.iter().map(factor).max().unwrap_or(1));
        let area = widest(|(h, _)| *h) * widest(|(_, v)| *v);
        let samples: u64 = self.sampling.iter().map(|(h, v)| u64::from(*h) * u64::from(*v)).sum();
        let is_buffered = self.process == 0xc2 || self.in_first_scan < self.sampling.len();
        if is_buffered { 2 * pixels * samples / area } else { 0 }
    }

    /// Whether the components of a sequential file are in separate scans. zune-jpeg decodes these incorrectly unless
    /// all have the same size and it is a multiple of 8.
    pub(super) fn needs_other_decoder(&self) -> bool {
        self.process != 0xc2 && self.in_first_scan < self.sampling.len()
    }

    /// Whether the last row of a decoded picture repeats itself. Decoders fill the missing part of a truncated file with
    /// one colour, or with blocks from zero bits.
    pub(super) fn may_be_filled_in(&self, picture: &RgbImage) -> bool {
        let period = 8 * self.sampling.iter().map(|(h, _)| usize::from(*h)).max().unwrap_or(1);
        let row =
            picture.rows().next_back().map(|row| row.map(|pixel| pixel.0).collect::<Vec<_>>()).unwrap_or_default();
        // Resampled chroma differs at the edges.
        let inner = row.get(period..row.len().saturating_sub(period)).unwrap_or_default();
        let repeats = |(a, b): (&[u8; 3], &[u8; 3])| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1);
        inner.len() < 2 * period || inner.iter().zip(&inner[period..]).all(repeats)
    }

    /// Whether a progressive file ends with a scan that does not refine earlier ones, after which others may be missing.
    pub(super) fn may_lack_scans(&self, bytes: &[u8]) -> bool {
        let scans = bytes.get(self.scan..).unwrap_or_default();
        let last = scans.windows(2).rposition(|pair| pair == [0xff, 0xda]).and_then(|at| scans.get(at + 4..));
        // The number of components, two bytes for each, the range of coefficients, and the range of their bits.
        let bits = last.and_then(|header| header.get(2 * usize::from(*header.first()?) + 3));
        self.process == 0xc2 && bits.is_none_or(|bits| bits >> 4 == 0)
    }

    /// Whether an end marker follows the first scan. It cannot occur within the data of a scan.
    pub(super) fn is_ended(&self, bytes: &[u8]) -> bool {
        bytes.get(self.scan..).is_some_and(|scans| scans.windows(2).rev().any(|pair| pair == [0xff, 0xd9]))
    }
}

/// The part of a truncated file that can be decoded.
pub(super) struct CompletePart {
    pub(super) bytes: Vec<u8>,
    /// The size that is decoded.
    pub(super) metadata: Metadata,
    /// Number of complete rows.
    pub(super) rows: u32,
    pub(super) warning: Warning,
}

/// The part of a truncated file that can be decoded; `None` if the file is complete, or its scans cannot be walked
/// through.
///
/// # Errors
/// When too much is missing.
pub(super) fn complete_part(
    bytes: &[u8],
    metadata: &Metadata,
    is_ended: bool,
) -> Result<Option<CompletePart>, Unreadable> {
    let extent = match jpeg_scans::extent(bytes) {
        Some(extent) => extent,
        None if is_ended => return Ok(None),
        None => return Err(Unreadable::CutOff(NAME)),
    };
    if is_ended && extent.rows >= metadata.height {
        return Ok(None);
    }
    if u64::from(extent.rows) * 100 < u64::from(metadata.height) * u64::from(MIN_PERCENT) {
        return Err(Unreadable::CutOff(NAME));
    }
    let missing = metadata.height.saturating_sub(extent.rows);
    let warning = match missing {
        0 if extent.lacks_detail => Warning::NoDetail(NAME),
        0 => Warning::NoEnd(NAME),
        _ => Warning::MissingRows { format: NAME, percent: (missing * 100).div_ceil(metadata.height) },
    };
    let height = if extent.needs_all_rows { metadata.height } else { extent.rows };
    let metadata = Metadata { height, ..metadata.clone() };
    Ok(Some(CompletePart { bytes: extent.complete_part(bytes), metadata, rows: extent.rows, warning }))
}

/// The output of jpeg-decoder.
pub(super) enum Pixels {
    Rgb(RgbImage),
    /// CMYK: four bytes per pixel, 255 for full ink.
    Cmyk(u32, u32, Vec<u8>),
}

/// Decodes with jpeg-decoder, which is slower than zune-jpeg, to the smallest of 1, 1/2, 1/4 and 1/8 of the size that
/// is not below 1/`divisor`.
pub(super) fn decode_scaled(bytes: &[u8], metadata: &Metadata, divisor: u32) -> Result<Pixels, Unreadable> {
    let side = |length: u32| u16::try_from(length.div_ceil(divisor)).unwrap_or(u16::MAX);
    let mut decoder = Decoder::new(bytes);
    let damaged = |error: jpeg_decoder::Error| match error {
        jpeg_decoder::Error::Io(_) => Unreadable::CutOff(NAME),
        jpeg_decoder::Error::Unsupported(_) => Unreadable::Unsupported("this kind of JPEG"),
        _ => Unreadable::Damaged(NAME),
    };
    let (width, height) = decoder.scale(side(metadata.width), side(metadata.height)).map_err(damaged)?;
    let pixels = decoder.decode().map_err(damaged)?;
    let (width, height) = (u32::from(width), u32::from(height));
    let rgb = match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => pixels,
        Some(PixelFormat::L8) => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
        Some(PixelFormat::CMYK32) => return Ok(Pixels::Cmyk(width, height, pixels)),
        _ => return Err(Unreadable::Damaged(NAME)),
    };
    RgbImage::from_raw(width, height, rgb).map(Pixels::Rgb).ok_or(Unreadable::Damaged(NAME))
}
