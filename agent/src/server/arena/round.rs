//! Rounds of the arena: places with an image each.

use std::path::PathBuf;

use landfall_model::LatLng;

/// How the image of a round is displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PictureKind {
    /// Equirectangular, 360° × 180°; its centre column faces north.
    Panorama,
    /// A static photo.
    Photo,
}

/// One place to guess.
#[derive(Clone, Debug)]
pub(super) struct ArenaRound {
    pub truth: LatLng,
    pub picture: PathBuf,
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
