//! `doctor` for a site: opens its page and says of everything that the profile looks for which way finds it, which ways
//! are dead, and what the page has instead.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::write_atomic;
use serde::{Deserialize, Serialize};

use crate::play::pin;
use crate::site::MapKind;
use crate::site::page::Page;

/// What a round cannot be played without.
const REQUIRED_ROLES: [&str; 4] = ["look.view", "map.canvas", "map.tiles", "map.guess"];

/// What became of one thing that the profile looks for.
#[derive(Clone, Debug, Serialize)]
pub struct LocatorReport {
    /// Its name in the profile, such as `map.guess`.
    pub role: &'static str,
    /// Whether it is there, or need not be.
    pub ok: bool,
    /// What was found, or what to do.
    pub detail: String,
    /// How many elements each locator finds, in order.
    #[serde(rename = "ways")]
    pub matches: Vec<usize>,
}

/// What a page has that a profile could name.
#[derive(Debug, Deserialize)]
struct PageCandidates {
    large: Vec<String>,
    buttons: Vec<String>,
}

/// The largest things on display by their selectors, and what buttons say.
const CANDIDATES_SCRIPT: &str = "const named = e => e.id ? '#' + CSS.escape(e.id) : e.dataset.qa ? `[data-qa=${e.dataset.qa}]` \
      : e.tagName.toLowerCase() + [...e.classList].map(name => '.' + CSS.escape(name)).join(''); \
    const area = e => e.getBoundingClientRect().width * e.getBoundingClientRect().height; \
    const large = [...document.querySelectorAll('canvas, img, iframe, video, [class*=map], [class*=leaflet]')] \
      .filter(isVisible).sort((a, b) => area(b) - area(a)).slice(0, 5).map(named); \
    const buttons = [...document.querySelectorAll('button, [role=button], input[type=submit], a[href]')].filter(isVisible) \
      .map(visibleText).filter(text => text && text.length < 40).slice(0, 12); \
    return {large, buttons}";

/// Tries everything that the profile looks for before a guess, and writes a picture of the page into a file.
///
/// # Errors
/// When the session fails or the picture cannot be written.
pub async fn examine(page: &Page, picture: &Path) -> Result<Vec<LocatorReport>> {
    // Waiting is done as for a game; what it waited for in vain is among the findings.
    let waited = page.await_round().await;
    let png = page.screenshot().await?;
    write_atomic(picture, &png).with_context(|| environment_error(format!("cannot write {}", picture.display())))?;
    let candidates: PageCandidates = page.script(CANDIDATES_SCRIPT).await?;
    let mut reports = Vec::new();
    for (role, locators) in page.profile.required_locators() {
        let found = page.count(locators).await?;
        let first = found.iter().position(|count| *count > 0);
        let locator = |i: usize| locators.iter().nth(i).map(ToString::to_string).unwrap_or_default();
        let detail = match first {
            Some(0) => format!("found by {}", locator(0)),
            Some(i) => {
                format!("fell back to way {} of {}, {}; {} finds nothing", i + 1, found.len(), locator(i), locator(0))
            }
            None if found.is_empty() => "the profile has no way to find it".to_owned(),
            None if REQUIRED_ROLES.contains(&role) => {
                let instead = match role {
                    "map.guess" => format!("buttons here say: {}", candidates.buttons.join(", ")),
                    _ => format!("the largest things here: {}", candidates.large.join(", ")),
                };
                format!("none of {} ways finds it. {instead}", found.len())
            }
            None => "not on the page now".to_owned(),
        };
        let ok = first.is_some() || !REQUIRED_ROLES.contains(&role);
        reports.push(LocatorReport { role, ok, detail, matches: found });
    }
    if let MapKind::Canvas(view) = page.profile.map.kind()
        && waited.is_ok()
    {
        let shown = pin::view::examine(page, view).await?;
        let detail = match shown {
            Some(shown) => format!("the map looks like {shown} instead"),
            None => "fits what the map shows, as far as land and sea tell".to_owned(),
        };
        reports.push(LocatorReport { role: "map.view", ok: shown.is_none(), detail, matches: Vec::new() });
    }
    if let Err(error) = waited {
        reports.push(LocatorReport { role: "a round", ok: false, detail: format!("{error:#}"), matches: Vec::new() });
    }
    Ok(reports)
}
