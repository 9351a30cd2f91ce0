//! A drawn map that starts a round where the last one left it.
//!
//! The picture of the map at the start of the first round is the reference: its projection is known exactly. The map is
//! zoomed out as far as it goes, where the world is as high as the box, so that only its shift to the sides is unknown; then in
//! again to about the scale of the reference, where the shift follows from comparing the two pictures; and out again, where the
//! scale is exact.

use std::sync::Arc;

use anyhow::Result;
use landfall_common::exit::environment_error;

use crate::browser::input;
use crate::geometry::Pixel;
use crate::play::pin::canvas::{MapElement, lost, rounded};
use crate::play::pin::compare::MapPicture;
use crate::play::pin::placed::WHEEL_IN;
use crate::play::pin::projection::Projection;
use crate::play::pin::registration::{Reference, Unknown, locate};
use crate::play::pin::view::map_picture;

/// Turns of the wheel at a time to zoom out, and maximum number of attempts to zoom out and in.
const TURNS_OUT: usize = 8;
const MAX_ZOOM_OUTS: usize = 12;
const MAX_ZOOM_INS: usize = 12;
/// Maximum number of drags that bring the map to where the pictures show the same, and length of the shortest.
const MAX_DRAGS: usize = 3;
const MIN_DRAG_PX: f64 = 5.0;
/// Minimum distance in pixels between mouse and pin from which a zoom factor can be measured.
const MIN_OFFSET_PX: f64 = 8.0;

fn unknown() -> anyhow::Error {
    environment_error(
        "the guess map does not start this round in the view in which it started the first, so places on it are unknown",
    )
}

impl MapElement<'_> {
    /// The picture of the map at the start of the first round, if it starts this round in another view.
    pub(super) fn other_start(&self, now: &MapPicture) -> Option<Reference> {
        let picture = self.page.start_picture(now.grey())?;
        let is_other = now.is_same_as(&picture) == Some(false);
        is_other.then_some(Reference { picture, projection: self.projection })
    }

    /// Finds the map again where the last round left it, and leaves it zoomed out.
    pub(super) async fn relocate(&mut self, reference: Reference) -> Result<()> {
        if !self.view.repeats || self.page.profile().map.moves_after_click || self.page.click_zooms() == Some(true) {
            return Err(unknown());
        }
        let about = rounded(self.canvas.centre());
        let before = self.zoom_out(about).await?;
        self.projection =
            Projection { world: self.canvas.height, corner: Pixel { x: self.canvas.x, y: self.canvas.y } };
        self.zoom_to(reference.projection.world, about, before).await?;
        let reference = Arc::new(reference);
        self.register(&reference, about).await?;
        // The scale is known only roughly. That does not matter where the pictures show the same.
        let middle = reference.projection.place(self.canvas.centre());
        for _ in 0..MAX_DRAGS {
            let by = about.x - self.projection.pixel(middle, about).x;
            let by = by.clamp(-0.4 * self.canvas.width, 0.4 * self.canvas.width).trunc();
            if by.abs() < MIN_DRAG_PX {
                break;
            }
            let from = rounded(Pixel { x: about.x - by / 2.0, y: self.canvas.at(0.5, 0.75).y });
            self.page.drag(from, from + Pixel { x: by, y: 0.0 }).await?;
            self.wait_until_still().await?;
            self.projection = self.projection.moved_by(Pixel { x: by, y: 0.0 });
        }
        self.register(&reference, about).await?;
        let across = (about.x - self.projection.corner.x) / self.projection.world;
        self.zoom_out(about).await?;
        self.wait_until_still().await?.ok_or_else(lost)?;
        let world = self.canvas.height;
        self.projection = Projection { world, corner: Pixel { x: about.x - across * world, y: self.canvas.y } };
        tracing::info!("the guess map starts this round where the last one left it");
        Ok(())
    }

    /// Zooms out as far as the map goes. Returns a picture of it.
    async fn zoom_out(&self, about: Pixel) -> Result<Option<MapPicture>> {
        let mut last: Option<MapPicture> = None;
        for _ in 0..MAX_ZOOM_OUTS {
            for _ in 0..TURNS_OUT {
                self.page.wheel(about, -WHEEL_IN).await?;
            }
            input::pause(200).await;
            let now = map_picture(self.page).await?;
            let is_same = now.as_ref().zip(last.as_ref()).is_some_and(|(now, last)| now.grey() == last.grey());
            last = now;
            if is_same {
                break;
            }
        }
        Ok(last)
    }

    /// Zooms in from the zoomed-out map to about this size of the world, which is measured by a pin.
    async fn zoom_to(&mut self, world: f64, about: Pixel, before: Option<MapPicture>) -> Result<()> {
        let out = self.projection;
        let needed = world / out.world;
        // Far enough from the mouse to measure the zoom factor, and still in the box at the end.
        let offset = (0.4 * self.canvas.width / needed.max(1.0)).min(60.0).floor();
        if offset < MIN_OFFSET_PX {
            return Err(unknown());
        }
        let pin = self.pin(about + Pixel { x: offset, y: 0.0 }).await?;
        self.check_click(before, out).await?;
        let (out, from, mut turns) = (self.projection, pin.x - about.x, 0);
        if from.abs() < MIN_OFFSET_PX {
            return Err(unknown()); // the click has moved the map
        }
        for _ in 0..MAX_ZOOM_INS {
            let factor = self.projection.world / out.world;
            let per_turn = if factor > 1.01 { factor.ln() / f64::from(turns) } else { 0.0 };
            // The nearest scale that turns of the wheel reach.
            if (needed / factor).ln() <= per_turn / 2.0 {
                break;
            }
            let more =
                if per_turn > 0.0 { ((needed / factor).ln() / per_turn).round().clamp(1.0, 40.0) as u32 } else { 1 };
            for _ in 0..more {
                self.page.wheel(about, WHEEL_IN).await?;
            }
            turns += more;
            input::pause(200).await;
            let seen = self.wait_until_still().await?.ok_or_else(lost)?;
            self.projection = out.zoomed(about, (seen.x - about.x) / from);
        }
        Ok(())
    }

    /// Takes the projection from a comparison of the map with the reference.
    async fn register(&mut self, reference: &Arc<Reference>, about: Pixel) -> Result<()> {
        let (picture, pin) = (map_picture(self.page).await?, self.pin.ok_or_else(lost)?);
        let (picture, canvas) = picture.map(MapPicture::into_parts).ok_or_else(unknown)?;
        let (reference, projection) = (Arc::clone(reference), self.projection);
        let found = tokio::task::spawn_blocking(move || {
            locate(&reference, &Unknown { picture: &picture, canvas, pin, projection, about })
        });
        self.projection = found.await?.ok_or_else(unknown)?;
        Ok(())
    }

    /// Learns whether the map has only moved after the click of the pin, or zoomed, if that is not known yet.
    async fn check_click(&self, before: Option<MapPicture>, at: Projection) -> Result<()> {
        if self.page.click_zooms().is_some() {
            return Ok(());
        }
        let (before, after, pin) =
            (before.ok_or_else(lost)?, map_picture(self.page).await?, self.pin.ok_or_else(lost)?);
        let by = Pixel { x: self.projection.corner.x - at.corner.x, y: self.projection.corner.y - at.corner.y };
        match after.and_then(|after| after.is_moved(&before, by, &[pin])) {
            Some(true) => self.page.learn_click_zooms(false),
            Some(false) => return Err(environment_error("the guess map zooms by itself after a click, so it is lost")),
            None => {} // an empty map
        }
        Ok(())
    }
}
