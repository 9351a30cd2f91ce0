//! The round loop: look, think, place, guess, compare, record, next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_common::exit::Exit;
use landfall_common::fs::{f32_to_le_bytes, write_atomic, write_json};
use landfall_common::text::redact_url;
use landfall_model::{Classifier, MapScale};

use crate::browser::BrowserOptions;
use crate::error::{describe, exit_code};
use crate::inference;
use crate::inference::{CellProbability, RoundInference};
use crate::play::{look, pin};
use crate::record;
use crate::record::{Area, FORMAT, FailedRound, GameRecord, Map, PinPlacement, Recorder, Round, RoundTimings, View};
use crate::site::page::{GuessSubmitted, NextStep, Page};

/// How to play.
pub struct PlayOptions {
    /// The browser that is opened when the one that plays is lost.
    pub browser: BrowserOptions,
    /// Folder that records go in.
    pub runs: PathBuf,
    /// Scale of the map where the user knows better than the profile.
    pub scale: Option<MapScale>,
    /// Where the map's places are, where the user knows that better than the profile.
    pub area: Area,
    /// Rounds to stop after, for games without end.
    pub rounds: u32,
    /// A pin that cannot be set within so many metres of where it is wanted is not sent.
    pub max_pin_error_m: f64,
    /// Who sends the guess.
    pub sender: SubmitMode,
    /// How long a round may take; a clock that the page shows counts too.
    pub time_budget: Option<Duration>,
    /// A view that promises fewer points is not taken.
    pub min_gain: f64,
}

/// Who sends the guess, once the pin is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitMode {
    /// The agent.
    Agent,
    /// A person at the browser, who may move the pin before.
    Person,
}

/// What a game tells while it is played.
#[derive(Debug)]
pub enum GameEvent<'a> {
    /// It is decided where the pin goes.
    Decided {
        /// What is believed, for a map.
        heat: Vec<CellProbability>,
        /// Files of the views.
        pictures: Vec<PathBuf>,
    },
    /// The pin is set, and a person is to send the guess.
    Set(&'a Round),
    /// A round is over.
    Over(&'a Round),
    /// A try at a round failed; it is tried again, unless its guess had been sent.
    Failed(&'a FailedRound),
}

/// Plays the game on a page to its end. `told` hears of each round. A round that fails is tried once more, from the
/// game's address, in another browser where the first is gone; its guess is never sent blindly.
///
/// # Errors
/// When the page, the browser or the classifier fails twice; the rounds played until then stay recorded, and the message
/// says where.
pub async fn play(
    page: &mut Page,
    classifier: Arc<Classifier>,
    options: &PlayOptions,
    mut on_event: impl FnMut(GameEvent<'_>),
) -> Result<GameRecord> {
    page.await_round().await?;
    let name = page.read(&page.profile.page.map_name).await?.unwrap_or_else(|| "unknown map".to_owned());
    let address = page.address().await?;
    let scale_m = match options.scale {
        Some(scale) => scale,
        None => page.profile.scale(&name, address.path())?,
    };
    let area = page.profile.area(&name, address.path());
    let area = Some(options.area.clone()).filter(|area| !area.is_unknown()).unwrap_or(area);
    let recorder = Recorder::create(&options.runs, &page.profile.name, &name)?;
    let mut game = GameRecord {
        site: page.profile.name.clone(),
        map: Map { name, scale_m, max_points: page.profile.max_points(), area },
        bundle: classifier.bundle.manifest.id(),
        rounds: Vec::new(),
        failed: Vec::new(),
        score: Some(0),
        page_score: None,
        record: recorder.dir.clone(),
    };
    let inference = RoundInference { classifier, map: game.map.clone(), min_gain: options.min_gain };
    write_json(&recorder.dir.join("game.json"), &game)?;
    let kept = || format!("the rounds played so far are in {}", recorder.dir.display());
    let mut n = 1;
    loop {
        // Where the game goes on, should the page be lost.
        let address = page.address().await.with_context(kept)?;
        let mut sent = false;
        let player = Player { page, inference: &inference, recorder: &recorder, options };
        let next = match player.round(n, &mut sent, &mut on_event).await {
            Ok((round, guessed)) => {
                on_event(GameEvent::Over(&round));
                game.rounds.push(round);
                game.tally(None);
                write_json(&recorder.dir.join("game.json"), &game)?;
                let going_on = page.next(guessed).await;
                match going_on {
                    Ok(next) => Ok(next),
                    // The round is played and recorded: only its page is lost.
                    Err(error) if is_final(&error) => Err(error),
                    Err(_) => page.recover(&options.browser, &address, true).await,
                }
            }
            // What is wrong once is wrong again, above all an address where the agent must not play.
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                let tried = game.failed.iter().any(|failed| failed.n == n);
                sent |= page.has_ended().await;
                let failed = FailedRound { n, why: describe(&error), sent };
                on_event(GameEvent::Failed(&failed));
                recorder.failed(&failed)?;
                game.failed.push(failed);
                game.tally(None);
                write_json(&recorder.dir.join("game.json"), &game)?;
                match tried && !sent {
                    true => Err(error),
                    false => page.recover(&options.browser, &address, sent).await,
                }
            }
        };
        let played = game.rounds.last().is_some_and(|round| round.n == Some(n)) || sent;
        match next.with_context(kept)? {
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

/// Whether another try would fail as well.
fn is_final(error: &anyhow::Error) -> bool {
    exit_code(error) != Exit::Environment
}

struct Player<'a> {
    page: &'a Page,
    inference: &'a RoundInference,
    recorder: &'a Recorder,
    options: &'a PlayOptions,
}

impl Player<'_> {
    /// Plays a round; `sent` once its guess may have been.
    async fn round(
        &self,
        n: u32,
        sent: &mut bool,
        on_event: &mut impl FnMut(GameEvent<'_>),
    ) -> Result<(Round, GuessSubmitted)> {
        let start = Instant::now();
        let url = redact_url(&self.page.address().await?);
        let dir = self.recorder.round_dir(n)?;
        let views = look::around(self.page, self.inference, self.options.time_budget).await?;
        let looked = start.elapsed();

        let mut round = Round {
            format: FORMAT,
            name: None,
            country: None,
            n: Some(n),
            url: Some(url.into()),
            profile: Some(self.page.profile.id()),
            map: self.inference.map.clone(),
            pano: None,
            views: Vec::new(),
            bundle: Some(self.inference.classifier.bundle.manifest.id()),
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
        let mut rows = Vec::new();
        for look::CapturedView { heading, jpeg, logits } in views {
            let file = record::view_file(heading);
            let of_logits = file.replace(".jpg", ".f32");
            write_atomic(&dir.join(&file), &jpeg)?;
            write_atomic(&dir.join(&of_logits), &f32_to_le_bytes(&logits))?;
            round.views.push(View { file, heading, logits: Some(of_logits) });
            rows.push(logits);
        }
        let posterior = self.inference.posterior(&rows)?;
        let prediction = self.inference.predict_from(&posterior);
        round.top = prediction.candidates;
        round.guess = Some(prediction.point);
        round.place = Some(prediction.place);
        round.expected_score = Some(prediction.expected_score);
        // Before the page is touched: what was seen and pending is kept even if the rest fails.
        write_json(&dir.join("round.json"), &round)?;
        let pending = start.elapsed();
        let pictures = round.views.iter().map(|view| dir.join(&view.file)).collect();
        on_event(GameEvent::Decided { heat: inference::cell_probabilities(&posterior), pictures });

        let placed = pin::place_pin(self.page, prediction.point, self.options.max_pin_error_m).await?;
        let set = start.elapsed();
        let guessed = match self.options.sender {
            SubmitMode::Agent => {
                self.page.send().await?;
                *sent = true;
                self.page.result().await?
            }
            SubmitMode::Person => {
                on_event(GameEvent::Set(&round));
                self.page.await_guess().await?
            }
        };
        let outcome = self.page.outcome(&guessed).await?;
        let at = outcome.guess.unwrap_or(placed.at);
        round.pin = Some(PinPlacement {
            wanted: prediction.point,
            placed: at,
            error_m: at.distance_m(prediction.point),
            click: placed.click,
            metres_per_pixel: placed.metres_per_pixel,
        });
        (round.truth, round.page_score) = (outcome.truth, outcome.points);
        round.measure(at, outcome.distance);
        round.seconds = Some(RoundTimings {
            look: looked.as_secs_f64(),
            think: (pending - looked).as_secs_f64(),
            place: (set - pending).as_secs_f64(),
            total: start.elapsed().as_secs_f64(),
        });
        write_json(&dir.join("round.json"), &round)?;
        Ok((round, guessed))
    }
}
