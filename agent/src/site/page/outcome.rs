//! The result of a round, read from the page after the guess.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_model::LatLng;
use regex::Regex;

use crate::browser::input;
use crate::record::Distance;
use crate::site::page::{GuessSubmitted, POLL_INTERVAL_MS, Page, distance};
use crate::site::profile::locator::Locators;

/// A score that has been stable for this long is final.
const SETTLE_TIME: Duration = Duration::from_millis(300);
/// The same where nothing is expected of the score.
const UNFORESEEN_SETTLE_TIME: Duration = Duration::from_millis(1300);
/// A score that counts up may stay at 0 or 1 for longer: one that differs from what is expected is watched for this time.
const EXPECTED_SETTLE_TIME: Duration = Duration::from_millis(2500);

/// The result of a round, as the page shows it.
#[derive(Clone, Debug, Default)]
pub struct RoundOutcome {
    /// Points of the round.
    pub points: Option<u32>,
    /// The true location.
    pub truth: Option<LatLng>,
    /// The distance that the page shows.
    pub distance: Option<Distance>,
    /// The location of the guess, as the page states it.
    pub guess: Option<LatLng>,
}

impl Page {
    /// The result of the round.
    ///
    /// # Errors
    /// As [`Page::outcome_expecting`].
    pub async fn outcome(&self, guessed: &GuessSubmitted) -> Result<RoundOutcome> {
        self.outcome_expecting(guessed, |_| true).await
    }

    /// The result of the round. `is_expected` tells whether points fit the distance and the truth; those that do not are
    /// read for longer, since pages count up.
    ///
    /// # Errors
    /// When the session fails. Values that the page does not show are `None`.
    pub async fn outcome_expecting(
        &self,
        _: &GuessSubmitted,
        is_expected: impl Fn(&RoundOutcome) -> bool,
    ) -> Result<RoundOutcome> {
        self.read_outcome(SETTLE_TIME, is_expected).await
    }

    /// The result of the round on a page whose score law is unknown: numbers that count up, and may stop for a moment
    /// where the computer is busy, are waited for longer.
    ///
    /// # Errors
    /// As [`Page::outcome_expecting`].
    pub(crate) async fn unforeseen_outcome(&self, _: &GuessSubmitted) -> Result<RoundOutcome> {
        // A number that counts up may rest at 0 or 1 for a while.
        self.read_outcome(UNFORESEEN_SETTLE_TIME, |seen| seen.points.is_some_and(|points| points > 1)).await
    }

    async fn read_outcome(
        &self,
        settle_time: Duration,
        is_expected: impl Fn(&RoundOutcome) -> bool,
    ) -> Result<RoundOutcome> {
        let result = &self.profile.result;
        let points = self.points(settle_time).await?;
        let (truth, guess) = (self.place(&result.truth).await?, self.place(&result.guess).await?);
        let distance = match truth {
            None if !self.profile.expects_points() => self.settled_distance().await?,
            None => self.first(&result.distance, |text| self.read_distance(text)).await?,
            Some(_) => self.readings(&result.distance).await?.iter().find_map(|text| self.read_distance(text)),
        };
        let outcome = RoundOutcome { points, truth, distance, guess };
        if points.is_none() || is_expected(&outcome) || !self.points_may_count_up() {
            return Ok(outcome);
        }
        let start = Instant::now();
        let mut outcome = outcome;
        while start.elapsed() < EXPECTED_SETTLE_TIME && !is_expected(&outcome) {
            input::pause(3 * POLL_INTERVAL_MS).await;
            outcome.points = self.points(settle_time).await?;
            let shown = self.readings(&result.distance).await?;
            outcome.distance = shown.iter().find_map(|text| self.read_distance(text)).or(outcome.distance);
        }
        Ok(outcome)
    }

    /// The distance when it is stable. Beside points it is read when they are stable.
    async fn settled_distance(&self) -> Result<Option<Distance>> {
        let locators = &self.profile.result.distance;
        let read = |text: &str| self.read_distance(text);
        let mut distance = self.first(locators, read).await?;
        let (start, mut since) = (Instant::now(), Instant::now());
        while distance.is_some() && since.elapsed() < SETTLE_TIME && start.elapsed() < self.patience() {
            input::pause(POLL_INTERVAL_MS).await;
            let now = self.first(locators, read).await?;
            if now != distance {
                (distance, since) = (now, Instant::now());
            }
        }
        Ok(distance)
    }

    fn points_may_count_up(&self) -> bool {
        self.profile.result.points.iter().all(|locator| locator.attribute.is_none())
    }

    /// The points when they are stable: pages animate displayed numbers, but not attributes.
    async fn points(&self, settle_time: Duration) -> Result<Option<u32>> {
        let locators = &self.profile.result.points;
        let read = |text: &str| self.read_points(text);
        let mut points = self.first(locators, read).await?;
        let (start, mut since) = (Instant::now(), Instant::now());
        let counts_up = points.is_some() && self.points_may_count_up();
        while counts_up && since.elapsed() < settle_time && start.elapsed() < self.patience() {
            input::pause(POLL_INTERVAL_MS).await;
            let now = self.first(locators, read).await?;
            if now != points {
                (points, since) = (now, Instant::now());
            }
        }
        Ok(points)
    }

    /// The points in a text: by the profile's sentence, else by the words around the numbers.
    fn read_points(&self, text: &str) -> Option<u32> {
        match self.sentence_group(text, "points") {
            Some(found) => found.as_deref().and_then(whole_number),
            None => read_points(text),
        }
    }

    fn read_distance(&self, text: &str) -> Option<Distance> {
        match self.sentence_group(text, "distance") {
            Some(found) => found.as_deref().and_then(distance::read),
            None => distance::read(text),
        }
    }

    /// A named group of the profile's sentence, if the profile has a sentence with this group.
    fn sentence_group(&self, text: &str, name: &str) -> Option<Option<String>> {
        let sentence = self.profile.result.sentence.as_ref()?;
        sentence.capture_names().flatten().find(|group| *group == name)?;
        Some(sentence.captures(text).and_then(|found| Some(found.name(name)?.as_str().to_owned())))
    }

    async fn place(&self, [lat, lng]: &[Locators; 2]) -> Result<Option<LatLng>> {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let (lat, lng) = (number(self.read(lat).await?), number(self.read(lng).await?));
        Ok(lat.zip(lng).and_then(|(lat, lng)| LatLng::new(lat, lng).ok()))
    }
}

/// The whole number in a text such as "3,838 points". Commas, dots, spaces and apostrophes may separate thousands.
pub(crate) fn whole_number(text: &str) -> Option<u32> {
    let text = distance::with_western_digits(text);
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let part_of_number =
        |c: &char| c.is_ascii_digit() || [',', '.', ' ', '\u{a0}', '\u{2009}', '\u{202f}', '\'', '’'].contains(c);
    text[start..].chars().take_while(part_of_number).filter(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// A number, with or without thousands separators.
const NUMBER: &str = r"\d{1,3}(?:[ \u{a0}\u{2009}\u{202f}.,'’]\d{3})+|\d+";
/// Words for points in many languages.
const POINTS: &str = r"points?|pts?\b|punkte?n?|puntos?|punti|punto|pontos?|punten|punt|punkt(?:ów|y)?|poäng|poeng|pistettä|bod(?:ů|y)?|puan|pont|очк(?:ов|а|о)|бал(?:лов|ла|л|ів)?|балл(?:ов|а)?|点|點|分|ポイント|점|نقاط|نقطة|نقط|נקודות|अंक|điểm|πόντοι|poin\b|score";

/// The number in a text that has a word for points beside it.
pub(crate) fn points_by_word(text: &str) -> Option<u32> {
    static AFTER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!(
            r"(?i)({NUMBER})\s*(?:(?:/|out of|of|von|de|di|van|sur|su)\s*(?:{NUMBER})\s*)?(?:{POINTS})"
        ))
        .expect("is covered by the tests")
    });
    static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!(r"(?i)(?:{POINTS})\s*[:：=]?\s*({NUMBER})")).expect("is covered by the tests")
    });
    let text = distance::with_western_digits(text);
    let by_word = AFTER.captures(&text).or_else(|| BEFORE.captures(&text))?;
    whole_number(&by_word[1])
}

/// The points in a text that may hold other numbers too, such as a distance: the number with a word for points beside it,
/// else the first that is not a distance, else the first.
pub(crate) fn read_points(text: &str) -> Option<u32> {
    points_by_word(text).or_else(|| {
        let text = distance::with_western_digits(text);
        whole_number(&distance::without_distances(&text)).or_else(|| whole_number(&text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_points_as_pages_write_them() {
        for (text, points) in
            [("3,838 points", 3838), ("5.000", 5000), ("4 991 / 5 000", 4991), ("You got 12 points", 12), ("0", 0)]
        {
            assert_eq!((whole_number(text), read_points(text)), (Some(points), Some(points)), "{text}");
        }
        assert_eq!((whole_number("points"), read_points("points")), (None, None));
    }

    #[test]
    fn reads_points_beside_other_numbers() {
        for (text, points) in [
            ("You were 16 km off and got 4,961 points!", 4961),
            ("1,234 km away: 3,838 of 5,000 points", 3838),
            ("16 km\n4961", 4961),
            ("得点：4,961 点", 4961),
            ("距離 1,234 km、得点 2,961 点", 2961),
            ("٤٬٩٦١ نقطة", 4961),
            ("المسافة ١٦ كم، ٤٩٦١ نقطة", 4961),
            ("4\u{202f}961 points", 4961),
            ("Score: 3838, 16 km", 3838),
            ("۴۹۶۱", 4961),
            ("４９６１ 点", 4961),
        ] {
            assert_eq!(read_points(text), Some(points), "{text}");
        }
    }
}
