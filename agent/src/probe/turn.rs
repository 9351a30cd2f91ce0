//! Detects whether a view turns by dragging, by keys or not at all, and by how much.

use anyhow::Result;
use image::imageops::FilterType;
use image::{GrayImage, ImageFormat};
use landfall_common::exit::environment_error;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::Page;

/// Side of the compared thumbnails in pixels.
const THUMBNAIL_SIDE: u32 = 40;
/// Mean difference in grey levels above which thumbnails show different views.
const OTHER_VIEW_LEVELS: f64 = 5.0;
/// Assumed horizontal field of view in degrees for the first drags.
const ASSUMED_HFOV_DEG: f64 = 100.0;
/// Turn in degrees of one drag under that assumption.
const DRAG_DEG: f64 = 30.0;
/// Maximum number of turns for a full circle.
const MAX_TURNS: usize = 26;
/// Key pairs that turn left and right: arrows and letters.
const KEY_PAIRS: [(&str, &str); 2] = [("\u{e012}", "\u{e014}"), ("a", "d")];
const STROKES_PER_TURN: usize = 4;

/// How a view turns.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RotationControl {
    /// A static image.
    Fixed,
    /// By dragging, with the horizontal field of view in degrees if it could be measured.
    Drag(Option<f64>),
    /// By keys, with the degrees per key press.
    Keys { left: &'static str, right: &'static str, degrees: f64 },
}

/// Tests the view of the page.
pub(super) async fn detect(page: &Page) -> Result<RotationControl> {
    let rect = page.reveal_view().await?;
    let first = settled_thumbnail(page).await?;
    let middle = rect.at(0.5, 0.45); // above the centre, as in a game
    let side = |by: f64| Pixel { x: middle.x + by, ..middle };
    let drag = async || page.drag(side(half_drag_px(&rect)), side(-half_drag_px(&rect))).await;
    drag().await?;
    if mean_difference(&first, &settled_thumbnail(page).await?) > OTHER_VIEW_LEVELS {
        let turns = turns_per_circle(page, &first, &drag).await?;
        return Ok(RotationControl::Drag(turns.map(|turns| hfov_deg(&rect, 360.0 / turns))));
    }
    for (left, right) in KEY_PAIRS {
        let press_keys = async || {
            let view = page
                .find(&page.profile().look.view)
                .await?
                .ok_or_else(|| environment_error("the page shows no view"))?;
            page.keys(&view, &right.repeat(STROKES_PER_TURN)).await
        };
        // Elements that accept no keys cannot be turned by them.
        if press_keys().await.is_ok()
            && mean_difference(&first, &settled_thumbnail(page).await?) > OTHER_VIEW_LEVELS
            && let Some(turns) = turns_per_circle(page, &first, &press_keys).await?
        {
            let degrees = (360.0 / turns / STROKES_PER_TURN as f64 * 2.0).round() / 2.0;
            return Ok(RotationControl::Keys { left, right, degrees });
        }
    }
    Ok(RotationControl::Fixed)
}

/// Half the length of a drag in pixels.
fn half_drag_px(rect: &Rect) -> f64 {
    focal_length_px(rect, ASSUMED_HFOV_DEG) * (DRAG_DEG / 2.0).to_radians().tan()
}

fn focal_length_px(rect: &Rect, hfov: f64) -> f64 {
    rect.width / 2.0 / (hfov / 2.0).to_radians().tan()
}

/// The field of view if one drag turns by `degrees`.
fn hfov_deg(rect: &Rect, degrees: f64) -> f64 {
    let focal = half_drag_px(rect) / (degrees / 2.0).to_radians().tan();
    (2.0 * (rect.width / 2.0 / focal).atan().to_degrees()).round()
}

/// Number of turns after which the view shows the first image again. The first turn has been made already.
async fn turns_per_circle(page: &Page, first: &GrayImage, turn: impl AsyncFn() -> Result<()>) -> Result<Option<f64>> {
    let mut differences = vec![0.0, mean_difference(first, &settled_thumbnail(page).await?)];
    while differences.len() < MAX_TURNS {
        turn().await?;
        differences.push(mean_difference(first, &thumbnail(page).await?));
        if let Some(turns) = full_circle_dip(&differences) {
            return Ok(Some(turns));
        }
    }
    Ok(None)
}

/// Sub-sample position of the last minimum of the differences, by parabolic interpolation; `None` if there is no clear
/// dip.
fn full_circle_dip(differences: &[f64]) -> Option<f64> {
    let [.., before, at, after] = *differences else { return None };
    let typical = differences[1..].iter().sum::<f64>() / (differences.len() - 1) as f64;
    let is_dip = differences.len() > 6 && at < before && at < after && at < 0.7 * typical;
    let bend = before - 2.0 * at + after;
    is_dip.then(|| (differences.len() - 2) as f64 + 0.5 * (before - after) / bend)
}

/// A thumbnail of the view when it is still.
async fn settled_thumbnail(page: &Page) -> Result<GrayImage> {
    let mut last = thumbnail(page).await?;
    for _ in 0..20 {
        input::pause(page.profile().look.still_ms).await;
        let next = thumbnail(page).await?;
        if mean_difference(&last, &next) < 0.5 {
            return Ok(next);
        }
        last = next;
    }
    Ok(last)
}

async fn thumbnail(page: &Page) -> Result<GrayImage> {
    let view =
        page.find(&page.profile().look.view).await?.ok_or_else(|| environment_error("the page shows no view"))?;
    let picture = image::load_from_memory_with_format(&page.picture(&view).await?, ImageFormat::Png)?;
    Ok(picture.grayscale().resize_exact(THUMBNAIL_SIDE, THUMBNAIL_SIDE, FilterType::Triangle).into_luma8())
}

/// Mean difference in grey levels.
fn mean_difference(a: &GrayImage, b: &GrayImage) -> f64 {
    let levels = a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)));
    levels.sum::<f64>() / f64::from(THUMBNAIL_SIDE * THUMBNAIL_SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_circle_ends_where_the_view_matches_the_first() {
        let differences = |turns: f64, count: usize| -> Vec<f64> {
            let difference = |i: usize| (i as f64 - turns).abs().min(i as f64).min(1.5) * 20.0;
            (0..=count).map(difference).collect()
        };
        assert_eq!(full_circle_dip(&differences(12.0, 12)), None);
        assert!((full_circle_dip(&differences(12.0, 13)).unwrap() - 12.0).abs() < 1e-9);
        assert!((full_circle_dip(&differences(11.7, 13)).unwrap() - 11.7).abs() < 0.35);
        assert_eq!(full_circle_dip(&[0.0, 20.0, 20.0, 19.0, 20.0, 21.0, 20.0, 20.0]), None);
    }

    #[test]
    fn field_of_view_follows_from_the_turn_of_one_drag() {
        let rect = Rect { x: 0.0, y: 0.0, width: 800.0, height: 600.0 };
        assert_eq!(hfov_deg(&rect, DRAG_DEG), ASSUMED_HFOV_DEG);
        let narrow = 2.0 * (half_drag_px(&rect) / focal_length_px(&rect, 60.0)).atan().to_degrees();
        assert_eq!(hfov_deg(&rect, narrow), 60.0);
    }
}
