//! Getting to a round: dialogs, the steps before a game, its start button, the map, and what covers them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::environment_error;

use crate::site::page::{BROWSER_TIMEOUT, DISMISS_AGAIN, NO_ROUND, PRESS_AGAIN, Page, Press, map_openers};
use crate::site::profile::locator::Locators;
use crate::site::{MapKind, Profile};

/// A page that shows a round under something else for this time is played as it is.
const COVERED_TIMEOUT: Duration = Duration::from_secs(4);
/// Attempts to clear away what covers the page, or to open the map, are this far apart.
const CLEAR_INTERVAL: Duration = Duration::from_millis(1500);
/// The name under which Landfall plays on pages that ask for one.
const NICKNAME: &str = "Landfall";
/// Window of a desktop, with room for the browser's own bars.
const WIDE: (u32, u32) = (1280, 950);

impl Page {
    /// Waits for a round: closes dialogs, starts a game if the page offers one, opens the map, and waits for loading.
    ///
    /// # Errors
    /// When no round appears in time, or the page shows an error.
    pub async fn await_round(&self) -> Result<()> {
        let waited = self.until(NO_ROUND, async || Ok(self.is_ready().await?.then_some(()))).await;
        match waited {
            Err(error) if error.to_string().starts_with(NO_ROUND) => Err(self.why_no_round(error).await),
            done => done,
        }
    }

    /// The error, with the element of the profile that is missing.
    async fn why_no_round(&self, error: anyhow::Error) -> anyhow::Error {
        let Profile { look, map, page, .. } = &self.profile;
        let is_shown = async |locators: &Locators| self.find(locators).await.is_ok_and(|found| found.is_some());
        let why = if is_shown(&page.loading).await {
            "it is still loading (page.loading)"
        } else if !is_shown(&look.view).await {
            "no view is on display (look.view): does a game have to be started first (page.start, setup)?"
        } else if !is_shown(&map.canvas).await {
            Self::no_map()
        } else {
            return error;
        };
        environment_error(format!("{error}: {why}"))
    }

    pub(super) async fn is_ready(&self) -> Result<bool> {
        self.address().await?;
        self.check_page_error().await?;
        let Profile { page, look, map, result, .. } = &self.profile;
        // While a dialog is visible there is no round, even if the press on it failed.
        match self.press_when_ready(&page.dismiss, DISMISS_AGAIN).await? {
            Press::Done | Press::Pending => return Ok(false),
            Press::Absent | Press::Covered => {}
        }
        let is_on_display = self.find(&page.loading).await?.is_none()
            && self.find(&look.view).await?.is_some()
            && self.find(&result.shown).await?.is_none();
        let map_is_free = if is_on_display { self.map_is_free().await? } else { None };
        let is_free = is_on_display && map_is_free == Some(true);
        // A button that has opened the map is pressed in every round.
        let opens = map.open.iter().next().is_some() || self.has_opened_map.load(Ordering::Relaxed);
        if is_on_display && map_is_free.is_none() && opens && self.has_begun.load(Ordering::Relaxed) {
            let opened = self.open_map().await?;
            if matches!(opened, Press::Done | Press::Pending) {
                return Ok(false);
            }
        }
        if !is_free && (self.set_up().await? || self.enter_nickname().await?) {
            return Ok(false);
        }
        // A start button may stay on the page during the game.
        if is_free && (self.has_begun.load(Ordering::Relaxed) || self.find(&page.start).await?.is_none()) {
            return Ok(self.begin());
        }
        match self.press_when_ready(&page.start, PRESS_AGAIN).await? {
            Press::Done => {
                self.has_begun.store(true, Ordering::Relaxed);
                self.has_started.store(true, Ordering::Relaxed);
                return Ok(false);
            }
            Press::Pending => return Ok(false),
            Press::Absent if is_free => return Ok(self.begin()),
            Press::Absent | Press::Covered => {}
        }
        if !self.is_time_to_clear(is_on_display && map_is_free.is_some())? {
            return Ok(false);
        }
        if map_is_free == Some(false) && !self.clear_away(&map.canvas).await? {
            return Ok(self.begin()); // covered, but by nothing that can be closed
        }
        if map_is_free.is_none() && !self.clear_away(&page.start).await? && is_on_display {
            match self.open_map().await? {
                Press::Done => self.has_opened_map.store(true, Ordering::Relaxed),
                Press::Pending => {}
                Press::Absent | Press::Covered => self.widen().await?,
            }
        }
        Ok(false)
    }

    /// Presses the next of the profile's steps before a game. Returns whether one was pressed, or still reacts.
    pub(crate) async fn set_up(&self) -> Result<bool> {
        let done = self.steps_done.load(Ordering::Relaxed);
        let Some(step) = self.profile.page.setup.iter().nth(done).cloned() else { return Ok(false) };
        match self.press_when_ready(&std::iter::once(step).collect(), PRESS_AGAIN).await? {
            Press::Done => {
                self.steps_done.store(done + 1, Ordering::Relaxed);
                self.has_started.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Press::Pending => Ok(true),
            Press::Absent | Press::Covered => Ok(false),
        }
    }

    /// Types a name into the profile's text field for it, if it is empty. The name tells other people what plays. Returns
    /// whether it was typed.
    async fn enter_nickname(&self) -> Result<bool> {
        // Nothing else: keys that are sent to a file field upload a file, and passwords are not Landfall's business.
        let script = "const [e] = findVisible(arguments[0]); if (!e) return null; \
            return ['text', 'search'].includes(e.type) && !e.disabled && !e.readOnly && e.value === '' || null";
        let field = &self.profile.page.nickname;
        if self.ask::<bool>(field, script, vec![]).await?.is_none() {
            return Ok(false);
        }
        let Some(found) = self.find(field).await? else { return Ok(false) };
        self.keys(&found, NICKNAME).await?;
        Ok(true)
    }

    /// A round is on display.
    fn begin(&self) -> bool {
        self.has_begun.store(true, Ordering::Relaxed);
        *self.covered_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        true
    }

    /// Whether the page has been in its way for long enough to do something about it.
    fn is_time_to_clear(&self, is_on_display: bool) -> Result<bool> {
        let mut since = self.covered_since.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = if is_on_display { COVERED_TIMEOUT } else { CLEAR_INTERVAL };
        let is_time = since.get_or_insert_with(Instant::now).elapsed() > limit;
        if is_time {
            *since = None;
        }
        Ok(is_time)
    }

    /// Opens the guess map by the profile's button, else by one that says so, if the map is on the page but not on display.
    async fn open_map(&self) -> Result<Press> {
        let declared = &self.profile.map.open;
        if declared.iter().next().is_some() {
            return self.press_when_ready(declared, DISMISS_AGAIN).await;
        }
        let is_there = "return arguments[0].flatMap(findAll).length > 0 || null";
        match self.ask::<bool>(&self.profile.map.canvas, is_there, vec![]).await? {
            Some(_) => self.press_when_ready(&map_openers(), PRESS_AGAIN).await,
            None => Ok(Press::Absent),
        }
    }

    /// Enlarges a narrow window once: pages hide their map on small screens.
    async fn widen(&self) -> Result<()> {
        let width: f64 = self.script("return innerWidth").await?;
        if width < f64::from(WIDE.0) && !self.has_widened.swap(true, Ordering::Relaxed) {
            tracing::info!(width, "no map is on display; trying a wider window");
            self.top(async || Ok(self.driver.set_window_rect(0, 0, WIDE.0, WIDE.1).await?)).await?;
        }
        Ok(())
    }

    /// Whether the page shows a round in which the pin can be placed again. On drawn maps that needs the initial view.
    pub(crate) async fn shows_round(&self) -> bool {
        let look = async {
            self.address().await?;
            self.check_page_error().await?;
            let Profile { look, map, result, .. } = &self.profile;
            let shown = self.find(&look.view).await?.is_some()
                && self.find(&map.canvas).await?.is_some()
                && self.find(&result.shown).await?.is_none();
            anyhow::Ok(shown && matches!(map.kind(), MapKind::Tiles))
        };
        tokio::time::timeout(BROWSER_TIMEOUT, look).await.is_ok_and(|shown| shown.unwrap_or(false))
    }

    /// Whether the page offers to start a game after a round, without the total that the profile expects at the end. A
    /// profile that names the total leaves the start button to pages that begin each round with it.
    pub(super) async fn offers_another_game(&self) -> Result<bool> {
        let Profile { page, look, result, .. } = &self.profile;
        Ok(result.total.iter().next().is_none()
            && self.find(&look.view).await?.is_none()
            && self.find(&page.start).await?.is_some())
    }
}
