//! Rounds on disk: `RUN/round_1/{round.json, view_000.jpg, view_000.f32, …}` and `RUN/game.json` above them.
//!
//! Fixtures have the same format without the values that only a game has. Logits are little-endian `f32` in the order of the
//! cells of the bundle.

mod check;
mod files;
mod game;
mod map;
mod recorder;
mod round;
mod store;

pub(crate) use files::{recorded_file, recorded_image, turn_for, view_file};
pub(crate) use game::FailedRound;
pub use game::GameRecord;
pub use map::{Area, Map};
pub(crate) use recorder::Recorder;
pub(crate) use round::{Distance, FORMAT, PinPlacement, Round, RoundTimings, View};
pub(crate) use store::{RoundDir, find_rounds, read_rounds};

#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod hostile_tests;
