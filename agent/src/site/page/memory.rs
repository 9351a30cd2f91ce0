//! What an open page has shown up to now, for later rounds on it.

use std::sync::{Mutex, PoisonError};

use image::GrayImage;

use crate::site::page::Page;

/// How the rows of tiles are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TileRows {
    /// From the north, as almost everywhere.
    FromNorth,
    /// From the south (TMS).
    FromSouth,
}

/// What is known of the guess map.
#[derive(Debug, Default)]
pub(super) struct Memory {
    inner: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tile_rows: Option<TileRows>,
    click_zooms: Option<bool>,
    start_picture: Option<GrayImage>,
}

impl Memory {
    fn with<T>(&self, use_it: impl FnOnce(&mut Known) -> T) -> T {
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Page {
    /// How the rows of the map's tiles are counted, once that is known.
    pub(crate) fn tile_rows(&self) -> Option<TileRows> {
        self.memory.with(|known| known.tile_rows)
    }

    /// Keeps that rows are counted from the south. A single row of tiles agrees with both, so the other is no news.
    pub(crate) fn learn_tile_rows(&self, rows: TileRows) {
        if rows == TileRows::FromSouth {
            self.memory.with(|known| known.tile_rows = Some(rows));
        }
    }

    /// Whether a click zooms the drawn map, once that is known.
    pub(crate) fn click_zooms(&self) -> Option<bool> {
        self.memory.with(|known| known.click_zooms)
    }

    /// Keeps whether a click zooms the drawn map.
    pub(crate) fn learn_click_zooms(&self, zooms: bool) {
        self.memory.with(|known| known.click_zooms = Some(zooms));
    }

    /// The picture of the guess map at the start of the first round; `now` becomes it if there is none.
    pub(crate) fn start_picture(&self, now: &GrayImage) -> Option<GrayImage> {
        self.memory.with(|known| match &known.start_picture {
            Some(first) => Some(first.clone()),
            None => {
                known.start_picture = Some(now.clone());
                None
            }
        })
    }
}
