//! Options of the arena.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::arena::versus::Versus;

/// Source of the rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoundSource {
    /// A directory with `rounds/NAME/round.json` and images next to each.
    Fixtures(PathBuf),
    /// A directory of photos with EXIF GPS coordinates, searched recursively.
    Photos(PathBuf),
    /// The rounds in the program.
    #[cfg(feature = "embed")]
    Embedded,
}

/// Dialogs that interrupt the game, as on live pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialogs {
    /// A consent dialog over the page on the first visit.
    pub consent: bool,
    /// A message before the first round of every game.
    pub interstitial: bool,
}

/// Structure of the arena's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Structure {
    /// The arena's own structure, with attributes for tests.
    #[default]
    Plain,
    /// The structure of the live page, without test attributes and without coordinates in the page.
    Live,
    /// The live page after some hypothetical releases: other hashes in class names, and half of the `data-qa` names
    /// missing.
    Aged,
}

/// Options of the arena.
#[derive(Clone, Debug)]
pub struct ArenaOptions {
    /// Source of the rounds.
    pub rounds: RoundSource,
    /// Port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// Directory of the built page; `None` searches for it.
    pub page: Option<PathBuf>,
    /// Maximum number of rounds per game.
    pub rounds_per_game: usize,
    /// Seed of the choice of rounds; `None` for a random one.
    pub seed: Option<u64>,
    /// Dialogs shown before the first round.
    pub first_shows: Dialogs,
    /// A level-up message over the result of one round of every game, as on live pages.
    pub level_up: bool,
    /// Structure of the page.
    pub structure: Structure,
    /// Delay of every map tile, to test slow maps.
    pub slow_tiles: Option<Duration>,
    /// The opponent, if a person plays against Landfall.
    pub versus: Option<Versus>,
}

impl ArenaOptions {
    /// Five rounds per game from `rounds` on any free port, in the arena's own structure, without dialogs.
    pub fn new(rounds: RoundSource) -> Self {
        Self {
            rounds,
            port: 0,
            page: None,
            rounds_per_game: 5,
            seed: None,
            first_shows: Dialogs::default(),
            level_up: false,
            structure: Structure::default(),
            slow_tiles: None,
            versus: None,
        }
    }
}
