//! What shows of a page that nobody has described, frame by frame.

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::geometry::{Pixel, Rect};
use crate::play::pin::tiles::Tile;
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators, Role};

const OBSERVE_SCRIPT: &str = include_str!("observe.js");
/// Frames in frames in frames are looked into, no further.
const MAX_FRAME_DEPTH: usize = 3;

/// The frames that something is in, the outermost first; none is the page itself.
pub(super) type FramePath = Vec<String>;

/// A picture, or something drawn.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PictureElement {
    /// Square pixels of it that show.
    pub(super) area: f64,
    pub(super) selectors: Vec<String>,
}

/// A button, or what is pressed like one.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ButtonElement {
    pub(super) element: Value,
    pub(super) text: String,
    pub(super) role: Option<Role>,
    pub(super) enabled: bool,
    pub(super) selectors: Vec<String>,
}

/// A short text with a number in it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NumberText {
    pub(super) element: Value,
    pub(super) text: String,
    /// Which of the texts on display it is a part of, the innermost.
    pub(super) within: Option<usize>,
    /// Of its letters, in pixels.
    pub(super) size: f64,
    pub(super) selectors: Vec<String>,
}

/// Something small that lies over a box.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OverlayElement {
    pub(super) element: Value,
    pub(super) rect: Rect,
    pub(super) selectors: Vec<String>,
}

/// A picture of one size beside others: a tile of a map.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TileElement {
    #[serde(flatten)]
    pub(super) tile: Tile,
    pub(super) classes: Vec<String>,
}

/// Runs a script with the functions of `observe.js` in a frame; `arguments[1]` is the first of `more`. Its answer, and where the
/// frame's corner is on the page.
pub(super) async fn run_script<T: DeserializeOwned>(
    page: &Page,
    frame: &[String],
    script: &str,
    more: Vec<Value>,
) -> Result<Option<(T, Pixel)>> {
    let locators: Locators = std::iter::once(Locator { frame: frame.to_vec(), ..Locator::of("html") }).collect();
    page.ask(&locators, &format!("{OBSERVE_SCRIPT}{script}"), more).await
}

/// As [`run_script`], of a list: empty where the frame is gone.
pub(super) async fn run_list_script<T: DeserializeOwned>(
    page: &Page,
    frame: &[String],
    script: &str,
) -> Result<Vec<T>> {
    Ok(run_script(page, frame, script, vec![]).await?.map_or_else(Vec::new, |(list, _)| list))
}

/// The page itself and all frames on display.
pub(super) async fn visible_frames(page: &Page) -> Result<Vec<FramePath>> {
    let mut all = vec![FramePath::new()];
    let mut next = 0;
    while let Some(frame) = all.get(next).cloned() {
        next += 1;
        if frame.len() < MAX_FRAME_DEPTH {
            let inner: Vec<String> = run_list_script(page, &frame, "return visibleFrames()").await?;
            all.extend(inner.into_iter().map(|css| frame.iter().cloned().chain([css]).collect()));
        }
    }
    Ok(all)
}

/// Everything of one kind, in all frames.
pub(super) async fn in_all_frames<T: DeserializeOwned>(page: &Page, script: &str) -> Result<Vec<(FramePath, T)>> {
    let mut all = Vec::new();
    for frame in visible_frames(page).await? {
        let found: Vec<T> = run_list_script(page, &frame, script).await?;
        all.extend(found.into_iter().map(|it| (frame.clone(), it)));
    }
    Ok(all)
}

/// Selectors as locators in a frame.
pub(super) fn css_locators(css: &[String], frame: &[String]) -> Vec<Locator> {
    css.iter().map(|css| Locator { css: Some(css.clone()), frame: frame.to_vec(), ..Locator::default() }).collect()
}
