//! The page: head, header, the games with their rounds, and an explanation.

use landfall_common::text::is_printable;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::analysis::report::parts::ReportRound;
use crate::analysis::report::source::GameSection;
use crate::analysis::report::{map, round_section, summary};

/// Forbids scripts and requests, in case a record contains markup.
pub(crate) const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

/// The style sheet of all reports.
pub(crate) const STYLE: &str = include_str!("report.css");

/// Pages with more rounds than this render each when it is scrolled to, which opens faster; a screenshot of the whole
/// page then has gaps.
const MAX_EAGER_ROUNDS: usize = 24;

/// The whole page.
pub(super) fn page(parts: &[(&GameSection, Vec<ReportRound<'_>>)]) -> String {
    let rounds: Vec<&ReportRound<'_>> = parts.iter().flat_map(|(_, rounds)| rounds).collect();
    let title = summary::title(parts);
    let are_explained = rounds.iter().any(|shown| !shown.occlusions.is_empty());
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
                style { (PreEscaped(STYLE)) }
            }
            body {
                (map::defs())
                (summary::header(parts, &rounds))
                main.long[rounds.len() > MAX_EAGER_ROUNDS] {
                    (summary::comparison(parts, &rounds))
                    @for (part, rounds) in parts {
                        section.part {
                            (summary::section(part, rounds, parts.len() > 1))
                            @for shown in rounds { (round_section::section(shown)) }
                        }
                    }
                }
                (how_to_read(are_explained))
            }
        }
    };
    let mut page = page.into_string();
    page.retain(is_printable);
    page
}

fn how_to_read(are_explained: bool) -> Markup {
    html! {
        footer {
            h2 { "How to read this" }
            dl.key {
                dt { (sign("pin")) } dd { "The pin. A great circle connects it with the truth." }
                dt { (sign("truth")) } dd { "The truth, as the page showed it after the guess." }
                dt { (sign("candidate")) }
                dd { "Candidate pins: the mean of the training locations of each of the most likely cells." }
                dt { svg.sign viewBox="0 0 24 24" aria-hidden="true" { rect.heat.heat-5 x="3" y="5" width="18" height="14" {} } }
                dd { "A cell; darker cells are more likely. All cells shown form the 90 % credible region." }
                dt { svg.sign viewBox="0 0 24 24" aria-hidden="true" {
                    rect.heat.heat-8 x="3" y="5" width="18" height="14" {} rect.half x="3" y="5" width="18" height="14" {}
                } }
                dd { "Outlined cells form the 50 % credible region." }
            }
            p {
                "The score decreases with distance by the formula of the game, round(max · exp(−10 · distance / scale)), where max is "
                "the score of a perfect guess, usually 5,000. The expected score of a pin is the mean of its score over all cells, "
                "weighted by their probability. The pin is where the expected score is highest."
            }
            @if are_explained {
                p {
                    "Red overlay: parts of the image were hidden one after another by a grey patch, and the prediction was computed again. "
                    "The redder a part, the less likely the region within 300 km of the pin becomes without it; the number is the factor "
                    "for the reddest part of the view. All views of a round have the same colour scale."
                }
            }
            p.made { "Made by Landfall " (env!("CARGO_PKG_VERSION")) ", which used only the images before each guess. Borders: Natural Earth." }
        }
    }
}

fn sign(name: &str) -> Markup {
    let at = if name == "pin" { "translate(12 22)" } else { "translate(12 12)" };
    html! { svg.sign viewBox="0 0 24 24" aria-hidden="true" { use href=(format!("#{name}")) transform=(at) {} } }
}
