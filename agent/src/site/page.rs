//! The page driver: one open page, read and clicked through its profile.
//!
//! What tells the answer (the truth, the points) is read with a [`Guessed`], which only [`Page::guess`] gives, and the
//! selectors for it are private to this module and its parent: no other code can look through them before a guess.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_model::LatLng;
use serde::Deserialize;
use thirtyfour::prelude::*;
use url::Url;

use super::guard::{self, Consent};
use super::{Locators, Profile};
use crate::failure::surroundings;
use crate::hands::{self, Pixel};

/// How long the page may take for anything before that is an error.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long the page is left alone between two looks at it.
const BEAT_MS: u64 = 60;

/// A page with a game on it.
pub struct Page {
    /// The browser.
    pub driver: WebDriver,
    /// How the page is built.
    pub profile: Profile,
    consent: Consent,
}

/// Proof that the guess of this round has been sent.
pub struct Guessed(());

/// What the page said after a guess.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Points of the round.
    pub points: Option<u32>,
    /// Where it was.
    pub truth: Option<LatLng>,
    /// Where the page took the guess to be.
    pub guess: Option<LatLng>,
}

/// A rectangle of the viewport in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Rect {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// The middle.
    pub fn centre(&self) -> Pixel {
        self.at(0.5, 0.5)
    }

    /// The point at these fractions of width and height.
    pub fn at(&self, across: f64, down: f64) -> Pixel {
        Pixel { x: self.x + across * self.width, y: self.y + down * self.height }
    }

    /// Whether the point lies at least `margin` (a fraction of the side) inside.
    pub fn holds(&self, point: Pixel, margin: f64) -> bool {
        let inside = |value: f64, start: f64, length: f64| {
            value >= start + margin * length && value <= start + (1.0 - margin) * length
        };
        inside(point.x, self.x, self.width) && inside(point.y, self.y, self.height)
    }
}

impl Page {
    /// Opens an address, if fair play allows.
    ///
    /// # Errors
    /// When it is refused or does not load.
    pub async fn open(driver: WebDriver, profile: Profile, address: &Url, consent: Consent) -> Result<Self> {
        guard::check(&profile, address, consent)?;
        let page = Self { driver, profile, consent };
        page.driver.goto(address.as_str()).await.with_context(|| surroundings(format!("{address} does not load")))?;
        Ok(page)
    }

    /// The page's address; checked anew, since pages forward.
    ///
    /// # Errors
    /// When the page has gone where the agent must not play.
    pub async fn address(&self) -> Result<Url> {
        let address = self.driver.current_url().await?;
        guard::check(&self.profile, &address, self.consent)?;
        Ok(address)
    }

    /// Waits for a round: dialogs are put away, a game is begun where one is offered, loading is waited for.
    ///
    /// # Errors
    /// When no round shows in time, or the page shows an error.
    pub async fn await_round(&self) -> Result<()> {
        let what = "the page shows no round to play";
        self.until(what, async || {
            self.address().await?;
            self.complain().await?;
            // While a dialog or an offer to begin shows, there is no round, even if the click did not get through.
            if self.click_any(&self.profile.page.dismiss).await? || self.click_any(&self.profile.page.start).await? {
                return Ok(None);
            }
            let busy = self.find(&self.profile.page.loading).await?.is_some();
            let ready = self.find(&self.profile.look.view).await?.is_some()
                && self.find(&self.profile.map.canvas).await?.is_some()
                && self.find(&self.profile.result.shown).await?.is_none();
            Ok((ready && !busy).then_some(()))
        })
        .await
    }

    /// Sends the guess and waits for the result.
    ///
    /// # Errors
    /// When the button cannot be pressed or no result shows.
    pub async fn guess(&self) -> Result<Guessed> {
        let button = self.find(&self.profile.map.guess).await?;
        let button = button.ok_or_else(|| surroundings("the page has no button to send the guess with"))?;
        if !button.is_enabled().await? {
            return Err(surroundings("the page does not take the guess: its button is not enabled"));
        }
        button.click().await?;
        self.until("the page shows no result for the guess", async || {
            self.complain().await?;
            Ok(self.find(&self.profile.result.shown).await?.map(|_| Guessed(())))
        })
        .await
    }

    /// What the page says of the round.
    ///
    /// # Errors
    /// When the session fails. What the page does not show is `None`.
    pub async fn outcome(&self, _: &Guessed) -> Result<Outcome> {
        let result = &self.profile.result;
        let points = self
            .until_or_none(async || Ok(self.read(&result.points).await?.and_then(|text| whole_number(&text))))
            .await?;
        Ok(Outcome { points, truth: self.place(&result.truth).await?, guess: self.place(&result.guess).await? })
    }

    /// Goes on to the next round; the game's points when there is none.
    ///
    /// # Errors
    /// When the page does neither.
    pub async fn next(&self, _: Guessed) -> Result<Option<u32>> {
        self.until("the page does not go on after the result", async || {
            self.complain().await?;
            if let Some(total) = self.read(&self.profile.result.total).await? {
                return Ok(Some(whole_number(&total)));
            }
            if self.find(&self.profile.result.shown).await?.is_none() {
                return Ok(Some(None));
            }
            self.click_any(&self.profile.result.next).await?;
            Ok(None)
        })
        .await
    }

    /// The first thing found in any of these ways that is on display.
    ///
    /// # Errors
    /// When the session fails or a selector is unsound.
    pub async fn find(&self, locators: &Locators) -> Result<Option<WebElement>> {
        for (selector, _) in locators.ways() {
            for element in self.driver.find_all(By::Css(selector)).await? {
                if element.is_displayed().await.unwrap_or(false) {
                    return Ok(Some(element)); // an element that went stale while we looked is not on display
                }
            }
        }
        Ok(None)
    }

    /// Clicks what is found in any of these ways, until a click gets through: one may lie under another. Whether
    /// anything was found at all.
    async fn click_any(&self, locators: &Locators) -> Result<bool> {
        let mut found = false;
        for (selector, _) in locators.ways() {
            for element in self.driver.find_all(By::Css(selector)).await? {
                if element.is_displayed().await.unwrap_or(false) {
                    found = true;
                    if element.click().await.is_ok() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The text or attribute that is found first and is not empty.
    ///
    /// # Errors
    /// When the session fails or a selector is unsound.
    pub async fn read(&self, locators: &Locators) -> Result<Option<String>> {
        for (selector, attribute) in locators.ways() {
            for element in self.driver.find_all(By::Css(selector)).await? {
                let value = match attribute {
                    Some(name) => element.attr(name).await.unwrap_or_default(),
                    None => element.text().await.ok(),
                };
                if let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// Rectangle of the first thing found.
    ///
    /// # Errors
    /// When it is not there; `what` names it in the message.
    pub async fn rect(&self, locators: &Locators, what: &str) -> Result<Rect> {
        let element = self.find(locators).await?;
        let element = element
            .ok_or_else(|| surroundings(format!("the page shows no {what}: is the site's profile up to date?")))?;
        let script =
            "const r = arguments[0].getBoundingClientRect(); return {x: r.x, y: r.y, width: r.width, height: r.height}";
        Ok(self.driver.execute(script, vec![element.to_json()?]).await?.convert()?)
    }

    /// Asks again and again until there is an answer.
    ///
    /// # Errors
    /// When asking fails, or there is no answer in [`PATIENCE`]; `what` is the message then.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if start.elapsed() > PATIENCE {
                return Err(surroundings(format!("{what} (waited {} s)", PATIENCE.as_secs())));
            }
            hands::pause(BEAT_MS).await;
        }
    }

    /// As [`Page::until`], for what a page need not show: gives up after a second.
    async fn until_or_none<T>(&self, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<Option<T>> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            if let Some(answer) = ask().await? {
                return Ok(Some(answer));
            }
            hands::pause(BEAT_MS).await;
        }
        Ok(None)
    }

    async fn complain(&self) -> Result<()> {
        match self.find(&self.profile.page.problem).await? {
            Some(problem) => Err(surroundings(format!("the page says: {}", problem.text().await?.trim()))),
            None => Ok(()),
        }
    }

    async fn place(&self, [lat, lng]: &[Locators; 2]) -> Result<Option<LatLng>> {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let (lat, lng) = (number(self.read(lat).await?), number(self.read(lng).await?));
        Ok(lat.zip(lng).and_then(|(lat, lng)| LatLng::new(lat, lng).ok()))
    }
}

/// The whole number in a text such as "3,838 points"; thousands may be set apart by commas, dots or blanks.
fn whole_number(text: &str) -> Option<u32> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let part_of_number = |c: &char| c.is_ascii_digit() || [',', '.', ' ', '\u{a0}', '\u{202f}', '’'].contains(c);
    text[start..].chars().take_while(part_of_number).filter(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_points_as_pages_write_them() {
        for (text, points) in
            [("3,838 points", 3838), ("5.000", 5000), ("4 991 / 5 000", 4991), ("You got 12 points", 12), ("0", 0)]
        {
            assert_eq!(whole_number(text), Some(points), "{text}");
        }
        assert_eq!(whole_number("points"), None);
    }

    #[test]
    fn a_rect_knows_its_inside() {
        let rect = Rect { x: 100.0, y: 50.0, width: 200.0, height: 100.0 };
        assert_eq!(rect.centre(), Pixel { x: 200.0, y: 100.0 });
        assert!(rect.holds(Pixel { x: 101.0, y: 51.0 }, 0.0));
        assert!(!rect.holds(Pixel { x: 101.0, y: 51.0 }, 0.1));
        assert!(!rect.holds(Pixel { x: 200.0, y: 151.0 }, 0.0));
    }
}
