//! Whether a view turns: by dragging, by keys, or not at all; and by how much.

use anyhow::Result;
use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageFormat};
use landfall_common::exit::environment_error;

use crate::browser::input;
use crate::geometry::{Pixel, Rect};
use crate::site::page::Page;

/// Thumbnails of this side are compared.
const THUMBNAIL_SIDE: u32 = 40;
/// Thumbnails that differ by more grey levels than this show different things.
const OTHER_VIEW_LEVELS: f64 = 5.0;
/// Assumed horizontal field of view in degrees for the first drags.
const ASSUMED_HFOV_DEG: f64 = 100.0;
/// Degrees that one drag, or some strokes of a key, would turn by then.
const DRAG_DEG: f64 = 30.0;
/// Maximum number of turns after which a view must have turned all around.
const MAX_TURNS: usize = 26;
/// Keys that turn, left and right: arrows, and letters.
const KEY_PAIRS: [(&str, &str); 2] = [("\u{e012}", "\u{e014}"), ("a", "d")];
const STROKES_PER_TURN: usize = 4;

/// How a view turns.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RotationControl {
    /// It does not: a static picture.
    Fixed,
    /// By dragging; its horizontal field of view in degrees, where it could be measured.
    Drag(Option<f64>),
    /// By these keys, with the degrees per key press.
    Keys { left: &'static str, right: &'static str, degrees: f64 },
}

/// Tries it out on the view of the page's profile.
pub(super) async fn detect(page: &Page) -> Result<RotationControl> {
    let rect = page.rect(&page.profile.look.view, "view").await?;
    let first = settled_thumbnail(page).await?;
    let middle = rect.at(0.5, 0.45); // above the middle, as looking around drags
    let side = |by: f64| Pixel { x: middle.x + by, ..middle };
    let drag = async || page.drag(side(half_drag_px(&rect)), side(-half_drag_px(&rect))).await;
    drag().await?;
    if mean_difference(&first, &settled_thumbnail(page).await?) > OTHER_VIEW_LEVELS {
        let turns = turns_per_circle(page, &first, &drag).await?;
        return Ok(RotationControl::Drag(turns.map(|turns| hfov_deg(&rect, 360.0 / turns))));
    }
    for (left, right) in KEY_PAIRS {
        let stroke = async || {
            let view =
                page.find(&page.profile.look.view).await?.ok_or_else(|| environment_error("the view is gone"))?;
            page.keys(&view, &right.repeat(STROKES_PER_TURN)).await
        };
        // What takes no keys cannot be turned by them.
        if stroke().await.is_ok()
            && mean_difference(&first, &settled_thumbnail(page).await?) > OTHER_VIEW_LEVELS
            && let Some(turns) = turns_per_circle(page, &first, &stroke).await?
        {
            let degrees = (360.0 / turns / STROKES_PER_TURN as f64 * 2.0).round() / 2.0;
            return Ok(RotationControl::Keys { left, right, degrees });
        }
    }
    Ok(RotationControl::Fixed)
}

/// Half of a drag, in pixels.
fn half_drag_px(rect: &Rect) -> f64 {
    focal_length_px(rect, ASSUMED_HFOV_DEG) * (DRAG_DEG / 2.0).to_radians().tan()
}

fn focal_length_px(rect: &Rect, hfov: f64) -> f64 {
    rect.width / 2.0 / (hfov / 2.0).to_radians().tan()
}

/// The field of view of a view that one drag turns by these degrees.
fn hfov_deg(rect: &Rect, degrees: f64) -> f64 {
    let focal = half_drag_px(rect) / (degrees / 2.0).to_radians().tan();
    (2.0 * (rect.width / 2.0 / focal).atan().to_degrees()).round()
}

/// After how many turns, the first of which is made, the view shows what it showed at first.
async fn turns_per_circle(page: &Page, first: &GrayImage, turn: impl AsyncFn() -> Result<()>) -> Result<Option<f64>> {
    let mut off = vec![0.0, mean_difference(first, &settled_thumbnail(page).await?)];
    while off.len() < MAX_TURNS {
        turn().await?;
        off.push(mean_difference(first, &thumbnail(page).await?));
        if let Some(turns) = full_circle_dip(&off) {
            return Ok(Some(turns));
        }
    }
    Ok(None)
}

/// Where the view was nearest to the first, once that has been passed: a clear dip, by the parabola through its three lowest.
fn full_circle_dip(off: &[f64]) -> Option<f64> {
    let [.., before, at, after] = *off else { return None };
    let typical = off[1..].iter().sum::<f64>() / (off.len() - 1) as f64;
    let is_dip = off.len() > 6 && at < before && at < after && at < 0.7 * typical;
    let bend = before - 2.0 * at + after;
    is_dip.then(|| (off.len() - 2) as f64 + 0.5 * (before - after) / bend)
}

/// The view once it rests.
async fn settled_thumbnail(page: &Page) -> Result<GrayImage> {
    let mut last = thumbnail(page).await?;
    for _ in 0..20 {
        input::pause(page.profile.look.still_ms).await;
        let next = thumbnail(page).await?;
        if mean_difference(&last, &next) < 0.5 {
            return Ok(next);
        }
        last = next;
    }
    Ok(last)
}

async fn thumbnail(page: &Page) -> Result<GrayImage> {
    let view = page.find(&page.profile.look.view).await?.ok_or_else(|| environment_error("the page's view is gone"))?;
    let picture = image::load_from_memory_with_format(&page.picture(&view).await?, ImageFormat::Png)?;
    Ok(resize(&picture.to_luma8(), THUMBNAIL_SIDE, THUMBNAIL_SIDE, FilterType::Triangle))
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
        let off = |turns: f64, made: usize| -> Vec<f64> {
            let apart = |i: usize| (i as f64 - turns).abs().min(i as f64).min(1.5) * 20.0;
            (0..=made).map(apart).collect()
        };
        assert_eq!(full_circle_dip(&off(12.0, 12)), None);
        assert!((full_circle_dip(&off(12.0, 13)).unwrap() - 12.0).abs() < 1e-9);
        assert!((full_circle_dip(&off(11.7, 13)).unwrap() - 11.7).abs() < 0.35);
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
