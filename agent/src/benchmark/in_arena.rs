//! The set in the arena: serving its pending rounds, and a person who plays them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use landfall_common::text::eprint_sanitized;

use crate::benchmark::journal::{Answered, Journal};
use crate::benchmark::protocol::{Guess, Reply};
use crate::benchmark::run::RunOptions;
use crate::benchmark::set::{BenchRound, RoundSet};
use crate::server::arena::{Arena, ArenaGuess, ArenaOptions, Referee, RoundSource};

/// Time for the page to load what it shows after the last guess.
const LAST_RESULT_TIME: Duration = Duration::from_secs(2);

/// The rounds without an answer, with their indices in the set.
pub(super) fn pending<'a>(set: &'a RoundSet, journal: &Journal, options: RunOptions) -> Vec<(usize, &'a BenchRound)> {
    let is_pending = |(_, round): &(usize, &BenchRound)| options.is_pending(journal.of(&round.id));
    set.rounds.iter().enumerate().filter(is_pending).collect()
}

/// Serves these rounds in their order.
pub(super) fn start(rounds: &[(usize, &BenchRound)], port: u16, referee: Referee) -> Result<Arena> {
    // The source is not used, since the rounds are given.
    let options = ArenaOptions { port, ..ArenaOptions::new(RoundSource::Fixtures(PathBuf::new())) };
    Arena::start_with(rounds.iter().map(|(_, round)| round.first.clone()).collect(), &options, referee)
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
        tokio::time::sleep(Duration::from_millis(100)).await;
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
    tokio::time::sleep(LAST_RESULT_TIME).await;
    arena.stop().await;
    Ok(())
}
