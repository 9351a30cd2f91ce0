//! Bringing what a round needs into reach: scrolling, opening the map, and zooming it by its buttons.

use anyhow::Result;
use landfall_common::exit::environment_error;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators};

/// Scrolls an element into the visible part of the page, as far as it is not there, and returns its rectangle.
const REVEAL_SCRIPT: &str = "const [e] = findVisible(arguments[0]); if (!e) return null; \
    const r = rect(e), fits = (start, side, all) => start >= 0 && start + side <= all; \
    if (!fits(r.x, r.width, innerWidth) || !fits(r.y, r.height, innerHeight)) \
      e.scrollIntoView({block: r.height > innerHeight ? 'start' : 'center', inline: r.width > innerWidth ? 'start' : 'center', behavior: 'instant'}); \
    return rect(e)";

/// Whether the mouse reaches the map at one of five points. Elements beside the map in its own box, such as a layer that
/// takes its clicks, belong to it. A map outside the visible part of the page counts as free.
const FREE_SCRIPT: &str = "const [map] = findVisible(arguments[0]); if (!map) return null; \
    const r = rect(map), box = map.parentElement, b = box && rect(box); \
    const own = box && box !== document.body && b.width * b.height <= 2 * r.width * r.height ? box : map; \
    return [[.5, .5], [.3, .35], [.7, .35], [.35, .7], [.65, .65]].some(([x, y]) => { \
      const top = topAt(map, r.x + x * r.width, r.y + y * r.height); \
      return !top || own.contains(top) || top.contains(map) && top !== document.body && top !== document.documentElement })";

/// The + and - buttons of map libraries and of maps with a button that says so.
const ZOOM_IN: &str = ".leaflet-control-zoom-in, .maplibregl-ctrl-zoom-in, .mapboxgl-ctrl-zoom-in, .ol-zoom-in, \
    [aria-label*='zoom in' i], [title*='zoom in' i], [class*='zoom-in' i], [class*=zoomin i]";
const ZOOM_OUT: &str = ".leaflet-control-zoom-out, .maplibregl-ctrl-zoom-out, .mapboxgl-ctrl-zoom-out, .ol-zoom-out, \
    [aria-label*='zoom out' i], [title*='zoom out' i], [class*='zoom-out' i], [class*=zoomout i]";

impl Page {
    /// Scrolls the guess map into the visible part of the page. Returns its box.
    ///
    /// # Errors
    /// When the page shows no map.
    pub(crate) async fn reveal_map(&self) -> Result<Rect> {
        self.reveal(&self.profile.map.canvas).await?.ok_or_else(|| environment_error(Self::no_map()))
    }

    /// Scrolls the view into the visible part of the page. Returns its box.
    ///
    /// # Errors
    /// When the page shows no view.
    pub(crate) async fn reveal_view(&self) -> Result<Rect> {
        let view = self.reveal(&self.profile.look.view).await?;
        view.ok_or_else(|| environment_error("the page shows no view; the site profile may be out of date"))
    }

    /// Scrolls an element into the visible part of the page. Returns its rectangle, or `None` if there is none.
    pub(crate) async fn reveal(&self, locators: &Locators) -> Result<Option<Rect>> {
        for frame in locators.iter().filter_map(|locator| locator.frame.first()) {
            let frame: Locators = std::iter::once(Locator::of(frame)).collect();
            _ = self.ask::<Rect>(&frame, REVEAL_SCRIPT, vec![]).await?;
        }
        let seen: Option<(Rect, Pixel)> = self.ask(locators, REVEAL_SCRIPT, vec![]).await?;
        Ok(seen.map(|(rect, frame)| rect.moved_by(frame)))
    }

    /// What to do about a missing map.
    pub(super) fn no_map() -> &'static str {
        "no guess map is on display (map.canvas): is it behind a button (map.open), or does the page hide it in a window of \
         this size (--window 1280x800)?"
    }

    /// Whether the mouse reaches the guess map; `None` if there is no map on display.
    pub(super) async fn map_is_free(&self) -> Result<Option<bool>> {
        self.is_free(&self.profile.map.canvas).await
    }

    /// Whether the mouse reaches a map; `None` if it is not on display.
    pub(crate) async fn is_free(&self, map: &Locators) -> Result<Option<bool>> {
        Ok(self.ask(map, FREE_SCRIPT, vec![]).await?.map(|(free, _)| free))
    }

    /// Scrolls the wheel over a point of the page while the Ctrl key is held.
    ///
    /// # Errors
    /// As [`Page::hover`].
    pub(crate) async fn ctrl_wheel(&self, at: Pixel, delta_y: i32) -> Result<()> {
        self.act(async || input::ctrl_wheel(&self.driver, at, delta_y).await).await
    }

    /// Whether the guess map has a button that zooms in.
    pub(crate) async fn has_zoom_button(&self) -> Result<bool> {
        Ok(self.zoom_button(true).await?.is_some())
    }

    /// Presses the button that zooms the guess map in or out. `false` if there is none.
    pub(crate) async fn press_zoom_button(&self, closer: bool) -> Result<bool> {
        let Some(at) = self.zoom_button(closer).await? else { return Ok(false) };
        self.click(at.centre()).await?;
        Ok(true)
    }

    async fn zoom_button(&self, closer: bool) -> Result<Option<Rect>> {
        let (css, words) = if closer { (ZOOM_IN, "^[+＋]$") } else { (ZOOM_OUT, "^[-−–－]$") };
        let script = "const [map] = findVisible(arguments[0]); if (!map) return null; \
            const r = rect(map), over = e => { const b = rect(e), x = b.x + b.width / 2, y = b.y + b.height / 2; \
              return x > r.x - 60 && x < r.x + r.width + 60 && y > r.y - 60 && y < r.y + r.height + 60 }; \
            const near = e => isVisible(e) && over(e), says = new RegExp(arguments[2], 'u'); \
            const button = [...document.querySelectorAll(arguments[1])].find(near) \
              ?? [...document.querySelectorAll('button, [role=button], a')].find(e => near(e) && says.test(visibleText(e))); \
            return button ? rect(button) : null";
        let extra = vec![css.into(), words.into()];
        let found: Option<(Rect, Pixel)> = self.ask(&self.profile.map.canvas, script, extra).await?;
        Ok(found.map(|(rect, frame)| rect.moved_by(frame)))
    }
}
