//! PNG files: their chunks, and decoding at a smaller size.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use image::RgbImage;

use super::error::Unreadable;
use super::metadata::Metadata;
use super::pixels::over_white;

const NAME: &str = "PNG";
/// Maximum size of decompressed metadata.
const MAX_METADATA_BYTES: u64 = 8 << 20;

/// How the pixels are stored.
pub(super) struct Layout {
    /// Bytes per pixel as the `image` crate decodes them.
    pub(super) bytes_per_pixel: u64,
    pub(super) is_grey: bool,
    is_interlaced: bool,
    is_ended: bool,
}

/// Reads all chunks.
pub(super) fn read(bytes: &[u8]) -> Result<(Metadata, Layout), Unreadable> {
    let mut metadata = Metadata::default();
    let (mut header, mut has_transparency, mut is_srgb, mut is_ended) = (None, false, false, false);
    for (kind, body) in chunks(bytes) {
        match kind {
            b"IHDR" if header.is_none() => header = body.first_chunk::<13>().copied(),
            b"tRNS" => has_transparency = true,
            b"sRGB" => is_srgb = true,
            b"IEND" => is_ended = true,
            b"iCCP" if metadata.icc.is_none() => {
                metadata.icc = after_zero(body).and_then(|rest| inflate(rest.get(1..)?))
            }
            _ => {}
        }
    }
    let Some([w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, _, _, interlace]) = header else {
        return Err(Unreadable::CutOff(NAME));
    };
    (metadata.width, metadata.height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    if metadata.width == 0 || metadata.height == 0 {
        return Err(Unreadable::Damaged(NAME));
    }
    if is_srgb {
        metadata.icc = None;
    }
    metadata.read_orientation(bytes);
    let channels = match colour {
        0 | 4 => 1,
        _ => 3,
    } + u64::from(colour & 4 != 0 || has_transparency);
    let layout = Layout {
        bytes_per_pixel: channels * if depth == 16 { 2 } else { 1 },
        is_grey: matches!(colour, 0 | 4),
        is_interlaced: interlace != 0,
        is_ended,
    };
    Ok((metadata, layout))
}

/// Type and contents of the chunks, up to the point where the file is truncated.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind = rest.get(4..)?.first_chunk::<4>()?;
        let body = rest.get(8..)?.get(..length)?;
        rest = rest.get(length.checked_add(12)?..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The file with an end marker. Of a truncated file, whose pixels may be complete, these are the chunks before the cut,
/// the last of them with the bytes that there are.
pub(super) fn with_end<'a>(bytes: &'a [u8], layout: &Layout) -> Cow<'a, [u8]> {
    if layout.is_ended {
        return Cow::Borrowed(bytes);
    }
    let whole: usize = 8 + chunks(bytes).map(|(_, body)| body.len() + 12).sum::<usize>();
    let mut ended = bytes[..whole.min(bytes.len())].to_vec();
    if whole > bytes.len() {
        // Only the checksum of the last chunk is truncated.
        if let Some((kind, body)) = chunks(bytes).last() {
            ended.truncate(whole - 4);
            ended.extend(checksum(kind, body).to_be_bytes());
        }
    } else if let Some(body) = bytes.get(whole + 8..)
        && bytes[whole + 4..].starts_with(b"IDAT")
    {
        push_chunk(&mut ended, b"IDAT", body);
    }
    push_chunk(&mut ended, b"IEND", b"");
    Cow::Owned(ended)
}

fn push_chunk(file: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    file.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend(kind);
    file.extend(body);
    file.extend(checksum(kind, body).to_be_bytes());
}

fn checksum(kind: &[u8; 4], body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(body);
    crc.sum()
}

fn after_zero(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(bytes.iter().position(|byte| *byte == 0)? + 1..)
}

fn inflate(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(compressed).take(MAX_METADATA_BYTES).read_to_end(&mut bytes).ok()?;
    ((bytes.len() as u64) < MAX_METADATA_BYTES).then_some(bytes)
}

/// Decodes row by row to 1/`divisor` of the size, averaging squares of pixels.
pub(super) fn decode_scaled(
    bytes: &[u8],
    metadata: &Metadata,
    layout: &Layout,
    divisor: u32,
) -> Result<RgbImage, Unreadable> {
    if layout.is_interlaced {
        // Rows of interlaced images are not in order.
        return Err(Unreadable::Memory { width: metadata.width, height: metadata.height });
    }
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(|error| unreadable(&error))?;
    let channels = reader.output_color_type().0.samples();
    let side = divisor as usize;
    let (width, height) = (metadata.width.div_ceil(divisor), metadata.height.div_ceil(divisor));
    let mut out = Vec::with_capacity(width as usize * height as usize * 3);
    let mut sums = vec![[0_u32; 4]; width as usize];
    for y in 1..=metadata.height as usize {
        let row = reader.next_row().map_err(|error| unreadable(&error))?.ok_or(Unreadable::CutOff(NAME))?;
        for (sum, pixels) in sums.iter_mut().zip(row.data().chunks(channels * side)) {
            for pixel in pixels.chunks_exact(channels) {
                let rgb = match *pixel {
                    [grey] => [grey; 3],
                    [grey, alpha] => over_white([grey, grey, grey, alpha]),
                    [red, green, blue] => [red, green, blue],
                    [red, green, blue, alpha] => over_white([red, green, blue, alpha]),
                    _ => return Err(Unreadable::Damaged(NAME)),
                };
                for (sum, value) in sum.iter_mut().zip([rgb[0], rgb[1], rgb[2], 1]) {
                    *sum += u32::from(value);
                }
            }
        }
        if y % side == 0 || y == metadata.height as usize {
            for [red, green, blue, n] in &mut sums {
                let n = (*n).max(1);
                out.extend([*red, *green, *blue].map(|sum| u8::try_from((sum + n / 2) / n).unwrap_or(u8::MAX)));
            }
            sums.fill([0; 4]);
        }
    }
    RgbImage::from_raw(width, height, out).ok_or(Unreadable::Damaged(NAME))
}

fn unreadable(error: &png::DecodingError) -> Unreadable {
    match error {
        png::DecodingError::IoError(_) => Unreadable::CutOff(NAME),
        _ => Unreadable::Damaged(NAME),
    }
}
