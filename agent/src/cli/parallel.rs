//! `play --parallel`: a progress bar while games are played, one result for all of them.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::exit::{Exit, check_failed, environment_error, usage_error};
use landfall_common::text::eprint_sanitized;

use crate::cli::games::{disagreement, line, print_game, write_report};
use crate::cli::output::{print_json, print_line};
use crate::error::{describe, exit_code};
use crate::play::game::GameEvent;
use crate::play::parallel::{ParallelGames, ParallelReport};
use crate::record::GameRecord;

/// Plays the games and prints the result.
pub(super) async fn play(games: ParallelGames<'_>, json: bool) -> Result<()> {
    let rounds = u64::from(games.count) * u64::from(games.options.rounds);
    let bar = ProgressBar::new(rounds)
        .with_style(ProgressStyle::with_template("{bar:30} {pos} of up to {len} rounds, {elapsed}")?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let on_event = |n: u32, event: GameEvent<'_>| match event {
        GameEvent::RoundOver(round) => {
            bar.suspend(|| eprint_sanitized(format!("game {n}, {}", line(round))));
            bar.inc(1);
        }
        GameEvent::Failed(failed) => {
            bar.suspend(|| eprint_sanitized(format!("game {n}, round {} failed: {}", failed.n, failed.why)))
        }
        GameEvent::PinPlaced(_) | GameEvent::Decided { .. } => {}
    };
    let finished = async |n: u32, game: &GameRecord| {
        // A report that fails does not spoil a game that is already recorded.
        if let Err(error) = write_report(game, &games.classifier).await {
            bar.suspend(|| eprint_sanitized(format!("game {n}: no report was written: {}", describe(&error))));
        }
    };
    let played = games.play(on_event, finished).await;
    bar.finish_and_clear();
    if json {
        print_json(&played)?;
    } else {
        print(&played)?;
    }
    verdict(&played)
}

fn print(played: &ParallelReport) -> Result<()> {
    played.games.iter().try_for_each(|game| print_game(game, true))?;
    let summary = &played.summary;
    let points = summary.points_a_round.map_or_else(|| "?".to_owned(), |points| format!("{points:.0}"));
    print_line(format!(
        "{} games, {} rounds: {points} points per round; {:.0} s",
        summary.games, summary.rounds, summary.seconds
    ))
}

/// The error to report: failed games come before points that differ.
fn verdict(played: &ParallelReport) -> Result<()> {
    if let Some(first) = played.failed.first() {
        let all = played.games.len() + played.failed.len();
        let why = format!("{} of {all} games failed; game {}: {}", played.failed.len(), first.n, describe(&first.why));
        return Err(if exit_code(&first.why) == Exit::Environment { environment_error(why) } else { usage_error(why) });
    }
    let mut disagreements: Vec<_> = played.games.iter().filter_map(disagreement).collect();
    disagreements.iter().take(1).for_each(|first| first.warn());
    match disagreements.drain(..).find_map(|found| found.failure()) {
        Some(what) => Err(check_failed(what)),
        None => Ok(()),
    }
}
