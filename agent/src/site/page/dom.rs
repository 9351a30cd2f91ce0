//! What is done with a page's elements: found by the profile's ways, read, pictured, clicked, in whichever frame they are,
//! whatever messages the browser shows meanwhile.

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverErrorInner};
use thirtyfour::prelude::*;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators, SEEK};

/// So often something is tried again that a message of the browser's own or a change of the page has come between.
const TRIES: usize = 5;

/// Something on the page, and the frame it is in.
pub struct FoundElement {
    element: WebElement,
    frame: Vec<String>,
}

impl Page {
    /// The first thing found in any of these ways that is on display.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn find(&self, ways: &Locators) -> Result<Option<FoundElement>> {
        Ok(self.found(ways, "return seekShown(arguments[0]).slice(0, 1)").await?.pop())
    }

    /// Clicks what is found in any of these ways, until a click gets through: one may lie under another. Whether
    /// anything was found at all.
    pub(crate) async fn click_any(&self, ways: &Locators) -> Result<bool> {
        let mut any = false;
        for (frame, ways) in ways.by_frame() {
            let ways: Locators = ways.iter().cloned().collect();
            for found in self.found(&ways, "return arguments[0].flatMap(way => seek(way).filter(isShown))").await? {
                any = true;
                self.address().await?; // an earlier click may have led elsewhere
                // Unless an earlier click has made the frame another.
                if self.enter(frame).await?.is_some() && found.element.click().await.is_ok() {
                    return Ok(true);
                }
            }
        }
        Ok(any)
    }

    async fn found(&self, ways: &Locators, script: &str) -> Result<Vec<FoundElement>> {
        for (frame, ways) in ways.by_frame() {
            let elements: Vec<Value> =
                self.ask_in(frame, ways, script, vec![]).await?.map_or_else(Vec::new, |(list, _)| list);
            if !elements.is_empty() {
                let element = |json| WebElement::from_json(json, self.driver.handle().clone());
                let found = |json| Ok(FoundElement { element: element(json)?, frame: frame.to_vec() });
                return elements.into_iter().map(found).collect();
            }
        }
        Ok(Vec::new())
    }

    /// The text on display or the attribute that is found first and is not empty.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn read(&self, ways: &Locators) -> Result<Option<String>> {
        Ok(self.readings(ways).await?.into_iter().next())
    }

    /// All texts on display and attributes that are found and are not empty, in the order of the ways.
    ///
    /// # Errors
    /// When the session fails.
    pub(super) async fn readings(&self, ways: &Locators) -> Result<Vec<String>> {
        let script = "const value = (way, element) => way.attribute ? element.getAttribute(way.attribute) \
                : isShown(element) ? words(element) : null; \
            const values = arguments[0].flatMap(way => seek(way).map(element => value(way, element)?.trim())); \
            const told = values.filter(value => value); return told.length > 0 ? told : null";
        Ok(self.ask(ways, script, vec![]).await?.map_or_else(Vec::new, |(values, _)| values))
    }

    /// Rectangle of the first thing found.
    ///
    /// # Errors
    /// When it is not there; `what` names it in the message.
    pub async fn rect(&self, ways: &Locators, what: &str) -> Result<Rect> {
        let rect = self.rect_if_shown(ways).await?;
        rect.ok_or_else(|| environment_error(format!("the page shows no {what}: is the site's profile up to date?")))
    }

    /// As [`Page::rect`], of what need not be there.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn rect_if_shown(&self, ways: &Locators) -> Result<Option<Rect>> {
        let script = "const [found] = seekShown(arguments[0]); return found ? rect(found) : null";
        let found: Option<(Rect, Pixel)> = self.ask(ways, script, vec![]).await?;
        Ok(found.map(|(rect, frame)| rect.moved_by(frame)))
    }

    /// How many things each of the ways finds, in their order.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn count(&self, ways: &Locators) -> Result<Vec<usize>> {
        let mut counts = Vec::new();
        for (frame, ways) in ways.by_frame() {
            let script = "return arguments[0].map(way => seek(way).filter(isShown).length)";
            let found: Option<(Vec<usize>, Pixel)> = self.ask_in(frame, ways, script, vec![]).await?;
            counts.extend(found.map_or_else(|| vec![0; ways.len()], |(counts, _)| counts));
        }
        Ok(counts)
    }

    /// What a script says of the page, with the functions of [`SEEK`] at hand.
    ///
    /// # Errors
    /// When the session fails or the answer is of another kind.
    pub async fn script<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        self.top(async || Ok(self.driver.execute(&format!("{SEEK}{script}"), vec![]).await?.convert()?)).await
    }

    /// A picture of what shows of the page, as PNG.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        self.with_retry(async || Ok(self.driver.screenshot_as_png().await?)).await
    }

    /// Runs a script in each frame that the ways name, with the ways in it as the first argument, until one answers with
    /// something else than null. The answer, and where the frame's corner is in the page's viewport.
    ///
    /// # Errors
    /// When the session fails or the answer is of another kind.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        ways: &Locators,
        script: &str,
        more: Vec<Value>,
    ) -> Result<Option<(T, Pixel)>> {
        for (frame, ways) in ways.by_frame() {
            if let Some(answer) = self.ask_in(frame, ways, script, more.clone()).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    async fn ask_in<T: DeserializeOwned>(
        &self,
        frame: &[String],
        ways: &[Locator],
        script: &str,
        more: Vec<Value>,
    ) -> Result<Option<(T, Pixel)>> {
        let arguments: Vec<Value> = std::iter::once(json!(ways)).chain(more).collect();
        self.with_retry(async || {
            let Some(corner) = self.enter(frame).await? else { return Ok(None) };
            let script = format!("{SEEK}return [depth(), (function () {{ {script} }}).apply(null, arguments)]");
            let answer = self.driver.execute(&script, arguments.clone()).await?;
            let (depth, answer): (usize, Option<T>) = answer.convert()?;
            if depth != frame.len() {
                return Err(WrongFrame).context(environment_error("the page's frames come and go too fast"));
            }
            Ok(answer.map(|answer| (answer, corner)))
        })
        .await
    }

    /// Goes into a frame, or back to the page itself when it is none. Where its corner is in the page's viewport; `None`
    /// when there is no such frame now.
    async fn enter(&self, frame: &[String]) -> Result<Option<Pixel>> {
        let mut in_frame = self.in_frame.lock().await;
        if *in_frame {
            self.driver.enter_default_frame().await?;
            *in_frame = false;
        }
        let mut corner = Pixel { x: 0.0, y: 0.0 };
        for css in frame {
            let script = "const [frame] = seekShown([{css: arguments[0]}]); if (!frame) return null; const r = rect(frame); \
                return [frame, r.x + frame.clientLeft, r.y + frame.clientTop]";
            let found = self.driver.execute(&format!("{SEEK}{script}"), vec![json!(css)]).await?;
            let Some((element, x, y)) = found.convert::<Option<(Value, f64, f64)>>()? else { return Ok(None) };
            *in_frame = true;
            WebElement::from_json(element, self.driver.handle().clone())?.enter_frame().await?;
            corner = Pixel { x: corner.x + x, y: corner.y + y };
        }
        Ok(Some(corner))
    }

    /// A picture of something on the page, as PNG.
    ///
    /// # Errors
    /// When it is gone or the session fails.
    pub async fn picture(&self, found: &FoundElement) -> Result<Vec<u8>> {
        self.with_retry(async || {
            self.enter(&found.frame).await?;
            Ok(found.element.screenshot_as_png().await?)
        })
        .await
    }

    /// Types into something on the page.
    ///
    /// # Errors
    /// When it is gone or takes no keys, or the page has gone where the agent must not play.
    pub async fn keys(&self, found: &FoundElement, keys: &str) -> Result<()> {
        self.with_retry(async || {
            self.here().await?;
            self.enter(&found.frame).await?;
            Ok(found.element.send_keys(keys).await?)
        })
        .await
    }

    /// Has the page turn its view by the profile's own script. What that answers is not looked at.
    ///
    /// # Errors
    /// When the script fails, the view is gone, or the page has gone where the agent must not play.
    pub async fn turn_by(&self, call: &str, degrees: f64) -> Result<()> {
        self.address().await?;
        let script = format!(
            "if (!seekShown(arguments[0])[0]) return null; const degrees = arguments[1]; {{ {call}\n}} return true"
        );
        let turned = self.ask::<bool>(&self.profile.look.view, &script, vec![json!(degrees)]).await;
        let turned = turned.with_context(|| environment_error(format!("look.call `{call}` fails")))?;
        turned.map(|_| ()).ok_or_else(|| environment_error("the page shows no view to turn"))
    }

    /// Moves the mouse over a point of the page.
    ///
    /// # Errors
    /// When the session fails, the point is outside the viewport, or the page has gone where the agent must not play.
    pub async fn hover(&self, at: Pixel) -> Result<()> {
        self.act(async || input::hover(&self.driver, at).await).await
    }

    /// Clicks a point of the page.
    ///
    /// # Errors
    /// As [`Page::hover`].
    pub async fn click(&self, at: Pixel) -> Result<()> {
        self.act(async || input::click(&self.driver, at).await).await
    }

    /// Drags from one point of the page to another.
    ///
    /// # Errors
    /// As [`Page::hover`].
    pub async fn drag(&self, from: Pixel, to: Pixel) -> Result<()> {
        self.act(async || input::drag(&self.driver, from, to).await).await
    }

    /// Turns the wheel over a point of the page; negative turns zoom in.
    ///
    /// # Errors
    /// As [`Page::hover`].
    pub async fn wheel(&self, at: Pixel, delta_y: i32) -> Result<()> {
        self.act(async || input::wheel(&self.driver, at, delta_y).await).await
    }

    /// Presses the first button found that can be pressed. `None` when none is found.
    ///
    /// # Errors
    /// When it is not enabled or lies under something else, or the page has gone where the agent must not play.
    pub(crate) async fn press(&self, ways: &Locators) -> Result<Option<()>> {
        self.with_retry(async || {
            let Some(button) = self.find(ways).await? else { return Ok(None) };
            if !button.element.is_enabled().await? {
                return Err(environment_error("the page does not take the guess: its button is not enabled"));
            }
            self.here().await?;
            button.element.click().await?;
            Ok(Some(()))
        })
        .await
    }

    /// Does something to the page with the mouse, if fair play allows where it is now.
    async fn act(&self, work: impl AsyncFn() -> Result<()>) -> Result<()> {
        self.top(async || {
            self.here().await?;
            work().await
        })
        .await
    }

    /// Does something with the page itself, outside of all frames.
    pub(super) async fn top<T>(&self, work: impl AsyncFn() -> Result<T>) -> Result<T> {
        self.with_retry(async || {
            self.enter(&[]).await?;
            work().await
        })
        .await
    }

    /// Does something, and again when a message of the browser's own (alert, confirm, prompt) came in between, which is
    /// accepted, or when the page has moved its elements meanwhile.
    pub(super) async fn with_retry<T>(&self, work: impl AsyncFn() -> Result<T>) -> Result<T> {
        for _ in 0..TRIES {
            match work().await {
                Err(error) if error.chain().any(is_message) => _ = self.driver.accept_alert().await, // it may be gone
                Err(error) if error.chain().any(is_moved) => *self.in_frame.lock().await = true,     // wherever that is
                done => return done,
            }
        }
        work().await
    }
}

/// A script ran in another frame than it was meant for: Chromium goes back to the page itself when a message comes.
#[derive(Debug, thiserror::Error)]
#[error("a script ran in another frame than its own")]
struct WrongFrame;

fn inner<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a WebDriverErrorInner> {
    cause.downcast_ref::<WebDriverError>().map(WebDriverError::as_inner)
}

fn is_message(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(inner(cause), Some(WebDriverErrorInner::UnexpectedAlertOpen(_)))
}

fn is_moved(cause: &(dyn std::error::Error + 'static)) -> bool {
    // Json: what is asked for while a message comes may be answered with nothing.
    use WebDriverErrorInner::{Json, NoSuchElement, NoSuchFrame, StaleElementReference};
    cause.is::<WrongFrame>()
        || matches!(inner(cause), Some(Json(_) | NoSuchElement(_) | NoSuchFrame(_) | StaleElementReference(_)))
}
