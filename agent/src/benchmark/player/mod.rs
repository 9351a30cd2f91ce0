//! Players: fixed rules, bundles, programs and services.

mod baseline;
mod bundle;
mod command;
mod http;
mod mcp;
mod process;
mod spec;

use std::time::Duration;

use crate::benchmark::pictures::ShownView;
use crate::benchmark::protocol::Reply;

pub(crate) use baseline::Baseline;
pub(crate) use bundle::BundlePlayer;
pub(crate) use command::CommandPlayer;
pub(crate) use http::HttpPlayer;
pub(crate) use mcp::McpPlayer;
pub(crate) use spec::PlayerSpec;

/// A round as a player sees it.
#[derive(Debug)]
pub(in crate::benchmark) struct Asked {
    /// Number of the round, from 1.
    pub round: usize,
    pub rounds: usize,
    pub views: Vec<ShownView>,
    pub time_limit: Duration,
}

/// Somebody who answers.
pub(crate) enum Player {
    Baseline(Baseline),
    Bundle(BundlePlayer),
    Command(CommandPlayer),
    Http(HttpPlayer),
    Mcp(McpPlayer),
}

impl Player {
    /// Asks for the place of a round. The time limit is the caller's: the future is dropped when it is over, and then
    /// [`Player::reset`] is called.
    ///
    /// # Errors
    /// Why there is no valid answer.
    pub(in crate::benchmark) async fn ask(&mut self, asked: &Asked) -> Result<Reply, String> {
        match self {
            Self::Baseline(player) => Ok(player.answer(asked.round)),
            Self::Bundle(player) => player.ask(asked).await,
            Self::Command(player) => player.ask(asked).await,
            Self::Http(player) => player.ask(asked).await,
            Self::Mcp(player) => player.ask(asked).await,
        }
    }

    /// After an error: the next question gets a new process.
    pub(in crate::benchmark) fn reset(&mut self) {
        match self {
            Self::Command(player) => player.stop(),
            Self::Mcp(player) => player.stop(),
            Self::Baseline(_) | Self::Bundle(_) | Self::Http(_) => {}
        }
    }
}
