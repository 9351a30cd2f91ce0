//! The section of a round: views, truth, pin, and posterior.

use landfall_model::place;
use maud::{Markup, html};

use crate::analysis::report::format::{count_noun, group_thousands, heading, percent, points};
use crate::analysis::report::map;
use crate::analysis::report::map::MapScene;
use crate::analysis::report::occlusion::{OcclusionMap, overlay};
use crate::analysis::report::parts::{ReportRound, bar, capitalize, distance_or_unknown};
use crate::analysis::report::posterior_summary::{CandidatePin, PosteriorSummary, ViewStep};
use crate::record::{Round, RoundTimings};

/// Renders the section of a round.
pub(super) fn section(shown: &ReportRound<'_>) -> Markup {
    let round = &shown.loaded.round;
    let posterior = &shown.posterior;
    let scene = MapScene {
        heat_cells: &posterior.heat_cells,
        candidates: posterior.candidates.iter().map(|candidate| candidate.at).collect(),
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
                    // There is space below a single image.
                    @if is_single { (facts(round, posterior)) }
                }
                div.maps {
                    @if let Some(detail) = map::detail(&scene, &format!("Round {number}: the pin and the truth, detail")) { (detail) }
                    (map::world(&scene, &format!("Round {number}: the pin, the truth and the posterior on the world")))
                }
            }
            @if !is_single { (facts(round, posterior)) }
            @if !posterior.candidates.is_empty() { (candidates(posterior, round)) }
        }
    }
}

fn facts(round: &Round, posterior: &PosteriorSummary) -> Markup {
    html! {
        div.facts {
            section { (score(round, posterior)) @if let Some(seconds) = &round.seconds { (time(seconds)) } }
            @if !posterior.countries.is_empty() { section { (countries(posterior)) } }
            @if !posterior.steps.is_empty() { section { (steps(posterior)) } }
        }
    }
}

/// Description of the true location, if known.
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
                    @if let Some(truth) = truth(round) { (capitalize(&truth)) } @else { "Unknown location" }
                }
                @if let Some(guess) = guess {
                    p.guess {
                        "The pin went " (preposition(&guess)) (guess)
                        @if let Some(metres) = round.distance_m { ", " strong { (distance_or_unknown(Some(metres))) } " off" }
                        @if let Some(within) = round.truth_within_m { " (the truth is known within " (distance_or_unknown(Some(within))) ")" }
                        "."
                    }
                }
            }
            p.points { strong { (points(round.score)) } span { " of " (group_thousands(round.map.max_points)) " points" } }
        }
    }
}

/// Descriptions of places begin with `near`, `in` or `at`, but texts of a page may begin with anything.
fn preposition(place: &str) -> &'static str {
    if ["near ", "in ", "at "].iter().any(|known| place.starts_with(known)) { "" } else { "to " }
}

fn views(shown: &ReportRound<'_>) -> Markup {
    let views = &shown.loaded.round.views;
    let most = shown.occlusions.iter().map(OcclusionMap::max_loss).fold(0.0, f64::max);
    let heats: Vec<Option<String>> = shown.occlusions.iter().map(|map| overlay(map, most).ok().flatten()).collect();
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
                        @if let Some(occlusions) = shown.occlusions.get(i) { span.loss { (format_loss(occlusions.max_loss())) } }
                    }
                }
            } }
            @if heats.iter().any(Option::is_some) {
                label.switch { input type="checkbox" checked; " Show occlusion maps" }
            }
        }
    }
}

/// A loss in nats as a factor.
fn format_loss(nats: f64) -> String {
    match nats.exp() {
        ..1.05 => "no part matters".to_owned(),
        times => format!("reddest part {times:.1}×"),
    }
}

fn score(round: &Round, posterior: &PosteriorSummary) -> Markup {
    let most = round.map.max_points;
    let fraction = f64::from(round.score.unwrap_or_default()) / most;
    html! {
        h4 { "Points" }
        (bar(&[(fraction, "fill")], round.expected_score.map(|promised| promised / most)))
        p.line {
            strong { (points(round.score)) }
            @if let Some(promised) = round.expected_score { "; expected " (group_thousands(promised)) " (the tick)" }
            @if !round.map.is_scored_by_page { "; computed by Landfall, since the page shows no points" }
            @if let Some(page) = round.page_score {
                @if Some(page) == round.score { "; the page shows the same" } @else { "; the page shows " (group_thousands(page)) }
            }
            "."
        }
        @if let Some([half, most]) = posterior.radius_m {
            p.line { "Credible radius: 50 % " (distance_or_unknown(Some(half))) ", 90 % " (distance_or_unknown(Some(most))) "." }
        }
        @if let Some(pin) = &round.pin {
            p.line { "Placed " (distance_or_unknown(Some(pin.error_m))) " from its target, at " (distance_or_unknown(Some(pin.metres_per_pixel))) " per pixel." }
        }
    }
}

fn time(seconds: &RoundTimings) -> Markup {
    let RoundTimings { look, think, place, total } = *seconds;
    let rest = (total - look - think - place).max(0.0);
    let parts = [("views", look, "t1"), ("inference", think, "t2"), ("pin", place, "t3"), ("result", rest, "t4")];
    let sum = (look + think + place + rest).max(f64::MIN_POSITIVE);
    let shares: Vec<(f64, &str)> = parts.iter().map(|(_, part, class)| (part / sum, *class)).collect();
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

fn countries(posterior: &PosteriorSummary) -> Markup {
    html! {
        h4 { "Countries" }
        table.bars {
            thead.unseen { tr { th scope="col" { "Country" } th scope="col" { "Probability" } } }
            tbody { @for (name, p) in &posterior.countries {
                tr { th scope="row" { (name) } td { div.figure { (bar(&[(*p, "fill")], None)) span { (percent(*p)) } } } }
            } }
        }
        @if !posterior.is_complete { p.line { "Recorded cells only." } }
    }
}

fn steps(posterior: &PosteriorSummary) -> Markup {
    let is_known = posterior.steps.iter().any(|step| step.score.is_some());
    let row = |step: &ViewStep| {
        html! {
            tr {
                th scope="row" { (step.views) }
                td.words { (capitalize(&step.place)) }
                td { (group_thousands(step.promised)) }
                @if is_known { td { (points(step.score)) } }
            }
        }
    };
    html! {
        h4 { "Prediction after each view" }
        table.numbers {
            thead { tr {
                th scope="col" { "Views" } th.words scope="col" { "Prediction" } th scope="col" { "Expected" }
                @if is_known { th scope="col" { "Score" } }
            } }
            tbody { @for step in &posterior.steps { (row(step)) } }
        }
        @if let Some(another) = posterior.gain_of_another {
            p.line { "Expected gain of another view: " (group_thousands(another)) " points." }
        }
    }
}

fn candidates(posterior: &PosteriorSummary, round: &Round) -> Markup {
    let is_known = posterior.candidates.iter().any(|candidate| candidate.places.is_some());
    let row = |candidate: &CandidatePin| {
        let CandidatePin { at, place, p, places, promised, off_m } = candidate;
        html! {
            tr {
                th scope="row" { (capitalize(place)) span.at { (at) } }
                td { (percent(*p)) }
                @if is_known { td { (places.map_or_else(|| "?".to_owned(), group_thousands)) } }
                @if is_known { td.second { (promised.map_or_else(|| "?".to_owned(), group_thousands)) } }
                @if round.truth.is_some() { td { (distance_or_unknown(*off_m)) } }
            }
        }
    };
    html! {
        section.candidates {
            h4 { "Candidate pins" }
            table.numbers {
                thead { tr {
                    th scope="col" { "Mean location of a cell" } th scope="col" { "Probability" }
                    @if is_known { th scope="col" { "Training locations" } th.second scope="col" { "Expected score" } }
                    @if round.truth.is_some() { th scope="col" { "Distance to the truth" } }
                } }
                tbody { @for candidate in &posterior.candidates { (row(candidate)) } }
            }
            p.line {
                "A bundle contains no individual training locations, only their mean and number per cell. "
                @if posterior.is_complete { (count_noun(posterior.heat_cells.len(), "cell")) " form the 90 % credible region." }
            }
        }
    }
}
