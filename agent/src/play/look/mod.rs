//! Looking around: wait until the view is still, take a screenshot, turn, repeat.

mod finish;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::environment_error;
use landfall_common::picture::to_jpeg;
use landfall_model::preprocess;

use crate::browser::input;
use crate::geometry::Pixel;
use crate::inference::stopping::HEADINGS;
use crate::inference::{PendingLogits, RoundInference};
use crate::site::page::{FoundElement, Page};
use crate::site::profile::locator::Locators;

/// A view as it is recorded and classified. The JPEG is classified, not the screenshot, so that replays of a record give the
/// same result.
#[derive(Clone, Debug)]
pub struct CapturedView {
    /// Degrees clockwise from the first view.
    pub heading: f64,
    /// The image as a JPEG file.
    pub jpeg: Vec<u8>,
    /// Logits, one per cell; empty if the view was not classified.
    pub logits: Vec<f32>,
}

const JPEG_QUALITY: u8 = 94;
/// Maximum error in degrees of a heading that the page shows, before it is corrected.
const HEADING_TOLERANCE: f64 = 3.0;

/// Maximum length of a drag as a fraction of the view's width.
const MAX_DRAG_FRACTION: f64 = 0.88;

/// A blurred view may still be loading: wait at most this long for a sharper one.
const SHARPNESS_TIMEOUT: Duration = Duration::from_millis(1500);

/// Without a time limit, views between earlier headings, which gain little, are taken for at most this long. Together with
/// the pin a round then takes about eight seconds.
const DEFAULT_LOOK_TIME: Duration = Duration::from_secs(6);

/// Part of a time limit that is kept for inference, placing the pin and sending the guess.
const RESERVED_TIME: Duration = Duration::from_secs(10);

/// Takes and classifies views in different directions until the expected gain of another one is too small, or one view if
/// the image is static. Fewer are taken to meet the time limit `budget` and the timer that the page shows.
///
/// # Errors
/// When the view does not become still, or the session or the classifier fails.
pub async fn around(page: &Page, inference: &RoundInference, budget: Option<Duration>) -> Result<Vec<CapturedView>> {
    views_of(page, Some(inference), budget).await
}

/// Takes four views all around without classifying them, or one view if the image is static.
///
/// # Errors
/// When the view does not become still, or the session fails.
pub(super) async fn all_around(page: &Page) -> Result<Vec<CapturedView>> {
    views_of(page, None, None).await
}

async fn views_of(
    page: &Page,
    inference: Option<&RoundInference>,
    budget: Option<Duration>,
) -> Result<Vec<CapturedView>> {
    let clock = page.read(&page.profile().look.clock).await?.and_then(|text| parse_clock(&text));
    let time = budget.into_iter().chain(clock).min().map(|time| time.saturating_sub(RESERVED_TIME));
    let hidden = HiddenOverlays::over(page).await?;
    let mut views = ViewLoop { inference, taken: Vec::new(), latest: None };
    let looked = look(page, &mut views, time).await;
    hidden.restore(page).await?;
    looked?;
    views.all().await
}

/// The views taken up to now. The latest is classified while the page turns to the next.
struct ViewLoop<'a> {
    /// `None` if the views are not classified: then there are four.
    inference: Option<&'a RoundInference>,
    taken: Vec<CapturedView>,
    latest: Option<(CapturedView, PendingLogits)>,
}

impl ViewLoop<'_> {
    async fn add(&mut self, heading: f64, picture: RgbImage) -> Result<()> {
        self.finish().await?;
        let jpeg = to_jpeg(&finish::without_bars(picture), JPEG_QUALITY)?;
        let pending = self.inference.map(|inference| inference.start(&jpeg));
        let view = CapturedView { heading: heading.rem_euclid(360.0), jpeg, logits: Vec::new() };
        match pending {
            Some(pending) => self.latest = Some((view, pending)),
            None => self.taken.push(view),
        }
        Ok(())
    }

    /// Whether to take another view, judged by all views but the latest, which may still be pending.
    fn wants_another(&self) -> Result<bool> {
        let Some(inference) = self.inference else { return Ok(self.taken.len() < HEADINGS.len() / 2) };
        let known: Vec<Vec<f32>> = self.taken.iter().map(|view| view.logits.clone()).collect();
        Ok(known.is_empty() || inference.wants_another_view(&known, known.len() + 1)?)
    }

    async fn finish(&mut self) -> Result<()> {
        if let Some((mut view, pending)) = self.latest.take() {
            view.logits = pending.wait().await?;
            self.taken.push(view);
        }
        Ok(())
    }

    async fn all(mut self) -> Result<Vec<CapturedView>> {
        self.finish().await?;
        Ok(self.taken)
    }
}

async fn look(page: &Page, views: &mut ViewLoop<'_>, time: Option<Duration>) -> Result<()> {
    let begin = Instant::now();
    if let Some(photo) = page.find(&page.profile().look.photo).await? {
        let (picture, _) = finished(page, &photo).await?;
        return views.add(HEADINGS[0], picture).await;
    }
    let view =
        page.find(&page.profile().look.view).await?.ok_or_else(|| environment_error("the page shows no view"))?;
    let (picture, first) = finished(page, &view).await?;
    views.add(HEADINGS[0], picture).await?;
    let (start, mut turned) = (shown_heading(page).await?, 0.0);
    let mut last = Instant::now();
    for (n, heading) in HEADINGS.iter().enumerate().skip(1) {
        // Another view takes about as long as the last one.
        let time = time.or((n >= HEADINGS.len() / 2).then_some(DEFAULT_LOOK_TIME));
        if time.is_some_and(|time| begin.elapsed() + last.elapsed() > time) || !views.wants_another()? {
            break;
        }
        last = Instant::now();
        let mut png = Vec::new();
        // A second, smaller turn corrects the first.
        for _ in 0..2 {
            turn(page, &view, heading - turned).await?;
            png = still(page, &view).await?;
            let shown = shown_heading(page).await?; // read when still: while turning it is arbitrary
            turned = match (start, shown) {
                (Some(start), Some(shown)) => heading + wrap_degrees(shown - start - heading),
                _ => *heading,
            };
            if (heading - turned).abs() <= HEADING_TOLERANCE {
                break;
            }
        }
        if n == 1 && png == first {
            return Ok(()); // the view is static
        }
        if (heading - turned).abs() > HEADING_TOLERANCE {
            return Err(environment_error(format!(
                "the view did not turn as expected: heading {turned:.0}° instead of {heading}°"
            )));
        }
        views.add(turned, decoded(&png)?).await?;
    }
    Ok(())
}

/// The first screenshot of a round, decoded and as PNG: taken when the view is still, not blank, and as sharp as it gets.
async fn finished(page: &Page, view: &FoundElement) -> Result<(RgbImage, Vec<u8>)> {
    let start = Instant::now();
    let mut coarse = None;
    loop {
        let png = still(page, view).await?;
        let picture = decoded(&png)?;
        if finish::is_blank(&picture) {
            if start.elapsed() > page.patience() {
                return Err(environment_error(format!("the view stayed blank for {} s", page.profile().patience_s)));
            }
        } else if !finish::is_soft(&picture) || coarse.get_or_insert_with(Instant::now).elapsed() > SHARPNESS_TIMEOUT {
            return Ok((picture, png));
        }
    }
}

/// A screenshot of the view, taken when two in a row are identical.
async fn still(page: &Page, view: &FoundElement) -> Result<Vec<u8>> {
    let start = Instant::now();
    let mut last = page.picture(view).await?;
    loop {
        input::pause(page.profile().look.still_ms).await;
        let next = page.picture(view).await?;
        if next == last {
            return Ok(next);
        }
        if start.elapsed() > page.patience() {
            let waited = page.profile().patience_s;
            return Err(environment_error(format!("the view did not become still within {waited} s")));
        }
        last = next;
    }
}

/// Turns the view clockwise: by a JavaScript call or key presses if the profile states them, else by dragging.
async fn turn(page: &Page, view: &FoundElement, degrees: f64) -> Result<()> {
    if page.turn_by_script(degrees).await? {
        return Ok(());
    }
    let Some(key) = &page.profile().look.key else { return drag(page, degrees).await };
    let strokes = (degrees.abs() / key.degrees).round() as usize;
    let stroke = if degrees < 0.0 { &key.left } else { &key.right };
    page.keys(view, &stroke.repeat(strokes)).await?;
    // Reading the heading is cheaper than a screenshot, so wait for the heading first.
    let mut last = None;
    for _ in 0..20 {
        let shown = shown_heading(page).await?;
        if shown.is_none() || shown == last {
            break;
        }
        last = shown;
        input::pause(80).await;
    }
    Ok(())
}

/// In a rectilinear view of focal length `f` pixels, a drag from `x` to `-x` about the middle turns by `2·atan(x / f)`.
async fn drag(page: &Page, degrees: f64) -> Result<()> {
    let rect = page.reveal_view().await?;
    let focal = rect.width / 2.0 / (page.profile().look.hfov / 2.0).to_radians().tan();
    // The fewest drags that fit the width of the view.
    let widest = 2.0 * (MAX_DRAG_FRACTION / 2.0 * rect.width / focal).atan().to_degrees();
    let drags = (degrees.abs() / widest).ceil().max(1.0);
    let half = focal * (degrees / drags / 2.0).to_radians().tan();
    // Above the middle, since pages show arrows on the road and buttons below.
    let middle = rect.at(0.5, 0.45);
    let (from, to) = (Pixel { x: middle.x + half, ..middle }, Pixel { x: middle.x - half, ..middle });
    for _ in 0..drags as usize {
        page.drag(from, to).await?;
    }
    Ok(())
}

async fn shown_heading(page: &Page) -> Result<Option<f64>> {
    Ok(page.read(&page.profile().look.heading).await?.and_then(|text| text.trim_end_matches('°').parse().ok()))
}

/// Parses the time that a timer shows: minutes and seconds, or seconds only.
fn parse_clock(text: &str) -> Option<Duration> {
    let parts: Vec<u64> =
        text.split(':').map(|part| part.trim().trim_end_matches('s').trim_end().parse().ok()).collect::<Option<_>>()?;
    (parts.len() <= 3).then(|| Duration::from_secs(parts.iter().fold(0, |sum, part| sum * 60 + part)))
}

/// Wraps an angle to -180 to 180 degrees.
fn wrap_degrees(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}

fn decoded(png: &[u8]) -> Result<RgbImage> {
    preprocess::from_bytes(png).context("the screenshot of the browser cannot be decoded")
}

/// Elements over the view, hidden while screenshots are taken.
struct HiddenOverlays;

impl HiddenOverlays {
    async fn over(page: &Page) -> Result<Self> {
        // Selectors are set as such: within the text of a stylesheet, unclosed brackets and strings of several selectors
        // could form other rules. A sheet of this kind also works on pages whose policy forbids inline styles.
        let script = "const sheet = new CSSStyleSheet(); sheet.isLandfalls = true; \
            for (const {css} of arguments[0]) { \
              const at = sheet.insertRule(':not(*) {visibility: hidden !important}', sheet.cssRules.length); \
              sheet.cssRules[at].selectorText = css; \
            } \
            document.adoptedStyleSheets.push(sheet)";
        Self::everywhere(page, script).await?;
        Ok(Self)
    }

    async fn restore(self, page: &Page) -> Result<()> {
        let script =
            "document.adoptedStyleSheets = [...document.adoptedStyleSheets].filter(sheet => !sheet.isLandfalls)";
        Self::everywhere(page, script).await
    }

    /// Runs a script without a result in every frame with elements over the view.
    async fn everywhere(page: &Page, script: &str) -> Result<()> {
        let hide: &Locators = &page.profile().look.hide;
        page.ask::<()>(hide, script, vec![]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_clocks() {
        for (text, time) in [
            ("01:30", Some(90)),
            ("0:07", Some(7)),
            ("59", Some(59)),
            ("12 s", Some(12)),
            ("1:00:00", Some(3600)),
            ("soon", None),
        ] {
            assert_eq!(parse_clock(text), time.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn wraps_degrees() {
        for (degrees, short) in [(350.0, -10.0), (-350.0, 10.0), (90.0, 90.0), (-180.0, -180.0), (540.0, -180.0)] {
            assert_eq!(wrap_degrees(degrees), short);
        }
    }
}
