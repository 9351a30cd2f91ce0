//! Reference scores of other players, humans and models, as reported by their sources.

use maud::{Markup, html};

use crate::analysis::report::format::group_thousands;
use crate::analysis::report::parts::bar;

/// A reference: a range of points per round.
struct ReferenceScore {
    who: &'static str,
    from: f64,
    to: f64,
    /// Data and source.
    source: &'static str,
}

const fn reference(who: &'static str, from: f64, to: f64, source: &'static str) -> ReferenceScore {
    ReferenceScore { who, from, to, source }
}

/// Sorted by score. The scores are those reported by the sources, measured on different and mostly few places.
const REFERENCE_SCORES: [ReferenceScore; 9] = [
    reference("Country prior only", 209.0, 209.0, "geoscr, World"),
    reference("Casual human", 2000.0, 2400.0, "a blog’s estimate, 2013"),
    reference("Frozen CLIP and a head", 2496.0, 3450.0, "andrey-rublev: trained on OSV-5M, then on rounds"),
    reference("Claude Sonnet 4.5", 3739.0, 3739.0, "GeoGuessBench: 73 places, four views, landmarks"),
    reference("Human, Master I", 4411.0, 4411.0, "Sam Patterson, 2025, 5 rounds"),
    reference("GPT-4o", 4493.0, 4493.0, "ParthGandhi, World, no moving, 25 rounds"),
    reference("PIGEON", 4525.0, 4525.0, "CVPR 2024, four views, by a video’s summary"),
    reference("o3", 4636.0, 4636.0, "Sam Patterson, 2025, 5 rounds"),
    reference("Gemini 3 Pro", 4771.0, 4771.0, "GeoGuessBench: 73 places, four views, landmarks"),
];

/// The reference scores together with the mean score of these rounds and their number.
pub(super) fn reference_scores(points_per_round: f64, rounds: usize) -> Markup {
    let own = ReferenceScore { who: "These rounds", from: points_per_round, to: points_per_round, source: "" };
    let place = REFERENCE_SCORES.partition_point(|score| f64::midpoint(score.from, score.to) < points_per_round);
    let scores = REFERENCE_SCORES[..place].iter().chain(std::iter::once(&own)).chain(&REFERENCE_SCORES[place..]);
    html! {
        table.ladder {
            caption { "Points per round compared with reported scores of others" }
            thead.unseen { tr { th scope="col" { "Who" } th scope="col" { "Points per round" } th scope="col" { "Source" } } }
            tbody { @for score in scores {
                @let is_own = std::ptr::eq(score, &raw const own);
                tr.own[is_own] {
                    th scope="row" { (score.who) }
                    td { div.figure {
                        (bar(&[(score.from / 5000.0, if is_own { "fill" } else { "other" }), ((score.to - score.from) / 5000.0, "span")], None))
                        span { (group_thousands(score.from)) @if score.to > score.from { " to " (group_thousands(score.to)) } }
                    } }
                    td.source { @if is_own { (super::format::count_noun(rounds, "round")) } @else { (score.source) } }
                }
            } }
        }
        p.note {
            "Measured on other places and maps, mostly with few rounds: an order of magnitude, not a ranking. None of the scores was "
            "measured here."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_rounds_are_sorted_into_the_references() {
        assert!(REFERENCE_SCORES.is_sorted_by_key(|score| score.from + score.to));
        let order = |points: f64| {
            let page = reference_scores(points, 5).into_string();
            let at = |who: &str| page.find(who).unwrap();
            (at("Casual human") < at("These rounds"), at("These rounds") < at("PIGEON"))
        };
        assert_eq!([order(1000.0), order(3000.0), order(4900.0)], [(false, true), (true, true), (true, false)]);
    }
}
