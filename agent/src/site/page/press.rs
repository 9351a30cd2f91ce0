//! Pressing controls: one press, one effect. A control that moves, fades or is covered is waited for, and one that was
//! pressed is left alone until it has changed or certainly did nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::environment_error;
use serde::Deserialize;
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::dom::is_before_click;
use crate::site::page::{POLL_INTERVAL_MS, Page};
use crate::site::profile::locator::{Locator, Locators, Role};

/// A control that is unchanged for this time after a press did not take it: it may be pressed again.
pub(crate) const PRESS_AGAIN: Duration = Duration::from_secs(8);
/// The same for dialogs, which often follow each other.
pub(crate) const DISMISS_AGAIN: Duration = Duration::from_secs(2);
/// Maximum number of presses of one control. One that stays after these has no effect on the game.
const MAX_PRESSES: u32 = 3;
/// Time limit for the guess button to become enabled, to come to rest and to be uncovered.
const BUTTON_PATIENCE: Duration = Duration::from_secs(12);
/// What covers a control is cleared away after this time, since most of it disappears by itself.
const CLEAR_AFTER: Duration = Duration::from_millis(1500);
/// Texts of buttons that only close what covers the page: consent, messages, tours.
const CLOSING_WORDS: &str = include_str!("closing_words.txt");

/// What became of an attempt to press a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    /// No such control is on display.
    Absent,
    /// It moves, or still reacts to an earlier press.
    Pending,
    /// Something covers it.
    Covered,
    /// It was pressed.
    Done,
}

/// Presses of controls, by element.
#[derive(Debug, Default)]
pub(super) struct Presses(Mutex<Vec<Pressed>>);

#[derive(Debug)]
struct Pressed {
    element: String,
    text: String,
    at: Instant,
    times: u32,
}

impl Presses {
    /// Forgets all presses, as when another round or page begins.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the control may be pressed (`Ok`), still reacts (`Pending`) or has no effect (`Absent`).
    fn permit(&self, control: &Control, again: Duration) -> Result<(), Press> {
        let presses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = control.element.to_string();
        match presses.iter().find(|pressed| pressed.element == id && pressed.text == control.text) {
            Some(pressed) if pressed.times >= MAX_PRESSES => Err(Press::Absent),
            Some(pressed) if pressed.at.elapsed() < again => Err(Press::Pending),
            _ => Ok(()),
        }
    }

    fn record(&self, control: &Control) {
        let mut presses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (element, text) = (control.element.to_string(), control.text.clone());
        let old = presses.iter().position(|pressed| pressed.element == element && pressed.text == text);
        let times = old.map_or(0, |i| presses.swap_remove(i).times) + 1;
        presses.push(Pressed { element, text, at: Instant::now(), times });
    }
}

/// A visible control and its state.
#[derive(Debug, Deserialize)]
struct Control {
    element: Value,
    text: String,
    enabled: bool,
    /// Whether it or an element around it is being animated, or is mostly transparent.
    moving: bool,
    covered: bool,
}

/// States of all controls that the locators find.
const CONTROLS_SCRIPT: &str = "const around = e => { const all = []; for (let up = e; up; up = up.parentElement) all.push(up); return all }; \
    const finite = animation => animation.playState === 'running' && animation.effect?.getComputedTiming().endTime !== Infinity; \
    const state = e => { \
      const all = around(e), r = rect(e), x = r.x + r.width / 2, y = r.y + r.height / 2; \
      const opacity = all.reduce((product, up) => product * Number(getComputedStyle(up).opacity), 1); \
      const top = topAt(e, x, y); \
      return {element: e, text: visibleText(e).slice(0, 80), \
        enabled: !e.disabled && e.getAttribute('aria-disabled') !== 'true', \
        moving: opacity < .15 || all.some(up => up.getAnimations().some(finite)), \
        covered: top !== null && !e.contains(top) && !top.contains(e)} }; \
    const found = [...new Set(arguments[0].flatMap(locator => findAll(locator).filter(isVisible)))]; \
    return found.length > 0 ? found.map(state) : null";

/// In what covers the first control: the element whose text closes it, else the path to a frame that is or lies in it.
const CLOSER_SCRIPT: &str = "const [e] = findVisible(arguments[0]); if (!e) return null; \
    const r = rect(e), top = topAt(e, r.x + r.width / 2, r.y + r.height / 2); \
    if (!top || e.contains(top) || top.contains(e)) return null; \
    let over = top; while (over.parentElement && !over.parentElement.contains(e)) over = over.parentElement; \
    const [found] = closers([...over.querySelectorAll('*')], arguments[1]); if (found) return {rect: rect(found), frame: null}; \
    const [frame] = [over, ...over.querySelectorAll('iframe')].filter(it => it.tagName === 'IFRAME' && isVisible(it)); \
    return frame && frame.getRootNode() === document ? {rect: null, frame: pathTo(frame)} : null";
/// The element of a frame whose text closes it.
const FRAME_CLOSER_SCRIPT: &str =
    "const [found] = closers([...document.querySelectorAll('*')], arguments[1]); return found ? rect(found) : null";
/// `closers(elements, words)` returns the innermost elements with nothing but such words, `pathTo(element)` its selector.
const CLOSER_FUNCTIONS: &str = "const closers = (all, list) => { \
      const words = new RegExp('^\\\\W*(?:' + list + ')\\\\W*$', 'iu'); \
      const says = all.filter(it => isVisible(it) && words.test(visibleText(it))); \
      return says.filter(it => !says.some(other => other !== it && it.contains(other))) }; \
    const pathTo = e => { const steps = []; \
      for (let at = e; at.parentElement; at = at.parentElement) steps.unshift(at.tagName.toLowerCase() + ':nth-child(' + ([...at.parentElement.children].indexOf(at) + 1) + ')'); \
      return ['html', ...steps].join(' > ') };";

/// What closes something: an element, or a frame in which to look for one.
#[derive(Debug, Deserialize)]
struct Closer {
    rect: Option<Rect>,
    frame: Option<String>,
}

impl Page {
    /// Presses the first control that is ready: not one that moves, is disabled or covered, or still reacts to an earlier
    /// press.
    pub(crate) async fn press_when_ready(&self, locators: &Locators, again: Duration) -> Result<Press> {
        let mut result = Press::Absent;
        for (frame, locators) in locators.by_frame() {
            let locators: Locators = locators.iter().cloned().collect();
            let controls: Option<(Vec<Control>, Pixel)> = self.ask(&locators, CONTROLS_SCRIPT, vec![]).await?;
            for control in controls.into_iter().flat_map(|(controls, _)| controls) {
                if !control.enabled {
                    continue;
                }
                if let Err(state) = self.presses.permit(&control, again) {
                    result = if result == Press::Absent { state } else { result };
                    continue;
                }
                if control.moving {
                    result = Press::Pending;
                    continue;
                }
                self.address().await?; // an earlier press may have navigated
                if self.enter(frame).await?.is_none() {
                    continue;
                }
                let element = WebElement::from_json(control.element.clone(), self.driver.handle().clone())?;
                match element.click().await {
                    Err(error) if is_before_click(&error) => {
                        result = if control.covered { Press::Covered } else { Press::Pending };
                    }
                    // Also if the outcome is unknown, as when the press opens a dialog: it is not repeated blindly.
                    _ => {
                        self.presses.record(&control);
                        return Ok(Press::Done);
                    }
                }
            }
        }
        Ok(result)
    }

    /// Waits until the guess button can be pressed: enabled, at rest and not covered. What covers it for long is closed if
    /// its buttons say that they close it.
    pub(super) async fn await_guess_button(&self) -> Result<()> {
        let (start, locators) = (Instant::now(), &self.profile.map.guess);
        let mut problem = "the page has no guess button";
        loop {
            let controls: Option<(Vec<Control>, Pixel)> = self.ask(locators, CONTROLS_SCRIPT, vec![]).await?;
            let first = controls.and_then(|(controls, _)| controls.into_iter().next());
            problem = match &first {
                Some(control) if !control.enabled => "the page does not accept the guess: its button is disabled",
                Some(control) if control.covered => "the page does not accept the guess: its button is covered",
                Some(control) if control.moving => {
                    "the page does not accept the guess: its button does not come to rest"
                }
                Some(_) => return Ok(()),
                None if start.elapsed() > self.patience().min(BUTTON_PATIENCE) / 3 => {
                    return Err(environment_error(problem));
                }
                None => problem,
            };
            if first.is_some_and(|control| control.covered) && start.elapsed() > CLEAR_AFTER {
                // A dialog that came after the round had begun.
                let dismissed = self.press_when_ready(&self.profile.page.dismiss, DISMISS_AGAIN).await?;
                if dismissed != Press::Done {
                    self.clear_away(locators).await?;
                }
                self.reveal(locators).await?;
            }
            if start.elapsed() > self.patience().min(BUTTON_PATIENCE) {
                return Err(environment_error(problem));
            }
            input::pause(2 * POLL_INTERVAL_MS).await;
        }
    }

    /// Closes what covers an element, if one of its buttons says that it does. Returns whether one was pressed.
    pub(crate) async fn clear_away(&self, locators: &Locators) -> Result<bool> {
        let Some(at) = self.closer(locators).await? else { return Ok(false) };
        self.click(at).await?;
        input::pause(4 * POLL_INTERVAL_MS).await;
        Ok(true)
    }

    /// Where to press to close what covers an element. Consent is often asked for in a frame of another site.
    async fn closer(&self, locators: &Locators) -> Result<Option<Pixel>> {
        let words = json!(CLOSING_WORDS.lines().collect::<String>());
        for (outer, locators) in locators.by_frame() {
            let locators: Locators = locators.iter().cloned().collect();
            let script = format!("{CLOSER_FUNCTIONS}{CLOSER_SCRIPT}");
            let found: Option<(Closer, Pixel)> = self.ask(&locators, &script, vec![words.clone()]).await?;
            let Some((closer, corner)) = found else { continue };
            if let Some(rect) = closer.rect {
                return Ok(Some(rect.moved_by(corner).centre()));
            }
            let Some(frame) = closer.frame else { continue };
            let frame = outer.iter().cloned().chain([frame]).collect();
            let inside: Locators = std::iter::once(Locator { frame, ..Locator::of("html") }).collect();
            let script = format!("{CLOSER_FUNCTIONS}{FRAME_CLOSER_SCRIPT}");
            if let Some((rect, corner)) = self.ask::<Rect>(&inside, &script, vec![words.clone()]).await? {
                return Ok(Some(rect.moved_by(corner).centre()));
            }
        }
        Ok(None)
    }
}

/// Locators of a button that opens the guess map, by its words.
pub(crate) fn map_openers() -> Locators {
    let words = r"\W*(?:(?:open|show|view|expand) (?:the )?map|map|make (?:a|your|my) guess|guess on (?:the )?map|place (?:a |your )?(?:pin|marker)|(?:zur |die )?(?:welt)?karte(?: öffnen| anzeigen| zeigen)?|(?:ouvrir |voir |afficher )?(?:la )?carte|(?:abrir |ver )?(?:el )?mapa|(?:apri |mostra )?(?:la )?mappa|(?:abrir |ver )?(?:o )?mapa|(?:open |toon |bekijk )?(?:de )?kaart(?: openen| tonen| bekijken)?|(?:pokaż |otwórz )?map[aę]|(?:открыть )?карт[ау]|地図(?:を開く)?|打开地图|地图|지도)\W*";
    std::iter::once(Locator { role: Some(Role::Button), text: Some(words.to_owned()), ..Locator::default() }).collect()
}
