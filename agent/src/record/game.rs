//! `game.json`: a game and its rounds so far.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_regular;
use serde::{Deserialize, Serialize};

use crate::record::check::{check_count, check_text, parse_json};
use crate::record::map::Map;
use crate::record::round::Round;

/// Maximum size of a `game.json` in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Maximum number of rounds of a game.
const MAX_ROUNDS: usize = 10_000;

/// A game with the rounds played up to now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GameRecord {
    /// Name of the profile.
    pub site: String,
    /// The map.
    pub map: Map,
    /// Bundle, `name@version`, or the name of another player.
    pub bundle: String,
    /// Finished rounds.
    #[serde(default)]
    pub rounds: Vec<Round>,
    /// Failed attempts at rounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRound>,
    /// Total score by the score formula; `None` if the truth of a round is unknown.
    #[serde(default)]
    pub score: Option<u32>,
    /// Total score as shown by the page, else the sum over its rounds.
    #[serde(default)]
    pub page_score: Option<u32>,
    /// Directory of the record.
    #[serde(default)]
    pub record: PathBuf,
}

/// A failed attempt at a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedRound {
    /// Number of the round.
    pub n: u32,
    /// The error.
    pub why: String,
    /// Whether the guess was sent. The round is over then and is not repeated.
    #[serde(default)]
    pub sent: bool,
}

impl GameRecord {
    /// Reads the `game.json` of a directory, which is not trusted.
    ///
    /// # Errors
    /// When it cannot be read, is a symbolic link, is not a game, or has values that no game has.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("game.json");
        let json = read_regular(&file, MAX_BYTES);
        let json = json.with_context(|| usage_error(format!("cannot read {}", file.display())))?;
        Self::parse(&json).map_err(|why| usage_error(format!("{}: {why}", file.display())))
    }

    /// Parses and checks the contents of a `game.json`.
    ///
    /// # Errors
    /// The reason, when it is not a game or has values that no game has.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let game: Self = parse_json(json).map_err(|error| format!("not the record of a game: {error}"))?;
        game.check()?;
        Ok(game)
    }

    fn check(&self) -> Result<(), String> {
        check_count(self.rounds.len().max(self.failed.len()), MAX_ROUNDS, "rounds")?;
        [&self.site, &self.bundle].into_iter().try_for_each(|text| check_text(text))?;
        self.map.check()?;
        self.rounds.iter().try_for_each(Round::check)
    }

    /// Adds up the rounds; `page_total` is the total that the page shows.
    pub(crate) fn tally(&mut self, page_total: Option<u32>) {
        // The score of a round whose result was lost is only in the page's total.
        let lost = self.failed.iter().any(|failed| failed.sent);
        // Saturating, since pages can show any number.
        let sum = |of: fn(&Round) -> Option<u32>| {
            self.rounds.iter().map(of).try_fold(0u32, |sum, points| Some(sum.saturating_add(points?)))
        };
        let (score, page_score) = (sum(|round| round.score), sum(|round| round.page_score));
        self.score = score.filter(|_| !lost);
        self.page_score = page_total.or(page_score);
    }
}
