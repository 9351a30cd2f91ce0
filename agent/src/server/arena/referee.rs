//! Rounds in a fixed order, with somebody who is told the guesses: benchmarks play the arena like this.

use std::fmt;
use std::sync::Arc;

use landfall_model::LatLng;

/// A guess that the arena has accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArenaGuess {
    /// Index of the round.
    pub index: usize,
    /// `None` if the time was over.
    pub pin: Option<LatLng>,
    /// Time since the round began, in seconds.
    pub seconds: f64,
}

/// Is told every guess.
#[derive(Clone)]
pub(crate) struct Referee(pub Arc<dyn Fn(ArenaGuess) + Send + Sync>);

impl fmt::Debug for Referee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Referee")
    }
}
