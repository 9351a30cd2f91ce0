//! How an arena is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::arena::versus::Versus;

/// Where the rounds come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoundSource {
    /// A folder that holds `rounds/NAME/round.json` with pictures beside it.
    Fixtures(PathBuf),
    /// A folder of the player's own photos, searched through, with the place in their EXIF GPS tags.
    Photos(PathBuf),
}

/// Dialogs that get in the way, as they do on live pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialogs {
    /// A consent dialog that covers the page on the browser's first visit.
    pub consent: bool,
    /// A message before the first round of every game.
    pub interstitial: bool,
}

/// How the arena's page is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Structure {
    /// The arena's own way, with helps for machines in attributes.
    #[default]
    Plain,
    /// As the live page is: what it does not have is absent, and the place of a round is nowhere in the page's text.
    Live,
    /// As the live page may be some releases later: other hashes in class names, half of the `data-qa` names gone.
    Aged,
}

/// How the arena is set up.
#[derive(Clone, Debug)]
pub struct ArenaOptions {
    /// Where the rounds come from.
    pub rounds: RoundSource,
    /// Port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// Folder of the built page; `None` looks beside the executable and in the workspace.
    pub page: Option<PathBuf>,
    /// Rounds a game has, as long as there are that many.
    pub rounds_per_game: usize,
    /// Makes the choice of rounds repeat; `None` chooses afresh.
    pub seed: Option<u64>,
    /// Dialogs shown first.
    pub first_shows: Dialogs,
    /// A level-up message over the result of one round of every game, as on live pages.
    pub level_up: bool,
    /// How the page is built.
    pub structure: Structure,
    /// Time added to every map tile, to see how a player copes with a slow map.
    pub slow_tiles: Option<Duration>,
    /// The machine plays too, where there is one to play against.
    pub versus: Option<Versus>,
}

impl ArenaOptions {
    /// Five rounds a game from `rounds` on any free port, in the arena's own structure, without dialogs.
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
