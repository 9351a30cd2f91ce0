//! What a game is made of: places, each with a picture.

use std::path::PathBuf;

use landfall_model::LatLng;

/// How the picture of a round is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PictureKind {
    /// Equirectangular, 360° × 180°; its centre column faces north.
    Panorama,
    /// One photograph, shown whole.
    Photo,
}

/// One place to guess.
#[derive(Clone, Debug)]
pub(super) struct ArenaRound {
    pub truth: LatLng,
    pub picture: PathBuf,
    pub kind: PictureKind,
    /// The direction a panorama is first seen in, degrees clockwise from north.
    pub heading: f64,
    /// Shown after the guess.
    pub name: Option<String>,
    /// Author and licence of the picture, shown after the guess: they often name the place.
    pub credits: Option<String>,
    /// Longest side in pixels that is served.
    pub max_side: u32,
}

/// What a source holds.
#[derive(Debug, Default)]
pub(super) struct RoundPool {
    pub rounds: Vec<ArenaRound>,
    /// Sentences for the player: what was left out and why.
    pub notes: Vec<String>,
}
