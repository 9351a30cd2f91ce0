//! `landfall probe`: plays a game on an unknown page, using only what a player sees, and writes a site profile for it.
//!
//! It starts from the generic profile, which consists of common texts, ARIA roles and the class names of map libraries.
//! It tests candidates as a person would: drags the view, clicks the map, submits the guess. As in a game, it reads
//! only visible content, element names and tile URLs before a guess; the guesses themselves are arbitrary.

mod draft;
mod end;
mod explore;
mod frames;
mod observe;
mod partial;
mod pin;
mod result;
mod rounds;
pub(crate) mod score_formula;
mod turn;
mod verify;

use anyhow::Result;
pub(crate) use draft::Hint;
use draft::ProfileDraft;
use landfall_common::exit::check_failed;
use landfall_common::text::redact_url;
use observe::{ButtonElement, FramePath};
pub(crate) use partial::PartialProfile;
use regex::Regex;
use serde::Serialize;
use url::Url;

use crate::site::Profile;
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators};

/// Result of a probe.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProbeReport {
    /// Name of the profile.
    pub name: String,
    /// The profile, as TOML.
    pub profile: String,
    /// Locators of the elements that were found.
    pub roles: Vec<LocatedRole>,
    /// Points and distances of the rounds.
    pub rounds: Vec<ObservedRound>,
    /// Values that the user must fill in, one sentence each.
    pub missing: Vec<String>,
    /// The error of the pin in kilometres that `play` has to allow, if the map zooms in less than usual.
    pub max_pin_error_km: Option<u32>,
}

/// An element that was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LocatedRole {
    /// Key in the profile, such as `map.guess`.
    pub role: &'static str,
    /// The first locator that finds it.
    pub by: String,
}

/// Result of a round, as the page shows it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ObservedRound {
    /// Points.
    pub points: Option<u32>,
    /// Distance of the guess in metres.
    pub distance_m: Option<f64>,
}

/// What the user knows of a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Texts of buttons.
    pub hints: Vec<Hint>,
    /// Part of the profile.
    pub profile: PartialProfile,
}

/// The profile with which to open a page of this host.
///
/// # Errors
/// When the partial profile is invalid.
pub(crate) fn profile(host: &str, known: &Known) -> Result<Profile> {
    ProfileDraft::new(host)?.with_given(&known.profile)?.profile()
}

/// Plays a game of up to `max_rounds` rounds on a page opened with [`profile`]. `on_step` is called with a message for
/// each step.
///
/// # Errors
/// When the page shows no view, map or guess button, or the session fails.
pub(crate) async fn probe(
    page: &mut Page,
    max_rounds: u32,
    known: &Known,
    on_step: impl Fn(&str),
) -> Result<ProbeReport> {
    let address = page.address().await?;
    let draft = ProfileDraft::new(address.host_str().unwrap_or_default())?;
    let draft = draft.with_given(&known.profile)?.with_hints(&known.hints);
    let mut probe = Probe {
        page,
        draft,
        address: address.clone(),
        paths: vec![address.path().to_owned()],
        has_started: false,
        missing: Vec::new(),
        max_pin_error_km: None,
        on_step: &on_step,
    };
    let game = probe.find_game().await?;
    probe.learn_view(&game).await?;
    let before = probe.learn_map(&game).await?;
    probe.learn_pin_and_guess_button(&game, &before).await?;
    let rounds = probe.play_rounds(&game, max_rounds).await?;
    probe.verify().await?;
    probe.finish(&address, rounds)
}

/// State of a probe.
struct Probe<'a> {
    page: &'a mut Page,
    draft: ProfileDraft,
    /// URL at which the game starts.
    address: Url,
    /// URL paths of the game so far.
    paths: Vec<String>,
    /// Whether the start button of the partial profile was pressed.
    has_started: bool,
    missing: Vec<String>,
    /// See [`ProbeReport::max_pin_error_km`].
    max_pin_error_km: Option<u32>,
    on_step: &'a dyn Fn(&str),
}

/// The frames of the game.
struct GameFrames {
    view_frame: FramePath,
    map_frame: FramePath,
}

impl Probe<'_> {
    /// Applies the draft profile to the page.
    fn apply_draft(&mut self) -> Result<()> {
        self.page.replace_profile(self.draft.profile()?);
        Ok(())
    }

    /// The locators of a partial profile for an element, if it states them and one finds something now.
    async fn find_given(&self, section: &str, key: &str) -> Result<bool> {
        let Some(locators) = self.draft.given_locators(section, key) else { return Ok(false) };
        Ok(self.page.find(&locators.into_iter().collect()).await?.is_some())
    }

    /// The error for stated locators that find nothing.
    fn dead(&self, section: &str, key: &str, when: &str) -> anyhow::Error {
        let locators = self.draft.locators(section, key);
        check_failed(self.draft.given().dead(&format!("{section}.{key}"), &locators, when))
    }

    async fn record_path(&mut self) -> Result<()> {
        let path = self.page.address().await?.path().to_owned();
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
        Ok(())
    }

    fn finish(mut self, address: &Url, rounds: Vec<ObservedRound>) -> Result<ProbeReport> {
        let paths = self.paths.iter().map(String::as_str);
        self.draft.set("paths", "play", Some(draft::path_patterns(paths)));
        let start = address.path().to_owned();
        self.draft.set("paths", "start", Some(start));
        let profile = self.draft.profile()?;
        let mut comment = format!("Found by `landfall probe {}`.", redact_url(address));
        if let Some(km) = self.max_pin_error_km {
            comment.push_str(&format!("\nPlay with --max-pin-error {km}: the map zooms in no closer."));
        }
        for sentence in &self.missing {
            comment.push_str("\nFILL IN ");
            comment.push_str(sentence);
        }
        let by = |(role, locators): (&'static str, &Locators)| {
            Some(LocatedRole { role, by: locators.iter().next()?.to_string() })
        };
        let roles = profile.discoverable_locators().into_iter().filter_map(by).collect();
        Ok(ProbeReport {
            name: profile.name.clone(),
            profile: self.draft.to_toml(&comment),
            roles,
            rounds,
            missing: self.missing,
            max_pin_error_km: self.max_pin_error_km,
        })
    }
}

/// Whether one of these regular expressions matches the whole text.
fn matches_any(text: &str, words: &[String]) -> bool {
    words.iter().any(|words| Regex::new(&format!("(?i)^(?:{words})$")).is_ok_and(|words| words.is_match(text.trim())))
}

/// Locators of a button: by selector, then by text.
fn button_locators(button: &ButtonElement, frame: &FramePath) -> Vec<Locator> {
    let by_text = Locator {
        text: Some(regex::escape(button.text.trim())),
        role: button.role,
        css: button.role.is_none().then(|| button.selectors[0].clone()),
        frame: frame.clone(),
        ..Locator::default()
    };
    observe::css_locators(&button.selectors, frame).into_iter().chain([by_text]).collect()
}
