//! The file of a gallery: 16 bytes (`LFGALLRY`, version, length of the header), the header, and the sections of
//! [`Layout`], each at a multiple of 64 bytes. Numbers are little-endian.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_model::LatLng;
use landfall_model::bundle::Manifest;
use memmap2::Mmap;

use crate::exit::usage_error;
use crate::gallery::{EncoderIdentity, Header};
use crate::text::sanitize_line;

pub(super) const MAGIC: &[u8; 8] = b"LFGALLRY";
pub(super) const VERSION: u32 = 1;
/// Maximum length of the header in bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;
/// Maximum length of a vector.
pub(super) const MAX_DIM: u64 = 1 << 14;
/// Maximum number of pictures.
pub(super) const MAX_ROWS: u64 = 1 << 28;
/// Coordinates are stored as multiples of this many degrees, about a centimetre.
pub(super) const DEGREES: f64 = 1e-7;

/// Where the sections of a file are, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The mean of all vectors: `f32`.
    pub mean: usize,
    /// For each picture one bit per component, set where it exceeds the mean: `u64`.
    pub codes: usize,
    /// The vectors: `i8`.
    pub vectors: usize,
    /// What the components of a vector are multiplied by: `f32`.
    pub scales: usize,
    /// Latitude and longitude: `i32`.
    pub places: usize,
    /// Where each name ends among the names: `u64`.
    pub ends: usize,
    /// The names: UTF-8.
    pub names: usize,
    /// The end of the file.
    pub end: usize,
}

impl Layout {
    /// `None` if a size is out of range.
    pub(super) fn new(header_bytes: usize, header: &Header) -> Option<Self> {
        if header.rows > MAX_ROWS || header.dim == 0 || header.dim > MAX_DIM {
            return None;
        }
        let (rows, dim, names) = (
            usize::try_from(header.rows).ok()?,
            usize::try_from(header.dim).ok()?,
            usize::try_from(header.names).ok()?,
        );
        let mut end = header_bytes.checked_add(16)?;
        let mut section = |bytes: Option<usize>| {
            let start = end.checked_next_multiple_of(64)?;
            end = start.checked_add(bytes?)?;
            Some(start)
        };
        Some(Self {
            mean: section(dim.checked_mul(4))?,
            codes: section(rows.checked_mul(8 * words(dim)))?,
            vectors: section(rows.checked_mul(dim))?,
            scales: section(rows.checked_mul(4))?,
            places: section(rows.checked_mul(8))?,
            ends: section(rows.checked_mul(8))?,
            names: section(Some(names))?,
            end,
        })
    }
}

/// Number of 64-bit words of a code.
pub(super) fn words(dim: usize) -> usize {
    dim.div_ceil(64)
}

/// A gallery, mapped into memory.
#[derive(Debug)]
pub struct Gallery {
    path: PathBuf,
    bytes: Mmap,
    header: Header,
    layout: Layout,
    pub(super) rows: usize,
    pub(super) dim: usize,
}

impl Gallery {
    /// Opens a gallery.
    ///
    /// # Errors
    /// A usage error that names the file, when it cannot be read, is no gallery, of a later version, or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let name = sanitize_line(path.display());
        let cannot_read = || usage_error(format!("cannot read the gallery {name}"));
        let file = File::open(path).with_context(cannot_read)?;
        if !file.metadata().with_context(cannot_read)?.is_file() {
            return Err(usage_error(format!("{name}: not a regular file, and a gallery is one")));
        }
        let bytes = map(&file).with_context(cannot_read)?;
        let refused = |why: &str| usage_error(format!("{name}: {why}"));
        let (magic, rest) = bytes.split_at_checked(8).ok_or_else(|| refused("not a gallery"))?;
        if magic != MAGIC {
            return Err(refused("not a gallery; `landfall-train gallery` makes one"));
        }
        let damaged = || refused("the gallery is damaged; make it again with `landfall-train gallery`");
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(refused(
                "a gallery of another version of Landfall; make it again with `landfall-train gallery`",
            ));
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let json = rest.get(..length).filter(|_| length <= MAX_HEADER_BYTES).ok_or_else(damaged)?;
        let header: Header = serde_json::from_slice(json).map_err(|_| damaged())?;
        let layout = Layout::new(length, &header).filter(|layout| layout.end == bytes.len()).ok_or_else(damaged)?;
        let (rows, dim) = (header.rows as usize, header.dim as usize);
        Ok(Self { path: path.to_owned(), bytes, header, layout, rows, dim })
    }

    /// Checks that the embeddings of a bundle can be compared with those of the gallery.
    ///
    /// # Errors
    /// A usage error that names both bundles.
    pub fn check_encoder(&self, manifest: &Manifest) -> Result<()> {
        if self.is_of(manifest) {
            return Ok(());
        }
        let (file, bundle, this) =
            (sanitize_line(self.path.display()), sanitize_line(&self.header.bundle), manifest.id());
        let name = bundle.split('@').next().unwrap_or_default();
        Err(usage_error(format!(
            "{file}: made with the encoder of bundle {bundle}, not that of {this}; give --bundle {name}, or make the \
             gallery again with `landfall-train gallery --bundle {}`",
            manifest.name
        )))
    }

    /// Whether the gallery was made with the encoder of a bundle.
    pub fn is_of(&self, manifest: &Manifest) -> bool {
        self.header.encoder == EncoderIdentity::of(manifest)
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The file name of a picture. Damaged text is replaced.
    pub fn name(&self, row: usize) -> String {
        let end = |row: usize| {
            let at = self.layout.ends + 8 * row;
            self.bytes
                .get(at..at + 8)
                .and_then(|bytes| bytes.first_chunk())
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let names = &self.bytes[self.layout.names..];
        let from = if row == 0 { 0 } else { end(row - 1) };
        let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(end(row)).unwrap_or(usize::MAX);
        String::from_utf8_lossy(names.get(range).unwrap_or_default()).into_owned()
    }

    /// Where a picture was taken; `None` if the file is damaged.
    pub fn place(&self, row: usize) -> Option<LatLng> {
        let at = self.layout.places + 8 * row;
        let degrees = |bytes: &[u8]| Some(f64::from(i32::from_le_bytes(*bytes.first_chunk()?)) * DEGREES);
        let bytes = self.bytes.get(at..at + 8).filter(|_| row < self.rows)?;
        LatLng::new(degrees(bytes)?, degrees(&bytes[4..])?).ok()
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn mean(&self) -> Vec<f32> {
        crate::fs::f32_from_le_bytes(&self.bytes[self.layout.mean..self.layout.mean + 4 * self.dim])
    }

    pub(super) fn codes(&self) -> &[u8] {
        &self.bytes[self.layout.codes..self.layout.codes + 8 * words(self.dim) * self.rows]
    }

    /// The vector of a picture, and what its components are multiplied by.
    pub(super) fn vector(&self, row: usize) -> (&[u8], f32) {
        let (at, scale) = (self.layout.vectors + self.dim * row, self.layout.scales + 4 * row);
        let scale = self.bytes[scale..scale + 4].first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        (&self.bytes[at..at + self.dim], if scale.is_finite() { scale } else { 0.0 })
    }
}

#[allow(unsafe_code, reason = "the one function that maps a file")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the bytes change if another program writes to the file while it is mapped. They are only ever read as
    // numbers and text that are checked on use, so that no value of theirs is undefined behaviour for what follows; Landfall
    // itself replaces galleries and never writes into one.
    unsafe { Mmap::map(file) }
}
