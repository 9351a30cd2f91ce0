//! Elements of a page: found by the locators of the profile in any frame, read, captured and clicked, also while the
//! browser shows dialogs.

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverErrorInner};
use thirtyfour::prelude::*;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::guard;
use crate::site::page::Page;
use crate::site::profile::locator::{LOCATOR_SCRIPT, Locator, Locators};

/// Attempts at an action that a dialog of the browser or a change of the page may interrupt.
const MAX_ATTEMPTS: usize = 5;

/// An element and its frame.
pub struct FoundElement {
    pub(super) element: WebElement,
    pub(super) frame: Vec<String>,
}

impl Page {
    /// The first visible element that a locator finds.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn find(&self, locators: &Locators) -> Result<Option<FoundElement>> {
        Ok(self.found(locators, "return findVisible(arguments[0]).slice(0, 1)").await?.pop())
    }

    async fn found(&self, locators: &Locators, script: &str) -> Result<Vec<FoundElement>> {
        for (frame, locators) in locators.by_frame() {
            let elements: Vec<Value> =
                self.ask_in(frame, locators, script, vec![]).await?.map_or_else(Vec::new, |(list, _)| list);
            if !elements.is_empty() {
                let element = |json| WebElement::from_json(json, self.driver.handle().clone());
                let found = |json| Ok(FoundElement { element: element(json)?, frame: frame.to_vec() });
                return elements.into_iter().map(found).collect();
            }
        }
        Ok(Vec::new())
    }

    /// The first visible text or attribute that is not empty.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn read(&self, locators: &Locators) -> Result<Option<String>> {
        Ok(self.readings(locators).await?.into_iter().next())
    }

    /// All visible texts and attributes that are not empty, in the order of the locators.
    ///
    /// # Errors
    /// When the session fails.
    pub(super) async fn readings(&self, locators: &Locators) -> Result<Vec<String>> {
        let script = "const value = (locator, element) => locator.attribute ? element.getAttribute(locator.attribute) \
                : isVisible(element) ? visibleText(element) : null; \
            const values = arguments[0].flatMap(locator => findAll(locator).map(element => value(locator, element)?.trim())); \
            const shown = values.filter(value => value); return shown.length > 0 ? shown : null";
        Ok(self.ask(locators, script, vec![]).await?.map_or_else(Vec::new, |(values, _)| values))
    }

    /// The rectangle of the first visible element.
    ///
    /// # Errors
    /// When there is none; `what` names it in the message.
    pub async fn rect(&self, locators: &Locators, what: &str) -> Result<Rect> {
        let rect = self.rect_if_shown(locators).await?;
        rect.ok_or_else(|| environment_error(format!("the page shows no {what}; the site profile may be out of date")))
    }

    /// As [`Page::rect`], or `None` if there is no such element.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn rect_if_shown(&self, locators: &Locators) -> Result<Option<Rect>> {
        let script = "const [found] = findVisible(arguments[0]); return found ? rect(found) : null";
        let found: Option<(Rect, Pixel)> = self.ask(locators, script, vec![]).await?;
        Ok(found.map(|(rect, frame)| rect.moved_by(frame)))
    }

    /// Number of visible elements that each locator finds, in order.
    ///
    /// # Errors
    /// When the session fails.
    pub async fn count(&self, locators: &Locators) -> Result<Vec<usize>> {
        self.count_by(locators, "isVisible").await
    }

    /// As [`Page::count`], with elements that have a place on the page but are not shown there.
    ///
    /// # Errors
    /// When the session fails.
    pub(crate) async fn count_hidden_too(&self, locators: &Locators) -> Result<Vec<usize>> {
        self.count_by(locators, "e => e.getClientRects().length > 0").await
    }

    async fn count_by(&self, locators: &Locators, test: &str) -> Result<Vec<usize>> {
        let mut counts = Vec::new();
        for (frame, locators) in locators.by_frame() {
            let script = format!("return arguments[0].map(locator => findAll(locator).filter({test}).length)");
            let found: Option<(Vec<usize>, Pixel)> = self.ask_in(frame, locators, &script, vec![]).await?;
            counts.extend(found.map_or_else(|| vec![0; locators.len()], |(counts, _)| counts));
        }
        Ok(counts)
    }

    /// Runs a script that may use the functions of `LOCATOR_SCRIPT` and returns its result.
    ///
    /// # Errors
    /// When the session fails or the result has another type.
    pub async fn script<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        self.top(async || Ok(self.driver.execute(&format!("{LOCATOR_SCRIPT}{script}"), vec![]).await?.convert()?)).await
    }

    /// Runs a script in each frame that the locators name, with the locators of that frame as the first argument, until
    /// one returns a value other than null. Returns the value and the position of the frame in the viewport of the
    /// page.
    ///
    /// # Errors
    /// When the session fails or the result has another type.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        locators: &Locators,
        script: &str,
        extra_args: Vec<Value>,
    ) -> Result<Option<(T, Pixel)>> {
        for (frame, locators) in locators.by_frame() {
            if let Some(answer) = self.ask_in(frame, locators, script, extra_args.clone()).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    async fn ask_in<T: DeserializeOwned>(
        &self,
        frame: &[String],
        locators: &[Locator],
        script: &str,
        extra_args: Vec<Value>,
    ) -> Result<Option<(T, Pixel)>> {
        let arguments: Vec<Value> = std::iter::once(json!(locators)).chain(extra_args).collect();
        self.with_retry(async || {
            let Some(corner) = self.enter(frame).await? else { return Ok(None) };
            let script = format!(
                "{LOCATOR_SCRIPT}const depth = frameDepth(); \
                return [depth, depth ? document.URL : '', (function () {{ {script} }}).apply(null, arguments)]"
            );
            let answer = self.driver.execute(&script, arguments.clone()).await?;
            let (depth, address, answer): (usize, String, Option<T>) = answer.convert()?;
            // No element of a frame that must not be played is used: everything starts with finding it here.
            guard::check_frame(&self.profile, &address, self.consent)?;
            if depth != frame.len() {
                return Err(WrongFrame).context(environment_error("the frames of the page changed too often"));
            }
            Ok(answer.map(|answer| (answer, corner)))
        })
        .await
    }

    /// Switches to a frame, or to the page itself if the path is empty. Returns its position in the viewport of the
    /// page, or `None` if there is no such frame.
    pub(super) async fn enter(&self, frame: &[String]) -> Result<Option<Pixel>> {
        let mut in_frame = self.in_frame.lock().await;
        if *in_frame {
            self.driver.enter_default_frame().await?;
            *in_frame = false;
        }
        let mut corner = Pixel { x: 0.0, y: 0.0 };
        for css in frame {
            let script = "const [frame] = findVisible([{css: arguments[0]}]); if (!frame) return null; const r = rect(frame); \
                return [frame, r.x + frame.clientLeft, r.y + frame.clientTop]";
            let found = self.driver.execute(&format!("{LOCATOR_SCRIPT}{script}"), vec![json!(css)]).await?;
            let Some((element, x, y)) = found.convert::<Option<(Value, f64, f64)>>()? else { return Ok(None) };
            *in_frame = true;
            WebElement::from_json(element, self.driver.handle().clone())?.enter_frame().await?;
            corner = Pixel { x: corner.x + x, y: corner.y + y };
        }
        Ok(Some(corner))
    }

    /// Sends keys to an element.
    ///
    /// # Errors
    /// When the element is gone or accepts no keys, or the page has navigated to one that must not be played.
    pub async fn keys(&self, found: &FoundElement, keys: &str) -> Result<()> {
        self.with_retry(async || {
            self.here().await?;
            self.enter(&found.frame).await?;
            Ok(found.element.send_keys(keys).await?)
        })
        .await
    }

    /// Turns the view by the script of the profile. Its result is ignored. `false` if the profile has no script.
    ///
    /// # Errors
    /// When the script may not run or fails, the view is gone, or the page has navigated to one that must not be played.
    pub(crate) async fn turn_by_script(&self, degrees: f64) -> Result<bool> {
        let Some(call) = &self.profile.look.call else { return Ok(false) };
        self.address().await?; // checks the permission for scripts too
        let script = format!(
            "if (!findVisible(arguments[0])[0]) return null; const degrees = arguments[1]; {{ {call}\n}} return true"
        );
        let turned = self.ask::<bool>(&self.profile.look.view, &script, vec![json!(degrees)]).await;
        let turned = turned.with_context(|| environment_error(format!("look.call `{call}` fails")))?;
        turned.map(|_| true).ok_or_else(|| environment_error("the page shows no view to turn"))
    }

    /// Moves the mouse over a point of the page.
    ///
    /// # Errors
    /// When the session fails, the point is outside the viewport, or the page has navigated to one that must not be
    /// played.
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

    /// Scrolls the wheel over a point of the page; negative values zoom in.
    ///
    /// # Errors
    /// As [`Page::hover`].
    pub async fn wheel(&self, at: Pixel, delta_y: i32) -> Result<()> {
        self.act(async || input::wheel(&self.driver, at, delta_y).await).await
    }

    /// Presses the first button, once and no more: a press whose outcome is unknown is not repeated. Sets `taken` unless the
    /// page has certainly not taken the press. `None` if there is no button.
    ///
    /// # Errors
    /// When the button is disabled or covered, the page has navigated to one that must not be played, or it is unknown
    /// whether the button was pressed.
    pub(super) async fn press_once(&self, locators: &Locators, taken: &mut bool) -> Result<Option<()>> {
        let pressed = self.with_retry(async || {
            let Some(button) = self.find(locators).await? else { return Ok(None) };
            if !button.element.is_enabled().await? {
                return Err(environment_error("the page does not accept the guess: its button is disabled"));
            }
            self.here().await?;
            match button.element.click().await {
                Err(error) if is_before_click(&error) => Err(error.into()),
                done => Ok(Some(done)),
            }
        });
        match pressed.await? {
            None => Ok(None),
            Some(done) => {
                *taken = true;
                match done {
                    // A dialog that the press opened interrupts the command. The result tells what happened.
                    Err(error) if !is_message(&error) && !is_moved(&error) => Err(error.into()),
                    _ => Ok(Some(())),
                }
            }
        }
    }

    /// Performs an action on the page after checking that its URL may be played.
    pub(super) async fn act(&self, work: impl AsyncFn() -> Result<()>) -> Result<()> {
        self.top(async || {
            self.here().await?;
            work().await
        })
        .await
    }

    /// Performs an action on the page itself, outside all frames.
    pub(super) async fn top<T>(&self, work: impl AsyncFn() -> Result<T>) -> Result<T> {
        self.with_retry(async || {
            self.enter(&[]).await?;
            work().await
        })
        .await
    }

    /// Performs an action, and repeats it if a dialog of the browser (alert, confirm, prompt) interrupted it, which is
    /// accepted, or if the page replaced or hid its elements meanwhile.
    pub(super) async fn with_retry<T>(&self, work: impl AsyncFn() -> Result<T>) -> Result<T> {
        for _ in 0..MAX_ATTEMPTS {
            match work().await {
                Err(error) if error.chain().any(is_message) => _ = self.driver.accept_alert().await, // the dialog may be closed already
                Err(error) if error.chain().any(is_moved) => {
                    if error.chain().any(is_frame_unknown) {
                        *self.in_frame.lock().await = true;
                    }
                }
                done => return done,
            }
        }
        work().await
    }
}

/// A script ran in the wrong frame: Chromium switches to the page itself when a dialog opens.
#[derive(Debug, thiserror::Error)]
#[error("a script ran in the wrong frame")]
struct WrongFrame;

fn inner<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a WebDriverErrorInner> {
    cause.downcast_ref::<WebDriverError>().map(WebDriverError::as_inner)
}

/// Whether a click failed before the mouse was pressed: the driver checks the element and what covers it first.
pub(super) fn is_before_click(error: &WebDriverError) -> bool {
    use WebDriverErrorInner::{
        ElementClickIntercepted, ElementNotInteractable, InvalidElementState, MoveTargetOutOfBounds, NoSuchElement,
        NoSuchFrame, StaleElementReference,
    };
    matches!(
        error.as_inner(),
        ElementClickIntercepted(_)
            | ElementNotInteractable(_)
            | InvalidElementState(_)
            | MoveTargetOutOfBounds(_)
            | NoSuchElement(_)
            | NoSuchFrame(_)
            | StaleElementReference(_)
    )
}

/// Whether a click was refused because its position is outside the window.
pub(crate) fn is_outside_window(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(inner(cause), Some(WebDriverErrorInner::MoveTargetOutOfBounds(_))))
}

pub(super) fn is_message(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(inner(cause), Some(WebDriverErrorInner::UnexpectedAlertOpen(_)))
}

pub(super) fn is_moved(cause: &(dyn std::error::Error + 'static)) -> bool {
    // ElementNotInteractable: the page has hidden the element since it was found.
    use WebDriverErrorInner::{ElementNotInteractable, NoSuchElement, StaleElementReference};
    is_frame_unknown(cause)
        || matches!(inner(cause), Some(ElementNotInteractable(_) | NoSuchElement(_) | StaleElementReference(_)))
}

/// Whether the session may be in another frame than before the error.
fn is_frame_unknown(cause: &(dyn std::error::Error + 'static)) -> bool {
    // Json: a command that a dialog interrupts may return nothing.
    cause.is::<WrongFrame>()
        || matches!(inner(cause), Some(WebDriverErrorInner::Json(_) | WebDriverErrorInner::NoSuchFrame(_)))
}
