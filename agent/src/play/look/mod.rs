//! Looking around: wait until the view stands still, take its picture, turn, again.

mod finish;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use landfall_common::exit::environment_error;
use landfall_model::preprocess;

use crate::browser::input;
use crate::geometry::Pixel;
use crate::inference::stopping::HEADINGS;
use crate::inference::{PendingLogits, RoundInference};
use crate::site::page::{FoundElement, Page};
use crate::site::profile::locator::Locators;

/// One view as it is recorded and classified: the JPEG, not what it was made from, so that a record repeats.
#[derive(Clone, Debug)]
pub struct CapturedView {
    /// Degrees clockwise from where the round began looking.
    pub heading: f64,
    /// JPEG file.
    pub jpeg: Vec<u8>,
    /// What the classifier makes of it, one number a cell.
    pub logits: Vec<f32>,
}

const JPEG_QUALITY: u8 = 94;
/// A heading that the page tells may be off by this many degrees before it is corrected.
const TOLERANCE: f64 = 3.0;

/// The part of the view's width that a drag may cross.
const STROKE: f64 = 0.88;

/// A coarse picture may be one that is still loading: a finer one is waited for so long.
const COARSE: Duration = Duration::from_millis(1500);

/// Where nobody says how long a round may take, headings in between are looked at no longer than this: with the pin that is
/// a round of some eight seconds, and what they bring is little.
const UNHURRIED: Duration = Duration::from_secs(6);

/// What is left of a timed round's time for thinking, setting the pin and sending the guess.
const RESERVE: Duration = Duration::from_secs(10);

/// Pictures of the view in as many directions as promise enough points, or of the one there is, and what the classifier
/// makes of them; fewer where a round's `budget`, or the time that the page's clock shows, would not suffice.
///
/// # Errors
/// When the view does not come to rest, or the session or the classifier fails.
pub async fn around(page: &Page, inference: &RoundInference, budget: Option<Duration>) -> Result<Vec<CapturedView>> {
    let clock = page.read(&page.profile.look.clock).await?.and_then(|text| seconds(&text));
    let time = budget.into_iter().chain(clock).min().map(|time| time.saturating_sub(RESERVE));
    let hidden = HiddenOverlays::over(page).await?;
    let mut views = ViewLoop { inference, seen: Vec::new(), latest: None };
    let looked = look(page, &mut views, time).await;
    hidden.restore(page).await?;
    looked?;
    views.all().await
}

/// ViewLoop as they come: the latest is pending about while the page turns to the next.
struct ViewLoop<'a> {
    inference: &'a RoundInference,
    seen: Vec<CapturedView>,
    latest: Option<(CapturedView, PendingLogits)>,
}

impl ViewLoop<'_> {
    async fn add(&mut self, heading: f64, picture: RgbImage) -> Result<()> {
        self.finish().await?;
        let jpeg = jpeg(&finish::without_bars(picture))?;
        let pending = self.inference.start(&jpeg);
        self.latest = Some((CapturedView { heading: heading.rem_euclid(360.0), jpeg, logits: Vec::new() }, pending));
        Ok(())
    }

    /// Whether another is worth its time, by all but the latest, which is not waited for.
    fn want_more(&self) -> Result<bool> {
        let known: Vec<Vec<f32>> = self.seen.iter().map(|view| view.logits.clone()).collect();
        Ok(known.is_empty() || self.inference.wants_another_view(&known, known.len() + 1)?)
    }

    async fn finish(&mut self) -> Result<()> {
        if let Some((mut view, pending)) = self.latest.take() {
            view.logits = pending.wait().await?;
            self.seen.push(view);
        }
        Ok(())
    }

    async fn all(mut self) -> Result<Vec<CapturedView>> {
        self.finish().await?;
        Ok(self.seen)
    }
}

async fn look(page: &Page, views: &mut ViewLoop<'_>, time: Option<Duration>) -> Result<()> {
    let begin = Instant::now();
    if let Some(photo) = page.find(&page.profile.look.photo).await? {
        let (picture, _) = finished(page, &photo).await?;
        return views.add(HEADINGS[0], picture).await;
    }
    let view = page.find(&page.profile.look.view).await?.ok_or_else(|| environment_error("the page shows no view"))?;
    let (picture, first) = finished(page, &view).await?;
    views.add(HEADINGS[0], picture).await?;
    let (start, mut turned) = (shown_heading(page).await?, 0.0);
    let mut last = Instant::now();
    for (n, heading) in HEADINGS.iter().enumerate().skip(1) {
        // Another view takes about as long as the last; rather fewer views than no guess.
        let time = time.or((n >= HEADINGS.len() / 2).then_some(UNHURRIED));
        if time.is_some_and(|time| begin.elapsed() + last.elapsed() > time) || !views.want_more()? {
            break;
        }
        last = Instant::now();
        let mut png = Vec::new();
        // A second, smaller turn where the first missed by more than a little.
        for _ in 0..2 {
            turn(page, &view, heading - turned).await?;
            png = still(page, &view).await?;
            let shown = shown_heading(page).await?; // once at rest: on the way it says anything
            turned = match (start, shown) {
                (Some(start), Some(shown)) => heading + difference(shown - start - heading),
                _ => *heading,
            };
            if (heading - turned).abs() <= TOLERANCE {
                break;
            }
        }
        if n == 1 && png == first {
            return Ok(()); // it does not turn
        }
        if (heading - turned).abs() > TOLERANCE {
            return Err(environment_error(format!(
                "the view does not turn as expected: to {turned:.0}° instead of {heading}°"
            )));
        }
        views.add(turned, decoded(&png)?).await?;
    }
    Ok(())
}

/// The first picture of a round, decoded and as PNG: once the view rests, shows something, and as sharp as it gets.
async fn finished(page: &Page, view: &FoundElement) -> Result<(RgbImage, Vec<u8>)> {
    let start = Instant::now();
    let mut coarse = None;
    loop {
        let png = still(page, view).await?;
        let picture = decoded(&png)?;
        if finish::is_blank(&picture) {
            if start.elapsed() > page.patience() {
                return Err(environment_error(format!("the view stays blank (waited {} s)", page.profile.patience_s)));
            }
        } else if !finish::is_soft(&picture) || coarse.get_or_insert_with(Instant::now).elapsed() > COARSE {
            return Ok((picture, png));
        }
    }
}

/// A picture of the view once two in a row are the same.
async fn still(page: &Page, view: &FoundElement) -> Result<Vec<u8>> {
    let start = Instant::now();
    let mut last = page.picture(view).await?;
    loop {
        input::pause(page.profile.look.still_ms).await;
        let next = page.picture(view).await?;
        if next == last {
            return Ok(next);
        }
        if start.elapsed() > page.patience() {
            let waited = page.profile.patience_s;
            return Err(environment_error(format!("the view does not come to rest (waited {waited} s)")));
        }
        last = next;
    }
}

/// Turns the view clockwise: by a call of the page's own or by as many strokes of a key as come nearest, where the profile
/// knows either, else by dragging.
async fn turn(page: &Page, view: &FoundElement, degrees: f64) -> Result<()> {
    if let Some(call) = &page.profile.look.call {
        return page.turn_by(call, degrees).await;
    }
    let Some(key) = &page.profile.look.key else { return drag(page, degrees).await };
    let strokes = (degrees.abs() / key.degrees).round() as usize;
    let stroke = if degrees < 0.0 { &key.left } else { &key.right };
    page.keys(view, &stroke.repeat(strokes)).await?;
    // The heading is cheaper to ask for than a picture: pictures can wait until it rests.
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
    let rect = page.rect(&page.profile.look.view, "view").await?;
    let focal = rect.width / 2.0 / (page.profile.look.hfov / 2.0).to_radians().tan();
    // As few as the view's width has room for.
    let widest = 2.0 * (STROKE / 2.0 * rect.width / focal).atan().to_degrees();
    let drags = (degrees.abs() / widest).ceil().max(1.0);
    let half = focal * (degrees / drags / 2.0).to_radians().tan();
    // Above the middle: pages put arrows on the road and buttons below.
    let middle = rect.at(0.5, 0.45);
    let (from, to) = (Pixel { x: middle.x + half, ..middle }, Pixel { x: middle.x - half, ..middle });
    for _ in 0..drags as usize {
        page.drag(from, to).await?;
    }
    Ok(())
}

async fn shown_heading(page: &Page) -> Result<Option<f64>> {
    Ok(page.read(&page.profile.look.heading).await?.and_then(|text| text.trim_end_matches('°').parse().ok()))
}

/// The time that a clock shows: minutes and seconds, or seconds alone.
fn seconds(text: &str) -> Option<Duration> {
    let parts: Vec<u64> =
        text.split(':').map(|part| part.trim().trim_end_matches('s').trim_end().parse().ok()).collect::<Option<_>>()?;
    (parts.len() <= 3).then(|| Duration::from_secs(parts.iter().fold(0, |sum, part| sum * 60 + part)))
}

/// An angle between -180 and 180 degrees.
fn difference(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}

fn decoded(png: &[u8]) -> Result<RgbImage> {
    preprocess::from_bytes(png).context("the browser's screenshot is no picture")
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture)?;
    Ok(bytes)
}

/// What lies over the view, made invisible for as long as pictures are taken.
struct HiddenOverlays;

impl HiddenOverlays {
    async fn over(page: &Page) -> Result<Self> {
        let script = "const style = document.createElement('style'); style.id = 'landfall-look'; \
            style.textContent = arguments[0].map(way => way.css).join() + '{visibility: hidden !important}'; \
            document.head.append(style)";
        Self::everywhere(page, script).await?;
        Ok(Self)
    }

    async fn restore(self, page: &Page) -> Result<()> {
        Self::everywhere(page, "document.querySelectorAll('#landfall-look').forEach(style => style.remove())").await
    }

    /// Runs a script, which answers nothing, in every frame where something lies over the view.
    async fn everywhere(page: &Page, script: &str) -> Result<()> {
        let hide: &Locators = &page.profile.look.hide;
        page.ask::<()>(hide, script, vec![]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_read_as_they_are_written() {
        for (text, time) in [
            ("01:30", Some(90)),
            ("0:07", Some(7)),
            ("59", Some(59)),
            ("12 s", Some(12)),
            ("1:00:00", Some(3600)),
            ("soon", None),
        ] {
            assert_eq!(seconds(text), time.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn differences_go_the_short_way() {
        for (degrees, short) in [(350.0, -10.0), (-350.0, 10.0), (90.0, 90.0), (-180.0, -180.0), (540.0, -180.0)] {
            assert_eq!(difference(degrees), short);
        }
    }
}
