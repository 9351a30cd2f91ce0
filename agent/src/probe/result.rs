//! Learns what is visible only after a guess: the result with its points and distance, or with a distance only.

use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::check_failed;
use serde_json::json;

use crate::browser::input;
use crate::probe::end::Shown;
use crate::probe::observe;
use crate::probe::observe::{FramePath, NumberText};
use crate::probe::rounds::VisibleState;
use crate::probe::{GameFrames, Probe};
use crate::record::Distance;
use crate::site::page::distance;
use crate::site::page::{GuessSubmitted, points_by_word, read_points, whole_number};
use crate::site::profile::locator::Locator;

/// Time limit for a result to appear after a guess; afterwards another button is tried.
const RESULT_TIMEOUT: Duration = Duration::from_secs(12);
/// Numbers of a result are final when they have not changed for this time.
const RESULT_SETTLED: Duration = Duration::from_millis(1300);
/// Without a word for points, plain numbers count after this time, and after the next a distance counts as the whole result.
const PLAIN_AFTER: Duration = Duration::from_millis(2500);
const DISTANCE_AFTER: Duration = Duration::from_secs(7);
/// Maximum number of letters beside a number that may be the points, without and with a distance on the page: beside a
/// distance, the number of the round is likelier.
const MAX_LETTERS: [usize; 2] = [11, 2];

/// A visible result.
#[derive(Default)]
pub(super) struct ResultDisplay {
    /// Candidates for the points, most likely first; may include a running total. Empty on pages that show no points.
    pub(super) points: Vec<(FramePath, NumberText, u32)>,
    distance: Option<(FramePath, NumberText, Distance)>,
}

impl ResultDisplay {
    /// The element that shows the result: its points, else its distance.
    pub(super) fn shown(&self) -> Option<(&FramePath, &NumberText)> {
        let points = self.points.first().map(|(frame, number, _)| (frame, number));
        points.or_else(|| self.distance.as_ref().map(|(frame, number, _)| (frame, number)))
    }

    /// Points and distance.
    pub(super) fn numbers(&self) -> Shown {
        let points = self.points.first().map(|(.., points)| *points);
        (points, self.distance.as_ref().map(|(.., distance)| *distance))
    }
}

impl Probe<'_> {
    /// Records the elements of the first result.
    pub(super) fn learn_result(&mut self, outcome: &ResultDisplay) {
        match outcome.points.first() {
            Some((frame, points, _)) => {
                self.learn_result_locators("points", frame, &points.selectors);
                (self.on_step)(&format!("result: `{}`", points.text.replace('\n', " ")));
            }
            None => {
                self.draft.set_locators("result", "points", &[]);
                (self.on_step)("the page shows a distance and no points: no score is expected from it");
            }
        }
        if let Some((frame, number, _)) = &outcome.distance {
            self.learn_result_locators("distance", frame, &number.selectors);
        } else {
            self.missing.push(
                "result.distance: the page showed no distance after the guess; without it scores cannot be verified"
                    .into(),
            );
        }
    }

    /// The error if nothing is found after the first guess.
    pub(super) fn no_result(&self) -> anyhow::Error {
        for key in ["points", "distance"] {
            if self.draft.given_locators("result", key).is_some_and(|given| !given.is_empty()) {
                return self.dead("result", key, "with a number after the first guess");
            }
        }
        check_failed(
            "the page shows no points after the guess, or in an unknown language; name the button that sends the guess \
             as in --hint guess=\"Lock it in\"",
        )
    }

    /// The result of a later round, read at the position of the first.
    pub(super) async fn later_result(
        &mut self,
        n: u32,
        guessed: &GuessSubmitted,
        first: &ResultDisplay,
    ) -> Result<Shown> {
        let seen = self.page.unforeseen_outcome(guessed).await?;
        match (seen.points, seen.distance) {
            (None, Some(distance)) if !self.page.profile().expects_points() => Ok((None, Some(distance))),
            (None, _) => {
                let what = if self.page.profile().expects_points() { "points" } else { "distance" };
                Err(check_failed(format!("round {n} shows no {what} at the position of round 1")))
            }
            (Some(points), distance) if n == 2 => {
                let (points, distance) = self.skip_running_total(guessed, first, (points, distance)).await?;
                Ok((Some(points), distance))
            }
            seen => Ok(seen),
        }
    }

    /// Waits until the numbers of the result are stable.
    pub(super) async fn await_result(&self, guessed: &GuessSubmitted, before: &VisibleState) -> Result<ResultDisplay> {
        if self.draft.given_locators("result", "points").is_some_and(|points| !points.is_empty()) {
            return self.await_given_result(guessed).await;
        }
        let expects_points = self.draft.given_locators("result", "points").is_none();
        let (start, mut last, mut since) = (Instant::now(), String::new(), Instant::now());
        loop {
            let now = self.visible_state().await?.numbers;
            let is_new = |number: &NumberText| {
                !before.numbers.iter().any(|(_, old)| old.element == number.element && old.text == number.text)
            };
            let new = now.iter().filter(|(_, number)| is_new(number));
            let distances =
                new.filter_map(|(frame, number)| Some((frame.clone(), number.clone(), distance::read(&number.text)?)));
            let distance = distances.min_by_key(|(_, number, _)| number.text.len());
            let mut points = if expects_points { Self::find_points(&now) } else { Vec::new() };
            points.retain(|(_, number, _)| is_new(number));
            if points.is_empty() && expects_points && start.elapsed() > PLAIN_AFTER {
                points = Self::find_plain_numbers(&now, MAX_LETTERS[usize::from(distance.is_some())]);
                points.retain(|(_, number, _)| is_new(number));
            }
            // Numbers that existed before the guess come last.
            points.sort_by_key(|(frame, number, _)| before.has_number_at(frame, number));
            let shown = ResultDisplay { points, distance };
            let is_whole = !shown.points.is_empty() || !expects_points || start.elapsed() > DISTANCE_AFTER;
            if let Some((_, number)) = shown.shown().filter(|_| is_whole) {
                let texts = format!("{} {:?}", number.text, shown.distance.as_ref().map(|(_, number, _)| &number.text));
                // Numbers that count up may rest at 0 for a while.
                if texts != last {
                    (last, since) = (texts, Instant::now());
                } else if since.elapsed() > RESULT_SETTLED {
                    return Ok(shown);
                }
            }
            if start.elapsed() > RESULT_TIMEOUT.min(self.page.patience()) {
                return Ok(ResultDisplay::default());
            }
            input::pause(250).await;
        }
    }

    /// The result by the stated locators of the points.
    async fn await_given_result(&self, guessed: &GuessSubmitted) -> Result<ResultDisplay> {
        let start = Instant::now();
        while start.elapsed() < RESULT_TIMEOUT.min(self.page.patience()) {
            let seen = self.page.unforeseen_outcome(guessed).await?;
            let points = self.number_at("points").await?;
            if let Some(((frame, number), value)) = points.zip(seen.points) {
                let distance = self.number_at("distance").await?.zip(seen.distance);
                let distance = distance.map(|((frame, number), value)| (frame, number, value));
                return Ok(ResultDisplay { points: vec![(frame, number, value)], distance });
            }
            input::pause(250).await;
        }
        Ok(ResultDisplay::default())
    }

    /// The first visible element of the result that the draft finds.
    async fn number_at(&self, key: &str) -> Result<Option<(FramePath, NumberText)>> {
        for locator in self.draft.locators("result", key) {
            let script = "const [e] = findVisible([arguments[1]]); return e ? {element: e, text: visibleText(e), within: null, \
                size: 0, selectors: selectorsFor(e)} : null";
            let found = observe::run_script(self.page, &locator.frame, script, vec![json!(locator)]).await?;
            if let Some((number, _)) = found {
                return Ok(Some((locator.frame.clone(), number)));
            }
        }
        Ok(None)
    }

    /// Candidates for points: numbers beside a word for points, in decreasing font size. Where no text has such a word,
    /// short numbers that are no distance.
    fn find_points(numbers: &[(FramePath, NumberText)]) -> Vec<(FramePath, NumberText, u32)> {
        let mut found: Vec<(FramePath, NumberText, u32)> = Vec::new();
        for (i, (frame, number)) in numbers.iter().enumerate() {
            let Some(points) = points_by_word(&number.text) else { continue };
            let inner = |of: usize| numbers.iter().enumerate().filter(move |(_, (_, inner))| inner.within == Some(of));
            // The text of an element includes that of its descendants; use the innermost one.
            if inner(i).any(|(_, (_, inner))| points_by_word(&inner.text) == Some(points)) {
                continue;
            }
            // If points are read from the text as another number, use the descendant with only this one.
            let it = match read_points(&number.text) == Some(points) {
                true => Some(number),
                false => inner(i).map(|(_, (_, inner))| inner).find(|inner| whole_number(&inner.text) == Some(points)),
            };
            found.extend(it.map(|number| (frame.clone(), number.clone(), points)));
        }
        found.sort_by(|a, b| b.1.size.total_cmp(&a.1.size));
        found
    }

    /// Numbers without any word, for results that show points as such.
    fn find_plain_numbers(
        numbers: &[(FramePath, NumberText)],
        max_letters: usize,
    ) -> Vec<(FramePath, NumberText, u32)> {
        let is_plain = |number: &NumberText| {
            distance::read(&number.text).is_none()
                && number.text.chars().filter(|c| c.is_alphabetic()).count() <= max_letters
                && !number.text.contains('%')
        };
        let is_innermost = |i: usize| !numbers.iter().any(|(_, other)| other.within == Some(i));
        let mut found: Vec<(FramePath, NumberText, u32)> = numbers
            .iter()
            .enumerate()
            .filter(|(i, (_, number))| is_innermost(*i) && is_plain(number))
            .filter_map(|(_, (frame, number))| Some((frame.clone(), number.clone(), whole_number(&number.text)?)))
            .collect();
        found.sort_by(|a, b| b.1.size.total_cmp(&a.1.size));
        found
    }

    /// Ancestors of the points that do not contain the map, outermost first.
    pub(super) async fn result_containers(
        &self,
        game: &GameFrames,
        frame: &FramePath,
        points: &NumberText,
    ) -> Result<Vec<Locator>> {
        let map = if *frame == game.map_frame { json!(self.draft.locators("map", "canvas")) } else { json!([]) };
        let script = "const [e] = findVisible(arguments[1].map(css => ({css}))), [box] = findVisible(arguments[2]); \
            return e ? containersOf(e, box) : []";
        let seen: Option<(Vec<String>, _)> =
            observe::run_script(self.page, frame, script, vec![json!(points.selectors), map]).await?;
        Ok(observe::css_locators(&seen.map_or_else(Vec::new, |(css, _)| css), frame))
    }
}
