//! The top of the page: score, overview map, table of rounds, and comparisons.

use std::collections::BTreeSet;

use landfall_common::statistics::median;
use landfall_model::countries;
use landfall_model::score::WORLD_SCALE_M;
use maud::{Markup, html};

use crate::analysis::report::format::{count_noun, group_thousands, points};
use crate::analysis::report::map;
use crate::analysis::report::map::PinAndTruth;
use crate::analysis::report::parts::{ReportRound, bar, capitalize, distance_or_unknown};
use crate::analysis::report::reference_scores::reference_scores;
use crate::analysis::report::round_section::truth;
use crate::analysis::report::source::{GameSection, PastGame};
use crate::record::Round;

type Sections<'a, 'b> = [(&'a GameSection, Vec<ReportRound<'b>>)];

/// Maximum number of rounds for which a thumbnail strip is shown.
const MAX_STRIP_ROUNDS: usize = 10;

/// Distinct values of a field, such as map or bundle names.
fn distinct<'a>(rounds: &'a [&ReportRound<'_>], of: impl Fn(&'a Round) -> Option<&'a str>) -> String {
    let names: BTreeSet<&str> = rounds.iter().filter_map(|shown| of(&shown.loaded.round)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Total score of all rounds with known score, and the maximum possible in these rounds.
fn total(rounds: &[&ReportRound<'_>]) -> (u32, f64) {
    let known = rounds.iter().filter_map(|shown| Some((shown.loaded.round.score?, shown.loaded.round.map.max_points)));
    known.fold((0u32, 0.0), |(sum, most), (score, max)| (sum.saturating_add(score), most + max))
}

/// The title of the page.
pub(super) fn title(parts: &Sections<'_, '_>) -> String {
    let rounds: Vec<&ReportRound<'_>> = parts.iter().flat_map(|(_, rounds)| rounds).collect();
    let (score, most) = total(&rounds);
    format!(
        "{} of {} points on {} · Landfall",
        group_thousands(score),
        group_thousands(most),
        distinct(&rounds, |round| Some(&round.map.name))
    )
}

/// The header of the page.
pub(super) fn header(parts: &Sections<'_, '_>, rounds: &[&ReportRound<'_>]) -> Markup {
    let (score, most) = total(rounds);
    let trip = |shown: &&ReportRound<'_>| {
        Some(PinAndTruth { n: shown.number, pin: shown.loaded.round.placed()?, truth: shown.loaded.round.truth })
    };
    let trips: Vec<PinAndTruth> = rounds.iter().filter_map(trip).collect();
    let games = parts.iter().filter(|(part, _)| part.site.is_some()).count();
    let when = parts.iter().filter_map(|(part, _)| part.when).min();
    html! {
        header.hero {
            p.brand { "Landfall" }
            h1 { (group_thousands(score)) span { " of " (group_thousands(most)) " points" } }
            p.about {
                (distinct(rounds, |round| Some(&round.map.name)))
                " · " @if games > 1 { (count_noun(games, "game")) ", " } (count_noun(rounds.len(), "round"))
                @let sites: BTreeSet<&str> = parts.iter().filter_map(|(part, _)| part.site.as_deref()).collect();
                @for site in sites { " · " (site) }
                @let bundles = distinct(rounds, |round| round.bundle.as_deref());
                @if !bundles.is_empty() { " · " (bundles) }
                @if let Some(when) = when { " · " time datetime=(when.format("%Y-%m-%dT%H:%M").to_string()) { (when.format("%-d %B %Y, %H:%M").to_string()) } }
            }
            @if rounds.len() <= MAX_STRIP_ROUNDS { (thumbnail_strip(rounds)) }
            (key_figures(rounds))
            @if !trips.is_empty() { (map::overview(&trips, "World map of all rounds with a line from each truth to its pin")) }
        }
    }
}

/// The first view of each round, with its points.
fn thumbnail_strip(rounds: &[&ReportRound<'_>]) -> Markup {
    html! {
        ol.strip { @for shown in rounds {
            li { a href=(format!("#round-{}", shown.number)) {
                @if let Some(picture) = &shown.thumbnail {
                    img src=(picture.uri) width=(picture.width) height=(picture.height) alt=(format!("Round {}: first view", shown.number));
                } @else { span.missing { "Round " (shown.number) } }
                span.chip { strong { (points(shown.loaded.round.score)) } " " (distance_or_unknown(shown.loaded.round.distance_m)) }
            } }
        } }
    }
}

fn key_figures(rounds: &[&ReportRound<'_>]) -> Markup {
    let scores: Vec<f64> = rounds.iter().filter_map(|shown| shown.loaded.round.score).map(f64::from).collect();
    let distances: Vec<f64> = rounds.iter().filter_map(|shown| shown.loaded.round.distance_m).collect();
    let country = |at| countries::of(at).map(|country| country.iso2);
    let pairs: Vec<_> =
        rounds.iter().filter_map(|shown| shown.loaded.round.placed().zip(shown.loaded.round.truth)).collect();
    let right = pairs.iter().filter(|(pin, truth)| country(*pin).is_some() && country(*pin) == country(*truth)).count();
    let near = distances.iter().filter(|metres| **metres <= 200_000.0).count();
    let seconds: Vec<f64> = rounds.iter().filter_map(|shown| Some(shown.loaded.round.seconds?.total)).collect();
    let tile = |value: String, name: &str| html! { div.tile { dt { (name) } dd { (value) } } };
    html! {
        dl.tiles {
            @if let Some((mean, error)) = mean(&scores) {
                (tile(group_thousands(mean), &match error {
                    Some(error) => format!("points per round, ± {}", group_thousands(error)),
                    None => "points per round".to_owned(),
                }))
            }
            @if let Some(middle) = median(distances.clone()) {
                (tile(distance_or_unknown(Some(middle)), "median distance"))
                (tile(format!("{near} of {}", distances.len()), "within 200 km"))
            }
            @if !pairs.is_empty() { (tile(format!("{right} of {}", pairs.len()), "right country")) }
            @if let Some((mean, _)) = mean(&seconds) { (tile(format!("{mean:.1} s"), "per round")) }
        }
    }
}

/// The mean of numbers, and its standard error if there are enough of them.
fn mean(numbers: &[f64]) -> Option<(f64, Option<f64>)> {
    if numbers.is_empty() {
        return None;
    }
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>();
    Some((mean, (numbers.len() > 2).then(|| (squares / (n - 1.0) / n).sqrt())))
}

/// Heading of a game, table of its rounds with running total, and failed attempts.
pub(super) fn section(part: &GameSection, rounds: &[ReportRound<'_>], are_many: bool) -> Markup {
    let all: Vec<&ReportRound<'_>> = rounds.iter().collect();
    let (score, most) = total(&all);
    let name = match (are_many, part.when) {
        (false, _) => "Rounds".to_owned(),
        (true, Some(when)) => {
            format!("{} of {}", distinct(&all, |round| Some(&round.map.name)), when.format("%-d %B %Y, %H:%M"))
        }
        (true, None) => part.folder.clone(),
    };
    let mut running = 0;
    let sums: Vec<u32> = rounds
        .iter()
        .map(|shown| {
            running += shown.loaded.round.score.unwrap_or_default();
            running
        })
        .collect();
    html! {
        h2 { (name) }
        table.numbers.game {
            thead { tr {
                th scope="col" { "#" } th.words scope="col" { "Location" } th.words.second scope="col" { "Guess" } th scope="col" { "Distance" }
                th.wide scope="col" { "Points" } th scope="col" { "Total" }
            } }
            tbody { @for (shown, sum) in rounds.iter().zip(&sums) {
                @let round = &shown.loaded.round;
                tr {
                    th scope="row" { a href=(format!("#round-{}", shown.number)) { (shown.number) } }
                    td.words { (truth(round).map_or_else(|| "?".to_owned(), |truth| capitalize(&truth))) }
                    td.words.second { (round.place.as_deref().map_or_else(|| "?".to_owned(), capitalize)) }
                    td { (distance_or_unknown(round.distance_m)) }
                    td.wide { div.figure {
                        (bar(&[(f64::from(round.score.unwrap_or_default()) / round.map.max_points, "fill")], None))
                        span { (points(round.score)) }
                    } }
                    td { (group_thousands(*sum)) }
                }
            } }
        }
        @if let Some(page) = part.page_score {
            p.line {
                @if page == score { "The page shows the same total, " (group_thousands(page)) "." }
                @else { "The page shows " (group_thousands(page)) " points; the rounds here total " (group_thousands(score)) "." }
            }
        } @else if are_many { p.line { (group_thousands(score)) " of " (group_thousands(most)) " points." } }
        @if !part.failed.is_empty() {
            p.line { (count_noun(part.failed.len(), "attempt")) " failed:" }
            ul.failed { @for reason in &part.failed { li { (reason) } } }
        }
    }
}

/// Reference scores and earlier games.
pub(super) fn comparison(parts: &Sections<'_, '_>, rounds: &[&ReportRound<'_>]) -> Markup {
    // Scores are comparable only on maps of the same size.
    let world = rounds.iter().map(|shown| &shown.loaded.round).filter(|round| {
        let map = &round.map;
        (map.scale_m.metres() / WORLD_SCALE_M - 1.0).abs() < 0.02 && map.max_points == 5000.0 && map.score_law.is_none()
    });
    let scores: Vec<f64> = world.filter_map(|round| round.score).map(f64::from).collect();
    let earlier = match parts {
        [(part, rounds)] if !part.earlier.is_empty() => {
            let scores: Vec<f64> = rounds.iter().filter_map(|shown| shown.loaded.round.score).map(f64::from).collect();
            let most = rounds.iter().map(|shown| shown.loaded.round.map.max_points).fold(0.0, f64::max);
            mean(&scores).map(|(mean, _)| (&part.earlier, mean, most))
        }
        _ => None,
    };
    let references = mean(&scores).map(|(mean, _)| reference_scores(mean, scores.len()));
    html! {
        @if earlier.is_some() || references.is_some() {
            section.others {
                h2 { "Comparison" }
                @if let Some((games, now, most)) = earlier { (past_games_chart(games, now, most)) }
                @if let Some(references) = references { (references) }
            }
        }
    }
}

/// Chart of the points per round, up to `most`, of earlier games and of this one.
fn past_games_chart(games: &[PastGame], now: f64, most: f64) -> Markup {
    let (width, height, left) = (640.0, 150.0, 44.0);
    let n = games.len() + 1;
    let x = |i: usize| left + 12.0 + (width - left - 24.0) * (i as f64 + 0.5) / n as f64;
    let y = |points: f64| 10.0 + (height - 20.0) * (1.0 - (points / most).clamp(0.0, 1.0));
    let before = games.iter().map(|game| game.points_per_round).sum::<f64>() / games.len() as f64;
    let label = format!(
        "Mean of {} played before on this map: {} points per round; this game: {}.",
        count_noun(games.len(), "game"),
        group_thousands(before),
        group_thousands(now)
    );
    html! {
        figure.series {
            svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) {
                @for points in [0.0, most / 2.0, most] {
                    line.grid x1=(left) y1=(y(points)) x2=(width) y2=(y(points)) {}
                    text.tick x=(left - 6.0) y=(y(points) + 4.0) text-anchor="end" { (group_thousands(points)) }
                }
                line.mean x1=(left) y1=(format!("{:.1}", y(before))) x2=(width) y2=(format!("{:.1}", y(before))) {}
                @for (i, game) in games.iter().enumerate() {
                    circle.then cx=(format!("{:.1}", x(i))) cy=(format!("{:.1}", y(game.points_per_round))) r="4" {
                        title {
                            (game.when.format("%-d %B %Y, %H:%M").to_string()) ", " (game.bundle) ": " (group_thousands(game.points_per_round))
                            " points per round, " (count_noun(game.rounds, "round"))
                        }
                    }
                }
                circle.now cx=(format!("{:.1}", x(n - 1))) cy=(format!("{:.1}", y(now))) r="6.5" {}
            }
            figcaption { (label) }
        }
    }
}
