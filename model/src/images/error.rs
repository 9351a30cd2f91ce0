//! Why a file is no picture that can be read. The messages name formats and sizes, never a decoder's internals.

use std::io;

/// More pixels are not decoded.
pub(super) const MAX_PIXELS: u64 = 500_000_000;
/// Larger files are not read.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;

/// Why a file is no picture that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The operating system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Zero bytes.
    #[error("the file is empty")]
    Empty,
    /// A directory, device or pipe; the text says which and what to do.
    #[error("{0}")]
    NoFile(&'static str),
    /// A picture in a format that is not read.
    #[error("{0} is not supported here: convert it to JPEG")]
    Unsupported(&'static str),
    /// Something else than a picture.
    #[error("the file is {0}, not a picture")]
    NoPicture(&'static str),
    /// Nothing that is known.
    #[error("the file is in no known picture format")]
    Unknown,
    /// Its header claims more pixels than are read.
    #[error("it claims to have {width} x {height} pixels; at most {} megapixels are read", MAX_PIXELS / 1_000_000)]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Its pixels would take too much memory in this format, or on this machine.
    #[error("there is not enough memory for {width} x {height} pixels of this kind: choose a smaller copy")]
    Memory {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The file itself is too large.
    #[error("the file is larger than {} MiB, the most that is read", MAX_FILE_BYTES >> 20)]
    TooManyBytes,
    /// The end of the file is missing.
    #[error("the {0} file is cut off: its end is missing")]
    CutOff(&'static str),
    /// The file contradicts its format.
    #[error("the {0} data is damaged")]
    Damaged(&'static str),
}
