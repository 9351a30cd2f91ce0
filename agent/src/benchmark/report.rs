//! `report.html` of a run: the numbers, a map, and every round. One file without scripts or requests.

use anyhow::Result;
use landfall_common::text::is_printable;
use landfall_model::{LatLng, place};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rayon::prelude::*;

use crate::analysis::report::embedded_image::{EmbeddedImage, byte_allowance, embed};
use crate::analysis::report::format;
use crate::analysis::report::map::{self, PinAndTruth};
use crate::analysis::report::page::{POLICY, STYLE};
use crate::benchmark::journal::Outcome;
use crate::benchmark::pictures;
use crate::benchmark::set::{BenchRound, RoundSet};
use crate::benchmark::summary::{BenchResult, RoundScore};

/// Size limit in bytes of a picture: they are shown small.
const MAX_PICTURE_BYTES: usize = 40_000;

const OWN_STYLE: &str = "\
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(270px, 100%), 1fr)); gap: 28px 20px; }
.card img { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3; object-fit: cover; border-radius: 10px; background: var(--track); }
.card h4 { margin-top: 10px; overflow-wrap: anywhere; }
.card p { color: var(--faint); font-size: 0.85rem; line-height: 1.4; overflow-wrap: anywhere; }
.card .line strong { font-size: 1.05rem; }
.card .bar { margin-top: 8px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 8px 48px; }
";

/// The page.
///
/// # Errors
/// When a picture cannot be read.
pub(crate) fn html(set: &RoundSet, result: &BenchResult) -> Result<String> {
    let limit = byte_allowance(set.rounds.len()).min(MAX_PICTURE_BYTES);
    let images: Vec<EmbeddedImage> =
        set.rounds.par_iter().map(|round| embed(&pictures::preview(round)?, limit)).collect::<Result<_>>()?;
    let player = &result.run.player;
    let title = format!("{} on {}", player.name, result.run.set);
    let trips: Vec<PinAndTruth> = result
        .per_round
        .iter()
        .filter_map(|score| Some(PinAndTruth { n: score.n, pin: score.answered.guess?, truth: Some(score.truth) }))
        .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("Landfall ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(OWN_STYLE)) }
            }
            body {
                (map::defs())
                header {
                    p.brand { "Landfall benchmark" }
                    h1 { (format::group_thousands(result.points.mean)) " " span { "points per round" } }
                    p.about { (about(result)) }
                    (tiles(result))
                }
                main {
                    (map::overview(&trips, "Guesses and true places of all rounds"))
                    div.columns { (distances(result)) (continents(result)) }
                    (reasons(result))
                    h2 { "Rounds" }
                    div.cards {
                        @for ((score, round), image) in result.per_round.iter().zip(&set.rounds).zip(&images) {
                            (card(score, round, image))
                        }
                    }
                }
                (footer(result))
            }
        }
    };
    let mut page = page.into_string();
    page.retain(is_printable);
    Ok(page)
}

fn about(result: &BenchResult) -> String {
    let run = &result.run;
    let detail = if run.player.detail.is_empty() { String::new() } else { format!(" ({})", run.player.detail) };
    let hash: String = run.set_sha256.chars().take(12).collect();
    format!(
        "Player: {}{detail}. Set: {}, {} rounds, sha256 {hash}. Played {}; up to {} s per round. A round with an error is {}.",
        run.player.name,
        run.set,
        run.rounds,
        if run.through == "direct" { "directly, without a browser" } else { "in the arena, through a browser" },
        run.time_limit_s,
        match run.retries {
            0 => "not repeated".to_owned(),
            1 => "repeated once".to_owned(),
            n => format!("repeated up to {n} times"),
        },
    )
}

fn tiles(result: &BenchResult) -> Markup {
    let interval = match (result.points.low, result.points.high) {
        (Some(low), Some(high)) => {
            format!("{} to {}", format::group_thousands(low), format::group_thousands(high))
        }
        _ => "–".to_owned(),
    };
    let mut tiles = vec![
        ("95 % interval of the points", interval),
        ("Median distance", format::distance(result.median_km * 1000.0)),
        ("Right country", format::percent(result.country)),
        ("Median time per round", format!("{:.2} s", result.seconds.median)),
    ];
    if let Some(confidence) = &result.confidence {
        tiles.push(("Calibration error (ECE)", format!("{:.3}", confidence.ece)));
        tiles.push(("Brier score", format!("{:.3}", confidence.brier)));
    }
    if let Some(cost) = result.cost {
        tiles.push(("Cost, as the player reports it", format!("{:.4} USD", cost.usd)));
    }
    html! { dl.tiles { @for (name, number) in tiles { div.tile { dt { (name) } dd { (number) } } } } }
}

fn distances(result: &BenchResult) -> Markup {
    html! {
        section {
            h2 { "Distances" }
            table.numbers {
                thead { tr { th scope="col" { "within" } th scope="col" { "share of the rounds" } } }
                tbody {
                    @for (km, share) in &result.within_km {
                        tr { td { (format::group_thousands(*km)) " km" } td { (format::percent(*share)) } }
                    }
                }
            }
            @if let Some(confidence) = &result.confidence {
                p.note {
                    "In " (confidence.rounds) " rounds the player stated a probability that the true place is "
                    (confidence.event) " of its guess: " (format::percent(confidence.mean)) " on average. It was in "
                    (format::percent(confidence.came_true)) " of them."
                }
            }
        }
    }
}

fn continents(result: &BenchResult) -> Markup {
    html! {
        section {
            h2 { "Continents" }
            table.numbers {
                thead { tr {
                    th scope="col" { "" } th scope="col" { "rounds" } th scope="col" { "points" } th scope="col" { "median" } th scope="col" { "country" }
                } }
                tbody {
                    @for (code, score) in &result.continents {
                        tr {
                            td { (continent(code)) } td { (score.rounds) } td { (format::group_thousands(score.points)) }
                            td { (format::distance(score.median_km * 1000.0)) } td { (format::percent(score.country)) }
                        }
                    }
                }
            }
        }
    }
}

fn continent(code: &str) -> &str {
    match code {
        "AF" => "Africa",
        "AN" => "Antarctica",
        "AS" => "Asia",
        "EU" => "Europe",
        "NA" => "North America",
        "OC" => "Oceania",
        "SA" => "South America",
        _ => "No country",
    }
}

fn reasons(result: &BenchResult) -> Markup {
    html! {
        @if !result.reasons.is_empty() {
            h2 { "Rounds without a guess" }
            p.note { (result.refused) " refused, " (result.errors) " failed. They have 0 points." }
            table.numbers {
                thead { tr { th scope="col" { "reason" } th scope="col" { "rounds" } } }
                tbody { @for (reason, count) in &result.reasons { tr { td { (reason) } td { (count) } } } }
            }
        }
    }
}

fn card(score: &RoundScore, round: &BenchRound, image: &EmbeddedImage) -> Markup {
    let name = round.first.name.as_deref().unwrap_or(&round.id);
    let describe = |at: LatLng| place::describe(at).description;
    html! {
        article.card id=(format!("round-{}", score.n)) {
            img src=(image.uri) width=(image.width) height=(image.height) loading="lazy" alt=(format!("Round {}", score.n));
            h4 { (score.n) " · " (name) }
            p.line {
                strong { (format::group_thousands(score.points)) " points" }
                @if let Some(km) = score.distance_km { ", " (format::distance(km * 1000.0)) }
            }
            @match (score.answered.outcome, score.answered.guess) {
                (Outcome::Answered, Some(guess)) => { p { "Guess: " (describe(guess)) } }
                (outcome, _) => {
                    p {
                        (if outcome == Outcome::Refused { "Refused: " } else { "Failed: " })
                        (score.answered.reason.as_deref().unwrap_or("no reason given"))
                    }
                }
            }
            p { "Truth: " (describe(score.truth)) }
            p {
                (format!("{:.2} s", score.answered.seconds))
                @if let Some(confidence) = score.answered.confidence { ", confidence " (format::percent(confidence)) }
                @if score.answered.attempts > 1 { ", " (score.answered.attempts) " attempts" }
            }
            @if let Some(credits) = &round.first.credits { p { (credits) } }
            @if let Some(source) = &round.source { p { "Source: " (source) } }
        }
    }
}

fn footer(result: &BenchResult) -> Markup {
    html! {
        footer {
            h2 { "How to read this" }
            p {
                "Points are those of the World map, round(5,000 · exp(−10 · distance / 14,917 km)); a round without a guess has 0, "
                "and counts as half around the earth in the median. The interval is a bootstrap over neighbourhoods of a tenth of a degree. "
                "Confidence is the probability, as the player states it, that the true place is within 750 km of its guess."
            }
            p.made {
                "Made by Landfall " (result.landfall) ". The player saw the pictures without metadata, under other names, and no place "
                "before its guess. Borders: Natural Earth."
            }
        }
    }
}
