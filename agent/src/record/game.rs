//! `game.json`: a game and its rounds so far.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::map::Map;
use crate::record::round::Round;

/// A game as it stands: rounds played so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GameRecord {
    /// Name of the profile.
    pub site: String,
    /// The map that is played.
    pub map: Map,
    /// Bundle that plays, `name@version`.
    pub bundle: String,
    /// Rounds played.
    #[serde(default)]
    pub rounds: Vec<Round>,
    /// Tries at rounds that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRound>,
    /// Points by our own law; `None` while a round's truth is not known.
    #[serde(default)]
    pub score: Option<u32>,
    /// Points as the page said, of the game where it says so, else of its rounds.
    #[serde(default)]
    pub page_score: Option<u32>,
    /// Folder of the record.
    #[serde(default)]
    pub record: PathBuf,
}

/// A try at a round that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedRound {
    /// Number of the round.
    pub n: u32,
    /// Why.
    pub why: String,
    /// Whether the guess had been sent: the round is over then, and is not tried again.
    #[serde(default)]
    pub sent: bool,
}

impl GameRecord {
    /// Adds up the rounds; `page_total` is what the page says of the game.
    pub(crate) fn tally(&mut self, page_total: Option<u32>) {
        // Points of a round whose result was lost are in the page's count alone.
        let lost = self.failed.iter().any(|failed| failed.sent);
        self.score = self.rounds.iter().map(|round| round.score).sum::<Option<u32>>().filter(|_| !lost);
        self.page_score = page_total.or_else(|| self.rounds.iter().map(|round| round.page_score).sum());
    }
}
