//! The section of a profile on the guess map: its locators and kind.

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
    /// Whether it consists of image tiles or is drawn on a canvas.
    #[serde(default)]
    pub(super) kind: DeclaredMapKind,
    /// The map's box, which may grow when the mouse is over it.
    pub canvas: Locators,
    /// Button that opens the map, if it is not on display when a round starts.
    #[serde(default)]
    pub open: Locators,
    /// Whether the map moves or zooms by itself after a click. It is noticed too if it is not stated.
    #[serde(default)]
    pub moves_after_click: bool,
    /// Its image tiles.
    #[serde(default)]
    pub tiles: Locators,
    /// Regular expressions over the URL of a tile, with groups `z`, `x` and `y`, or `tms_y` for rows from the south, or
    /// `quadkey`.
    #[serde(default, deserialize_with = "crate::site::profile::patterns::list")]
    #[schemars(with = "Vec<String>")]
    pub tile_address: Vec<Regex>,
    /// The initial view of a map that is drawn on a canvas.
    #[schemars(with = "Option<StartView>")]
    view: Option<Spanned<StartView>>,
    /// The pin.
    pub marker: Locators,
    /// The tip of the pin, as fractions of the width and height of its element.
    pub marker_anchor: [f64; 2],
    /// Button that submits the guess.
    pub guess: Locators,
}

/// What a guess map is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeclaredMapKind {
    #[default]
    Tiles,
    Canvas,
}

/// How the position of places on a guess map is determined.
#[derive(Clone, Copy, Debug)]
pub enum MapKind {
    /// From its image tiles.
    Tiles,
    /// From its initial view, by tracking all moves and zooms.
    Canvas(StartView),
}

/// The view of a map at the start of a round.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartView {
    /// Latitude of the centre.
    pub lat: f64,
    /// Longitude of the centre.
    pub lng: f64,
    /// The world is `tile_size * 2^zoom` pixels wide.
    pub zoom: f64,
    /// Width of the world in pixels at zoom 0: 512 for MapLibre and Mapbox, 256 for Google.
    #[serde(default = "StartView::tile_size")]
    pub tile_size: f64,
    /// Whether the world repeats horizontally.
    #[serde(default = "StartView::repeats")]
    pub repeats: bool,
}

impl fmt::Display for StartView {
    /// In the syntax of profiles, rounded to two decimals.
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
    /// Default width of the world in pixels at zoom 0, as in MapLibre.
    pub const TILE_SIZE: f64 = 512.0;

    fn tile_size() -> f64 {
        Self::TILE_SIZE
    }

    fn repeats() -> bool {
        true
    }

    /// The centre.
    ///
    /// # Errors
    /// When the coordinates are invalid.
    pub fn middle(&self) -> Result<LatLng> {
        Ok(LatLng::new(self.lat, self.lng)?)
    }

    /// Width of the world in CSS pixels.
    pub fn world_px(&self) -> f64 {
        self.tile_size * self.zoom.exp2()
    }

    fn validation_error(&self) -> Option<String> {
        if let Err(error) = self.middle() {
            return Some(error.to_string());
        }
        let is_valid = (64.0..=4096.0).contains(&self.tile_size) && (-3.0..=24.0).contains(&self.zoom);
        (!is_valid).then(|| "zoom must be -3 to 24 and tile_size 64 to 4096 pixels".to_owned())
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

    /// An error message and its byte offset in the profile, if the section is invalid. The browser checks selectors.
    pub(super) fn validation_error(&self) -> Option<(usize, String)> {
        let start = self.canvas.spans().next().map_or(0, |(_, at)| at);
        let has_tiles = self.tiles.iter().count() > 0 && !self.tile_address.is_empty();
        match (self.kind, &self.view) {
            (DeclaredMapKind::Tiles, Some(view)) => {
                Some((view.span().start, "map.view applies to kind = \"canvas\" only".to_owned()))
            }
            (DeclaredMapKind::Tiles, None) => {
                (!has_tiles).then(|| (start, "map.tiles and map.tile_address are missing".to_owned()))
            }
            (DeclaredMapKind::Canvas, _) if self.tiles.iter().count() > 0 || !self.tile_address.is_empty() => {
                Some((start, "map.tiles and map.tile_address apply to kind = \"tiles\" only".to_owned()))
            }
            (DeclaredMapKind::Canvas, None) => {
                Some((start, "kind = \"canvas\" needs map.view = { lat, lng, zoom }".to_owned()))
            }
            (DeclaredMapKind::Canvas, Some(view)) => {
                let fault = view.get_ref().validation_error().map(|fault| format!("map.view: {fault}"));
                fault.map(|fault| (view.span().start, fault))
            }
        }
    }
}
