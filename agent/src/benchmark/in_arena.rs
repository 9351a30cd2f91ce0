//! Playing the set in the arena: a bundle with the agent in a real browser, or a person.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::{Context, Result};
use landfall_common::exit::{check_failed, environment_error};
use landfall_common::text::eprint_sanitized;
use landfall_model::{Classifier, LatLng};
use url::Url;

use crate::benchmark::journal::{Answered, Journal};
use crate::benchmark::protocol::{Guess, Reply, reason};
use crate::benchmark::run::RunOptions;
use crate::benchmark::set::{BenchRound, RoundSet};
use crate::benchmark::summary::EVENT_KM;
use crate::browser::{self, BrowserOptions};
use crate::inference::CellProbability;
use crate::inference::stopping::MIN_GAIN;
use crate::play::game::{GameEvent, PlayOptions, SubmitMode, play};
use crate::record::{Area, Round};
use crate::server::arena::{Arena, ArenaGuess, ArenaOptions, Referee, RoundSource};
use crate::site::Profile;
use crate::site::guard::Consent;
use crate::site::page::Page;

/// Maximum distance between the predicted and the placed pin, as in `play`.
const MAX_PIN_ERROR_M: f64 = 25_000.0;
/// Two places nearer than this are the same round.
const SAME_PLACE_M: f64 = 1.0;

/// A bundle that plays in a browser.
pub(crate) struct BrowserRun {
    pub classifier: Arc<Classifier>,
    pub browser: BrowserOptions,
    /// Directory for the records of the game.
    pub records: PathBuf,
}

fn pending<'a>(set: &'a RoundSet, journal: &Journal, options: RunOptions) -> Vec<(usize, &'a BenchRound)> {
    let is_pending = |(_, round): &(usize, &BenchRound)| options.is_pending(journal.of(&round.id));
    set.rounds.iter().enumerate().filter(is_pending).collect()
}

/// Serves these rounds in their order.
fn start(rounds: &[(usize, &BenchRound)], port: u16, referee: Referee) -> Result<Arena> {
    // The source is not used, since the rounds are given.
    let options = ArenaOptions { port, ..ArenaOptions::new(RoundSource::Fixtures(PathBuf::new())) };
    Arena::start_with(rounds.iter().map(|(_, round)| round.first.clone()).collect(), &options, referee)
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
    let driver = browser::open(&play_options.browser).await?;
    let (driver, played) = match Page::open(driver.clone(), profile, &url, Consent::default()).await {
        Ok(mut page) => {
            let (mut heat, mut attempts, mut failure) = (Vec::new(), 1, None);
            let mut keep = |n: u32, reply, attempts, seconds| -> Result<()> {
                let (i, round) = rounds.get(n as usize - 1).context("the arena has more rounds than the set")?;
                let answered = Answered::new(&round.id, reply, attempts, seconds);
                on_answer(i + 1, &answered);
                journal.append(answered)
            };
            let on_event = |event: GameEvent<'_>| {
                let kept = match event {
                    GameEvent::Decided { heat: cells, .. } => {
                        heat = cells;
                        Ok(())
                    }
                    GameEvent::RoundOver(round) => check_round(&rounds, round).and_then(|guess| {
                        let confidence = Some(mass_within(&heat, guess));
                        let seconds = round.seconds.map_or(0.0, |seconds| seconds.total);
                        let guess = Guess { confidence, ..Guess::at(guess) };
                        let kept = keep(round.n.unwrap_or_default(), Ok(Reply::Guess(guess)), attempts, seconds);
                        attempts = 1;
                        kept
                    }),
                    GameEvent::Failed(failed) if failed.sent => keep(failed.n, Err(reason(&failed.why)), attempts, 0.0),
                    GameEvent::Failed(_) => {
                        attempts += 1;
                        Ok(())
                    }
                    GameEvent::PinPlaced(_) => Ok(()),
                };
                if let Err(error) = kept {
                    failure.get_or_insert(error);
                }
            };
            let played = play(&mut page, run.classifier, &play_options, on_event).await.map(drop);
            (page.into_driver(), failure.map_or(played, Err))
        }
        Err(error) => (driver, Err(error)),
    };
    let is_closed = browser::shutdown(driver, &play_options.browser).await;
    arena.stop().await;
    played?;
    is_closed.then_some(()).ok_or_else(|| environment_error("the browser did not close"))
}

/// The guess of a round, which must be the one that the arena was to show.
fn check_round(rounds: &[(usize, &BenchRound)], played: &Round) -> Result<LatLng> {
    let expected = played.n.and_then(|n| rounds.get((n as usize).checked_sub(1)?));
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

/// Serves the pending rounds to a person, in any browser of this computer, until all have a guess. The first guess counts:
/// after it, the arena shows the truth.
///
/// # Errors
/// When the port is in use, the page is not built, or the journal cannot be written.
pub(crate) async fn play_person(
    set: &RoundSet,
    port: u16,
    journal: &mut Journal,
    options: RunOptions,
    on_start: impl FnOnce(&str) -> Result<()>,
    mut on_answer: impl FnMut(usize, &Answered),
) -> Result<()> {
    let mut rounds = pending(set, journal, options);
    if rounds.is_empty() {
        return Ok(());
    }
    let (told, guesses) = mpsc::channel::<ArenaGuess>();
    let arena = start(&rounds, port, Referee(Arc::new(move |guess| _ = told.send(guess))))?;
    on_start(arena.url())?;
    let all = rounds.clone();
    while !rounds.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        for guess in guesses.try_iter() {
            let Some((i, round)) = all.get(guess.index).copied() else { continue };
            let before = rounds.len();
            rounds.retain(|(pending, _)| *pending != i);
            if rounds.len() == before {
                eprint_sanitized(format!("round {}: only the first guess counts", i + 1));
                continue;
            }
            let reply = guess.pin.map(|pin| Reply::Guess(Guess::at(pin))).ok_or_else(|| "the time was over".to_owned());
            let answered = Answered::new(&round.id, reply, 1, guess.seconds);
            on_answer(i + 1, &answered);
            journal.append(answered)?;
        }
    }
    arena.stop().await;
    Ok(())
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
}
