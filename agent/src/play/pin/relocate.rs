//! A drawn map that starts a round where the last one left it.
//!
//! The picture of the map at the start of the first round is the reference: its projection is known exactly. The map is
//! zoomed out as far as it goes, where the world is as high as the box, and then in again to about the scale of the reference.
//! How far it is shifted sideways then follows from comparing the two pictures.

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
/// Minimum distance in pixels between mouse and pin from which a zoom factor can be measured.
const MIN_OFFSET_PX: f64 = 8.0;

impl MapElement<'_> {
    /// The picture of the map at the start of the first round, if it starts this round in another view.
    pub(super) fn other_start(&self, now: &MapPicture) -> Option<Reference> {
        let picture = self.page.start_picture(now.grey())?;
        let is_other = now.is_same_as(&picture) == Some(false);
        is_other.then_some(Reference { picture, projection: self.projection })
    }

    /// Finds the map again where the last round left it: zooms it out, which leaves only its shift to the sides unknown, and
    /// in again until it can be compared with the picture of the first round.
    pub(super) async fn relocate(&mut self, reference: Reference) -> Result<()> {
        let unknown = || {
            environment_error(
                "the guess map does not start this round in the view in which it started the first, so places on it are \
                 unknown",
            )
        };
        if !self.view.repeats || self.page.click_zooms() != Some(false) {
            return Err(unknown());
        }
        let about = rounded(self.canvas.centre());
        let mut last = None;
        for _ in 0..MAX_ZOOM_OUTS {
            for _ in 0..TURNS_OUT {
                self.page.wheel(about, -WHEEL_IN).await?;
            }
            input::pause(200).await;
            let now = map_picture(self.page).await?.map(|picture| picture.grey().clone());
            if now.is_some() && now == last {
                break;
            }
            last = now;
        }
        let world = self.canvas.height;
        self.projection = Projection { world, corner: Pixel { x: self.canvas.x, y: self.canvas.y } };
        let needed = reference.projection.world / world;
        // Far enough from the mouse to measure the zoom factor, and still in the box at the end.
        let offset = (0.4 * self.canvas.width / needed.max(1.0)).min(60.0).floor();
        if offset < MIN_OFFSET_PX {
            return Err(unknown());
        }
        let pin = self.pin(about + Pixel { x: offset, y: 0.0 }).await?;
        let (out, from, mut turns) = (self.projection, pin.x - about.x, 0);
        if from.abs() < MIN_OFFSET_PX {
            return Err(unknown()); // the click has moved the map
        }
        for _ in 0..MAX_ZOOM_INS {
            let factor = self.projection.world / world;
            // The nearest scale that turns of the wheel reach.
            let per_turn = if factor > 1.01 { (factor.ln() / f64::from(turns)).max(0.01) } else { 0.0 };
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
        let (picture, pin) = (map_picture(self.page).await?, self.pin.ok_or_else(lost)?);
        let (picture, canvas) = picture.map(MapPicture::into_parts).ok_or_else(unknown)?;
        let projection = self.projection;
        let found = tokio::task::spawn_blocking(move || {
            locate(&reference, &Unknown { picture: &picture, canvas, pin, projection, about })
        });
        self.projection = found.await?.ok_or_else(unknown)?;
        tracing::info!("the guess map starts this round where the last one left it");
        Ok(())
    }
}
