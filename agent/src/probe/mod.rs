//! `landfall probe`: plays a game on a page that nobody has described, by what a player sees, and writes the profile that
//! it takes to play there.
//!
//! It begins with the generic profile: words, roles, and what map libraries call their parts. What it finds is tried out as
//! a person would: the view is dragged, the map clicked, the guess sent. Before a guess it reads what is on display, the
//! names of the page's parts, and the addresses of the map's tiles, as playing does; the guesses are of no use.

mod draft;
mod end;
mod frames;
mod observe;
mod pin;
mod rounds;
mod score_formula;
mod turn;

use anyhow::Result;
use draft::ProfileDraft;
use landfall_common::text::redact_url;
use observe::{ButtonElement, FramePath};
use regex::Regex;
use serde::Serialize;
use url::Url;

use crate::site::Profile;
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators};

/// What a probe found.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    /// Name of the profile.
    pub name: String,
    /// The profile.
    pub profile: String,
    /// What each thing is found by, of those that were found on this page.
    pub roles: Vec<LocatedRole>,
    /// Points and distance of the rounds that were played.
    pub rounds: Vec<ObservedRound>,
    /// What the profile lacks, a sentence each: a person must fill it in.
    pub missing: Vec<String>,
}

/// A thing that was found.
#[derive(Clone, Debug, Serialize)]
pub struct LocatedRole {
    /// Its name in the profile, such as `map.guess`.
    pub role: &'static str,
    /// The first locator that finds it.
    pub by: String,
}

/// What the page said of a round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ObservedRound {
    /// Points.
    pub points: Option<u32>,
    /// How far off the guess was, in metres.
    pub distance_m: Option<f64>,
}

/// The profile to open a page of this host with.
///
/// # Errors
/// When the generic profile is damaged.
pub fn profile(host: &str) -> Result<Profile> {
    ProfileDraft::new(host)?.profile()
}

/// Plays a game of up to `max_rounds` rounds on a page that is open with [`profile`]. `on_step` is called with a sentence
/// for each step.
///
/// # Errors
/// When the page shows no view, no map or no way to guess, or the session fails.
pub async fn probe(page: &mut Page, max_rounds: u32, on_step: impl Fn(&str)) -> Result<ProbeReport> {
    let address = page.address().await?;
    let draft = ProfileDraft::new(address.host_str().unwrap_or_default())?;
    let mut probe =
        Probe { page, draft, paths: vec![address.path().to_owned()], missing: Vec::new(), on_step: &on_step };
    let game = probe.find_game().await?;
    probe.learn_view(&game).await?;
    let before = probe.learn_map(&game).await?;
    probe.learn_pin_and_guess_button(&game, &before).await?;
    let rounds = probe.play_rounds(&game, max_rounds).await?;
    probe.finish(&address, rounds)
}

/// A probe at work.
struct Probe<'a> {
    page: &'a mut Page,
    draft: ProfileDraft,
    /// Paths that the game was seen at.
    paths: Vec<String>,
    missing: Vec<String>,
    on_step: &'a dyn Fn(&str),
}

/// Where the game is.
struct GameFrames {
    view_frame: FramePath,
    map_frame: FramePath,
}

impl Probe<'_> {
    /// Uses what has been found so far.
    fn apply_draft(&mut self) -> Result<()> {
        self.page.profile = self.draft.profile()?;
        Ok(())
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
        })
    }
}

/// Whether a text is one of these, which are regular expressions over all of it.
fn matches_any(text: &str, words: &[String]) -> bool {
    words.iter().any(|words| Regex::new(&format!("(?i)^(?:{words})$")).is_ok_and(|words| words.is_match(text.trim())))
}

/// Locators to find a button again: by what it is called, then by what it says.
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
