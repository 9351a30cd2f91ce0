//! WebP files: their chunks, and files whose flags do not match them.

use std::borrow::Cow;
use std::ops::Range;

use super::error::Unreadable;
use super::metadata::Metadata;

const NAME: &str = "WebP";
const FRAME_HEADER_BYTES: usize = 16;
const HAS_ANIMATION: u8 = 0x02;
const HAS_ALPHA: u8 = 0x10;
/// Flags for EXIF and XMP. The decoder fails if an announced chunk is missing, although its content is not needed.
const HAS_METADATA: u8 = 0x04 | 0x08;

/// Positions of the parts of an image.
#[derive(Default)]
struct Parts {
    /// The header of an extended file.
    extended: Option<Range<usize>>,
    animation: bool,
    frame: Option<Range<usize>>,
    alpha: Option<Range<usize>>,
    lossy: Option<Range<usize>>,
    lossless: Option<Range<usize>>,
}

/// Reads all chunks. The second result is the file with flags that match its chunks, since the decoder trusts them.
pub(super) fn read(bytes: &[u8]) -> Result<(Metadata, Cow<'_, [u8]>), Unreadable> {
    let mut metadata = Metadata::default();
    let mut parts = Parts::default();
    for (kind, range) in chunks(bytes, 12..bytes.len()) {
        let body = &bytes[range.clone()];
        match kind {
            b"ICCP" if metadata.icc.is_none() => metadata.icc = Some(body.to_vec()),
            b"ANIM" => parts.animation = true,
            _ => parts.add(kind, range),
        }
    }
    if parts.extended.is_none() {
        metadata.icc = None;
    }
    metadata.read_orientation(bytes);
    let is_still = parts.lossy.is_some() || parts.lossless.is_some();
    let frame = parts.frame.clone().filter(|_| !is_still);
    let (size, bytes) = match (frame, parts.extended.clone()) {
        (Some(frame), Some(extended)) => {
            let canvas = canvas(&bytes[extended.clone()]);
            let start = frame.start + FRAME_HEADER_BYTES;
            let mut first = Parts::default();
            chunks(bytes, start..frame.end).for_each(|(kind, range)| first.add(kind, range));
            let size = first.size(bytes);
            if parts.animation && size != canvas {
                (canvas, with_flags(bytes, extended.start))
            } else {
                // The first image covers the canvas, or there is no header with its position.
                (size, Cow::Owned(first.still(bytes)))
            }
        }
        (_, Some(_)) => (parts.size(bytes), Cow::Owned(parts.still(bytes))),
        _ => (parts.size(bytes), Cow::Borrowed(bytes)),
    };
    // A chunk that exceeds the file is not returned: the file is truncated.
    (metadata.width, metadata.height) = size.ok_or(Unreadable::CutOff(NAME))?;
    if metadata.width == 0 || metadata.height == 0 {
        return Err(Unreadable::Damaged(NAME));
    }
    Ok((metadata, bytes))
}

/// Type and position of the chunks in a part of a file, up to the point where it is truncated.
fn chunks(bytes: &[u8], within: Range<usize>) -> impl Iterator<Item = (&[u8; 4], Range<usize>)> {
    let mut at = within.start;
    std::iter::from_fn(move || {
        let kind = bytes.get(at..within.end)?.first_chunk::<4>()?;
        let length = u32::from_le_bytes(*bytes.get(at + 4..within.end)?.first_chunk()?) as usize;
        let start = at + 8;
        let end = start.checked_add(length).filter(|end| *end <= within.end)?;
        at = end + length % 2;
        Some((kind, start..end))
    })
}

fn with_flags(bytes: &[u8], extended: usize) -> Cow<'_, [u8]> {
    let flags = (bytes[extended] | HAS_ANIMATION) & !HAS_METADATA;
    if bytes[extended] == flags {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    bytes[extended] = flags;
    Cow::Owned(bytes)
}

fn canvas(extended: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, _, w0, w1, w2, h0, h1, h2] = *extended.first_chunk()?;
    Some((1 + u32::from_le_bytes([w0, w1, w2, 0]), 1 + u32::from_le_bytes([h0, h1, h2, 0])))
}

impl Parts {
    fn add(&mut self, kind: &[u8; 4], range: Range<usize>) {
        let place = match kind {
            b"VP8X" if range.len() >= 10 => &mut self.extended,
            b"ANMF" if range.len() >= FRAME_HEADER_BYTES => &mut self.frame,
            b"ALPH" => &mut self.alpha,
            b"VP8 " => &mut self.lossy,
            b"VP8L" => &mut self.lossless,
            _ => return,
        };
        place.get_or_insert(range);
    }

    fn size(&self, bytes: &[u8]) -> Option<(u32, u32)> {
        if let Some(lossless) = &self.lossless {
            let header = u32::from_le_bytes(*bytes[lossless.clone()].get(1..)?.first_chunk()?);
            return Some((1 + (header & 0x3fff), 1 + (header >> 14 & 0x3fff)));
        }
        let [w0, w1, h0, h1] = *bytes[self.lossy.clone()?].get(6..)?.first_chunk()?;
        let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
        Some((side(w0, w1), side(h0, h1)))
    }

    /// A file with only a still image.
    fn still(&self, bytes: &[u8]) -> Vec<u8> {
        let mut chunks = Vec::new();
        let mut add = |kind: &[u8; 4], body: &[u8]| {
            chunks.extend_from_slice(kind);
            chunks.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
            chunks.extend_from_slice(body);
            chunks.resize(chunks.len().next_multiple_of(2), 0);
        };
        match (&self.lossless, &self.lossy, &self.alpha) {
            (Some(lossless), ..) => add(b"VP8L", &bytes[lossless.clone()]),
            (None, Some(lossy), Some(alpha)) => {
                let (width, height) = self.size(bytes).unwrap_or((1, 1));
                let sides = [width, height].map(|side| side.saturating_sub(1).to_le_bytes());
                let [[w0, w1, w2, _], [h0, h1, h2, _]] = sides;
                add(b"VP8X", &[HAS_ALPHA, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
                add(b"ALPH", &bytes[alpha.clone()]);
                add(b"VP8 ", &bytes[lossy.clone()]);
            }
            (None, Some(lossy), None) => add(b"VP8 ", &bytes[lossy.clone()]),
            (None, None, _) => {}
        }
        let length = u32::try_from(chunks.len() + 4).unwrap_or(u32::MAX);
        [&b"RIFF"[..], &length.to_le_bytes(), b"WEBP", &chunks].concat()
    }
}
