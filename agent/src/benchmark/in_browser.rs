//! A player in the arena, in a real browser: the agent takes the screenshots, places the pin with the mouse and guesses. A bundle
//! decides as in `play`; other players are asked as they are without a browser.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use landfall_common::exit::{check_failed, environment_error};
use landfall_model::LatLng;
use tokio::sync::Mutex;
use url::Url;

use crate::benchmark::in_arena::{pending, start};
use crate::benchmark::journal::{Answered, Journal};
use crate::benchmark::pictures::ShownView;
use crate::benchmark::player::{Asked, BundlePlayer, Player};
use crate::benchmark::protocol::{Guess, Reply, reason};
use crate::benchmark::run::{Response, RunOptions, ask};
use crate::benchmark::set::{BenchRound, RoundSet};
use crate::benchmark::summary::EVENT_KM;
use crate::browser::{self, BrowserOptions};
use crate::inference::CellProbability;
use crate::inference::stopping::MIN_GAIN;
use crate::play::decider::Decider;
use crate::play::game::{GameEvent, PlayOptions, SubmitMode, play};
use crate::play::look::CapturedView;
use crate::record::{Area, FailedRound, Round};
use crate::server::arena::Referee;
use crate::site::Profile;
use crate::site::guard::Consent;
use crate::site::page::Page;

/// Maximum distance between the predicted and the placed pin, as in `play`.
const MAX_PIN_ERROR_M: f64 = 25_000.0;
/// Two places nearer than this are the same round.
const SAME_PLACE_M: f64 = 1.0;
/// The map of the arena ends near this latitude, as maps in Mercator's projection do.
const MAX_MAP_LATITUDE: f64 = 85.0;

/// A player that plays in a browser.
pub(crate) struct BrowserRun {
    pub player: Player,
    /// Name of the player in the records of the game.
    pub name: String,
    pub browser: BrowserOptions,
    /// Directory for the records of the game.
    pub records: PathBuf,
}

/// Answers of the player by the number of the round in the game. Those of a bundle are not kept here.
type Responses = RefCell<HashMap<u32, Response>>;

/// A player that is shown screenshots of the arena and asked for the place.
struct Asker<'a> {
    player: Mutex<Player>,
    /// The rounds of the game with their indices in the set.
    rounds: &'a [(usize, &'a BenchRound)],
    /// Number of rounds of the set.
    set_rounds: usize,
    options: RunOptions,
    responses: &'a Responses,
}

impl Asker<'_> {
    /// The place of the pin in round `n` of the game, or the reason why there is no guess. A round that the browser has to
    /// play again is not asked again.
    async fn ask(&self, n: u32, views: Vec<CapturedView>) -> Result<LatLng, String> {
        if let Some(response) = self.responses.borrow().get(&n) {
            return pin_of(&response.reply);
        }
        let (i, _) = round_of(self.rounds, n).ok_or("the arena has more rounds than the set")?;
        let asked =
            Asked { round: i + 1, rounds: self.set_rounds, views: shown(views), time_limit: self.options.time_limit };
        let response = ask(&mut *self.player.lock().await, &asked, self.options).await;
        let pin = pin_of(&response.reply);
        self.responses.borrow_mut().insert(n, response);
        pin
    }
}

/// Round `n` of the game, from 1, with its index in the set.
fn round_of<'a>(rounds: &[(usize, &'a BenchRound)], n: u32) -> Option<(usize, &'a BenchRound)> {
    rounds.get((n as usize).checked_sub(1)?).copied()
}

/// Screenshots as a player gets them. A single one has no others that its heading would be relative to.
fn shown(views: Vec<CapturedView>) -> Vec<ShownView> {
    let has_headings = views.len() > 1;
    let shown = |view: CapturedView| ShownView { heading_deg: has_headings.then_some(view.heading), jpeg: view.jpeg };
    views.into_iter().map(shown).collect()
}

/// Where the pin goes: the nearest place on the map, which ends before the poles.
fn pin_of(reply: &Result<Reply, String>) -> Result<LatLng, String> {
    match reply {
        Ok(Reply::Guess(Guess { at, .. })) => {
            Ok(LatLng { lat: at.lat.clamp(-MAX_MAP_LATITUDE, MAX_MAP_LATITUDE), ..*at })
        }
        Ok(Reply::Refused { reason, .. }) => Err(format!("the player refused: {reason}")),
        Err(why) => Err(why.clone()),
    }
}

/// Plays the pending rounds as one game. `on_answer` gets the number of each round in the set, from 1, and its answer.
///
/// # Errors
/// When the browser fails, or the arena shows another round than it should. Answers up to then are kept.
pub(crate) async fn play_in_browser(
    set: &RoundSet,
    run: BrowserRun,
    journal: &mut Journal,
    options: RunOptions,
    mut on_answer: impl FnMut(usize, &Answered),
) -> Result<()> {
    let rounds = pending(set, journal, options);
    if rounds.is_empty() {
        return Ok(());
    }
    let arena = start(&rounds, 0, Referee(Arc::new(|_| ())))?;
    let profile = Profile::find("arena")?;
    let url = profile.start(&Url::parse(arena.url())?)?;
    let play_options = PlayOptions {
        browser: run.browser,
        runs: run.records,
        scale: None,
        area: Area::default(),
        rounds: u32::try_from(rounds.len())?,
        max_pin_error_m: MAX_PIN_ERROR_M,
        submit_mode: SubmitMode::Agent,
        time_budget: Some(options.time_limit),
        min_gain: MIN_GAIN,
    };
    let responses = Responses::default();
    let asker;
    let decider = match run.player {
        Player::Bundle(BundlePlayer(classifier)) => Decider::Bundle(classifier),
        player => {
            let (player, set_rounds) = (Mutex::new(player), set.rounds.len());
            asker = Asker { player, rounds: &rounds, set_rounds, options, responses: &responses };
            let asker = &asker;
            Decider::Player(run.name, Box::new(|n, views| Box::pin(asker.ask(n, views))))
        }
    };
    let driver = browser::open(&play_options.browser).await?;
    let (driver, played) = match Page::open(driver.clone(), profile, &url, Consent::default()).await {
        Ok(mut page) => {
            let (mut bundle, mut failure) = (BundleRound::default(), None);
            let mut keep = |n: u32, response: Response| -> Result<()> {
                let (i, round) = round_of(&rounds, n).context("the arena has more rounds than the set")?;
                let answered = response.of(&round.id);
                on_answer(i + 1, &answered);
                journal.append(answered)
            };
            let on_event = |event: GameEvent<'_>| {
                let kept = match event {
                    GameEvent::RoundOver(round) => check_round(&rounds, round).and_then(|placed| {
                        let (n, answered) = (round.n.unwrap_or_default(), std::mem::take(&mut bundle));
                        let asked = responses.borrow().get(&n).cloned();
                        keep(n, asked.map_or_else(|| answered.response(round, placed), |asked| at_pin(asked, placed)))
                    }),
                    GameEvent::Failed(failed) if failed.sent => {
                        let asked = responses.borrow().get(&failed.n).cloned();
                        keep(failed.n, without_guess(failed, asked, std::mem::take(&mut bundle).failures))
                    }
                    GameEvent::Failed(_) => {
                        bundle.failures += 1;
                        Ok(())
                    }
                    GameEvent::Decided { heat, .. } => {
                        bundle.heat = heat;
                        Ok(())
                    }
                    GameEvent::PinPlaced(_) => Ok(()),
                };
                if let Err(error) = kept {
                    failure.get_or_insert(error);
                }
            };
            let played = play(&mut page, decider, &play_options, on_event).await.map(drop);
            (page.into_driver(), failure.map_or(played, Err))
        }
        Err(error) => (driver, Err(error)),
    };
    let is_closed = browser::shutdown(driver, &play_options.browser).await;
    arena.stop().await;
    played?;
    is_closed.then_some(()).ok_or_else(|| environment_error("the browser did not close"))
}

/// What is known of a bundle's round before it is over.
#[derive(Default)]
struct BundleRound {
    heat: Vec<CellProbability>,
    failures: u32,
}

impl BundleRound {
    fn response(self, round: &Round, placed: LatLng) -> Response {
        let confidence = Some(mass_within(&self.heat, placed));
        Response {
            reply: Ok(Reply::Guess(Guess { confidence, ..Guess::at(placed) })),
            attempts: self.failures + 1,
            seconds: round.seconds.map_or(0.0, |seconds| seconds.total),
        }
    }
}

/// The guess as the page has taken it.
fn at_pin(asked: Response, placed: LatLng) -> Response {
    let reply = asked.reply.map(|reply| match reply {
        Reply::Guess(guess) => Reply::Guess(Guess { at: placed, ..guess }),
        refused @ Reply::Refused { .. } => refused,
    });
    Response { reply, ..asked }
}

/// The response to a round that is over without a guess of the player: it gave none, or the page has taken another.
fn without_guess(failed: &FailedRound, asked: Option<Response>, failures: u32) -> Response {
    let asked = asked.unwrap_or(Response { reply: Err(reason(&failed.why)), attempts: failures + 1, seconds: 0.0 });
    match asked.reply {
        Ok(Reply::Guess(_)) => Response { reply: Err(reason(&failed.why)), ..asked },
        _ => asked,
    }
}

/// The guess of a round, which must be the one that the arena was to show.
fn check_round(rounds: &[(usize, &BenchRound)], played: &Round) -> Result<LatLng> {
    let expected = played.n.and_then(|n| round_of(rounds, n));
    let is_same =
        expected.zip(played.truth).is_some_and(|((_, round), truth)| truth.distance_m(round.truth()) < SAME_PLACE_M);
    played.placed().filter(|_| is_same).ok_or_else(|| {
        check_failed(
            "the game showed another round than it should: a game that was continued after a failure began anew",
        )
    })
}

/// Probability of the circle that confidences are about.
fn mass_within(heat: &[CellProbability], at: LatLng) -> f64 {
    let inside = heat.iter().filter(|cell| cell.at.distance_m(at) <= EVENT_KM * 1000.0);
    inside.map(|cell| cell.p).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_the_probability_of_the_circle() {
        let cell = |lat: f64, p: f64| CellProbability { at: LatLng { lat, lng: 0.0 }, spread_m: 1.0, p };
        let heat = [cell(0.0, 0.5), cell(6.0, 0.2), cell(7.0, 0.3)];
        assert!((mass_within(&heat, LatLng { lat: 0.0, lng: 0.0 }) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn screenshots_have_headings_only_if_there_are_several() {
        let view = |heading| CapturedView { heading, jpeg: vec![1], logits: Vec::new() };
        let headings = |views| shown(views).iter().map(|view| view.heading_deg).collect::<Vec<_>>();
        assert_eq!(headings(vec![view(0.0), view(90.0)]), [Some(0.0), Some(90.0)]);
        assert_eq!(headings(vec![view(0.0)]), [None]);
    }

    #[test]
    fn rounds_without_a_guess_keep_the_reason_of_the_player() {
        let failed = FailedRound { n: 1, why: "the page took another place".into(), sent: true };
        let asked = |reply| Some(Response { reply, attempts: 2, seconds: 3.0 });
        let reply = |asked| without_guess(&failed, asked, 1).reply;
        let refused = Reply::Refused { reason: "a face".into(), cost_usd: Some(0.5) };
        assert_eq!(reply(asked(Ok(refused.clone()))), Ok(refused.clone()));
        assert_eq!(reply(asked(Err("it died".into()))), Err("it died".into()));
        assert_eq!(reply(asked(Ok(Reply::Guess(Guess::at(LatLng { lat: 1.0, lng: 2.0 }))))), Err(failed.why.clone()));
        assert_eq!(reply(None), Err(failed.why.clone()));
        assert_eq!(pin_of(&Ok(refused)), Err("the player refused: a face".into()));
    }

    #[test]
    fn a_guess_at_a_pole_goes_to_the_edge_of_the_map() {
        let pin = |lat, lng| pin_of(&Ok(Reply::Guess(Guess::at(LatLng { lat, lng })))).unwrap();
        assert_eq!(pin(-90.0, 12.0), LatLng { lat: -85.0, lng: 12.0 });
        assert_eq!(pin(48.2, 180.0), LatLng { lat: 48.2, lng: 180.0 });
    }
}
