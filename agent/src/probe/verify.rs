//! Plays with the profile that was found, as `play` would: what does not work then is reported while the page is at hand.

use anyhow::Result;
use landfall_common::exit::check_failed;
use landfall_model::LatLng;

use crate::error::describe;
use crate::play::pin;
use crate::probe::Probe;
use crate::site::MapKind;
use crate::site::page::NextStep;

/// Where the pins are placed.
const PLACES: [LatLng; 2] = [LatLng { lat: 47.3, lng: 19.1 }, LatLng { lat: -23.7, lng: 133.9 }];
/// Where pins confirm the view of a drawn map, as fractions of its height.
const CHECKED_HEIGHTS: [f64; 2] = [0.3, 0.7];
/// Maximum distance in metres between a place and its pin.
const MAX_PIN_ERROR_M: f64 = 25_000.0;

impl Probe<'_> {
    /// Plays two rounds of another game with the profile. A failure is added to what is missing.
    pub(super) async fn verify(&mut self) -> Result<()> {
        if !self.missing.is_empty() {
            return Ok(()); // it is known not to work yet
        }
        (self.on_step)("playing with the profile");
        let address = self.address.clone();
        self.page.go(&address).await?;
        if let MapKind::Canvas(view) = self.page.profile().map.kind()
            && !self.draft.given().has("map", "view")
        {
            // Shades of tiles may look like a coast, so the view has to be confirmed by something else, at two places.
            for down in CHECKED_HEIGHTS {
                let checked = async {
                    self.page.await_round().await?;
                    pin::check_view(self.page, view, down).await
                };
                if let Err(error) = checked.await {
                    self.missing.push(format!(
                        "map.view: the initial view that the coastlines suggest, {view}, is not confirmed ({}); give the \
                         latitude and longitude of the map's centre, and the zoom at which the world is 512 * 2^zoom pixels \
                         wide",
                        describe(&error)
                    ));
                    return Ok(());
                }
                self.page.go(&address).await?;
            }
        }
        let mut played = self.play_with_profile(MAX_PIN_ERROR_M).await;
        if let Some(km) = played.as_ref().err().and_then(pin::needed_error_km) {
            (self.on_step)(&format!("the map zooms in less than usual; play it with --max-pin-error {km}"));
            self.max_pin_error_km = Some(km);
            self.page.go(&address).await?;
            played = self.play_with_profile(f64::from(km) * 1000.0).await;
        }
        if let Err(error) = played {
            self.missing.push(format!("the profile does not play yet: {}", describe(&error)));
        }
        Ok(())
    }

    async fn play_with_profile(&mut self, max_error_m: f64) -> Result<()> {
        for wanted in PLACES {
            self.page.await_round().await?;
            self.check_total().await?;
            let placed = pin::place_pin(self.page, wanted, max_error_m).await?;
            pin::confirm(self.page, placed, wanted, max_error_m).await?;
            let guessed = self.page.guess().await?;
            let outcome = self.page.outcome(&guessed).await?;
            if self.page.profile().expects_points() && outcome.points.is_none() {
                return Err(check_failed("it reads no points from the result (result.points)"));
            }
            if !self.page.profile().expects_points() && outcome.distance.is_none() {
                return Err(check_failed("it reads no distance from the result (result.distance)"));
            }
            if self.page.next(guessed).await? != NextStep::Round {
                break;
            }
        }
        Ok(())
    }
}
