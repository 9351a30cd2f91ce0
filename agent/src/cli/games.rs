//! Output of games: lines, and the report beside the record.

use std::sync::Arc;

use anyhow::Result;
use landfall_model::Classifier;

use crate::analysis::report;
use crate::analysis::report::Report;
use crate::cli::output::print_line;
use crate::record::{GameRecord, Round};

/// Writes the report of a game beside its record, on a thread of its own so that signals are still handled.
pub(super) async fn write_report(game: &GameRecord, classifier: &Arc<Classifier>) -> Result<()> {
    let (dir, classifier) = (game.record.clone(), Arc::clone(classifier));
    let write = move || Report::of_game(&dir, &classifier.bundle)?.write(&dir.join(report::FILE_NAME));
    tokio::task::spawn_blocking(write).await?.map(drop)
}

/// The first round, or the game, whose points on the page differ from ours.
pub(super) fn disagreement(game: &GameRecord) -> Option<String> {
    let name = |round: &Round| format!("round {}", round.n.unwrap_or_default());
    let rounds = game.rounds.iter().map(|round| (name(round), round.score, round.page_score));
    rounds.chain([("the game".to_owned(), game.score, game.page_score)]).find_map(|(what, ours, theirs)| {
        let (ours, theirs) = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs)?;
        Some(format!("{what}: computed {ours} points, the page shows {theirs}; check the scale of the map (--scale)"))
    })
}

/// A round as one line.
pub(super) fn line(round: &Round) -> String {
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let far = round.distance_m.map_or_else(|| "? km".to_owned(), |metres| format!("{:.0} km", metres / 1000.0));
    format!(
        "round {}  {:<44} {:>9} off  ours {:>4}  page {:>4}  {:.1} s",
        round.n.unwrap_or_default(),
        round.place.as_deref().unwrap_or("?"),
        far,
        points(round.score),
        points(round.page_score),
        round.seconds.unwrap_or_default().total
    )
}

/// Prints a game and its rounds.
pub(super) fn print_game(game: &GameRecord) -> Result<()> {
    print_line(format!("{} on {}, {}", game.bundle, game.map.name, game.site))?;
    game.rounds.iter().try_for_each(|round| print_line(line(round)))?;
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let most = game.map.max_points * game.rounds.len() as f64;
    print_line(format!("total: ours {}, page {} of {most}", points(game.score), points(game.page_score)))?;
    print_line(format!("record: {}", game.record.display()))
}
