//! What the sections of a report share.

use maud::{Markup, html};

use crate::analysis::report::embedded_image::EmbeddedImage;
use crate::analysis::report::format;
use crate::analysis::report::occlusion::OcclusionMap;
use crate::analysis::report::posterior_summary::PosteriorSummary;
use crate::analysis::report::source::LoadedRound;

/// A round with everything that the page shows.
pub(super) struct ReportRound<'a> {
    /// Number on the page.
    pub(super) number: usize,
    pub(super) loaded: &'a LoadedRound,
    pub(super) posterior: PosteriorSummary,
    /// The images of its views; `None` if a file is missing.
    pub(super) views: Vec<Option<EmbeddedImage>>,
    /// A thumbnail of the first view.
    pub(super) thumbnail: Option<EmbeddedImage>,
    /// Occlusion maps of the views, if they were requested.
    pub(super) occlusions: &'a [OcclusionMap],
}

/// A bar with segments, each a fraction of its length and a CSS class, and a tick. Its content must also be given as text.
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

/// Capitalises the first letter.
pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A distance in words, or a question mark.
pub(super) fn distance_or_unknown(metres: Option<f64>) -> String {
    metres.map_or_else(|| "?".to_owned(), format::distance)
}
