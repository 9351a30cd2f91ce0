//! `play --parallel`: many games, one line for how far they are, one object for all of them.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_agent::failure::{exit_code, no, sentence, surroundings, wrong};
use landfall_agent::game::News;
use landfall_agent::parallel::{Games, Played};
use landfall_agent::plain::say;

use super::print::{print_json, print_line};
use super::run::{disagreement, line, print_game};

/// Plays the games and prints what came of them.
pub(super) async fn play(games: Games<'_>, json: bool) -> Result<()> {
    let rounds = u64::from(games.count) * u64::from(games.options.rounds);
    let bar = ProgressBar::new(rounds)
        .with_style(ProgressStyle::with_template("{bar:30} {pos} of at most {len} rounds, {elapsed}")?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let played = games
        .play(|n, news| match news {
            News::Over(round) => {
                bar.suspend(|| say(format!("game {n}, {}", line(round))));
                bar.inc(1);
            }
            News::Failed(failed) => bar.suspend(|| say(format!("game {n}, round {} failed: {}", failed.n, failed.why))),
            News::Unreported(why) => bar.suspend(|| say(format!("game {n}: no report: {why}"))),
            News::Set(_) | News::Decided { .. } => {}
        })
        .await;
    bar.finish_and_clear();
    if json {
        print_json(&played)?;
    } else {
        print(&played)?;
    }
    verdict(&played)
}

fn print(played: &Played) -> Result<()> {
    played.games.iter().try_for_each(print_game)?;
    let summary = &played.summary;
    let points = summary.points_a_round.map_or_else(|| "?".to_owned(), |points| format!("{points:.0}"));
    print_line(format!(
        "{} games, {} rounds: {points} points a round; {:.0} s",
        summary.games, summary.rounds, summary.seconds
    ))
}

/// Games that failed weigh more than points that differ.
fn verdict(played: &Played) -> Result<()> {
    if let Some(first) = played.failed.first() {
        let all = played.games.len() + played.failed.len();
        let why = format!("{} of {all} games failed; game {}: {}", played.failed.len(), first.n, sentence(&first.why));
        return Err(if exit_code(&first.why) == 3 { surroundings(why) } else { wrong(why) });
    }
    match played.games.iter().find_map(disagreement) {
        Some(what) => Err(no(what)),
        None => Ok(()),
    }
}
