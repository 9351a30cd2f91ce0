//! `game.json`: a game and its rounds so far.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::map::Map;
use crate::record::round::Round;

/// A game with the rounds played up to now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GameRecord {
    /// Name of the profile.
    pub site: String,
    /// The map.
    pub map: Map,
    /// Bundle, `name@version`.
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
    /// Adds up the rounds; `page_total` is the total that the page shows.
    pub(crate) fn tally(&mut self, page_total: Option<u32>) {
        // The score of a round whose result was lost is only in the page's total.
        let lost = self.failed.iter().any(|failed| failed.sent);
        self.score = self.rounds.iter().map(|round| round.score).sum::<Option<u32>>().filter(|_| !lost);
        self.page_score = page_total.or_else(|| self.rounds.iter().map(|round| round.page_score).sum());
    }
}
