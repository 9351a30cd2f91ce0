//! Zooming a guess map: by the wheel, with the Ctrl key if the map asks for it, or by its + and - buttons.

use anyhow::Result;

use crate::browser::input;
use crate::geometry::Pixel;
use crate::play::pin::placed::WHEEL_IN;
use crate::site::page::Page;

/// Attempts without effect before the next way is tried, or the map counts as zoomed in as far as it goes.
const ATTEMPTS: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Wheel,
    CtrlWheel,
    Buttons,
}

/// How a map zooms. The first way that has an effect is kept.
#[derive(Debug, Default)]
pub(super) struct ZoomControl {
    way: Way,
    works: bool,
    failed: usize,
}

impl ZoomControl {
    /// Zooms by one step about a pixel, or about the centre of the map where only buttons work.
    pub(super) async fn turn(&self, page: &Page, about: Pixel, closer: bool) -> Result<()> {
        let delta = if closer { WHEEL_IN } else { -WHEEL_IN };
        match self.way {
            Way::Wheel => page.wheel(about, delta).await?,
            Way::CtrlWheel => page.ctrl_wheel(about, delta).await?,
            Way::Buttons => _ = page.press_zoom_button(closer).await?,
        }
        input::pause(120).await; // maps debounce the wheel
        Ok(())
    }

    pub(super) fn has_worked(&mut self) {
        (self.works, self.failed) = (true, 0);
    }

    /// Whether a step has ever zoomed the map.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Records a step without effect. Returns whether no other way is left.
    pub(super) async fn has_failed(&mut self, page: &Page) -> Result<bool> {
        self.failed += 1;
        if self.failed < ATTEMPTS {
            return Ok(false);
        }
        if self.works || self.way == Way::Buttons {
            return Ok(true); // as close as the map goes
        }
        let has_buttons = self.way == Way::CtrlWheel && page.has_zoom_button().await?;
        self.failed = 0;
        match self.way {
            Way::Wheel => self.way = Way::CtrlWheel,
            _ if has_buttons => self.way = Way::Buttons,
            _ => return Ok(true),
        }
        Ok(false)
    }
}
