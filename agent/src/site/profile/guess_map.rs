//! The part of a profile that is about the guess map: how it is found, and what kind of map it is.

use std::fmt;

use anyhow::Result;
use landfall_model::LatLng;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::site::profile::locator::Locators;

/// The guess map.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapLocators {
    /// What it is made of.
    #[serde(default)]
    pub(super) kind: MapMaterial,
    /// The map's box; it may grow when the mouse is over it.
    pub canvas: Locators,
    /// Its tile pictures.
    #[serde(default)]
    pub tiles: Locators,
    /// Regular expressions over a tile's address, with groups `z`, `x` and `y`.
    #[serde(default, deserialize_with = "crate::site::profile::patterns")]
    #[schemars(with = "Vec<String>")]
    pub tile_address: Vec<Regex>,
    /// What a map without tile pictures shows when a round begins.
    #[schemars(with = "Option<StartView>")]
    view: Option<Spanned<StartView>>,
    /// The pin.
    pub marker: Locators,
    /// The point of the pin, as fractions of its picture's width and height.
    pub marker_anchor: [f64; 2],
    /// Sends the guess.
    pub guess: Locators,
}

/// What a guess map is made of, as the profile writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum MapMaterial {
    #[default]
    Tiles,
    Canvas,
}

/// How places are found on a guess map.
#[derive(Clone, Copy, Debug)]
pub enum MapKind {
    /// By its tile pictures.
    Tiles,
    /// By what it shows at first, and by following it from there.
    Canvas(StartView),
}

/// What a map shows when a round begins.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartView {
    /// Latitude of the middle.
    pub lat: f64,
    /// Longitude of the middle.
    pub lng: f64,
    /// The world is `tile_size * 2^zoom` pixels wide.
    pub zoom: f64,
    /// Pixels of the world at zoom 0: 512 for MapLibre and Mapbox, 256 for Google.
    #[serde(default = "StartView::tile_size")]
    pub tile_size: f64,
    /// Whether there is another copy of the world beside the world.
    #[serde(default = "StartView::repeats")]
    pub repeats: bool,
}

impl fmt::Display for StartView {
    /// As a profile writes it, to a hundredth.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lat, lng, zoom] = [self.lat, self.lng, self.zoom].map(|value| (value * 100.0).round() / 100.0);
        write!(f, "{{ lat = {lat:?}, lng = {lng:?}, zoom = {zoom:?}")?;
        if self.tile_size != Self::TILE_SIZE {
            write!(f, ", tile_size = {:?}", self.tile_size)?;
        }
        write!(f, " }}")
    }
}

impl StartView {
    /// Pixels of the world at zoom 0 where a profile does not say it: MapLibre's.
    pub const TILE_SIZE: f64 = 512.0;

    fn tile_size() -> f64 {
        Self::TILE_SIZE
    }

    fn repeats() -> bool {
        true
    }

    /// Where the middle is.
    ///
    /// # Errors
    /// When that is invalid.
    pub fn middle(&self) -> Result<LatLng> {
        Ok(LatLng::new(self.lat, self.lng)?)
    }

    /// Width of the world in CSS pixels.
    pub fn world_px(&self) -> f64 {
        self.tile_size * self.zoom.exp2()
    }

    fn fault(&self) -> Option<String> {
        if let Err(error) = self.middle() {
            return Some(error.to_string());
        }
        let usual = (64.0..=4096.0).contains(&self.tile_size) && (-3.0..=24.0).contains(&self.zoom);
        (!usual).then(|| "zoom must be -3 to 24 and tile_size 64 to 4096 pixels".to_owned())
    }
}

impl MapLocators {
    /// The kind of map.
    pub fn kind(&self) -> MapKind {
        self.view.as_ref().map_or(MapKind::Tiles, |view| MapKind::Canvas(*view.get_ref()))
    }

    /// Byte offset of the view in the profile.
    pub(super) fn view_at(&self) -> usize {
        self.view.as_ref().map_or(0, |view| view.span().start)
    }

    /// What is wrong with it, except for its selectors, and the byte offset in the profile.
    pub(super) fn fault(&self) -> Option<(usize, String)> {
        let start = self.canvas.spans().next().map_or(0, |(_, at)| at);
        let has_tiles = self.tiles.iter().count() > 0 && !self.tile_address.is_empty();
        match (self.kind, &self.view) {
            (MapMaterial::Tiles, Some(view)) => {
                Some((view.span().start, "map.view is for kind = \"canvas\" alone".to_owned()))
            }
            (MapMaterial::Tiles, None) => {
                (!has_tiles).then(|| (start, "map.tiles and map.tile_address are missing".to_owned()))
            }
            (MapMaterial::Canvas, _) if self.tiles.iter().count() > 0 || !self.tile_address.is_empty() => {
                Some((start, "map.tiles and map.tile_address apply to kind = \"tiles\" only".to_owned()))
            }
            (MapMaterial::Canvas, None) => {
                Some((start, "kind = \"canvas\" needs map.view = { lat, lng, zoom }".to_owned()))
            }
            (MapMaterial::Canvas, Some(view)) => {
                let fault = view.get_ref().fault().map(|fault| format!("map.view: {fault}"));
                fault.map(|fault| (view.span().start, fault))
            }
        }
    }
}
