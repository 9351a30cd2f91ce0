//! The EXIF and XMP metadata of image files. Only the metadata is read, not the pixels, so that large directories are
//! searched quickly, and at most `MAX_BLOCK_BYTES` of each block.

use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;

pub mod gps;
pub mod xmp;

/// Maximum size of a block, also after decompression.
const MAX_BLOCK_BYTES: u64 = 4 << 20;
/// Maximum number of blocks of a file; files have one or two.
const MAX_BLOCKS: usize = 16;
/// Maximum size of a TIFF file, which may have its metadata anywhere and is read entirely.
const MAX_TIFF_BYTES: u64 = 256 << 20;
/// What precedes EXIF data in a JPEG segment. The sixth byte is padding, which some writers set to 0xff.
const EXIF_PREFIX: &[u8] = b"Exif\0";
/// What precedes XMP in a JPEG segment.
const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// The metadata blocks of an image file, in the order in which they are stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// EXIF blocks: TIFF directories without a prefix.
    pub exif: Vec<Vec<u8>>,
    /// XMP packets.
    pub xmp: Vec<Vec<u8>>,
}

impl Metadata {
    /// Reads the blocks of a JPEG, PNG, WebP, TIFF or HEIF file. A truncated file has the blocks before the cut, and any
    /// other file has none.
    ///
    /// # Errors
    /// When reading fails.
    pub fn read(reader: &mut (impl BufRead + Seek)) -> io::Result<Self> {
        let mut metadata = Self::default();
        let mut start = Vec::new();
        reader.by_ref().take(12).read_to_end(&mut start)?;
        let read = match start.as_slice() {
            [0xff, 0xd8, ..] => metadata.read_jpeg(reader),
            [0x89, b'P', b'N', b'G', ..] => metadata.read_png(reader),
            [b'R', b'I', b'F', b'F', .., b'W', b'E', b'B', b'P'] => metadata.read_webp(reader),
            _ => metadata.read_other(reader, &start),
        };
        match read {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(metadata),
        }
    }

    fn read_jpeg(&mut self, reader: &mut (impl BufRead + Seek)) -> io::Result<()> {
        const APP1: u8 = 0xe1;
        reader.seek(SeekFrom::Start(2))?;
        loop {
            // Before a marker, decoders skip stray bytes, and any number of fill bytes (0xff) is valid.
            while byte(reader)? != 0xff {}
            let mut marker = 0xff;
            while marker == 0xff {
                marker = byte(reader)?;
            }
            match marker {
                0x00 | 0x01 | 0xd0..=0xd8 => continue, // no segment follows
                0xd9 | 0xda => return Ok(()),          // the image data
                _ => {}
            }
            let length = u64::from(u16::from_be_bytes(array(reader)?)).saturating_sub(2);
            if marker != APP1 {
                skip(reader, length)?;
                continue;
            }
            let body = block(reader, length)?;
            if let Some(exif) = body.strip_prefix(EXIF_PREFIX) {
                self.push_exif(exif.get(1..).unwrap_or_default());
            } else if let Some(xmp) = body.strip_prefix(XMP_PREFIX) {
                self.push_xmp(xmp);
            }
        }
    }

    fn read_png(&mut self, reader: &mut (impl BufRead + Seek)) -> io::Result<()> {
        reader.seek(SeekFrom::Start(8))?;
        loop {
            let length = u64::from(u32::from_be_bytes(array(reader)?));
            let kind: [u8; 4] = array(reader)?;
            match &kind {
                b"eXIf" => {
                    let body = block(reader, length)?;
                    self.push_exif(without_prefix(&body));
                }
                b"tEXt" | b"zTXt" | b"iTXt" => {
                    let body = block(reader, length)?;
                    self.push_png_text(&kind, &body);
                }
                b"IEND" => return Ok(()),
                _ => skip(reader, length)?,
            }
            skip(reader, 4)?; // checksum
        }
    }

    /// XMP, or the raw profiles in which ImageMagick stores EXIF and XMP as hexadecimal text.
    fn push_png_text(&mut self, kind: &[u8; 4], body: &[u8]) {
        let mut parts = body.splitn(2, |byte| *byte == 0);
        let (Some(keyword), Some(rest)) = (parts.next(), parts.next()) else { return };
        let is_xmp = keyword == b"XML:com.adobe.xmp";
        let is_raw_profile = keyword.starts_with(b"Raw profile type ");
        if !is_xmp && !is_raw_profile {
            return;
        }
        let text = match (kind, rest) {
            (b"tEXt", text) => text.to_vec(),
            (b"zTXt", [0, compressed @ ..]) => inflate(compressed),
            (b"iTXt", [compression, _, rest @ ..]) => {
                // The language and the translated keyword precede the text.
                let Some(text) = rest.splitn(3, |byte| *byte == 0).nth(2) else { return };
                if *compression == 0 { text.to_vec() } else { inflate(text) }
            }
            _ => return,
        };
        if is_xmp {
            return self.push_xmp(&text);
        }
        let profile = raw_profile(&text);
        match profile.strip_prefix(XMP_PREFIX) {
            Some(xmp) => self.push_xmp(xmp),
            None if keyword.ends_with(b" xmp") => self.push_xmp(&profile),
            None => self.push_exif(without_prefix(&profile)),
        }
    }

    fn read_webp(&mut self, reader: &mut (impl BufRead + Seek)) -> io::Result<()> {
        reader.seek(SeekFrom::Start(12))?;
        loop {
            let kind: [u8; 4] = array(reader)?;
            let length = u64::from(u32::from_le_bytes(array(reader)?));
            match &kind {
                b"EXIF" => {
                    let body = block(reader, length)?;
                    self.push_exif(without_prefix(&body));
                }
                b"XMP " => {
                    let body = block(reader, length)?;
                    self.push_xmp(&body);
                }
                _ => skip(reader, length)?,
            }
            skip(reader, length % 2)?; // padding
        }
    }

    /// TIFF and HEIF files, as kamadak-exif reads them.
    fn read_other(&mut self, reader: &mut (impl BufRead + Seek), start: &[u8]) -> io::Result<()> {
        if is_tiff(start) && reader.seek(SeekFrom::End(0))? > MAX_TIFF_BYTES {
            return Ok(());
        }
        reader.seek(SeekFrom::Start(0))?;
        let mut tolerant = exif::Reader::new();
        tolerant.continue_on_error(true);
        match tolerant.read_from_container(reader).or_else(|error| error.distill_partial_result(|_| {})) {
            Ok(exif) => self.push_exif(exif.buf()),
            Err(exif::Error::Io(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn push_exif(&mut self, block: &[u8]) {
        if is_tiff(block) {
            if self.exif.len() < MAX_BLOCKS {
                self.exif.push(block.to_vec());
            }
        } else if let Some(last) = self.exif.last_mut() {
            // Data of more than 64 KiB continues in the next segment.
            if last.len() + block.len() <= MAX_BLOCK_BYTES as usize {
                last.extend_from_slice(block);
            }
        }
    }

    fn push_xmp(&mut self, packet: &[u8]) {
        if self.xmp.len() < MAX_BLOCKS {
            self.xmp.push(packet.to_vec());
        }
    }
}

fn is_tiff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II\x2a\0") || bytes.starts_with(b"MM\0\x2a")
}

/// EXIF data without the prefix of JPEG segments, which some writers repeat in other formats.
fn without_prefix(mut exif: &[u8]) -> &[u8] {
    while let Some(rest) = exif.strip_prefix(EXIF_PREFIX) {
        exif = rest.get(1..).unwrap_or_default();
    }
    exif
}

/// The bytes of a raw profile: a line with its name, a line with its length, and hexadecimal digits.
fn raw_profile(text: &[u8]) -> Vec<u8> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let digits = lines.by_ref().skip(2).flatten().filter_map(|byte| char::from(*byte).to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Decompressed data, up to the first error and the maximum size.
fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    _ = ZlibDecoder::new(compressed).take(MAX_BLOCK_BYTES).read_to_end(&mut data);
    data
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    array(reader).map(|[byte]| byte)
}

/// The next `length` bytes: fewer at the end of the file, and none if they are too many to be metadata.
fn block(reader: &mut (impl Read + Seek), length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if length > MAX_BLOCK_BYTES {
        skip(reader, length)?;
    } else {
        reader.take(length).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn skip(reader: &mut impl Seek, length: u64) -> io::Result<()> {
    reader.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(crate) mod tests;
