//! Screenshots of the page and of its elements.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_common::exit::environment_error;
use serde::Deserialize;
use serde_json::json;

use crate::geometry::Rect;
use crate::site::page::Page;
use crate::site::page::dom::{FoundElement, is_message, is_moved};
use crate::site::profile::locator::{Locator, Locators};

/// What of a document is visible, in CSS pixels.
#[derive(Deserialize)]
struct Viewport {
    width: f64,
    height: f64,
    scroll_x: f64,
    scroll_y: f64,
    /// Magnification by fingers, 1 without.
    scale: f64,
}

/// Returns a [`Viewport`].
const VIEWPORT: &str = "({ width: innerWidth, height: innerHeight, scroll_x: scrollX, scroll_y: scrollY, \
    scale: visualViewport?.scale ?? 1 })";

impl Viewport {
    /// Whether a rectangle is visible as a whole, up to half a pixel.
    fn holds(&self, rect: &Rect) -> bool {
        let starts = rect.x >= -0.5 && rect.y >= -0.5 && rect.width >= 1.0 && rect.height >= 1.0;
        starts && rect.x + rect.width <= self.width + 0.5 && rect.y + rect.height <= self.height + 0.5
    }
}

impl Page {
    /// A screenshot of the viewport, as PNG.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        self.with_retry(async || Ok(self.driver.screenshot_as_png().await?)).await
    }

    /// A screenshot of an element, as PNG.
    ///
    /// # Errors
    /// When the element is gone or the session fails.
    pub async fn picture(&self, found: &FoundElement) -> Result<Vec<u8>> {
        self.with_retry(async || {
            if let Some(png) = self.fast_picture(found).await? {
                return Ok(png);
            }
            self.enter(&found.frame).await?;
            Ok(found.element.screenshot_as_png().await?)
        })
        .await
    }

    /// As [`picture`](Self::picture), by a command of Chromium that compresses for speed: 0.11 instead of 0.28 s for
    /// 800 × 800 pixels. `None` if the element is not visible as a whole or the browser has no such command.
    async fn fast_picture(&self, found: &FoundElement) -> Result<Option<Vec<u8>>> {
        if self.captures_slowly.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.enter(&[]).await?;
        let page: Viewport = self.driver.execute(&format!("return {VIEWPORT}"), vec![]).await?.convert()?;
        let Some(corner) = self.enter(&found.frame).await? else { return Ok(None) };
        let script = format!(
            "const {{ x, y, width, height }} = arguments[0].getBoundingClientRect(); \
            return [{{ x, y, width, height }}, {VIEWPORT}]"
        );
        let found = self.driver.execute(&script, vec![found.element.to_json()?]).await?;
        let (rect, frame): (Rect, Viewport) = found.convert()?;
        let on_page = rect.moved_by(corner);
        if page.scale != 1.0 || !frame.holds(&rect) || !page.holds(&on_page) {
            return Ok(None);
        }
        let clip = json!({
            "x": (on_page.x + page.scroll_x).round(), "y": (on_page.y + page.scroll_y).round(),
            "width": on_page.width.round(), "height": on_page.height.round(), "scale": 1,
        });
        let options = json!({ "format": "png", "optimizeForSpeed": true, "clip": clip });
        match self.driver.cdp().send_raw("Page.captureScreenshot", options).await {
            Ok(answer) => {
                let png = answer["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
                Ok(Some(png.context(environment_error("the browser sent no screenshot"))?))
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                if error.chain().any(|cause| is_message(cause) || is_moved(cause)) {
                    return Err(error); // repeated by the caller
                }
                tracing::debug!(%error, "no fast screenshots");
                self.captures_slowly.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// A screenshot of the page, for the record of a failure.
    ///
    /// # Errors
    /// When the session fails.
    pub(crate) async fn page_picture(&self) -> Result<Vec<u8>> {
        let root: Locators = std::iter::once(Locator::of("html")).collect();
        let root = self.find(&root).await?.ok_or_else(|| environment_error("the page has no document"))?;
        self.picture(&root).await
    }
}
