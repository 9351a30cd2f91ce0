//! Rounds of the arena: places with an image each.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use landfall_model::LatLng;
use landfall_model::images::{self, Unreadable};

#[cfg(feature = "embed")]
use crate::server::embedded;

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Picture {
    File(PathBuf),
    /// A file of the rounds in the program.
    #[cfg(feature = "embed")]
    Embedded(&'static str),
}

impl Picture {
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(&self) -> Result<Cow<'static, [u8]>, Unreadable> {
        match self {
            Self::File(file) => images::read(file).map(Cow::Owned),
            #[cfg(feature = "embed")]
            Self::Embedded(name) => {
                Ok(embedded::find(embedded::ROUNDS, name).map(embedded::File::read).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            #[cfg(feature = "embed")]
            Self::Embedded(name) => write!(f, "{name} in the program"),
        }
    }
}

/// How the image of a round is displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureKind {
    /// Equirectangular, 360° × 180°; its centre column faces north.
    Panorama,
    /// A static photo.
    Photo,
}

/// One place to guess.
#[derive(Clone, Debug)]
pub(crate) struct ArenaRound {
    pub truth: LatLng,
    pub picture: Picture,
    pub kind: PictureKind,
    /// Initial heading of a panorama in degrees clockwise from north.
    pub heading: f64,
    /// Shown after the guess.
    pub name: Option<String>,
    /// Author and licence of the image, shown only after the guess since they often name the place.
    pub credits: Option<String>,
    /// Maximum side in pixels of the served image.
    pub max_side: u32,
}

/// The rounds of a source.
#[derive(Debug, Default)]
pub(super) struct RoundPool {
    pub rounds: Vec<ArenaRound>,
    /// Notes for the player on skipped files.
    pub notes: Vec<String>,
}
