//! Plays the game round by round: sends guesses, continues after results, and learns the next button.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::{check_failed, environment_error};
use serde_json::json;

use crate::browser::input;
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, FramePath, NumberText};
use crate::probe::result::ResultDisplay;
use crate::probe::{GameFrames, ObservedRound, Probe, matches_any};
use crate::site::page::{DISMISS_AGAIN, GuessSubmitted, PRESS_AGAIN, Press};
use crate::site::profile::locator::{Locator, Locators};

/// The game is over if neither a round nor a result is visible for this time.
const GAME_END_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of buttons that are tried as guess buttons.
const GUESS_BUTTONS: usize = 3;
/// Time limit for a button to appear.
const BUTTON_TIMEOUT: Duration = Duration::from_secs(3);
/// Clicked positions on the map as fractions, far apart so that the distances differ.
const GUESS_POSITIONS: [(f64, f64); 4] = [(0.5, 0.42), (0.3, 0.45), (0.68, 0.4), (0.58, 0.6)];

/// Visible numbers and buttons.
pub(super) struct VisibleState {
    pub(super) numbers: Vec<(FramePath, NumberText)>,
    pub(super) buttons: Vec<(FramePath, ButtonElement)>,
}

impl VisibleState {
    /// All selectors, and the texts of the buttons.
    fn selectors_and_texts(&self) -> HashSet<String> {
        let numbers = self.numbers.iter().flat_map(|(_, number)| &number.selectors);
        let buttons = self.buttons.iter().flat_map(|(_, button)| button.selectors.iter().chain([&button.text]));
        numbers.chain(buttons).cloned().collect()
    }

    /// Whether the element of this number contained a number before.
    pub(super) fn has_number_at(&self, frame: &FramePath, number: &NumberText) -> bool {
        self.numbers.iter().any(|(of, old)| of == frame && old.element == number.element)
    }
}

/// The screen after a round.
#[derive(PartialEq)]
enum NextScreen {
    Round,
    End,
}

impl Probe<'_> {
    /// Plays to the end of the game, or up to `max_rounds` rounds.
    pub(super) async fn play_rounds(&mut self, game: &GameFrames, max_rounds: u32) -> Result<Vec<ObservedRound>> {
        let (before, outcome) = self.first_result(game).await?;
        let Some((frame, shown)) = outcome.shown() else {
            return Err(self.no_result());
        };
        let mut results = vec![outcome.numbers()];
        self.learn_result(&outcome);
        let mut known = before.selectors_and_texts();
        let mut containers = self.result_containers(game, frame, shown).await?;
        if containers.is_empty() {
            containers = observe::css_locators(&shown.selectors, frame);
        }
        self.draft.set_locators("result", "shown", &containers);
        let mut n = 1;
        loop {
            let result = self.visible_state().await?;
            known.extend(result.selectors_and_texts());
            let Some(next) = self.find_next_button(&before).await? else {
                if n == 1 && self.draft.given_locators("result", "next").is_some_and(|next| !next.is_empty()) {
                    return Err(self.dead("result", "next", "after the first guess"));
                }
                break;
            };
            if n == 1 {
                self.draft.set_locators("result", "next", &next);
                self.disambiguate_guess_and_next();
            }
            let next: Locators = self.draft.locators("result", "next").into_iter().collect();
            let gone = Some(shown).filter(|shown| !before.has_number_at(frame, shown));
            let after = self.go_to_next(game, &next, &result, gone).await?;
            if after == NextScreen::End {
                break;
            }
            if n == 1 {
                self.check_result_locators(&next).await?;
            }
            if n >= max_rounds {
                (self.on_step)(&format!("the game has not ended after {n} rounds, so its end was not observed"));
                self.draft.set_locators("result", "total", &[]);
                self.apply_draft()?;
                return self.learn_score_formula(&results);
            }
            n += 1;
            let guessed = self.guess_round(n).await?;
            results.push(self.later_result(n, &guessed, &outcome).await?);
        }
        self.learn_total(&results, &known).await?;
        self.learn_score_formula(&results)
    }

    /// Sends the first guess and waits for its result. If none appears, the button was not the guess button, and another is
    /// tried.
    async fn first_result(&mut self, game: &GameFrames) -> Result<(VisibleState, ResultDisplay)> {
        let mut tried = Vec::new();
        loop {
            let before = self.visible_state().await?;
            let guessed = self.page.send_blindly().await?;
            let outcome = self.await_result(&guessed, &before).await?;
            let is_only = tried.len() + 1 >= GUESS_BUTTONS || self.draft.given().has("map", "guess");
            if outcome.shown().is_some() || is_only {
                return Ok((before, outcome));
            }
            tried.extend(self.draft.locators("map", "guess"));
            if !self.learn_other_guess_button(game, &tried).await? {
                return Ok((before, outcome));
            }
        }
    }

    /// Records locators of an element of the result: by selector, and by text if there are too few.
    pub(super) fn learn_result_locators(&mut self, key: &str, frame: &FramePath, css: &[String]) {
        let mut locators = observe::css_locators(css, frame);
        if locators.len() < 2 {
            locators.extend(self.draft.generic_locators("result", key, frame));
        }
        self.draft.set_locators("result", key, &locators);
    }

    pub(super) async fn visible_state(&self) -> Result<VisibleState> {
        let map = json!(self.draft.locators("map", "canvas"));
        let (mut numbers, mut buttons) = (Vec::new(), Vec::new());
        for frame in observe::visible_frames(self.page).await? {
            let script = "return [numbers(arguments[1].flatMap(locator => findAll(locator))), buttons()]";
            let seen: Option<((Vec<NumberText>, Vec<ButtonElement>), _)> =
                observe::run_script(self.page, &frame, script, vec![map.clone()]).await?;
            let (of_frame, pressed) = seen.map(|(seen, _)| seen).unwrap_or_default();
            let before = numbers.len();
            let number = |it: NumberText| NumberText { within: it.within.map(|outer| outer + before), ..it };
            numbers.extend(of_frame.into_iter().map(|it| (frame.clone(), number(it))));
            buttons.extend(pressed.into_iter().map(|button| (frame.clone(), button)));
        }
        Ok(VisibleState { numbers, buttons })
    }

    /// The button that continues, if any: found by its text, or because it is the only new button.
    async fn find_next_button(&self, before: &VisibleState) -> Result<Option<Vec<Locator>>> {
        let learned = self.draft.locators("result", "next");
        if learned != self.draft.generic_locators("result", "next", &[]) {
            let locators: Locators = learned.iter().cloned().collect();
            let start = Instant::now();
            while start.elapsed() < BUTTON_TIMEOUT {
                if self.page.find(&locators).await?.is_some() {
                    return Ok(Some(learned));
                }
                input::pause(200).await;
            }
            return Ok(None);
        }
        let words = self.draft.generic_texts("result", "next");
        let start = Instant::now();
        loop {
            let now = self.visible_state().await?.buttons;
            let is_new = |button: &ButtonElement| {
                !before.buttons.iter().any(|(_, old)| old.element == button.element && old.text == button.text)
            };
            let mut new: Vec<&(FramePath, ButtonElement)> =
                now.iter().filter(|(_, button)| button.enabled && is_new(button)).collect();
            // Prefer buttons to elements inside them.
            new.sort_by_key(|(_, button)| button.role.is_none());
            let by_text = new.iter().find(|(_, button)| matches_any(&button.text, &words));
            let is_late = start.elapsed() > BUTTON_TIMEOUT;
            let only =
                new.first().filter(|_| is_late && new.iter().filter(|(_, button)| button.role.is_some()).count() == 1);
            if let Some((frame, button)) = by_text.or(only) {
                (self.on_step)(&format!("next button: `{}`", button.text));
                // The button of the last round has another text.
                let generic = self.draft.generic_locators("result", "next", frame).into_iter();
                let generic = generic.filter(|locator| button.role.is_some() && locator.role == button.role);
                let text = by_text.map(|_| words.join("|"));
                // Other buttons may share a class, such as the one that starts another game.
                let by_selector = observe::css_locators(&button.selectors, frame).into_iter().map(|locator| {
                    match is_of_class(&locator) {
                        true => Locator { text: text.clone(), ..locator },
                        false => locator,
                    }
                });
                return Ok(Some(by_selector.chain(generic).collect()));
            }
            if is_late {
                return Ok(None);
            }
            input::pause(200).await;
        }
    }

    /// If the same button submits the guess and continues, adds its texts to tell the two apart.
    fn disambiguate_guess_and_next(&mut self) {
        let (guess, next) = (self.draft.locators("map", "guess"), self.draft.locators("result", "next"));
        let same = |locator: &Locator, others: &[Locator]| {
            locator.css.is_some() && others.iter().any(|other| other.css == locator.css)
        };
        if !guess.iter().any(|locator| same(locator, &next)) {
            return;
        }
        for (part, key, locators, others) in [("map", "guess", &guess, &next), ("result", "next", &next, &guess)] {
            let text = locators.iter().find_map(|locator| locator.text.clone());
            let widened = locators.iter().map(|locator| match same(locator, others) {
                true => Locator { text: locator.text.clone().or_else(|| text.clone()), ..locator.clone() },
                false => locator.clone(),
            });
            self.draft.set_locators(part, key, &widened.collect::<Vec<_>>());
        }
    }

    /// Presses the next button and waits for the next screen. `gone` is a number that must disappear when a round
    /// starts.
    async fn go_to_next(
        &mut self,
        game: &GameFrames,
        next: &Locators,
        result: &VisibleState,
        gone: Option<&NumberText>,
    ) -> Result<NextScreen> {
        let (start, mut since, mut in_round) = (Instant::now(), Instant::now(), 0);
        self.page.press_when_ready(next, PRESS_AGAIN).await?;
        loop {
            input::pause(200).await;
            self.record_path().await?;
            let dismiss: Locators = self.draft.locators("page", "dismiss").into_iter().collect();
            if self.page.press_when_ready(&dismiss, DISMISS_AGAIN).await? == Press::Done {
                continue;
            }
            let is_result = self.page.find(next).await?.is_some();
            if is_result {
                since = Instant::now();
                self.page.press_when_ready(next, PRESS_AGAIN).await?; // the first press may have been lost
            }
            let map = json!(self.draft.locators("map", "canvas"));
            let script = "const [box] = findVisible(arguments[1]); return box ? !isCovered(box) : false";
            let free: Option<(bool, _)> = observe::run_script(self.page, &game.map_frame, script, vec![map]).await?;
            // A map behind a button is not on display yet, and one below the visible part of the page cannot be covered.
            let is_free = free.is_some_and(|(free, _)| free) || !self.draft.locators("map", "open").is_empty();
            let view = self.page.find(&self.page.profile().look.view).await?.is_some();
            let now = self.visible_state().await?;
            let text = |shown: &VisibleState| {
                let is_it = |(_, number): &&(FramePath, NumberText)| {
                    gone.is_some_and(|points| number.selectors == points.selectors)
                };
                shown.numbers.iter().find(is_it).map(|(_, number)| number.text.clone())
            };
            let still = text(result).is_some() && text(&now) == text(result);
            in_round = if !is_result && view && !still && is_free { in_round + 1 } else { 0 };
            if in_round > 1 {
                return Ok(NextScreen::Round);
            }
            if in_round == 0 && since.elapsed() > GAME_END_TIMEOUT {
                return Ok(NextScreen::End);
            }
            if start.elapsed() > self.page.patience() {
                return Err(environment_error("the page does not continue after the result"));
            }
        }
    }

    /// Removes locators of the result that find something although no result is visible.
    async fn check_result_locators(&mut self, next: &Locators) -> Result<()> {
        let mut locators = self.draft.locators("result", "shown");
        if let Some(given) = self.draft.given_locators("result", "shown")
            && self.without_matches(given.clone()).await?.len() < given.len()
        {
            return Err(check_failed(format!(
                "{}: result.shown is on display during a round too, not only after a guess",
                self.draft.given().file()
            )));
        }
        locators.extend(next.iter().filter(|locator| locator.text.is_none()).cloned());
        let mut remaining = self.without_matches(locators).await?;
        if remaining.is_empty() {
            remaining = next.iter().cloned().collect();
        }
        remaining.truncate(4);
        self.draft.set_locators("result", "shown", &remaining);
        // The next and start buttons must not be visible during a round either.
        for (part, key) in [("result", "next"), ("page", "start")] {
            let locators = self.without_matches(self.draft.locators(part, key)).await?;
            // A start button may stay on the page; `play` presses it once.
            if part == "result" || !locators.is_empty() {
                self.draft.set_locators(part, key, &locators);
            }
        }
        self.draft.set_locators("result", "total", &[]);
        self.apply_draft()
    }

    /// The locators that find nothing now.
    pub(super) async fn without_matches(&self, locators: Vec<Locator>) -> Result<Vec<Locator>> {
        let counts = self.page.count(&locators.iter().cloned().collect()).await?;
        let mut absent: Vec<Locator> = Vec::new();
        for (locator, _) in locators.into_iter().zip(counts).filter(|(_, count)| *count == 0) {
            if !absent.contains(&locator) {
                absent.push(locator);
            }
        }
        Ok(absent)
    }

    /// Places a pin at an arbitrary position and submits it with the current draft.
    async fn guess_round(&mut self, n: u32) -> Result<GuessSubmitted> {
        self.page.await_round().await?;
        self.hover_map().await?;
        let canvas = self.settled_map_rect().await?;
        self.click_until_pinned(canvas, GUESS_POSITIONS[n as usize % GUESS_POSITIONS.len()]).await?;
        self.page.guess().await
    }
}

/// Whether a locator selects by class or tag, not by an id or another unique attribute.
fn is_of_class(locator: &Locator) -> bool {
    locator.css.as_ref().is_some_and(|css| !css.contains(['#', '=']) || css.contains("[class"))
}
