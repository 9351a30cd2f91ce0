//! Reading images from files: the only implementation, for the agent, the trainer and the page.
//!
//! The format is detected from the content. Sizes are checked before anything is decoded, so that a hostile header
//! cannot exhaust the memory; large images are decoded at a reduced size. The result is what an image viewer shows: the
//! EXIF orientation is applied, transparent margins are removed and other transparent pixels blended with white, and
//! colours are converted to sRGB.

mod color;
mod content;
mod error;
mod exif;
mod heic;
mod jpeg;
mod jpeg_bits;
mod jpeg_scans;
mod metadata;
mod pixels;
mod png;
mod webp;

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};
pub use content::{Content, Format, START_BYTES, identify, is_picture_extension, raw_by_extension};
use error::{MAX_FILE_BYTES, MAX_PIXELS};
pub use error::{Unreadable, Warning};
pub use metadata::Metadata;

/// Images that would need more memory than this during decoding are decoded at a reduced size.
#[cfg(not(target_arch = "wasm32"))]
const FULL_SIZE_BYTES: u64 = 768 << 20;
#[cfg(target_arch = "wasm32")]
const FULL_SIZE_BYTES: u64 = 160 << 20;
/// Maximum number of pixels per byte of a JPEG file. Plain photographs reach a twentieth of it, and Huffman coding needs
/// at least two bits per block of 64 pixels.
const MAX_JPEG_PIXELS_PER_BYTE: u64 = 2048;
/// Images that need more memory than this even at a reduced size are not decoded.
#[cfg(not(target_arch = "wasm32"))]
const MAX_BYTES: u64 = 1200 << 20;
#[cfg(target_arch = "wasm32")]
const MAX_BYTES: u64 = 600 << 20;

/// A decoded image: upright, in sRGB and without alpha.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The pixels.
    pub image: RgbImage,
    /// What is missing, if the file is truncated.
    pub warning: Option<Warning>,
}

/// Reads an image from a file: upright, in sRGB and without alpha.
///
/// # Errors
/// When the file cannot be read, is not an image or is damaged; the message names it and says what it is.
pub fn open(file: impl AsRef<Path>) -> Result<RgbImage> {
    open_with_warning(file).map(|decoded| decoded.image)
}

/// As [`open`], with what is missing if the file is truncated.
///
/// # Errors
/// As [`open`].
pub fn open_with_warning(file: impl AsRef<Path>) -> Result<Decoded> {
    let file = file.as_ref();
    let decoded = read(file).and_then(|bytes| decode(&bytes)).map_err(|error| by_extension(error, file));
    decoded.map_err(|error| Error::Image { file: file.to_owned(), source: error.into() })
}

/// Reads a file that may be an image, up to 512 MiB. Of other files, which may be huge or endless, only the start is
/// read.
///
/// # Errors
/// When it cannot be read or is a directory, a device or a pipe.
pub fn read(file: &Path) -> std::result::Result<Vec<u8>, Unreadable> {
    check_kind(file)?;
    read_picture(std::fs::File::open(file)?)
}

/// As [`read`], from a stream such as standard input.
///
/// # Errors
/// When it cannot be read.
pub fn read_picture(mut source: impl Read) -> std::result::Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    source.by_ref().take(START_BYTES as u64).read_to_end(&mut bytes)?;
    if let Content::Picture(_) = identify(&bytes) {
        source.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Unreadable::TooManyBytes);
        }
    }
    Ok(bytes)
}

/// Whether a path names an open file descriptor, such as /dev/fd/63, which shells substitute for `<(command)`.
pub fn is_open_file(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|known| path.starts_with(known))
}

/// Refuses everything but regular files. Opening a named pipe would wait until something writes to it.
fn check_kind(file: &Path) -> std::result::Result<(), Unreadable> {
    let kind = std::fs::metadata(file)?.file_type();
    if kind.is_dir() {
        return Err(Unreadable::NoFile("it is a directory"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() && !is_open_file(file) {
            return Err(Unreadable::NoFile("it is a named pipe: give a file, or the picture on standard input"));
        }
        if kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
            return Err(Unreadable::NoFile("it is a device or a terminal, not a file"));
        }
    }
    Ok(())
}

/// Replaces a less specific error by one that names the RAW format of the file's extension.
fn by_extension(error: Unreadable, file: &Path) -> Unreadable {
    let raw = file.extension().and_then(|extension| raw_by_extension(extension.to_str()?));
    match (error, raw) {
        (
            Unreadable::Unknown
            | Unreadable::Damaged("TIFF")
            | Unreadable::CutOff("TIFF")
            | Unreadable::Unsupported("this kind of TIFF"),
            Some(raw),
        ) => Unreadable::Unsupported(raw),
        (error, _) => error,
    }
}

/// Detects the format of an image from its content.
///
/// # Errors
/// When the bytes are not a supported image; the error says what they are.
pub fn format(bytes: &[u8]) -> std::result::Result<Format, Unreadable> {
    match identify(bytes) {
        Content::Picture(format) => Ok(format),
        Content::Unsupported(name) => Err(Unreadable::Unsupported(name)),
        Content::Video => Err(Unreadable::NoPicture("a video")),
        Content::Other(what) => Err(Unreadable::NoPicture(what)),
        Content::Empty => Err(Unreadable::Empty),
        Content::Unknown => Err(Unreadable::Unknown),
    }
}

/// Reads the metadata of an image without decoding it.
///
/// # Errors
/// As [`from_bytes`], as far as the headers show.
pub fn metadata(bytes: &[u8]) -> std::result::Result<Metadata, Unreadable> {
    let metadata = match format(bytes)? {
        Format::Jpeg => jpeg::read(bytes)?.0,
        Format::Png => png::read(bytes)?.0,
        Format::WebP => webp::read(bytes)?.0,
        Format::Heic => heic::read(bytes)?,
        format => of_decoder(bytes, format)?.0,
    };
    check_size(&metadata).map(|()| metadata)
}

/// Decodes the bytes of an image file, as [`open`] does.
///
/// # Errors
/// When the bytes are not an image or are damaged.
pub fn from_bytes(bytes: &[u8]) -> std::result::Result<RgbImage, Unreadable> {
    decode(bytes).map(|decoded| decoded.image)
}

/// As [`from_bytes`], with what is missing if the file is truncated.
///
/// # Errors
/// As [`from_bytes`].
pub fn decode(bytes: &[u8]) -> std::result::Result<Decoded, Unreadable> {
    let mut warning = None;
    let (picture, metadata, is_grey) = match format(bytes)? {
        Format::Jpeg => return jpeg_file(bytes),
        Format::Png => {
            let (metadata, layout) = png::read(bytes)?;
            check_size(&metadata)?;
            let ended = png::with_end(bytes, &layout);
            warning = matches!(ended, Cow::Owned(_)).then_some(Warning::NoEnd(Format::Png.name()));
            // Layouts other than RGB are converted, which needs a copy.
            let copies = if layout.bytes_per_pixel == 3 { 0 } else { 3 };
            let needed = metadata.pixels() * (layout.bytes_per_pixel + copies + transposing(&metadata));
            let picture = match divisor(&metadata, needed) {
                1 => decode_full(&ended, Format::Png),
                divisor => png::decode_scaled(&ended, &metadata, &layout, divisor),
            };
            let picture = picture.map_err(|error| match (error, warning) {
                (Unreadable::Damaged(format), Some(_)) => Unreadable::CutOff(format),
                (error, _) => error,
            })?;
            (picture, metadata, layout.is_grey)
        }
        Format::WebP => {
            let (metadata, bytes) = webp::read(bytes)?;
            check_size(&metadata)?;
            // RGBA pixels and the buffers of the decoder.
            check_memory(&metadata, metadata.pixels() * 6)?;
            (decode_full(&bytes, Format::WebP)?, metadata, false)
        }
        Format::Heic => {
            let metadata = heic::read(bytes)?;
            check_size(&metadata)?;
            // Planes of samples with 16 bits, and RGBA pixels.
            check_memory(&metadata, metadata.pixels() * 10)?;
            (heic::decode(bytes)?, metadata, false)
        }
        format => {
            let (metadata, is_grey, decoded_bytes) = of_decoder(bytes, format)?;
            check_size(&metadata)?;
            check_memory(&metadata, decoded_bytes + metadata.pixels() * 3)?;
            (decode_full(bytes, format)?, metadata, is_grey)
        }
    };
    Ok(Decoded { image: finish(picture, &metadata, is_grey), warning })
}

fn jpeg_file(bytes: &[u8]) -> std::result::Result<Decoded, Unreadable> {
    let (metadata, layout) = jpeg::read(bytes)?;
    check_size(&metadata)?;
    if metadata.pixels() / MAX_JPEG_PIXELS_PER_BYTE > bytes.len() as u64 {
        return Err(Unreadable::CutOff(Format::Jpeg.name()));
    }
    let is_ended = layout.is_ended(bytes);
    let whole = if is_ended { Some(decode_jpeg(bytes, &metadata, &layout)?) } else { None };
    let part = match &whole {
        Some(picture) if !layout.may_be_filled_in(picture) && !layout.may_lack_scans(bytes) => None,
        _ => jpeg::complete_part(bytes, &metadata, is_ended)?,
    };
    let Some(part) = part else {
        let picture = whole.ok_or(Unreadable::CutOff(Format::Jpeg.name()))?;
        return Ok(Decoded { image: finish(picture, &metadata, layout.is_grey()), warning: None });
    };
    drop(whole); // before another one is decoded
    let picture = decode_jpeg(&part.bytes, &part.metadata, &layout);
    let picture = picture.map_err(|error| match error {
        Unreadable::Damaged(format) => Unreadable::CutOff(format),
        error => error,
    })?;
    // Large images are decoded at a reduced size.
    let rows = u64::from(picture.height()) * u64::from(part.rows) / u64::from(part.metadata.height);
    let rows = u32::try_from(rows).unwrap_or(u32::MAX).max(1);
    let picture = if rows < picture.height() { pixels::upper(&picture, rows) } else { picture };
    Ok(Decoded { image: finish(picture, &part.metadata, layout.is_grey()), warning: Some(part.warning) })
}

/// Converts the colours to sRGB and applies the orientation.
fn finish(mut picture: RgbImage, metadata: &Metadata, is_grey: bool) -> RgbImage {
    let pixels = |picture: &RgbImage| u64::from(picture.width()) * u64::from(picture.height());
    while metadata.is_transposed() && pixels(&picture) * 6 > FULL_SIZE_BYTES {
        picture = pixels::halve(&picture);
    }
    if let Some(profile) = &metadata.icc {
        color::to_srgb(&mut picture, profile, is_grey);
    }
    pixels::upright(picture, metadata.orientation())
}

fn decode_jpeg(bytes: &[u8], metadata: &Metadata, layout: &jpeg::Layout) -> std::result::Result<RgbImage, Unreadable> {
    let pixels = metadata.pixels();
    let coefficients = layout.coefficient_bytes(pixels);
    let decoded = pixels * if layout.is_grey() { 4 } else { 3 };
    // At half the width and height, pixels and component planes need a quarter of the memory: one byte per pixel.
    check_memory(metadata, coefficients + pixels)?;
    let divisor = divisor(metadata, coefficients + decoded + pixels * transposing(metadata));
    let inks = metadata.icc.as_deref().filter(|_| layout.is_cmyk());
    if divisor == 1 && !layout.needs_other_decoder() && inks.is_none() {
        return decode_full(bytes, Format::Jpeg);
    }
    let (width, height, inks_decoded) = match jpeg::decode_scaled(bytes, metadata, divisor)? {
        jpeg::Pixels::Rgb(picture) => return Ok(picture),
        jpeg::Pixels::Cmyk(width, height, inks) => (width, height, inks),
    };
    let rgb = match inks.and_then(|profile| color::inks_to_srgb(&inks_decoded, profile)) {
        Some(rgb) => rgb,
        // Without a usable profile, convert CMYK as zune-jpeg does.
        None if divisor == 1 && !layout.needs_other_decoder() => return decode_full(bytes, Format::Jpeg),
        None => inks_decoded.as_chunks::<4>().0.iter().flat_map(|inks| pixels::of_inks(*inks)).collect(),
    };
    RgbImage::from_raw(width, height, rgb).ok_or(Unreadable::Damaged("JPEG"))
}

/// Bytes per pixel of the copy that a rotation by 90 degrees needs.
fn transposing(metadata: &Metadata) -> u64 {
    if metadata.is_transposed() { 3 } else { 0 }
}

/// Divisor of the width and height for an image whose decoding needs this number of bytes at full size.
fn divisor(metadata: &Metadata, needed: u64) -> u32 {
    if needed <= FULL_SIZE_BYTES {
        return 1;
    }
    let needed = |divisor: u32| metadata.pixels() * 8 / u64::from(divisor * divisor);
    [2, 4].into_iter().find(|divisor| needed(*divisor) <= FULL_SIZE_BYTES).unwrap_or(8)
}

fn check_size(metadata: &Metadata) -> std::result::Result<(), Unreadable> {
    let Metadata { width, height, .. } = *metadata;
    if metadata.pixels() > MAX_PIXELS { Err(Unreadable::TooManyPixels { width, height }) } else { Ok(()) }
}

fn check_memory(metadata: &Metadata, bytes: u64) -> std::result::Result<(), Unreadable> {
    let Metadata { width, height, .. } = *metadata;
    if bytes > MAX_BYTES { Err(Unreadable::Memory { width, height }) } else { Ok(()) }
}

fn decoder(bytes: &[u8], format: Format) -> std::result::Result<impl ImageDecoder + '_, Unreadable> {
    // The only reader type in use: every other type would compile all decoders again.
    let known = format.of_image_crate().ok_or(Unreadable::Unsupported(format.name()))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), known);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| unreadable(&error, format))
}

/// The metadata of an image according to its decoder, whether it is greyscale, and its size in bytes when decoded.
fn of_decoder(bytes: &[u8], format: Format) -> std::result::Result<(Metadata, bool, u64), Unreadable> {
    let mut decoder = decoder(bytes, format)?;
    let mut metadata = Metadata::default();
    (metadata.width, metadata.height) = decoder.dimensions();
    metadata.icc = decoder.icc_profile().ok().flatten();
    // EXIF data has the structure of a TIFF file.
    metadata.orientation = exif::Tiff::new(bytes).and_then(|tiff| tiff.orientation()).unwrap_or(0);
    Ok((metadata, !decoder.color_type().has_color(), decoder.total_bytes()))
}

/// Decodes at full size and blends with white.
fn decode_full(bytes: &[u8], format: Format) -> std::result::Result<RgbImage, Unreadable> {
    let decoder = decoder(bytes, format)?;
    let (width, height) = decoder.dimensions();
    let memory = Unreadable::Memory { width, height };
    let total = usize::try_from(decoder.total_bytes()).ok();
    // If memory is short, the decoder itself would abort the process.
    if total.is_none_or(|total| Vec::<u8>::new().try_reserve_exact(total).is_err()) {
        return Err(memory);
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error, format))?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(Unreadable::Damaged(format.name()));
    }
    if picture.color().has_alpha() {
        return pixels::opaque(picture.into_rgba8()).ok_or(Unreadable::Damaged(format.name()));
    }
    Ok(picture.into_rgb8())
}

fn unreadable(error: &ImageError, format: Format) -> Unreadable {
    match error {
        ImageError::IoError(_) => Unreadable::CutOff(format.name()),
        ImageError::Unsupported(_) => Unreadable::Unsupported(match format {
            Format::Jpeg => "this kind of JPEG",
            Format::Png => "this kind of PNG",
            Format::WebP => "this kind of WebP",
            Format::Gif => "this kind of GIF",
            Format::Bmp => "this kind of BMP",
            Format::Tiff => "this kind of TIFF",
            Format::Heic => "this kind of HEIC",
        }),
        _ => Unreadable::Damaged(format.name()),
    }
}

#[cfg(test)]
mod tests;
