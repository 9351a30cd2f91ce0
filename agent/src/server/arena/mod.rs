//! The arena: a practice game on this computer with the page structure, JSON and score formula of the live game.
//!
//! It shows images from `fixtures/` or geotagged photos, draws its own map tiles and needs no network. The agent
//! accesses it only through a browser, like any other site; people can play it too.
//!
//! One difference from the live game is deliberate: the server never reveals the location of a round before its guess,
//! so tests can prove that the player used only the image.

mod api;
mod fixtures;
mod game;
mod game_json;
pub(super) mod headless;
mod options;
mod photos;
pub(super) mod picture;
mod played;
mod referee;
mod round;
mod rounds;
mod versus;
mod view;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use landfall_common::exit::environment_error;
use tokio::task::JoinHandle;

use crate::record::Map;
use crate::server::assets::Pages;
use crate::server::connections::{self, Limits};
use crate::server::security::{self, OwnHosts};
use crate::server::tiles;
pub(crate) use fixtures::NamedRound;
pub use options::{ArenaOptions, Dialogs, RoundSource, Structure};
pub(crate) use referee::{ArenaGuess, Referee};
pub(crate) use round::{ArenaRound, Picture, PictureKind};
pub(crate) use rounds::load_named;
pub use versus::Versus;
pub(crate) use versus::panorama_views;

/// Content security policy of the page: own code, styles and images; generated images for panoramas and the result card.
/// Other pages of this computer may embed it.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob: data:; object-src 'none'; \
    base-uri 'self'; form-action 'none'; frame-ancestors 'self' http://localhost:* http://127.0.0.1:*";

/// Maximum time for a response, besides the delay of tiles that [`ArenaOptions::slow_tiles`] asks for.
const RESPONSE_TIME: Duration = Duration::from_secs(60);

/// A running arena. It stops when it is dropped.
#[derive(Debug)]
pub struct Arena {
    url: String,
    notes: Vec<String>,
    server: JoinHandle<()>,
    handle: axum_server::Handle<SocketAddr>,
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Arena {
    /// Loads the rounds and serves them on 127.0.0.1.
    ///
    /// # Errors
    /// When a round is invalid, there are no rounds, the page is not built, or the port is in use.
    pub async fn start(options: ArenaOptions) -> Result<Self> {
        if options.rounds_per_game == 0 {
            bail!("a game needs at least one round: set the number of rounds to 1 or more");
        }
        if let Some(versus) = &options.versus {
            versus.read_score()?; // fail early if the file is invalid
        }
        let pages = Pages::find("arena.html", options.page.as_deref())?;
        let source = options.rounds.clone();
        let loaded = tokio::task::spawn_blocking(move || rounds::load(&source)).await??;
        let mut notes = loaded.notes;
        if loaded.rounds.len() < options.rounds_per_game {
            notes.push(format!(
                "a game has {} instead of {} rounds: there are not enough images",
                loaded.rounds.len(),
                options.rounds_per_game
            ));
        }
        Self::serve(api::State::new(loaded.rounds, pages, &options), &options, notes)
    }

    /// Serves these rounds, in their order, and reports the guesses to the referee. The source in the options is not used.
    ///
    /// # Errors
    /// When the page is not built or the port is in use.
    pub(crate) fn start_with(rounds: Vec<ArenaRound>, options: &ArenaOptions, referee: Referee) -> Result<Self> {
        let pages = Pages::find("arena.html", options.page.as_deref())?;
        Self::serve(api::State::new(rounds, pages, options).with_referee(referee), options, Vec::new())
    }

    fn serve(state: api::State, options: &ArenaOptions, notes: Vec<String>) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).with_context(|| {
            environment_error(format!(
                "cannot serve the arena on port {}: choose another port, or 0 for any",
                options.port
            ))
        })?;
        let at = listener.local_addr()?;
        let router = api::router(Arc::new(state));
        let own = Arc::new(OwnHosts::new("http", at.port(), Vec::new()));
        let time = RESPONSE_TIME + options.slow_tiles.unwrap_or_default();
        let router = security::protect(router, own, POLICY, time);
        let handle = axum_server::Handle::new();
        let serving = connections::serve(listener, None, handle.clone(), router, Limits::USUAL);
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("the arena stopped: {error}");
            }
        });
        Ok(Self { url: format!("http://{at}/"), notes, server, handle })
    }

    /// URL of the start page, `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Notes for the player: skipped photos, games with fewer rounds than requested.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Stops the server. Pending responses get two seconds to finish.
    pub async fn stop(mut self) {
        self.handle.graceful_shutdown(Some(Duration::from_secs(2)));
        _ = (&mut self.server).await;
    }
}

/// The map of the arena as players know it: the World map of the live game.
pub(crate) fn world_map() -> Map {
    game::known_map(game::WORLD)
}

/// Draws the map tile `z/x/y` as PNG; `None` if there is no such tile. For benchmarks.
///
/// # Errors
/// When the image cannot be encoded.
pub fn draw_tile(z: u32, x: i64, y: i64) -> Option<anyhow::Result<Vec<u8>>> {
    tiles::TileId::new(z, x, y).map(tiles::draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn games_without_rounds_are_rejected() {
        let options = ArenaOptions { rounds_per_game: 0, ..ArenaOptions::new(RoundSource::Fixtures("x".into())) };
        assert!(Arena::start(options).await.unwrap_err().to_string().contains("at least one round"));
    }
}
