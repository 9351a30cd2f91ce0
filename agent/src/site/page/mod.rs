//! The page driver: one open page, read and clicked through its profile.
//!
//! The locators of results (the truth, the points) are private to `site`, and [`Page::outcome`], which reads what they
//! find, takes a [`GuessSubmitted`]. Only this module makes one: when the guess was sent, or when the page shows the
//! result of the round. The browser session is private to this module while the page is open. What else is read before a
//! guess, by the scripts of `play` and `probe` and the other locators of a profile, no type can limit: the end-to-end test
//! `fair` traces it, with the built-in locators.

mod capture;
pub(crate) mod distance;
mod dom;
mod memory;
mod outcome;
mod press;
mod reach;
mod ready;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use serde_json::json;
use thirtyfour::prelude::*;
use tokio::sync::Mutex;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::browser::input;
use crate::site::Profile;
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::profile::locator::Locators;
pub(crate) use dom::{FoundElement, is_outside_window};
use memory::Memory;
pub(crate) use memory::TileRows;
pub(crate) use outcome::{RoundOutcome, points_by_word, read_points, whole_number};
use press::Presses;
pub(crate) use press::{DISMISS_AGAIN, PRESS_AGAIN, Press, map_openers};

/// Dialogs that appear instead of the result are closed after this time. The guess is not sent again: a slow page would get
/// it twice.
const DISMISS_AFTER: Duration = Duration::from_secs(8);
/// How often [`Page::patience`] the result of a guess is waited for, since nothing can be tried again.
const RESULT_PATIENCE: u32 = 3;
/// How long a guess whose press failed halfway may still be on its way to the game.
const GUESS_ON_ITS_WAY: Duration = Duration::from_secs(5);
/// A browser that does not respond within this time is considered lost.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(10);
const NO_ROUND: &str = "the page shows no round to play";
/// Delay between two checks of the page.
const POLL_INTERVAL_MS: u64 = 60;

/// An open page with a game.
pub struct Page {
    driver: WebDriver,
    profile: Profile,
    consent: Consent,
    /// Whether the session is switched to a frame.
    in_frame: Mutex<bool>,
    /// Whether the initial view of the guess map has been checked.
    map_is_known: AtomicBool,
    /// Whether a game was started on this page, by its button or by a round.
    has_begun: AtomicBool,
    /// Whether a game was started since the page was loaded, by its button or its steps before a game.
    has_started: AtomicBool,
    /// Whether a button had to be pressed to bring the map on display, and whether the window was enlarged for it.
    has_opened_map: AtomicBool,
    has_widened: AtomicBool,
    /// Number of the profile's steps before a game that were pressed.
    steps_done: AtomicUsize,
    /// Since when a round is on display, but under something else.
    covered_since: std::sync::Mutex<Option<Instant>>,
    presses: Presses,
    memory: Memory,
    /// Whether the browser lacks the fast command for screenshots.
    captures_slowly: AtomicBool,
}

/// Shows that the guess of this round was sent, or that the page shows its result; needed to read results.
pub struct GuessSubmitted(());

/// What follows a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Another round.
    Round,
    /// The end of the game, with its total score if the page shows it.
    Over(Option<u32>),
}

impl Page {
    /// Opens a URL after checking that it may be played.
    ///
    /// # Errors
    /// When the URL is refused or does not load.
    pub async fn open(driver: WebDriver, profile: Profile, address: &Url, consent: Consent) -> Result<Self> {
        guard::check(&profile, address, consent)?;
        let page = Self {
            driver,
            profile,
            consent,
            in_frame: Mutex::new(false),
            map_is_known: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
            has_started: AtomicBool::new(false),
            has_opened_map: AtomicBool::new(false),
            has_widened: AtomicBool::new(false),
            steps_done: AtomicUsize::new(0),
            covered_since: std::sync::Mutex::default(),
            presses: Presses::default(),
            memory: Memory::default(),
            captures_slowly: AtomicBool::new(false),
        };
        page.check_selectors().await?;
        page.go(address).await?;
        Ok(page)
    }

    /// The site profile. The locators of results in it are private to `site`.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Replaces the profile, as a probe does with every element that it finds. Its rules apply to every further action.
    pub(crate) fn replace_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Gives up the page for its session, so that it can be closed.
    pub fn into_driver(self) -> WebDriver {
        self.driver
    }

    /// Whether this is the first call: the initial view of the guess map is checked once.
    pub fn is_new_map(&self) -> bool {
        !self.map_is_known.swap(true, Ordering::Relaxed)
    }

    /// Navigates to another URL of the site after checking that it may be played.
    ///
    /// # Errors
    /// When the URL is refused or does not load.
    pub async fn go(&self, address: &Url) -> Result<()> {
        guard::check(&self.profile, address, self.consent)?;
        self.presses.clear();
        self.has_begun.store(false, Ordering::Relaxed);
        self.has_started.store(false, Ordering::Relaxed);
        self.steps_done.store(0, Ordering::Relaxed);
        let loaded = self.top(async || Ok(self.driver.goto(address.as_str()).await?)).await;
        loaded.map_err(|error| browser::page_failure(error, &self.driver, address))
    }

    /// Lets the browser parse every selector of the profile, on a blank page.
    async fn check_selectors(&self) -> Result<()> {
        let locators = self.profile.roles().into_iter().flat_map(|(_, locators)| locators.spans());
        let selectors: Vec<(&String, usize)> = locators
            .flat_map(|(locator, at)| locator.css.iter().chain(&locator.frame).map(move |css| (css, at)))
            .collect();
        let script = "const page = document.createDocumentFragment(); \
            return arguments[0].findIndex(css => { try { page.querySelector(css) } catch { return true } })";
        let texts: Vec<&String> = selectors.iter().map(|(css, _)| *css).collect();
        let bad: i64 = self.driver.execute(script, vec![json!(texts)]).await?.convert()?;
        match usize::try_from(bad).ok().and_then(|bad| selectors.get(bad)) {
            Some((css, at)) => Err(usage_error(format!("{}: `{css}` is not a CSS selector", self.profile.line(*at)))),
            None => Ok(()),
        }
    }

    /// The current URL, checked again, since pages redirect.
    ///
    /// # Errors
    /// When the page has navigated to one that must not be played.
    pub async fn address(&self) -> Result<Url> {
        self.with_retry(async || self.here().await).await
    }

    /// As [`Page::address`], before each action: nothing is clicked, dragged or typed on a page that has navigated
    /// away.
    async fn here(&self) -> Result<Url> {
        let address = self.driver.current_url().await?;
        guard::check(&self.profile, &address, self.consent)?;
        Ok(address)
    }

    /// Whether the round is over, by a guess or by its timer.
    pub async fn has_ended(&self) -> bool {
        self.find(&self.profile.result.shown).await.is_ok_and(|result| result.is_some())
    }

    /// Whether a game had to be started since the page was loaded: another one, if one was played before.
    pub(crate) fn has_started_game(&self) -> bool {
        self.has_started.load(Ordering::Relaxed)
    }

    /// Continues a game after its page or browser failed, from the URL of the game and in a new browser if the old one
    /// is lost. `sent`: whether the guess of the last round was sent, in which case the game may be over.
    ///
    /// # Errors
    /// When no browser opens, or the page shows neither a round nor the end of the game.
    pub async fn recover(&mut self, browser: &BrowserOptions, address: &Url, sent: bool) -> Result<NextStep> {
        let answers = tokio::time::timeout(BROWSER_TIMEOUT, self.driver.current_url()).await;
        if !answers.is_ok_and(|address| address.is_ok()) {
            let fresh = browser::open(browser).await?;
            browser::shutdown(std::mem::replace(&mut self.driver, fresh), browser).await;
            *self.in_frame.get_mut() = false;
        } else if sent {
            // Loading the page again would cancel a guess that is still on its way.
            let shown = async || Ok(self.find(&self.profile.result.shown).await?.map(|_| ()));
            _ = self.until_within(GUESS_ON_ITS_WAY, NO_ROUND, shown).await;
        }
        self.go(address).await?;
        self.until(NO_ROUND, async || {
            if sent && let Some(total) = self.read(&self.profile.result.total).await? {
                return Ok(Some(NextStep::Over(self.total_points(&total))));
            }
            Ok(self.is_ready().await?.then_some(NextStep::Round))
        })
        .await
    }

    /// Sends the guess and waits for the result.
    ///
    /// # Errors
    /// When the button cannot be pressed or no result appears.
    pub async fn guess(&self) -> Result<GuessSubmitted> {
        self.send(&mut false).await?;
        self.result().await
    }

    /// Presses the guess button once. Sets `sent` unless the page has certainly not taken the press, also on errors.
    ///
    /// # Errors
    /// When there is none, or it cannot be pressed.
    pub async fn send(&self, sent: &mut bool) -> Result<()> {
        self.await_guess_button().await?;
        self.presses.clear();
        let pressed = self.press_once(&self.profile.map.guess, sent).await?;
        pressed.ok_or_else(|| environment_error("the page has no guess button"))
    }

    /// Sends the guess on a page whose result display is not known yet.
    ///
    /// # Errors
    /// As [`Page::send`].
    pub(crate) async fn send_blindly(&self) -> Result<GuessSubmitted> {
        self.send(&mut false).await?;
        Ok(GuessSubmitted(()))
    }

    /// Waits for the result of a guess that was sent.
    ///
    /// # Errors
    /// When none appears.
    pub async fn result(&self) -> Result<GuessSubmitted> {
        let since = std::cell::Cell::new(Instant::now());
        let what = "the page shows no result for the guess, which may have been sent";
        self.until_within(RESULT_PATIENCE * self.patience(), what, async || {
            self.check_page_error().await?;
            if self.find(&self.profile.result.shown).await?.is_some() {
                return Ok(Some(GuessSubmitted(())));
            }
            if since.get().elapsed() > DISMISS_AFTER {
                self.address().await?; // the page may have navigated away
                self.press_when_ready(&self.profile.page.dismiss, DISMISS_AGAIN).await?;
                since.set(Instant::now());
            }
            Ok(None)
        })
        .await
    }

    /// Waits without a time limit for a person to send the guess.
    ///
    /// # Errors
    /// When the page shows an error, navigates to one that must not be played, or is closed.
    pub async fn await_guess(&self) -> Result<GuessSubmitted> {
        loop {
            self.address().await?;
            self.check_page_error().await?;
            if self.find(&self.profile.result.shown).await?.is_some() {
                return Ok(GuessSubmitted(()));
            }
            input::pause(4 * POLL_INTERVAL_MS).await;
        }
    }

    /// Continues with the next round, or with the end of the game after the last one.
    ///
    /// # Errors
    /// When the page does not continue.
    pub async fn next(&self, _: GuessSubmitted) -> Result<NextStep> {
        self.until("the page does not continue after the result", async || {
            self.check_page_error().await?;
            if let Some(total) = self.read(&self.profile.result.total).await? {
                return Ok(Some(NextStep::Over(self.total_points(&total))));
            }
            if self.find(&self.profile.result.shown).await?.is_none() {
                if self.offers_another_game().await? {
                    return Ok(Some(NextStep::Over(None)));
                }
                return Ok(self.is_ready().await?.then_some(NextStep::Round));
            }
            // Dialogs appear over results too, such as one for a new level.
            let closed = self.press_when_ready(&self.profile.page.dismiss, DISMISS_AGAIN).await?;
            if closed == Press::Absent || closed == Press::Covered {
                self.press_when_ready(&self.profile.result.next, PRESS_AGAIN).await?;
            }
            Ok(None)
        })
        .await
    }

    /// The total score in a text at the end of a game. Where the page shows no points, a number there is another one.
    fn total_points(&self, text: &str) -> Option<u32> {
        if self.profile.expects_points() { whole_number(text) } else { None }
    }

    /// Time limit for everything that the page does.
    pub fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.profile.patience_s)
    }

    /// Polls until `ask` returns a value.
    ///
    /// # Errors
    /// When `ask` fails, or returns nothing within [`Page::patience`]; `what` is the message then.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        self.until_within(self.patience(), what, ask).await
    }

    async fn until_within<T>(
        &self,
        limit: Duration,
        what: &str,
        ask: impl AsyncFn() -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if start.elapsed() > limit {
                return Err(environment_error(format!("{what} (waited {} s)", limit.as_secs_f64())));
            }
            input::pause(POLL_INTERVAL_MS).await;
        }
    }

    /// The first value that these locators find and `read` accepts; `None` if the page shows none within a second.
    async fn first<T>(&self, locators: &Locators, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        if locators.iter().next().is_none() {
            return Ok(None); // nothing to wait for
        }
        self.until_or_none(async || Ok(self.readings(locators).await?.iter().find_map(|text| read(text)))).await
    }

    /// As [`Page::until`] for optional values: returns `None` after a second.
    async fn until_or_none<T>(&self, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<Option<T>> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            if let Some(answer) = ask().await? {
                return Ok(Some(answer));
            }
            input::pause(POLL_INTERVAL_MS).await;
        }
        Ok(None)
    }

    async fn check_page_error(&self) -> Result<()> {
        match self.read(&self.profile.page.problem).await? {
            Some(problem) => Err(environment_error(format!("the page says: {problem}"))),
            None => Ok(()),
        }
    }
}
