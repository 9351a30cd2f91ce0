//! What shows only after a guess: the result, its points and distance, and the way to the next round.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::{check_failed, environment_error};
use regex::Regex;
use serde_json::json;

use crate::browser::input;
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, FramePath, NumberText};
use crate::probe::{GameFrames, ObservedRound, Probe, says};
use crate::record::Distance;
use crate::site::page::distance;
use crate::site::page::{GuessSubmitted, whole_number};
use crate::site::profile::locator::{Locator, Locators};

/// A page that has shown neither a round nor its end for so long has ended.
const END: Duration = Duration::from_secs(2);
/// A button that is not there by then does not come.
const BUTTON: Duration = Duration::from_secs(3);
/// Where the map is clicked, as fractions: far apart, so that some guess is nearer.
const PLACES: [(f64, f64); 4] = [(0.5, 0.42), (0.3, 0.45), (0.68, 0.4), (0.58, 0.6)];

/// Numbers and buttons on display.
pub(super) struct VisibleState {
    pub(super) numbers: Vec<(FramePath, NumberText)>,
    pub(super) buttons: Vec<(FramePath, ButtonElement)>,
}

impl VisibleState {
    /// All ways to find any of it, and what its buttons say.
    fn ways(&self) -> HashSet<String> {
        let numbers = self.numbers.iter().flat_map(|(_, number)| &number.ways);
        let buttons = self.buttons.iter().flat_map(|(_, button)| button.ways.iter().chain([&button.text]));
        numbers.chain(buttons).cloned().collect()
    }

    /// Whether a number stood where this one does.
    fn has(&self, frame: &FramePath, number: &NumberText) -> bool {
        self.numbers.iter().any(|(of, old)| of == frame && old.element == number.element)
    }
}

/// A result as it shows.
pub(super) struct ResultDisplay {
    /// What may be the points, the likeliest first: a running total may be among them.
    pub(super) points: Vec<(FramePath, NumberText, u32)>,
    distance: Option<(FramePath, NumberText, Distance)>,
}

/// What came after a round.
#[derive(PartialEq)]
enum NextScreen {
    Round,
    End,
}

impl Probe<'_> {
    /// Plays to the end of the game, or so many rounds.
    pub(super) async fn rounds(&mut self, ground: &GameFrames, most: u32) -> Result<Vec<ObservedRound>> {
        let before = self.shown().await?;
        let guessed = self.page.send_blindly().await?;
        let outcome = self.outcome(&guessed, &before).await?;
        let [(points_frame, points, first), ..] = outcome.points.as_slice() else {
            return Err(check_failed("the page shows no points after the guess, in words that are known"));
        };
        self.learn("points", points_frame, &points.ways);
        let mut results = vec![(*first, outcome.distance.as_ref().map(|(.., distance)| *distance))];
        if let Some((frame, number, _)) = &outcome.distance {
            self.learn("distance", frame, &number.ways);
        } else {
            self.missing.push(
                "result.distance: the page showed no distance after the guess; without it nobody counts along".into(),
            );
        }
        (self.report_step)(&format!("result: `{}`", points.text.replace('\n', " ")));
        let mut known = before.ways();
        let mut around = self.around(ground, points_frame, points).await?;
        if around.is_empty() {
            around = observe::ways(&points.ways, points_frame);
        }
        self.draft.ways("result", "shown", &around);
        let mut n = 1;
        loop {
            let result = self.shown().await?;
            known.extend(result.ways());
            let Some(next) = self.next_button(&before).await? else { break };
            if n == 1 {
                self.draft.ways("result", "next", &next);
                self.keep_apart();
            }
            let next: Locators = self.draft.of("result", "next").into_iter().collect();
            let gone = Some(points).filter(|points| !before.has(points_frame, points));
            let after = self.go_on(ground, &next, &result, gone).await?;
            if after == NextScreen::End {
                break;
            }
            if n == 1 {
                self.check_shown(&next).await?;
            }
            if n >= most {
                (self.report_step)(&format!("the game has not ended after {n} rounds: how it ends is not known"));
                self.draft.ways("result", "total", &[]);
                self.adopt()?;
                return self.count(&results);
            }
            n += 1;
            let guessed = self.guess(n).await?;
            let seen = self.page.outcome(&guessed).await?;
            let seen = (
                seen.points.ok_or_else(|| check_failed(format!("round {n} shows no points where round 1 did")))?,
                seen.distance,
            );
            results.push(if n == 2 { self.no_total(&guessed, &outcome, seen).await? } else { seen });
        }
        let sum = results.iter().map(|(points, _)| points).sum();
        self.total(sum, &known).await?;
        self.count(&results)
    }

    /// Takes note of how something of the result is found: by what it is called, and by words.
    pub(super) fn learn(&mut self, key: &str, frame: &FramePath, css: &[String]) {
        let mut ways = observe::ways(css, frame);
        if ways.len() < 2 {
            ways.extend(self.draft.generic("result", key, frame));
        }
        self.draft.ways("result", key, &ways);
    }

    pub(super) async fn shown(&self) -> Result<VisibleState> {
        let map = json!(self.draft.of("map", "canvas"));
        let (mut numbers, mut buttons) = (Vec::new(), Vec::new());
        for frame in observe::frames(self.page).await? {
            let script = "return [numbers(arguments[1].flatMap(way => seek(way))), buttons()]";
            let seen: Option<((Vec<NumberText>, Vec<ButtonElement>), _)> =
                observe::see(self.page, &frame, script, vec![map.clone()]).await?;
            let (of_frame, pressed) = seen.map(|(seen, _)| seen).unwrap_or_default();
            let before = numbers.len();
            let number = |it: NumberText| NumberText { within: it.within.map(|outer| outer + before), ..it };
            numbers.extend(of_frame.into_iter().map(|it| (frame.clone(), number(it))));
            buttons.extend(pressed.into_iter().map(|button| (frame.clone(), button)));
        }
        Ok(VisibleState { numbers, buttons })
    }

    /// The result of the guess, once its numbers rest.
    async fn outcome(&self, _: &GuessSubmitted, before: &VisibleState) -> Result<ResultDisplay> {
        let (start, mut last) = (Instant::now(), String::new());
        loop {
            let now = self.shown().await?.numbers;
            let is_new = |number: &NumberText| {
                !before.numbers.iter().any(|(_, old)| old.element == number.element && old.text == number.text)
            };
            let mut points = self.points(&now);
            points.retain(|(_, number, _)| is_new(number));
            points.sort_by_key(|(frame, number, _)| before.has(frame, number)); // stands there in every round
            let new = now.iter().filter(|(_, number)| is_new(number));
            if let Some((_, number, _)) = points.first() {
                let distances = new
                    .filter_map(|(frame, number)| Some((frame.clone(), number.clone(), distance::read(&number.text)?)));
                let distance = distances.min_by_key(|(_, number, _)| number.text.len());
                let texts = format!("{} {:?}", number.text, distance.as_ref().map(|(_, number, _)| &number.text));
                if texts == last {
                    return Ok(ResultDisplay { points, distance });
                }
                last = texts;
            }
            if start.elapsed() > self.page.patience() {
                return Ok(ResultDisplay { points: Vec::new(), distance: None });
            }
            input::pause(250).await;
        }
    }

    /// What may be points: a number before a word for it; the larger the letters, the likelier.
    fn points(&self, numbers: &[(FramePath, NumberText)]) -> Vec<(FramePath, NumberText, u32)> {
        let words = self.draft.words("result", "points");
        let number = r"\d[\d.,'’ \u{a0}\u{2009}\u{202f}]*";
        let before_word = words.iter().filter_map(|words| {
            let of_word = words.split_once(r"\d")?.1;
            Regex::new(&format!("(?i)({number}){of_word}")).ok()
        });
        let before_word: Vec<Regex> = before_word.collect();
        let mut found: Vec<(FramePath, NumberText, u32)> = Vec::new();
        for (i, (frame, number)) in numbers.iter().enumerate().filter(|(_, (_, number))| says(&number.text, &words)) {
            let counted = before_word.iter().find_map(|pattern| whole_number(&pattern.captures(&number.text)?[1]));
            let Some(points) = counted else { continue };
            let inner = |of: usize| numbers.iter().enumerate().filter(move |(_, (_, inner))| inner.within == Some(of));
            // An element's text holds that of the elements within it: the innermost is what says it.
            if inner(i).any(|(_, (_, inner))| says(&inner.text, &words)) {
                continue;
            }
            // Points are read as the first number of a text: where that is another, what holds this one alone.
            let it = match whole_number(&number.text) == Some(points) {
                true => Some(number),
                false => inner(i).map(|(_, (_, inner))| inner).find(|inner| whole_number(&inner.text) == Some(points)),
            };
            found.extend(it.map(|number| (frame.clone(), number.clone(), points)));
        }
        found.sort_by(|a, b| b.1.size.total_cmp(&a.1.size));
        found
    }

    /// What holds the points and does not hold the map, the outermost first.
    async fn around(&self, ground: &GameFrames, frame: &FramePath, points: &NumberText) -> Result<Vec<Locator>> {
        let map = if *frame == ground.map_frame { json!(self.draft.of("map", "canvas")) } else { json!([]) };
        let script = "const [e] = seekShown(arguments[1].map(css => ({css}))), [box] = seekShown(arguments[2]); \
            return e ? around(e, box) : []";
        let seen: Option<(Vec<String>, _)> =
            observe::see(self.page, frame, script, vec![json!(points.ways), map]).await?;
        Ok(observe::ways(&seen.map_or_else(Vec::new, |(css, _)| css), frame))
    }

    /// The button that goes on, where there is one: by its words, or because no other came with the result.
    async fn next_button(&self, before: &VisibleState) -> Result<Option<Vec<Locator>>> {
        let learned = self.draft.of("result", "next");
        if learned != self.draft.generic("result", "next", &[]) {
            let ways: Locators = learned.iter().cloned().collect();
            let start = Instant::now();
            while start.elapsed() < BUTTON {
                if self.page.find(&ways).await?.is_some() {
                    return Ok(Some(learned));
                }
                input::pause(200).await;
            }
            return Ok(None);
        }
        let words = self.draft.words("result", "next");
        let start = Instant::now();
        loop {
            let now = self.shown().await?.buttons;
            let is_new = |button: &ButtonElement| {
                !before.buttons.iter().any(|(_, old)| old.element == button.element && old.text == button.text)
            };
            let mut new: Vec<&(FramePath, ButtonElement)> =
                now.iter().filter(|(_, button)| button.enabled && is_new(button)).collect();
            // What is in a button is pressed with it.
            new.sort_by_key(|(_, button)| button.role.is_none());
            let said = new.iter().find(|(_, button)| says(&button.text, &words));
            let late = start.elapsed() > BUTTON;
            let only =
                new.first().filter(|_| late && new.iter().filter(|(_, button)| button.role.is_some()).count() == 1);
            if let Some((frame, button)) = said.or(only) {
                (self.report_step)(&format!("goes on by `{}`", button.text));
                // The last round's says something else.
                let generic = self.draft.generic("result", "next", frame).into_iter();
                let generic = generic.filter(|way| button.role.is_some() && way.role == button.role);
                let text = said.map(|_| words.join("|"));
                // A class is that of other buttons too, such as the one that begins another game.
                let called = observe::ways(&button.ways, frame).into_iter().map(|way| match is_of_class(&way) {
                    true => Locator { text: text.clone(), ..way },
                    false => way,
                });
                return Ok(Some(called.chain(generic).collect()));
            }
            if late {
                return Ok(None);
            }
            input::pause(200).await;
        }
    }

    /// Where one button first sends the guess and then goes on, its words tell which it does.
    fn keep_apart(&mut self) {
        let (guess, next) = (self.draft.of("map", "guess"), self.draft.of("result", "next"));
        let same =
            |way: &Locator, others: &[Locator]| way.css.is_some() && others.iter().any(|other| other.css == way.css);
        if !guess.iter().any(|way| same(way, &next)) {
            return;
        }
        for (part, key, ways, others) in [("map", "guess", &guess, &next), ("result", "next", &next, &guess)] {
            let text = ways.iter().find_map(|way| way.text.clone());
            let widened = ways.iter().map(|way| match same(way, others) {
                true => Locator { text: way.text.clone().or_else(|| text.clone()), ..way.clone() },
                false => way.clone(),
            });
            self.draft.ways(part, key, &widened.collect::<Vec<_>>());
        }
    }

    /// Presses what goes on, and waits for what comes. What is to be `gone` in a round tells the result from it.
    async fn go_on(
        &mut self,
        ground: &GameFrames,
        next: &Locators,
        result: &VisibleState,
        gone: Option<&NumberText>,
    ) -> Result<NextScreen> {
        let (start, mut since, mut in_round) = (Instant::now(), Instant::now(), 0);
        self.page.press(next).await?;
        loop {
            input::pause(200).await;
            self.note_path().await?;
            let dismiss: Locators = self.draft.of("page", "dismiss").into_iter().collect();
            if self.page.click_any(&dismiss).await? {
                continue;
            }
            let is_result = self.page.find(next).await?.is_some();
            if is_result {
                since = Instant::now();
                if start.elapsed() > Duration::from_secs(4) {
                    self.page.press(next).await?; // the first did not get through
                }
            }
            let map = json!(self.draft.of("map", "canvas"));
            let script = "const [box] = seekShown(arguments[1]); return box ? !covered(box) : false";
            let free: Option<(bool, _)> = observe::see(self.page, &ground.map_frame, script, vec![map]).await?;
            let view = self.page.find(&self.page.profile.look.view).await?.is_some();
            let now = self.shown().await?;
            let text = |shown: &VisibleState| {
                let is_it =
                    |(_, number): &&(FramePath, NumberText)| gone.is_some_and(|points| number.ways == points.ways);
                shown.numbers.iter().find(is_it).map(|(_, number)| number.text.clone())
            };
            let still = text(result).is_some() && text(&now) == text(result);
            in_round =
                if !is_result && view && !still && free.is_some_and(|(free, _)| free) { in_round + 1 } else { 0 };
            if in_round > 1 {
                return Ok(NextScreen::Round);
            }
            if in_round == 0 && since.elapsed() > END {
                return Ok(NextScreen::End);
            }
            if start.elapsed() > self.page.patience() {
                return Err(environment_error("the page does not go on after the result"));
            }
        }
    }

    /// Keeps of the ways to see that there is a result those which find nothing now that there is none.
    async fn check_shown(&mut self, next: &Locators) -> Result<()> {
        let mut ways = self.draft.of("result", "shown");
        ways.extend(next.iter().filter(|way| way.text.is_none()).cloned());
        let mut kept = self.absent(ways).await?;
        if kept.is_empty() {
            kept = next.iter().cloned().collect();
        }
        kept.truncate(4);
        self.draft.ways("result", "shown", &kept);
        // Nor does what goes on, or begins, show in a round.
        for (part, key) in [("result", "next"), ("page", "start")] {
            let ways = self.absent(self.draft.of(part, key)).await?;
            self.draft.ways(part, key, &ways);
        }
        self.draft.ways("result", "total", &[]);
        self.adopt()
    }

    /// Those of the ways that find nothing now.
    async fn absent(&self, ways: Vec<Locator>) -> Result<Vec<Locator>> {
        let counts = self.page.count(&ways.iter().cloned().collect()).await?;
        let mut absent: Vec<Locator> = Vec::new();
        for (way, _) in ways.into_iter().zip(counts).filter(|(_, count)| *count == 0) {
            if !absent.contains(&way) {
                absent.push(way);
            }
        }
        Ok(absent)
    }

    /// Sets a pin somewhere, and sends it by what the profile says by now.
    async fn guess(&mut self, n: u32) -> Result<GuessSubmitted> {
        let canvas = self.page.rect(&self.page.profile.map.canvas, "guess map").await?;
        self.page.hover(canvas.centre()).await?;
        let canvas = self.map_box().await?;
        let (across, down) = PLACES[n as usize % PLACES.len()];
        let start = Instant::now();
        loop {
            self.page.click(canvas.at(across, down)).await?;
            input::pause(500).await;
            match self.page.send().await {
                Ok(()) => return self.page.result().await,
                Err(error) if start.elapsed() > BUTTON => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Whether a way finds things by their kind and not by a name of their own.
fn is_of_class(way: &Locator) -> bool {
    way.css.as_ref().is_some_and(|css| !css.contains(['#', '=']) || css.contains("[class"))
}
