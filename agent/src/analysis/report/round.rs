//! One round: the views, where it was and where the pin went, and why.

use landfall_model::place;
use maud::{Markup, html};

use crate::analysis::report::map;
use crate::analysis::report::map::MapScene;
use crate::analysis::report::page::{ReportRound, bar, capital, off};
use crate::analysis::report::posterior_summary::{CandidatePin, PosteriorSummary, ViewStep};
use crate::analysis::report::words::{counted, grouped, heading, percent, points};
use crate::record::{Round, RoundTimings};

/// The round's section.
pub(super) fn round(shown: &ReportRound<'_>) -> Markup {
    let round = &shown.loaded.round;
    let belief = &shown.belief;
    let scene = MapScene {
        heat_cells: &belief.heat_cells,
        candidates: belief.candidates.iter().map(|candidate| candidate.at).collect(),
        pin: round.placed(),
        truth: round.truth,
    };
    let (number, is_single) = (shown.number, round.views.len() < 2);
    html! {
        article.round id=(format!("round-{number}")) aria-labelledby=(format!("title-{number}")) {
            (head(shown))
            div.scene {
                div {
                    (views(shown))
                    // One picture leaves room under it.
                    @if is_single { (facts(round, belief)) }
                }
                div.maps {
                    @if let Some(detail) = map::detail(&scene, &format!("Round {number}: the pin and the truth from near by")) { (detail) }
                    (map::world(&scene, &format!("Round {number}: the pin, the truth and what was believed, on the world")))
                }
            }
            @if !is_single { (facts(round, belief)) }
            @if !belief.candidates.is_empty() { (candidates(belief, round)) }
        }
    }
}

fn facts(round: &Round, belief: &PosteriorSummary) -> Markup {
    html! {
        div.facts {
            section { (score(round, belief)) @if let Some(seconds) = &round.seconds { (time(seconds)) } }
            @if !belief.countries.is_empty() { section { (countries(belief)) } }
            @if !belief.steps.is_empty() { section { (steps(belief)) } }
        }
    }
}

/// The name of the place that it was, as far as that is known.
pub(super) fn truth(round: &Round) -> Option<String> {
    round.truth.map(|at| place::describe(at).description)
}

fn head(shown: &ReportRound<'_>) -> Markup {
    let round = &shown.loaded.round;
    let guess = round.place.clone().or_else(|| round.placed().map(|at| place::describe(at).description));
    let number = shown.number;
    html! {
        header.title {
            div {
                p.kicker { "Round " (number) @if let Some(name) = &round.name { " · " (name) } }
                h3 id=(format!("title-{number}")) {
                    @if let Some(truth) = truth(round) { (capital(&truth)) } @else { "The truth is not known" }
                }
                @if let Some(guess) = guess {
                    p.guess {
                        "The pin went " (preposition(&guess)) (guess)
                        @if let Some(metres) = round.distance_m { ", " strong { (off(Some(metres))) } " off" }
                        @if let Some(within) = round.truth_within_m { " (the truth is known to " (off(Some(within))) ")" }
                        "."
                    }
                }
            }
            p.points { strong { (points(round.score)) } span { " of " (grouped(round.map.max_points)) " points" } }
        }
    }
}

/// The description of a place begins with `near`, `in` or `at`, and what a page loaded may begin with anything.
fn preposition(place: &str) -> &'static str {
    if ["near ", "in ", "at "].iter().any(|known| place.starts_with(known)) { "" } else { "to " }
}

fn views(shown: &ReportRound<'_>) -> Markup {
    let views = &shown.loaded.round.views;
    let most = shown.looked.iter().map(super::explain::OcclusionMap::most).fold(0.0, f64::max);
    let heats: Vec<Option<String>> = shown.looked.iter().map(|looked| looked.heat(most).ok().flatten()).collect();
    let class = match views.len() {
        0 | 1 => "views one",
        2..=4 => "views few",
        _ => "views many",
    };
    html! {
        div.looking {
            div class=(class) { @for (i, view) in views.iter().enumerate() {
                figure {
                    @match shown.views.get(i).and_then(Option::as_ref) {
                        Some(picture) => div.picture {
                            img src=(picture.uri) width=(picture.width) height=(picture.height) decoding="async"
                                alt=(format!("View {} of round {}, heading {}", i + 1, shown.number, heading(view.heading)));
                            @if let Some(Some(heat)) = heats.get(i) { img.looked src=(heat) alt=""; }
                        },
                        None => p.missing { "This picture is not in the record." },
                    }
                    figcaption {
                        (heading(view.heading))
                        @if let Some(looked) = shown.looked.get(i) { span.loss { (loss(looked.most())) } }
                    }
                }
            } }
            @if heats.iter().any(Option::is_some) {
                label.switch { input type="checkbox" checked; " Show what it looked at" }
            }
        }
    }
}

/// A loss in nats as people understand it.
fn loss(nats: f64) -> String {
    match nats.exp() {
        ..1.05 => "no part matters".to_owned(),
        times => format!("reddest part {times:.1}×"),
    }
}

fn score(round: &Round, belief: &PosteriorSummary) -> Markup {
    let most = round.map.max_points;
    let got = f64::from(round.score.unwrap_or_default()) / most;
    html! {
        h4 { "Points" }
        (bar(&[(got, "fill")], round.expected_score.map(|promised| promised / most)))
        p.line {
            strong { (points(round.score)) }
            @if let Some(promised) = round.expected_score { "; the pin promised " (grouped(promised)) " (the tick)" }
            @if let Some(page) = round.page_score {
                @if Some(page) == round.score { "; the page counts the same" } @else { "; the page counts " (grouped(page)) }
            }
            "."
        }
        @if let Some([half, most]) = belief.radius_m {
            p.line { "Half of the probability lies within " (off(Some(half))) " of the pin, nine tenths within " (off(Some(most))) "." }
        }
        @if let Some(pin) = &round.pin {
            p.line { "Placed " (off(Some(pin.error_m))) " from where it was wanted, at " (off(Some(pin.metres_per_pixel))) " a pixel." }
        }
    }
}

fn time(seconds: &RoundTimings) -> Markup {
    let RoundTimings { look, think, place, total } = *seconds;
    let rest = (total - look - think - place).max(0.0);
    let parts = [("looking", look, "t1"), ("thinking", think, "t2"), ("placing", place, "t3"), ("result", rest, "t4")];
    let whole = (look + think + place + rest).max(f64::MIN_POSITIVE);
    let shares: Vec<(f64, &str)> = parts.iter().map(|(_, part, class)| (part / whole, *class)).collect();
    html! {
        h4 { "Time" }
        (bar(&shares, None))
        p.line {
            strong { (format!("{total:.1} s")) } ": "
            @for (i, (name, part, class)) in parts.iter().enumerate() {
                @if i > 0 { ", " }
                span class=(format!("dot {class}")) {} (name) " " (format!("{part:.1} s"))
            }
            "."
        }
    }
}

fn countries(belief: &PosteriorSummary) -> Markup {
    html! {
        h4 { "Countries" }
        table.bars {
            thead.unseen { tr { th scope="col" { "Country" } th scope="col" { "Probability" } } }
            tbody { @for (name, p) in &belief.countries {
                tr { th scope="row" { (name) } td { div.figure { (bar(&[(*p, "fill")], None)) span { (percent(*p)) } } } }
            } }
        }
        @if !belief.is_whole { p.line { "By the recorded cells alone." } }
    }
}

fn steps(belief: &PosteriorSummary) -> Markup {
    let is_known = belief.steps.iter().any(|step| step.score.is_some());
    let row = |step: &ViewStep| {
        html! {
            tr {
                th scope="row" { (step.views) }
                td.words { (capital(&step.place)) }
                td { (grouped(step.promised)) }
                @if is_known { td { (points(step.score)) } }
            }
        }
    };
    html! {
        h4 { "What each view brought" }
        table.numbers {
            thead { tr {
                th scope="col" { "Views" } th.words scope="col" { "Answer" } th scope="col" { "Promises" }
                @if is_known { th scope="col" { "Scores" } }
            } }
            tbody { @for step in &belief.steps { (row(step)) } }
        }
        @if let Some(another) = belief.another {
            p.line { "One more view would bring " (grouped(another)) " points on average." }
        }
    }
}

fn candidates(belief: &PosteriorSummary, round: &Round) -> Markup {
    let is_known = belief.candidates.iter().any(|candidate| candidate.places.is_some());
    let row = |candidate: &CandidatePin| {
        let CandidatePin { at, place, p, places, promised, off_m } = candidate;
        html! {
            tr {
                th scope="row" { (capital(place)) span.at { (at) } }
                td { (percent(*p)) }
                @if is_known { td { (places.map_or_else(|| "?".to_owned(), grouped)) } }
                @if is_known { td.second { (promised.map_or_else(|| "?".to_owned(), grouped)) } }
                @if round.truth.is_some() { td { (off(*off_m)) } }
            }
        }
    };
    html! {
        section.candidates {
            h4 { "The likeliest places it knows" }
            table.numbers {
                thead { tr {
                    th scope="col" { "Mean of the places of a cell" } th scope="col" { "Likely" }
                    @if is_known { th scope="col" { "Learned from" } th.second scope="col" { "A pin promises" } }
                    @if round.truth.is_some() { th scope="col" { "From the truth" } }
                } }
                tbody { @for candidate in &belief.candidates { (row(candidate)) } }
            }
            p.line {
                "A bundle keeps no single training place, only each cell’s mean and " @if is_known { "their number" } @else { "number" } ". "
                @if belief.is_whole { (counted(belief.heat_cells.len(), "cell")) " hold nine tenths of the probability." }
            }
        }
    }
}
