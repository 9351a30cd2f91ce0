//! The page: its head, what stands on top, the parts with their rounds, and how to read them.

use landfall_common::text::is_printable;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::analysis::report::embedded_image::EmbeddedImage;
use crate::analysis::report::occlusion::OcclusionMap;
use crate::analysis::report::posterior_summary::PosteriorSummary;
use crate::analysis::report::source::{GameSection, LoadedRound};
use crate::analysis::report::{format, map, round_section, summary};

/// No script, no request, whatever a record says: the browser keeps to it too.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

/// A page of more rounds than this draws them when they are scrolled to: it opens quickly, but its picture as a whole has
/// empty places.
const MAX_EAGER_ROUNDS: usize = 24;

/// A round with everything that the page shows of it.
pub(super) struct ReportRound<'a> {
    /// Number on the page.
    pub(super) number: usize,
    pub(super) loaded: &'a LoadedRound,
    pub(super) posterior: PosteriorSummary,
    /// Its views; nothing for a picture that is not there.
    pub(super) views: Vec<Option<EmbeddedImage>>,
    /// The first view again, small.
    pub(super) thumbnail: Option<EmbeddedImage>,
    /// What each view was looked at for, if that was asked.
    pub(super) occlusions: &'a [OcclusionMap],
}

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
                style { (PreEscaped(include_str!("report.css"))) }
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
                dt { (sign("pin")) } dd { "The pin. A line leads to it from the truth, the shortest way over the globe." }
                dt { (sign("truth")) } dd { "The truth, as the page showed it after the guess." }
                dt { (sign("candidate")) }
                dd { "Places where the pin might have gone: the mean of what each of the likeliest cells was learned from." }
                dt { svg.sign viewBox="0 0 24 24" aria-hidden="true" { rect.heat.heat-5 x="3" y="5" width="18" height="14" {} } }
                dd { "A cell, the darker the likelier. All that are drawn hold nine tenths of the probability." }
                dt { svg.sign viewBox="0 0 24 24" aria-hidden="true" {
                    rect.heat.heat-8 x="3" y="5" width="18" height="14" {} rect.half x="3" y="5" width="18" height="14" {}
                } }
                dd { "An outlined cell: the fewest that hold half of it." }
            }
            p {
                "Points fall with the distance by the game’s own law, round(most · exp(−10 · distance / scale)), where most is "
                "what a perfect guess brings, usually 5,000. What a pin promises is "
                "the mean of its points over all cells, each as likely as Landfall believed it to be: the pin is where that is "
                "highest."
            }
            @if are_explained {
                p {
                    "Red over a picture: parts of it were hidden one after another behind a grey patch, and the answer computed again. "
                    "The redder a part, the less likely the region within 300 km of the pin becomes without it; the number says how "
                    "many times, for the reddest part of the view. The same red means the same in all views of a round."
                }
            }
            p.made { "Made by Landfall " (env!("CARGO_PKG_VERSION")) ", which saw the pictures and nothing else before each guess. Borders: Natural Earth." }
        }
    }
}

fn sign(name: &str) -> Markup {
    let at = if name == "pin" { "translate(12 22)" } else { "translate(12 12)" };
    html! { svg.sign viewBox="0 0 24 24" aria-hidden="true" { use href=(format!("#{name}")) transform=(at) {} } }
}

/// A bar of parts, each a share of its length and a class, and a tick. What it says must stand beside it in words.
pub(super) fn bar(parts: &[(f64, &str)], tick: Option<f64>) -> Markup {
    let mut from = 0.0;
    let parts = parts.iter().map(|(share, class)| {
        let (x, width) = (100.0 * from, 100.0 * share.clamp(0.0, 1.0));
        from += share.clamp(0.0, 1.0);
        html! { rect class=(class) x=(format!("{x:.1}")) y="0" width=(format!("{width:.1}")) height="8" {} }
    });
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track x="0" y="0" width="100" height="8" {}
            @for part in parts { (part) }
            @if let Some(tick) = tick {
                rect.tick x=(format!("{:.1}", (100.0 * tick - 0.3).clamp(0.0, 99.4))) y="0" width="0.6" height="8" {}
            }
        }
    }
}

/// With a capital letter.
pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Metres in words, or a question mark.
pub(super) fn distance_or_unknown(metres: Option<f64>) -> String {
    metres.map_or_else(|| "?".to_owned(), format::distance)
}
