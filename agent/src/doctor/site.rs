//! `doctor` for a site: opens its page and reports for each element of the profile which locator finds it, which
//! locators find nothing, and suggests alternatives.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::write_atomic;
use serde::{Deserialize, Serialize};

use crate::play::pin;
use crate::site::MapKind;
use crate::site::page::Page;

/// Elements without which no round can be played.
const REQUIRED_ROLES: [&str; 4] = ["look.view", "map.canvas", "map.tiles", "map.guess"];

/// The check of one element of the profile.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LocatorReport {
    /// Key in the profile, such as `map.guess`.
    pub role: &'static str,
    /// Whether the element was found or is optional.
    pub ok: bool,
    /// What was found, or a suggestion.
    pub detail: String,
    /// Number of elements that each locator finds, in order.
    #[serde(rename = "ways")]
    pub matches: Vec<usize>,
}

/// Elements of the page that a profile could use.
#[derive(Debug, Deserialize)]
struct PageCandidates {
    large: Vec<String>,
    buttons: Vec<String>,
}

/// Selectors of the largest visible elements, and texts of buttons.
const CANDIDATES_SCRIPT: &str = "const named = e => e.id ? '#' + CSS.escape(e.id) : e.dataset.qa ? `[data-qa=${e.dataset.qa}]` \
      : e.tagName.toLowerCase() + [...e.classList].map(name => '.' + CSS.escape(name)).join(''); \
    const area = e => e.getBoundingClientRect().width * e.getBoundingClientRect().height; \
    const large = [...document.querySelectorAll('canvas, img, iframe, video, [class*=map], [class*=leaflet]')] \
      .filter(isVisible).sort((a, b) => area(b) - area(a)).slice(0, 5).map(named); \
    const buttons = [...document.querySelectorAll('button, [role=button], input[type=submit], a[href]')].filter(isVisible) \
      .map(visibleText).filter(text => text && text.length < 40).slice(0, 12); \
    return {large, buttons}";

/// Checks all locators that are used before a guess, and writes a screenshot of the page to a file.
///
/// # Errors
/// When the session fails or the screenshot cannot be written.
pub(crate) async fn examine(page: &Page, picture: &Path) -> Result<Vec<LocatorReport>> {
    // A timeout of the wait is reported as a finding too.
    let waited = page.await_round().await;
    let png = page.screenshot().await?;
    write_atomic(picture, &png).with_context(|| environment_error(format!("cannot write {}", picture.display())))?;
    let candidates: PageCandidates = page.script(CANDIDATES_SCRIPT).await?;
    let mut reports = Vec::new();
    for (role, locators) in page.profile().required_locators() {
        let found = match role {
            "map.tiles" => page.count_hidden_too(locators).await?,
            _ => page.count(locators).await?,
        };
        let first = found.iter().position(|count| *count > 0);
        let locator = |i: usize| locators.iter().nth(i).map(ToString::to_string).unwrap_or_default();
        let detail = match first {
            Some(0) => format!("found by {}", locator(0)),
            Some(i) => {
                format!(
                    "fell back to locator {} of {}, {}; {} finds nothing",
                    i + 1,
                    found.len(),
                    locator(i),
                    locator(0)
                )
            }
            None if found.is_empty() => "the profile has no locator for it".to_owned(),
            None if REQUIRED_ROLES.contains(&role) => {
                let suggestion = match role {
                    "map.canvas" => format!(
                        "is it behind a button (map.open), or hidden in a narrow window (--window 1280x800)? Largest elements \
                         on this page: {}",
                        candidates.large.join(", ")
                    ),
                    "map.guess" => format!("buttons on this page: {}", candidates.buttons.join(", ")),
                    _ => format!("largest elements on this page: {}", candidates.large.join(", ")),
                };
                format!("none of {} locators finds it; {suggestion}", found.len())
            }
            None => "not on the page now".to_owned(),
        };
        let ok = first.is_some() || !REQUIRED_ROLES.contains(&role);
        reports.push(LocatorReport { role, ok, detail, matches: found });
    }
    if let MapKind::Canvas(view) = page.profile().map.kind()
        && waited.is_ok()
    {
        let shown = pin::view::examine(page, view).await?;
        let detail = match shown {
            Some(shown) => format!("the map looks like {shown} instead"),
            None => "matches the coastlines on the map".to_owned(),
        };
        reports.push(LocatorReport { role: "map.view", ok: shown.is_none(), detail, matches: Vec::new() });
    }
    if let Err(error) = waited {
        reports.push(LocatorReport { role: "a round", ok: false, detail: format!("{error:#}"), matches: Vec::new() });
    }
    Ok(reports)
}
