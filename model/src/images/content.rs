//! Detection of file types by content: names and extensions are often wrong.

use super::exif::Tiff;

/// Number of bytes from the start of a file that are enough to detect its type.
pub const START_BYTES: usize = 4096;

/// A supported image format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG, including APNG.
    Png,
    /// WebP, including animations.
    WebP,
    /// GIF.
    Gif,
    /// BMP.
    Bmp,
    /// TIFF.
    Tiff,
    /// HEIC, as iPhones write it; only with the feature `heic`.
    Heic,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A supported image.
    Picture(Format),
    /// An image in a format that is not supported: its name.
    Unsupported(&'static str),
    /// A video.
    Video,
    /// Another known type, as a noun phrase.
    Other(&'static str),
    /// An empty file.
    Empty,
    /// An unknown type.
    Unknown,
}

impl Format {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Heic => "HEIC",
        }
    }

    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tif",
            Self::Heic => "heic",
        }
    }

    /// The format in the `image` crate, if it has a decoder.
    pub(super) fn of_image_crate(self) -> Option<image::ImageFormat> {
        Some(match self {
            Self::Jpeg => image::ImageFormat::Jpeg,
            Self::Png => image::ImageFormat::Png,
            Self::WebP => image::ImageFormat::WebP,
            Self::Gif => image::ImageFormat::Gif,
            Self::Bmp => image::ImageFormat::Bmp,
            Self::Tiff => image::ImageFormat::Tiff,
            Self::Heic => return None,
        })
    }
}

/// How much of a list of brands is searched.
const MAX_BRANDS_BYTES: usize = 1024;

const JPEG_2000: Content = Content::Unsupported("JPEG 2000");
const JPEG_XL: Content = Content::Unsupported("JPEG XL");
const ARCHIVE: Content = Content::Other("an archive");
const AUDIO: Content = Content::Other("an audio file");
const PROGRAM: Content = Content::Other("a program");
const RAW: Content = Content::Unsupported("a camera's RAW format");

/// Offset and bytes of a signature, and the type it identifies. The first match counts.
const SIGNATURES: &[(usize, &[u8], Content)] = &[
    (0, b"\xff\xd8\xff", Content::Picture(Format::Jpeg)),
    (0, b"\x89PNG\r\n\x1a\n", Content::Picture(Format::Png)),
    (0, b"GIF87a", Content::Picture(Format::Gif)),
    (0, b"GIF89a", Content::Picture(Format::Gif)),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"II\xbc", Content::Unsupported("JPEG XR")),
    (0, b"8BPS", Content::Unsupported("PSD (Photoshop)")),
    (0, b"gimp xcf", Content::Unsupported("XCF (GIMP)")),
    (0, b"\0\0\x01\0", Content::Unsupported("ICO")),
    (0, b"icns", Content::Unsupported("ICNS")),
    (0, b"\x76\x2f\x31\x01", Content::Unsupported("OpenEXR")),
    (0, b"#?RADIANCE", Content::Unsupported("Radiance HDR")),
    (0, b"qoif", Content::Unsupported("QOI")),
    (0, b"FLIF", Content::Unsupported("FLIF")),
    (0, b"BPG\xfb", Content::Unsupported("BPG")),
    (0, b"DDS ", Content::Unsupported("DDS")),
    (0, b"AT&TFORM", Content::Unsupported("DjVu")),
    (0, b"FUJIFILMCCD-RAW", Content::Unsupported("RAF (Fujifilm RAW)")),
    (0, b"FOVb", Content::Unsupported("X3F (Sigma RAW)")),
    (0, b"\0MRM", Content::Unsupported("MRW (Minolta RAW)")),
    (0, b"IIU\0", Content::Unsupported("RW2 (Panasonic RAW)")),
    (0, b"IIRO", Content::Unsupported("ORF (Olympus RAW)")),
    (0, b"IIRS", Content::Unsupported("ORF (Olympus RAW)")),
    (0, b"MMOR", Content::Unsupported("ORF (Olympus RAW)")),
    (0, b"\x1a\x45\xdf\xa3", Content::Video),
    (0, b"\0\0\x01\xba", Content::Video),
    (0, b"FLV\x01", Content::Video),
    (4, b"moov", Content::Video),
    (4, b"mdat", Content::Video),
    (4, b"wide", Content::Video),
    (0, b"\xd7\xcd\xc6\x9a", Content::Unsupported("WMF")),
    (40, b" EMF", Content::Unsupported("EMF")),
    (8, b"AVI LIST", Content::Video),
    (8, b"WAVEfmt", AUDIO),
    (0, b"ID3", AUDIO),
    (0, b"fLaC", AUDIO),
    (0, b"OggS", AUDIO),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"Rar!\x1a\x07", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"\x1f\x8b", ARCHIVE),
    (0, b"BZh", ARCHIVE),
    (0, b"\xfd7zXZ\0", ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (257, b"ustar", ARCHIVE),
    (0, b"%PDF-", Content::Other("a PDF document")),
    (0, b"%!PS", Content::Other("a PostScript document")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content::Other("an Office document or a cache of thumbnails")),
    (0, b"\0\x05\x16\x07", Content::Other("macOS metadata (AppleDouble)")),
    (0, b"SQLite format 3", Content::Other("a database")),
    (0, b"\x7fELF", PROGRAM),
    (0, b"MZ", PROGRAM),
    (0, b"version https://git-lfs", Content::Other("a Git LFS pointer (`git lfs pull` gets the picture)")),
];

/// Detects the type of a file from its first [`START_BYTES`] bytes.
pub fn identify(bytes: &[u8]) -> Content {
    if bytes.is_empty() {
        return Content::Empty;
    }
    let has = |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if has(0, b"RIFF") && has(8, b"WEBP") {
        return Content::Picture(Format::WebP);
    }
    if let Some(media) = file_type_box(bytes) {
        return media_box(media);
    }
    if has(0, b"BM")
        && bytes.get(14..18).is_some_and(|size| matches!(size, [12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
    {
        return Content::Picture(Format::Bmp);
    }
    if [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| has(0, magic)) {
        return tiff(bytes);
    }
    if let [b'P', b'1'..=b'7', b'\n' | b' ' | b'\r' | b'\t', ..] = bytes {
        return Content::Unsupported("PNM");
    }
    let known = SIGNATURES.iter().find(|(at, magic, _)| has(*at, magic)).map(|(_, _, content)| *content);
    known.unwrap_or_else(|| text(bytes))
}

/// The file type box, and what follows it, of the container of HEIC, AVIF and videos. Padding may precede it.
fn file_type_box(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first_chunk()?;
        match rest.first_chunk()? {
            b"ftyp" => return Some(bytes),
            b"free" | b"skip" | b"wide" => bytes = bytes.get((u32::from_be_bytes(*length) as usize).max(8)..)?,
            _ => return None,
        }
    }
}

/// HEIC, AVIF, Canon's RAW format and videos share a container; its brands tell them apart.
fn media_box(bytes: &[u8]) -> Content {
    let length = bytes.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
    // A length of 1 stands for one of 64 bits behind the type, and 0 for the whole file.
    let start = if length == 1 { 16 } else { 8 };
    let end = if length < 12 { 64 } else { length.min(MAX_BRANDS_BYTES) };
    let brands = bytes.get(start..end.min(bytes.len())).unwrap_or_default();
    let has = |wanted: &[&[u8; 4]]| brands.chunks_exact(4).any(|brand| wanted.iter().any(|one| brand == *one));
    if has(&[b"avif", b"avis", b"avio"]) {
        Content::Unsupported("AVIF")
    } else if (has(&[b"heic", b"heix", b"heim", b"heis"]) || has(&[b"mif1", b"miaf"]) && names_hevc(bytes))
        && cfg!(feature = "heic")
        && next_box(bytes) == Some(b"meta")
    {
        Content::Picture(Format::Heic)
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"]) {
        Content::Unsupported("HEIC")
    } else if has(&[b"jxl "]) {
        JPEG_XL
    } else if has(&[b"jp2 ", b"jpx ", b"j2ki", b"j2is"]) {
        JPEG_2000
    } else if has(&[b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"avci", b"avcs", b"vvic", b"vvis", b"evbi", b"evbs"])
    {
        Content::Unsupported("HEIF")
    } else if has(&[b"crx "]) {
        Content::Unsupported("CR3 (Canon RAW)")
    } else if has(&[b"M4A ", b"M4B "]) {
        AUDIO
    } else {
        Content::Video
    }
}

/// The type of the box behind the first one. In HEIC files that a program can decode, it describes the pictures.
fn next_box(bytes: &[u8]) -> Option<&[u8; 4]> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(length.checked_add(4)?..)?.first_chunk()
}

/// Whether a list of pictures names the codec of HEIC. Some programs write only the brands of all HEIF files.
fn names_hevc(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(START_BYTES)].windows(4).any(|name| name == b"hvc1" || name == b"hvcC")
}

/// TIFF, or one of the RAW formats that are built on it.
fn tiff(bytes: &[u8]) -> Content {
    const SUBFILE_TYPE: u16 = 0xfe;
    const SUB_DIRECTORIES: u16 = 0x14a;
    const DNG_VERSION: u16 = 0xc612;
    if bytes.get(8..10) == Some(b"CR") {
        return Content::Unsupported("CR2 (Canon RAW)");
    }
    let Some(tiff) = Tiff::new(bytes) else { return Content::Picture(Format::Tiff) };
    if tiff.entry(DNG_VERSION).is_some() {
        return Content::Unsupported("DNG");
    }
    // The first image is only a thumbnail; the photograph is in a sub-directory.
    let is_thumbnail = tiff.entry(SUBFILE_TYPE).and_then(|entry| entry.number()) == Some(1);
    if is_thumbnail && tiff.entry(SUB_DIRECTORIES).is_some() { RAW } else { Content::Picture(Format::Tiff) }
}

fn text(bytes: &[u8]) -> Content {
    let start = &bytes[..bytes.len().min(START_BYTES)];
    if start.iter().all(|byte| *byte == 0) {
        return Content::Other("nothing but zero bytes");
    }
    let units = |of: fn([u8; 2]) -> u16| start[2..].as_chunks().0.iter().map(|pair| of(*pair)).collect::<Vec<_>>();
    let start = match start {
        [0xff, 0xfe, ..] => String::from_utf16_lossy(&units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => String::from_utf16_lossy(&units(u16::from_be_bytes)),
        _ => String::from_utf8_lossy(start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start)).into_owned(),
    };
    let start = start.trim_start().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| start.starts_with(word));
    if begins(&["<!doctype html", "<html", "<head", "<body"]) {
        Content::Other("an HTML page")
    } else if begins(&["<svg", "<?xml", "<!--", "<!doctype svg"]) && start.contains("<svg") {
        Content::Unsupported("SVG")
    } else if begins(&["<?xml", "<x:xmpmeta", "<?xpacket"]) {
        Content::Other("an XML document")
    } else if start.chars().all(|c| !c.is_control() || c.is_whitespace())
        && !start.contains(char::REPLACEMENT_CHARACTER)
    {
        Content::Other("text")
    } else {
        Content::Unknown
    }
}

/// The RAW format that a file extension stands for, for files whose content is TIFF or unknown.
pub fn raw_by_extension(extension: &str) -> Option<&'static str> {
    const RAW_EXTENSIONS: [(&str, &str); 22] = [
        ("3fr", "3FR (Hasselblad RAW)"),
        ("arw", "ARW (Sony RAW)"),
        ("cr2", "CR2 (Canon RAW)"),
        ("cr3", "CR3 (Canon RAW)"),
        ("crw", "CRW (Canon RAW)"),
        ("dcr", "DCR (Kodak RAW)"),
        ("dng", "DNG"),
        ("erf", "ERF (Epson RAW)"),
        ("iiq", "IIQ (Phase One RAW)"),
        ("kdc", "KDC (Kodak RAW)"),
        ("mef", "MEF (Mamiya RAW)"),
        ("mos", "MOS (Leaf RAW)"),
        ("nef", "NEF (Nikon RAW)"),
        ("nrw", "NRW (Nikon RAW)"),
        ("orf", "ORF (Olympus RAW)"),
        ("pef", "PEF (Pentax RAW)"),
        ("raw", "RAW"),
        ("rw2", "RW2 (Panasonic RAW)"),
        ("rwl", "RWL (Leica RAW)"),
        ("sr2", "SR2 (Sony RAW)"),
        ("srf", "SRF (Sony RAW)"),
        ("srw", "SRW (Samsung RAW)"),
    ];
    RAW_EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, name)| *name)
}

/// Whether an extension is common for images. Files without one or with another may be images too.
pub fn is_picture_extension(extension: &str) -> bool {
    const EXTENSIONS: [&str; 22] = [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "jfi",
        "jif",
        "pjpeg",
        "pjp",
        "jpg_large",
        "jpeg_large",
        "mpo",
        "png",
        "apng",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "heic",
        "heif",
        "avif",
    ];
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_content() {
        let named = |bytes: &[u8]| match identify(bytes) {
            Content::Picture(format) => format.name(),
            Content::Unsupported(name) | Content::Other(name) => name,
            Content::Video => "video",
            Content::Empty => "empty",
            Content::Unknown => "unknown",
        };
        let cases: [(&[u8], &str); 36] = [
            (b"", "empty"),
            (b"\xff\xd8\xff\xe0", "JPEG"),
            (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
            (b"GIF89a", "GIF"),
            (b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0", "BMP"),
            (b"BM is a city in the north", "text"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
            (b"\0\0\0\x14ftypcrx \0\0\0\x01crx ", "CR3 (Canon RAW)"),
            (b"\0\0\0\x10ftyp", "video"),
            (b"\0\0\0\x08free\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x01ftyp\0\0\0\0\0\0\0\x1cheic\0\0\0\0mif1", "HEIC"),
            (b"\0\0\0\0ftypheix\0\0\0\0mif1", "HEIC"),
            (b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x08mdat", "HEIC"),
            (b"\0\0\0\x14ftypavis\0\0\0\0msf1", "AVIF"),
            (b"\0\0\0\x14ftypavcs\0\0\0\0msf1", "HEIF"),
            (b"\0\0\0\x10ftypvvic\0\0\0\0", "HEIF"),
            (b"\0\0\0\x10ftypj2ki\0\0\0\0", "JPEG 2000"),
            (b"\0\0\0\x18ftypisom\0\0\0\0mp42mp41", "video"),
            (b"\xff\xfe<\0h\0t\0m\0l\0>\0", "an HTML page"),
            (b"\xfe\xff\0n\0o\0t\0e\0s", "text"),
            (b"\xd7\xcd\xc6\x9a\0\0", "WMF"),
            (b"\xff\x0a\0", "JPEG XL"),
            (b"II*\0\x10\0\0\0CR\x02\0", "CR2 (Canon RAW)"),
            (b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04\0\0\0\0\0\0", "DNG"),
            (b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x40\0\0\0\0\0\0\0", "TIFF"),
            (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page"),
            (b"\xef\xbb\xbf <?xml version=\"1.0\"?><svg/>", "SVG"),
            (b"%PDF-1.7", "a PDF document"),
            (b"PK\x03\x04", "an archive"),
            (&[0; 5000], "nothing but zero bytes"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer (`git lfs pull` gets the picture)"),
            (b"\x01\x02\x03\x04", "unknown"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(named(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
