//! The round loop: take views, predict, place the pin, send the guess, read the result, record, continue.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_common::exit::{Exit, environment_error};
use landfall_common::fs::{f32_to_le_bytes, write_atomic, write_json};
use landfall_common::text::redact_url;
use landfall_model::{LatLng, MapScale};
use url::Url;

use crate::browser::BrowserOptions;
use crate::error::{describe, exit_code};
use crate::inference::CellProbability;
use crate::play::decider::{Decider, Decision, RoundDecider};
use crate::play::{contradiction, look, pin};
use crate::record;
use crate::record::{Area, FORMAT, FailedRound, GameRecord, Map, PinPlacement, Recorder, Round, RoundTimings, View};
use crate::site::page::{GuessSubmitted, NextStep, Page, RoundOutcome};

/// Time limit for the picture of a failed round.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the pin is placed if a player gives no guess: pages go on only after one. The round is not recorded as played.
const NO_GUESS: LatLng = LatLng { lat: 0.0, lng: 0.0 };

/// Options of a game.
pub struct PlayOptions {
    /// The browser that replaces a lost one.
    pub browser: BrowserOptions,
    /// Directory for records.
    pub runs: PathBuf,
    /// Scale of the map; overrides the profile.
    pub scale: Option<MapScale>,
    /// Area that contains all places of the map; overrides the profile.
    pub area: Area,
    /// Maximum number of rounds, for games without end.
    pub rounds: u32,
    /// Maximum distance in metres between the predicted and the placed pin; the guess of a round beyond it is not sent.
    pub max_pin_error_m: f64,
    /// Who sends the guess.
    pub submit_mode: SubmitMode,
    /// Time limit per round. A timer that the page shows is taken into account as well.
    pub time_budget: Option<Duration>,
    /// Minimum expected gain, in points, for taking another view.
    pub min_gain: f64,
}

/// Who sends the guess after the pin is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitMode {
    /// The agent.
    Agent,
    /// A person at the browser, who may move the pin first.
    Person,
}

/// Progress of a game.
#[derive(Debug)]
pub enum GameEvent<'a> {
    /// The prediction is made; the pin is not placed yet.
    Decided {
        /// The posterior, for drawing a map; empty if the decision is not a bundle's.
        heat: Vec<CellProbability>,
        /// Image files of the views.
        pictures: Vec<PathBuf>,
    },
    /// The pin is placed and a person has to send the guess.
    PinPlaced(&'a Round),
    /// A round is over.
    RoundOver(&'a Round),
    /// An attempt at a round failed, or the player gave no guess. It is repeated unless a guess was already sent.
    Failed(&'a FailedRound),
}

/// Plays the game on a page to its end and reports progress to `on_event`.
///
/// A failed round is repeated where it is, if the page still shows it, and then once from the URL of the game, in a new
/// browser if the old one is lost. A guess that may have been sent is never sent again.
///
/// # Errors
/// When the page, the browser or the classifier fails twice. Earlier rounds stay recorded; the message states where.
pub async fn play<'d>(
    page: &mut Page,
    decider: impl Into<Decider<'d>>,
    options: &PlayOptions,
    on_event: impl FnMut(GameEvent<'_>),
) -> Result<GameRecord> {
    play_into(page, decider, options, on_event, &mut None).await
}

/// As [`play`]; also keeps the game in `unfinished` while it is played, for those who report failures.
///
/// # Errors
/// As [`play`].
pub(crate) async fn play_into<'d>(
    page: &mut Page,
    decider: impl Into<Decider<'d>>,
    options: &PlayOptions,
    mut on_event: impl FnMut(GameEvent<'_>),
    unfinished: &mut Option<GameRecord>,
) -> Result<GameRecord> {
    let decider = decider.into();
    page.await_round().await?;
    let name = page.read(&page.profile().page.map_name).await?.unwrap_or_else(|| "unknown map".to_owned());
    // The URL at which the game continues if the page is lost.
    let mut address = page.address().await?;
    let map = page.profile().game_map(name.clone(), address.path(), options.scale, &options.area)?;
    let recorder = Recorder::create(&options.runs, &page.profile().name, &name)?;
    let mut game = GameRecord {
        site: page.profile().name.clone(),
        map: map.clone(),
        bundle: decider.id(),
        rounds: Vec::new(),
        failed: Vec::new(),
        score: Some(0),
        page_score: None,
        record: recorder.dir.clone(),
    };
    let decider = decider.on_map(map.clone(), options.min_gain);
    write_json(&recorder.dir.join("game.json"), &game)?;
    let where_recorded = || format!("rounds played before are recorded in {}", recorder.dir.display());
    // Rounds for which the page was loaded again.
    let (mut n, mut reloads) = (1, Vec::new());
    loop {
        *unfinished = Some(game.clone());
        let mut sent = false;
        let player = Player { page: &*page, decider: &decider, map: &map, recorder: &recorder, options };
        let attempt = match page.address().await {
            Ok(here) => {
                address = here;
                player.round(n, &mut sent, &mut on_event).await
            }
            Err(error) => Err(error),
        };
        let next = match attempt {
            Ok((round, guessed)) => {
                match round {
                    Ok(round) => {
                        on_event(GameEvent::RoundOver(&round));
                        game.rounds.push(round);
                    }
                    // The page took another guess than the intended one, or there was none: that is no record of a prediction.
                    Err(why) => {
                        let failed = FailedRound { n, why, sent };
                        on_event(GameEvent::Failed(&failed));
                        player.keep_picture(n).await;
                        recorder.failed(&failed)?;
                        game.failed.push(failed);
                    }
                }
                game.tally(None);
                write_json(&recorder.dir.join("game.json"), &game)?;
                let advanced = page.next(guessed).await;
                match advanced {
                    Ok(next) => Ok(next),
                    // The round is played and recorded; only the page is lost.
                    Err(error) if is_final(&error) => Err(error),
                    // All rounds that were asked for are played; how the page ends its game is not needed.
                    Err(error) if n >= options.rounds && game.rounds.last().is_some_and(|round| round.n == Some(n)) => {
                        tracing::warn!(
                            "after the last round: {}; its end is what result.total names",
                            describe(&error)
                        );
                        Ok(NextStep::Over(None))
                    }
                    Err(_) => recover(page, options, &address, &game, true).await,
                }
            }
            // Not an environment error, for example a page that must not be played: repeating it would not help.
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                let attempts = game.failed.iter().filter(|failed| failed.n == n).count();
                sent |= page.has_ended().await;
                let failed = FailedRound { n, why: describe(&error), sent };
                on_event(GameEvent::Failed(&failed));
                player.keep_picture(n).await;
                recorder.failed(&failed)?;
                game.failed.push(failed);
                game.tally(None);
                write_json(&recorder.dir.join("game.json"), &game)?;
                // Loading the page again restarts games that live in the page only.
                if attempts == 0 && !sent && page.shows_round().await {
                    Ok(NextStep::Round)
                } else if !sent && reloads.contains(&n) {
                    *unfinished = Some(game);
                    return Err(error).with_context(where_recorded);
                } else {
                    reloads.push(n);
                    recover(page, options, &address, &game, sent).await
                }
            }
        };
        *unfinished = Some(game.clone());
        let played = game.rounds.last().is_some_and(|round| round.n == Some(n)) || sent;
        match next.with_context(where_recorded)? {
            NextStep::Over(total) => game.tally(total),
            NextStep::Round if played && n >= options.rounds => game.tally(None),
            NextStep::Round => {
                n += u32::from(played);
                continue;
            }
        }
        write_json(&recorder.dir.join("game.json"), &game)?;
        return Ok(game);
    }
}

/// Loads the page again and continues the game. A page that keeps its game only while it is loaded begins another one then,
/// whose rounds do not belong to the record of this one.
async fn recover(
    page: &mut Page,
    options: &PlayOptions,
    address: &Url,
    game: &GameRecord,
    sent: bool,
) -> Result<NextStep> {
    let next = page.recover(&options.browser, address, sent).await?;
    let is_untouched = game.rounds.is_empty() && !game.failed.iter().any(|failed| failed.sent);
    if page.has_started_game() && !is_untouched {
        let (why, advice) = match game.failed.last() {
            Some(failed) => (format!(" after `{}`", failed.why), ""),
            None => (String::new(), "; if the game was over, name what the page shows then in result.total"),
        };
        return Err(environment_error(format!(
            "the page begins a new game when it is loaded again{why}; the rest of this game cannot be played{advice}"
        )));
    }
    Ok(next)
}

/// Whether another attempt would fail as well.
fn is_final(error: &anyhow::Error) -> bool {
    exit_code(error) != Exit::Environment
}

struct Player<'a, 'd> {
    page: &'a Page,
    decider: &'a RoundDecider<'d>,
    map: &'a Map,
    recorder: &'a Recorder,
    options: &'a PlayOptions,
}

impl Player<'_, '_> {
    /// Plays a round. Sets `sent` as soon as the guess may have been sent.
    /// Returns an error message in place of the round if there was no guess, or the page contradicts what was intended.
    #[tracing::instrument(name = "round", skip_all, fields(n))]
    async fn round(
        &self,
        n: u32,
        sent: &mut bool,
        on_event: &mut impl FnMut(GameEvent<'_>),
    ) -> Result<(std::result::Result<Round, String>, GuessSubmitted)> {
        let start = Instant::now();
        let url = redact_url(&self.page.address().await?);
        let dir = self.recorder.round_dir(n)?;
        let inference = self.decider.inference();
        let views = match inference {
            Some(inference) => look::around(self.page, inference, self.options.time_budget).await?,
            None => look::all_around(self.page).await?,
        };
        let looked = start.elapsed();

        let mut round = Round {
            format: FORMAT,
            name: None,
            country: None,
            n: Some(n),
            url: Some(url.into()),
            profile: Some(self.page.profile().id()),
            map: self.map.clone(),
            pano: None,
            views: Vec::new(),
            bundle: inference.map(|inference| inference.classifier.bundle.manifest.id()),
            engine: inference.map(|inference| inference.classifier.engine().to_string()),
            top: Vec::new(),
            guess: None,
            place: None,
            expected_score: None,
            pin: None,
            truth: None,
            truth_within_m: None,
            distance_m: None,
            distance_within_m: None,
            score: None,
            page_score: None,
            seconds: None,
        };
        for look::CapturedView { heading, jpeg, logits } in &views {
            let file = record::view_file(*heading);
            let logits_file = (!logits.is_empty()).then(|| file.replace(".jpg", ".f32"));
            write_atomic(&dir.join(&file), jpeg)?;
            if let Some(logits_file) = &logits_file {
                write_atomic(&dir.join(logits_file), &f32_to_le_bytes(logits))?;
            }
            round.views.push(View { file, heading: *heading, logits: logits_file });
        }
        let Decision { at, top, place, expected_score, heat } = self.decider.decide(n, views).await?;
        let wanted = *at.as_ref().unwrap_or(&NO_GUESS);
        (round.top, round.place, round.expected_score) = (top, place, expected_score);
        round.guess = at.as_ref().ok().copied();
        // Before the page is touched, so that views and prediction are kept even if the rest fails.
        write_json(&dir.join("round.json"), &round)?;
        let predicted = start.elapsed();
        let pictures = round.views.iter().map(|view| dir.join(&view.file)).collect();
        on_event(GameEvent::Decided { heat, pictures });

        let max_error_m = self.options.max_pin_error_m;
        let placed = pin::place_pin(self.page, wanted, max_error_m).await?;
        let placed = pin::confirm(self.page, placed, wanted, max_error_m).await?;
        let pin_set = start.elapsed();
        let guessed = match self.options.submit_mode {
            SubmitMode::Agent => {
                self.page.send(sent).await?;
                self.page.result().await?
            }
            SubmitMode::Person => {
                on_event(GameEvent::PinPlaced(&round));
                self.page.await_guess().await?
            }
        };
        if let Err(why) = at {
            return Ok((Err(why), guessed));
        }
        let is_expected = |outcome: &RoundOutcome| contradiction::points_fit(outcome, &round.map, placed.at);
        let outcome = self.page.outcome_expecting(&guessed, is_expected).await?;
        if self.options.submit_mode == SubmitMode::Agent
            && let Some(why) = contradiction::find(&outcome, &placed, max_error_m)
        {
            return Ok((Err(why), guessed));
        }
        let at = outcome.guess.unwrap_or(placed.at);
        round.pin = Some(PinPlacement {
            wanted,
            placed: at,
            error_m: at.distance_m(wanted),
            click: placed.click,
            metres_per_pixel: placed.metres_per_pixel,
        });
        (round.truth, round.page_score) = (outcome.truth, outcome.points);
        round.measure(at, outcome.distance);
        round.seconds = Some(RoundTimings {
            look: looked.as_secs_f64(),
            think: (predicted - looked).as_secs_f64(),
            place: (pin_set - predicted).as_secs_f64(),
            total: start.elapsed().as_secs_f64(),
        });
        write_json(&dir.join("round.json"), &round)?;
        tracing::info!(score = round.score, page_score = round.page_score, distance_m = round.distance_m, "scored");
        Ok((Ok(round), guessed))
    }

    /// Adds a picture of the page to the files of a failed round. The failure itself matters more than its picture.
    async fn keep_picture(&self, n: u32) {
        let picture = tokio::time::timeout(PICTURE_TIMEOUT, self.page.page_picture()).await;
        if let (Ok(Ok(png)), Ok(dir)) = (picture, self.recorder.round_dir(n)) {
            _ = write_atomic(&dir.join("page.png"), &png);
        }
    }
}
