//! `watch`: locates what the screen shows whenever it changes. Read-only: it sends no input.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use image::{DynamicImage, RgbImage, RgbaImage};
use landfall_common::exit::{environment_error, usage_error};
use landfall_model::{Classifier, Prior};
use xcap::{Monitor, Window, XCapError};

use crate::photos::locate;
use crate::photos::locate::{LocateOptions, LocatedPhoto};

/// Delay between two captures. The screen is at rest when two captures in a row are the same.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum difference of a colour channel between two captures of the same content: video and dithering cause small changes.
const CHANNEL_TOLERANCE: u8 = 8;
/// Minimum share of changed pixels for a change: a blinking cursor or a clock is not one.
const MIN_CHANGED_SHARE: f64 = 0.005;

/// A rectangle of the screen in physical pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// Distance from the left edge.
    pub(crate) x: i32,
    /// Distance from the top edge.
    pub(crate) y: i32,
    /// Width.
    pub(crate) width: u32,
    /// Height.
    pub(crate) height: u32,
}

impl std::str::FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<i32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[x, y, width, height]) if width > 0 && height > 0 => {
                Ok(Self { x, y, width: width.unsigned_abs(), height: height.unsigned_abs() })
            }
            _ => Err(format!("`{text}` is not X,Y,WIDTH,HEIGHT in pixels")),
        }
    }
}

/// The window or region to watch.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A region of a screen: the screen, the region relative to the screen's corner, and its name.
    Region(Monitor, Region, String),
    /// A window, and its title at the time it was found.
    Window(Window, String),
}

impl Source {
    /// A region of the screen that contains it.
    ///
    /// # Errors
    /// When no screen contains the whole region.
    pub(crate) fn region(region: Region) -> Result<Self> {
        let monitors = Monitor::all().map_err(screen_error)?;
        let name = format!("{},{},{},{}", region.x, region.y, region.width, region.height);
        for monitor in monitors {
            let (x, y) = (monitor.x().map_err(screen_error)?, monitor.y().map_err(screen_error)?);
            let (width, height) = (monitor.width().map_err(screen_error)?, monitor.height().map_err(screen_error)?);
            let (x, y) = (i64::from(region.x) - i64::from(x), i64::from(region.y) - i64::from(y));
            let holds = |at: i64, length: u32, all: u32| at >= 0 && at + i64::from(length) <= i64::from(all);
            if holds(x, region.width, width) && holds(y, region.height, height) {
                let within = Region { x: x as i32, y: y as i32, ..region };
                return Ok(Self::Region(monitor, within, name));
            }
        }
        Err(usage_error(format!("--region {name}: no screen contains the whole region")))
    }

    /// The topmost window whose title contains this text, ignoring case.
    ///
    /// # Errors
    /// When no window matches.
    pub(crate) fn window(title: &str) -> Result<Self> {
        let mut titles = Vec::new();
        // Windows are listed from top to bottom.
        for window in Window::all().map_err(screen_error)? {
            let name = window.title().unwrap_or_default();
            if name.to_lowercase().contains(&title.to_lowercase()) {
                return Ok(Self::Window(window, name));
            }
            titles.extend(Some(name).filter(|name| !name.is_empty()));
        }
        let there = if titles.is_empty() {
            "no window has a title".to_owned()
        } else {
            format!("titles: {}", titles.join("; "))
        };
        Err(usage_error(format!("no window title contains `{title}`; {there}")))
    }

    /// The name of the region or the title of the window.
    pub(crate) fn name(&self) -> &str {
        let (Self::Region(.., name) | Self::Window(_, name)) = self;
        name
    }

    fn picture(&self) -> Result<RgbaImage> {
        match self {
            Self::Region(monitor, region, _) => monitor
                .capture_region(region.x.unsigned_abs(), region.y.unsigned_abs(), region.width, region.height)
                .map_err(screen_error),
            Self::Window(window, name) => window.capture_image().with_context(|| {
                environment_error(format!("the window `{name}` cannot be captured; it may have been closed"))
            }),
        }
    }
}

fn screen_error(error: XCapError) -> anyhow::Error {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let hint = match () {
        () if !cfg!(target_os = "linux") => "",
        () if is_set("WAYLAND_DISPLAY") => {
            ": on Wayland the desktop must offer captures (xdg-desktop-portal) and ask you to allow them; a session on X11 \
             needs neither"
        }
        () => "; is DISPLAY set?",
    };
    anyhow::Error::from(error).context(environment_error(format!("the screen cannot be captured{hint}")))
}

/// Watches the screen and calls `on_prediction` with every new prediction and its image. Runs until an error occurs.
///
/// # Errors
/// When the screen or the window cannot be captured, or `on_prediction` fails.
pub(crate) fn watch(
    source: &Source,
    classifier: &Classifier,
    prior: Prior,
    mut on_prediction: impl FnMut(&LocatedPhoto, &RgbImage) -> Result<()>,
) -> Result<()> {
    let options = LocateOptions { prior, ..LocateOptions::default() };
    let (mut last, mut answered) = (source.picture()?, None::<RgbaImage>);
    loop {
        std::thread::sleep(POLL_INTERVAL);
        let now = source.picture()?;
        if is_same(&last, &now) && !answered.as_ref().is_some_and(|answered| is_same(answered, &now)) {
            let picture: RgbImage = DynamicImage::from(now.clone()).into_rgb8();
            let name = PathBuf::from(source.name());
            let located = locate::of_pictures(classifier, name, std::slice::from_ref(&picture), options)?;
            on_prediction(&located, &picture)?;
            answered = Some(now.clone());
        }
        last = now;
    }
}

/// Whether two captures show the same content, apart from small changes.
fn is_same(one: &RgbaImage, other: &RgbaImage) -> bool {
    let differs = |(a, b): &(&image::Rgba<u8>, &image::Rgba<u8>)| {
        a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > CHANNEL_TOLERANCE)
    };
    let most = (MIN_CHANGED_SHARE * f64::from(one.width()) * f64::from(one.height())) as usize;
    one.dimensions() == other.dimensions() && one.pixels().zip(other.pixels()).filter(differs).nth(most).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_parsed() {
        assert_eq!("10, -20,300,400".parse(), Ok(Region { x: 10, y: -20, width: 300, height: 400 }));
        for text in ["", "1,2,3", "1,2,3,4,5", "1,2,0,4", "1,2,-3,4", "a,b,c,d"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_blinking_cursor_is_not_a_change_but_a_new_view_is() {
        let view = RgbaImage::from_pixel(200, 100, image::Rgba([90, 120, 60, 255]));
        let (mut cursor, mut other) = (view.clone(), view.clone());
        (0..16).for_each(|y| cursor.put_pixel(50, 20 + y, image::Rgba([0, 0, 0, 255])));
        (0..200).for_each(|x| other.put_pixel(x, 40, image::Rgba([0, 0, 0, 255])));
        assert!(is_same(&view, &cursor) && !is_same(&view, &other));
        let shimmer = RgbaImage::from_pixel(200, 100, image::Rgba([92, 119, 60, 255]));
        assert!(is_same(&view, &shimmer));
        assert!(!is_same(&view, &RgbaImage::from_pixel(200, 101, image::Rgba([90, 120, 60, 255]))));
    }
}
