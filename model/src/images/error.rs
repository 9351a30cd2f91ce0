//! Reasons why an image file cannot be read. The messages name formats and sizes, not internals of a decoder.

use std::fmt;
use std::io;

/// Maximum number of pixels of an image.
pub(super) const MAX_PIXELS: u64 = 500_000_000;
/// Maximum size of an image file in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;

/// Why an image file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// A directory, device or pipe; the text says which and what to do.
    #[error("{0}")]
    NoFile(&'static str),
    /// An image in a format that is not supported.
    #[error("{0} is not supported here: convert it to JPEG")]
    Unsupported(&'static str),
    /// A file that is not an image, such as a video.
    #[error("the file is {0}, not a picture")]
    NoPicture(&'static str),
    /// An unknown format.
    #[error("the file is in no known picture format")]
    Unknown,
    /// The header states more pixels than the maximum.
    #[error("it claims to have {width} x {height} pixels; at most {} megapixels are read", MAX_PIXELS / 1_000_000)]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Decoding would need too much memory.
    #[error("there is not enough memory for {width} x {height} pixels of this kind: choose a smaller copy")]
    Memory {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The file is larger than the maximum.
    #[error("the file is larger than {} MiB, the most that is read", MAX_FILE_BYTES >> 20)]
    TooManyBytes,
    /// The file is truncated.
    #[error("the {0} file is cut off: its end is missing")]
    CutOff(&'static str),
    /// The data is not valid in its format.
    #[error("the {0} data is damaged")]
    Damaged(&'static str),
}

/// What is wrong with an image that was decoded all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The file ends behind its pixels, without an end marker. The field is the format.
    NoEnd(&'static str),
    /// The file is truncated in the scans that only add fine detail.
    NoDetail(&'static str),
    /// The file is truncated, and the missing rows were removed.
    MissingRows {
        /// The format.
        format: &'static str,
        /// The missing part of the image in percent.
        percent: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnd(format) => write!(f, "the {format} file is cut off: only its end marker is missing"),
            Self::NoDetail(format) => write!(f, "the {format} file is cut off: fine detail of the picture is missing"),
            Self::MissingRows { format, percent } => {
                write!(f, "the {format} file is cut off: the last {percent} % of the picture are missing")
            }
        }
    }
}
