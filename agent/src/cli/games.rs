//! Output of games: lines, and the report beside the record.

use std::sync::Arc;

use anyhow::Result;
use landfall_common::text::eprint_sanitized;
use landfall_model::Classifier;

use crate::analysis::report;
use crate::analysis::report::Report;
use crate::cli::output::print_line;
use crate::probe::score_formula;
use crate::record::{Distance, GameRecord, Round};

/// Writes the report of a game beside its record, on a thread of its own so that signals are still handled.
pub(super) async fn write_report(game: &GameRecord, classifier: &Arc<Classifier>) -> Result<()> {
    let (dir, classifier) = (game.record.clone(), Arc::clone(classifier));
    let write = move || Report::of_game(&dir, &classifier.bundle)?.write(&dir.join(report::FILE_NAME));
    tokio::task::spawn_blocking(write).await?.map(drop)
}

/// A round, or the game, whose points on the page differ from ours.
pub(super) struct Disagreement {
    what: String,
    /// Whether it is a failure: in the arena, whose score formula is ours. Other sites may score as they like.
    is_failure: bool,
}

impl Disagreement {
    /// Warns about it, unless it is a failure, which is returned as an error at the end.
    pub(super) fn warn(&self) {
        if !self.is_failure {
            eprint_sanitized(format!("warning: {}", self.what));
        }
    }

    /// The error, if it is a failure.
    pub(super) fn failure(self) -> Option<String> {
        self.is_failure.then_some(self.what)
    }
}

/// The first round, or the game, whose points on the page differ from ours, with the formula that its rounds fit.
pub(super) fn disagreement(game: &GameRecord) -> Option<Disagreement> {
    let name = |round: &Round| format!("round {}", round.n.unwrap_or_default());
    let rounds = game.rounds.iter().map(|round| (name(round), round.score, round.page_score));
    let found =
        rounds.chain([("the game".to_owned(), game.score, game.page_score)]).find_map(|(what, ours, theirs)| {
            let (ours, theirs) = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs)?;
            Some(format!("{what}: computed {ours} points, the page shows {theirs}"))
        })?;
    if game.site == "arena" {
        let what = format!("{found}; check the scale of the map (--scale)");
        return Some(Disagreement { what, is_failure: true });
    }
    let shown = game.rounds.iter().filter_map(|round| {
        let within_m = round.distance_within_m.unwrap_or(1.0);
        Some((round.page_score?, Distance { metres: round.distance_m?, within_m }))
    });
    let shown: Vec<(u32, Distance)> = shown.collect();
    let advice = match score_formula::fit_law(&shown) {
        Some(law) => format!("the rounds fit {law}"),
        None => "the points of these rounds fit no formula that is known here; write it as score.law".to_owned(),
    };
    let what =
        format!("{found}; the page scores by another formula: {advice}. The guess and its record are not affected");
    Some(Disagreement { what, is_failure: false })
}

/// A round as one line.
pub(super) fn line(round: &Round) -> String {
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let far = round.distance_m.map_or_else(|| "? km".to_owned(), |metres| format!("{:.0} km", metres / 1000.0));
    let page = match round.map.is_scored_by_page {
        true => format!("page {:>4}", points(round.page_score)),
        false => "no points on the page".to_owned(),
    };
    format!(
        "round {}  {:<44} {:>9} off  ours {:>4}  {page}  {:.1} s",
        round.n.unwrap_or_default(),
        round.place.as_deref().unwrap_or("?"),
        far,
        points(round.score),
        round.seconds.unwrap_or_default().total
    )
}

/// Prints a game, and its rounds if asked to.
pub(super) fn print_game(game: &GameRecord, with_rounds: bool) -> Result<()> {
    print_line(format!("{} on {}, {}", game.bundle, game.map.name, game.site))?;
    let mut rounds = game.rounds.iter().filter(|_| with_rounds);
    rounds.try_for_each(|round| print_line(line(round)))?;
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let most = game.map.max_points * game.rounds.len() as f64;
    let ours = points(game.score);
    print_line(match game.map.is_scored_by_page {
        true => format!("total: ours {ours}, page {} of {most}", points(game.page_score)),
        false => format!("total: ours {ours} of {most}; the page shows no points"),
    })?;
    print_line(format!("record: {}", game.record.display()))
}
