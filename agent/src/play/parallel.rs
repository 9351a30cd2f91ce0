//! Several games at the same time, each in its own browser, on pages on this computer.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use landfall_common::exit::usage_error;
use landfall_common::text::redact_url;
use landfall_model::Classifier;
use serde::{Serialize, Serializer};
use url::Url;

use crate::browser;
use crate::error::describe;
use crate::play::game;
use crate::play::game::{GameEvent, PlayOptions};
use crate::record::GameRecord;
use crate::site;
use crate::site::Profile;
use crate::site::guard::Consent;
use crate::site::page::Page;

/// Games to play.
pub(crate) struct ParallelGames<'a> {
    /// Site profile.
    pub profile: Profile,
    /// URL at which a game starts.
    pub url: Url,
    /// Number of games.
    pub count: u32,
    /// Number of games at the same time.
    pub at_once: u32,
    /// Pause between two games in one browser.
    pub pause: Duration,
    /// The classifier, shared by all games.
    pub classifier: Arc<Classifier>,
    /// Options of each game.
    pub options: &'a PlayOptions,
}

/// All games, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(crate) struct ParallelReport {
    /// Finished games, in the order in which they started.
    pub games: Vec<GameRecord>,
    /// Games that failed. What was recorded of them is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedGame>,
    /// Summary over the finished games.
    pub summary: ParallelSummary,
}

/// A failed game.
#[derive(Debug, Serialize)]
pub(crate) struct FailedGame {
    /// Number of the game, from 1.
    pub n: u32,
    /// The error.
    #[serde(serialize_with = "in_words")]
    pub why: anyhow::Error,
}

/// Summary over all finished games.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ParallelSummary {
    /// Number of finished games.
    pub games: usize,
    /// Number of rounds in them.
    pub rounds: usize,
    /// Total score by the score formula; `None` if the truth of a round is unknown.
    pub score: Option<u32>,
    /// Total score as shown by the pages.
    pub page_score: Option<u32>,
    /// Mean score per round by the score formula.
    pub points_a_round: Option<f64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}

/// Restricts the profile to the origin of the URL, if parallel games are permitted there.
///
/// # Errors
/// When the site is not on this computer or needs consent.
pub(crate) fn restrict_to_origin(profile: Profile, url: &Url) -> Result<Profile> {
    if profile.needs_consent || !site::is_loopback(url) {
        let shown = redact_url(url);
        return Err(usage_error(format!(
            "{shown}: --parallel applies only to the arena and to sites on this computer"
        )));
    }
    profile.at(&url.join("/")?)
}

impl ParallelGames<'_> {
    /// Plays all games. `on_event` receives progress with the number of the game; `finished` runs after each game.
    pub(crate) async fn play(
        &self,
        on_event: impl Fn(u32, GameEvent<'_>),
        finished: impl AsyncFn(u32, &GameRecord),
    ) -> ParallelReport {
        let (start, next) = (Instant::now(), Cell::new(1));
        let players = (0..self.at_once.min(self.count)).map(|_| self.player(&next, &on_event, &finished));
        let mut results: Vec<(u32, Result<GameRecord>)> = join_all(players).await.into_iter().flatten().collect();
        results.sort_by_key(|(n, _)| *n);
        let (mut games, mut failed) = (Vec::new(), Vec::new());
        for (n, result) in results {
            match result {
                Ok(game) => games.push(game),
                Err(why) => failed.push(FailedGame { n, why }),
            }
        }
        let summary = ParallelSummary::of(&games, start.elapsed());
        ParallelReport { games, failed, summary }
    }

    /// One after another in one browser, as long as there are more to play.
    async fn player(
        &self,
        next: &Cell<u32>,
        on_event: &impl Fn(u32, GameEvent<'_>),
        finished: &impl AsyncFn(u32, &GameRecord),
    ) -> Vec<(u32, Result<GameRecord>)> {
        let (mut page, mut results) = (None, Vec::new());
        while next.get() <= self.count {
            let n = next.replace(next.get() + 1);
            let result = self.game(n, &mut page, on_event).await;
            match &result {
                Ok(game) => finished(n, game).await,
                Err(_) => self.close(page.take()).await, // the next game has a browser of its own
            }
            results.push((n, result));
        }
        self.close(page).await;
        results
    }

    async fn game(
        &self,
        n: u32,
        page: &mut Option<Page>,
        on_event: &impl Fn(u32, GameEvent<'_>),
    ) -> Result<GameRecord> {
        let page = match page {
            Some(page) => {
                tokio::time::sleep(self.pause).await;
                page.go(&self.url).await?;
                page
            }
            None => page.insert(self.open().await?),
        };
        game::play(page, Arc::clone(&self.classifier), self.options, |news| on_event(n, news)).await
    }

    async fn open(&self) -> Result<Page> {
        let (browser, profile) = (&self.options.browser, restrict_to_origin(self.profile.clone(), &self.url)?);
        let driver = browser::open(browser).await?;
        match Page::open(driver.clone(), profile, &self.url, Consent::default()).await {
            Ok(page) => Ok(page),
            Err(error) => {
                browser::shutdown(driver, browser).await;
                Err(error)
            }
        }
    }

    async fn close(&self, page: Option<Page>) {
        if let Some(page) = page {
            browser::shutdown(page.into_driver(), &self.options.browser).await;
        }
    }
}

impl ParallelSummary {
    fn of(games: &[GameRecord], time: Duration) -> Self {
        let rounds = games.iter().map(|game| game.rounds.len()).sum();
        let score: Option<u32> = games.iter().map(|game| game.score).sum();
        Self {
            games: games.len(),
            rounds,
            score,
            page_score: games.iter().map(|game| game.page_score).sum(),
            points_a_round: score.filter(|_| rounds > 0).map(|score| f64::from(score) / rounds as f64),
            seconds: time.as_secs_f64(),
        }
    }
}

fn in_words<S: Serializer>(why: &anyhow::Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&describe(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;
    use landfall_common::exit::Exit;

    #[test]
    fn games_at_once_are_played_on_this_computer_alone() {
        let allowed =
            |site: &str, url: &str| restrict_to_origin(Profile::find(site).unwrap(), &Url::parse(url).unwrap());
        for url in ["http://127.0.0.1:8014/", "http://localhost:8014/", "http://[::1]:8014/"] {
            allowed("arena", url).unwrap();
        }
        for (site, url) in [
            ("geoguessr", "https://www.geoguessr.com/maps/world"),
            ("geoguessr", "http://127.0.0.1:8014/maps/world"), // as it is, with its need for consent
            ("arena", "http://192.168.1.7:8014/"),
            ("arena", "http://localhost.example.org/"),
        ] {
            assert_eq!(exit_code(&allowed(site, url).unwrap_err()), Exit::Usage, "{site} {url}");
        }
    }
}
