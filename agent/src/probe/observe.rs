//! Observes the visible elements of an unknown page, frame by frame.

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::geometry::{Pixel, Rect};
use crate::play::pin::tile_projection::Tile;
use crate::site::page::Page;
use crate::site::profile::locator::{Locator, Locators, Role};

const OBSERVE_SCRIPT: &str = include_str!("observe.js");
/// Maximum nesting of frames.
const MAX_FRAME_DEPTH: usize = 3;

/// Selectors of nested frames, outermost first; empty for the page itself.
pub(super) type FramePath = Vec<String>;

/// An image or canvas.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PictureElement {
    /// Visible area in square pixels.
    pub(super) area: f64,
    pub(super) selectors: Vec<String>,
}

/// A button or another clickable element.
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
    /// Index of the innermost visible text that contains this one.
    pub(super) within: Option<usize>,
    /// Font size in pixels.
    pub(super) size: f64,
    pub(super) selectors: Vec<String>,
}

/// A small element over a box.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OverlayElement {
    pub(super) element: Value,
    pub(super) rect: Rect,
    pub(super) selectors: Vec<String>,
}

/// A map tile: one of several images of the same size.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TileElement {
    #[serde(flatten)]
    pub(super) tile: Tile,
    pub(super) classes: Vec<String>,
}

/// Runs a script with the functions of `observe.js` in a frame. `arguments[1]` is the first of `extra_args`. Returns
/// the result and the position of the frame on the page.
pub(super) async fn run_script<T: DeserializeOwned>(
    page: &Page,
    frame: &[String],
    script: &str,
    extra_args: Vec<Value>,
) -> Result<Option<(T, Pixel)>> {
    let locators: Locators = std::iter::once(Locator { frame: frame.to_vec(), ..Locator::of("html") }).collect();
    page.ask(&locators, &format!("{OBSERVE_SCRIPT}{script}"), extra_args).await
}

/// As [`run_script`] for lists: empty if the frame is gone.
pub(super) async fn run_list_script<T: DeserializeOwned>(
    page: &Page,
    frame: &[String],
    script: &str,
) -> Result<Vec<T>> {
    Ok(run_script(page, frame, script, vec![]).await?.map_or_else(Vec::new, |(list, _)| list))
}

/// The page itself and all visible frames.
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

/// Runs a script that returns a list in all frames.
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
