//! Sites: what the agent must know of a page to play on it, as data.
//!
//! A profile is a TOML file of selectors with ordered fallbacks; see `profiles/README.md`. Sites change their pages
//! every few months, so nothing about one site is in code.

pub mod guard;
pub mod page;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use landfall_model::LatLng;
use landfall_model::score::{Bounds, MapScale};
use regex::Regex;
use serde::Deserialize;

use crate::failure::wrong;

/// Everything the agent knows of a site.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, such as `arena`.
    pub name: String,
    /// Counted up with every change.
    pub version: u32,
    /// Hosts the profile is for.
    pub hosts: Vec<String>,
    /// Whether playing there needs `--i-own-this-account`.
    pub needs_consent: bool,
    /// Which addresses may be played, and which must not.
    pub paths: Paths,
    /// Sizes of maps that the page does not tell, by name or slug.
    #[serde(default)]
    pub maps: BTreeMap<String, MapSize>,
    /// The page around the game.
    pub page: PageLocators,
    /// Looking around.
    pub look: LookLocators,
    /// The guess map.
    pub map: MapLocators,
    /// What the page shows after a guess. Only the page driver reads it, and only after a guess.
    pub(in crate::site) result: ResultLocators,
}

/// Addresses by regular expressions over their path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// May be played.
    #[serde(deserialize_with = "patterns")]
    pub play: Vec<Regex>,
    /// Must not be touched, whatever `play` says.
    #[serde(deserialize_with = "patterns")]
    pub refuse: Vec<Regex>,
}

/// The size of one map.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSize {
    /// The map's maximum error distance in metres, where it is known.
    pub max_error_distance_m: Option<f64>,
    /// South-west and north-east corner, each latitude and longitude.
    pub bounds: Option<[[f64; 2]; 2]>,
}

impl MapSize {
    /// The scale that the map is scored with.
    ///
    /// # Errors
    /// When a corner is no place on earth, or the distance no number of metres.
    pub fn scale(&self) -> Result<MapScale> {
        if self.max_error_distance_m.is_some_and(|metres| !metres.is_finite() || metres < 0.0) {
            return Err(wrong("max_error_distance_m must be a number of metres, 0 or more"));
        }
        let corner = |[lat, lng]: [f64; 2]| LatLng::new(lat, lng);
        let bounds =
            self.bounds.map(|[min, max]| anyhow::Ok(Bounds { min: corner(min)?, max: corner(max)? })).transpose();
        Ok(MapScale::of_map(self.max_error_distance_m, bounds?))
    }
}

/// Ways to find one thing on the page, tried in order. Each is a CSS selector, with ` @attribute` behind it where the
/// value is not the text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Locators(pub Vec<String>);

impl Locators {
    /// Selector and attribute of each way.
    pub fn ways(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|way| match way.split_once(" @") {
            Some((selector, attribute)) => (selector, Some(attribute)),
            None => (way.as_str(), None),
        })
    }

    /// All selectors as one, matching what any of them matches.
    pub fn any(&self) -> String {
        self.ways().map(|(selector, _)| selector).collect::<Vec<_>>().join(", ")
    }
}

/// The page around the game.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageLocators {
    /// Clicked whenever they show: consent, messages, ads.
    pub dismiss: Locators,
    /// Begins a game from a map's page.
    pub start: Locators,
    /// Shows while something loads.
    pub loading: Locators,
    /// The name of the map.
    pub map_name: Locators,
    /// An error that the page shows to people.
    pub problem: Locators,
}

/// Looking around.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookLocators {
    /// The view.
    pub view: Locators,
    /// A single photograph in place of a view that turns.
    pub photo: Locators,
    /// What lies over the view and is hidden for a picture.
    pub hide: Locators,
    /// Where the heading is shown, in degrees.
    pub heading: Locators,
    /// The view rests once two pictures this many milliseconds apart are the same.
    pub still_ms: u64,
    /// Horizontal field of view in degrees, which tells how far to drag.
    pub hfov: f64,
    /// Keys that turn by a known angle, in place of dragging.
    pub key: Option<TurnKey>,
}

/// Keys that turn the view once it has the focus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnKey {
    /// Turns to the left, as a character.
    pub left: String,
    /// Turns to the right.
    pub right: String,
    /// Degrees that one stroke turns by.
    pub degrees: f64,
}

/// The guess map.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapLocators {
    /// The map's box; it may grow when the mouse is over it.
    pub canvas: Locators,
    /// Its tile pictures.
    pub tiles: Locators,
    /// Regular expressions over a tile's address, with groups `z`, `x` and `y`.
    #[serde(deserialize_with = "patterns")]
    pub tile_address: Vec<Regex>,
    /// The pin.
    pub marker: Locators,
    /// The point of the pin, as fractions of its picture's width and height.
    pub marker_anchor: [f64; 2],
    /// Sends the guess.
    pub guess: Locators,
}

/// What the page shows after a guess.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultLocators {
    /// The result, once it is there.
    pub shown: Locators,
    /// Points of the round.
    pub points: Locators,
    /// Where it was.
    pub truth: [Locators; 2],
    /// Where the page took the guess to be.
    pub guess: [Locators; 2],
    /// Goes on to the next round.
    pub next: Locators,
    /// Shows after the last round: points of the game.
    pub total: Locators,
}

fn patterns<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Vec<Regex>, D::Error> {
    let texts = Vec::<String>::deserialize(field)?;
    texts.iter().map(|text| Regex::new(text).map_err(serde::de::Error::custom)).collect()
}

/// The profiles that come with the agent.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("arena", include_str!("../../profiles/arena.toml")),
    ("geoguessr", include_str!("../../profiles/geoguessr.toml")),
];

impl Profile {
    /// The built-in profile of this name, or the one in this file.
    ///
    /// # Errors
    /// When there is none, or the file is no profile.
    pub fn find(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(text, name);
        }
        if !Path::new(name).is_file() {
            let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!(
                "there is no site `{name}`; there are: {}, or give a profile's file",
                names.join(", ")
            )));
        }
        let text = std::fs::read_to_string(name).with_context(|| wrong(format!("cannot read {name}")))?;
        Self::parse(&text, name)
    }

    fn parse(text: &str, name: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| wrong(format!("{name}: not a site profile: {}", error.to_string().trim())))
    }

    /// Name and version as records show them.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The scale of the map with this name, or in this address; that of a map of unknown size when neither is listed.
    ///
    /// # Errors
    /// When the listed bounds are no places on earth.
    pub fn scale(&self, map_name: &str, path: &str) -> Result<MapScale> {
        let slug = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        match self.maps.get(map_name).or_else(|| self.maps.get(slug)) {
            Some(size) => size.scale().with_context(|| wrong(format!("profile {}: map `{map_name}`", self.name))),
            None => Ok(MapScale::of_map(None, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_parse_and_their_selectors_are_sound() {
        for (name, _) in BUILT_IN {
            let profile = Profile::find(name).unwrap();
            assert_eq!(profile.name, *name);
            for size in profile.maps.values() {
                size.scale().unwrap();
            }
            for locators in [&profile.look.view, &profile.map.canvas, &profile.map.guess, &profile.result.shown] {
                assert!(locators.ways().count() >= 2, "{name}: each needs a fallback");
            }
        }
    }

    #[test]
    fn scales_come_by_name_then_slug() {
        let profile = Profile::find("geoguessr").unwrap();
        assert_eq!(profile.scale("A Community World", "/game/x").unwrap().metres(), 18_534_781.0);
        assert_eq!(profile.scale("?", "/maps/famous-places").unwrap().metres(), 20_015_086.0);
        assert_eq!(profile.scale("World", "/maps/world").unwrap().metres(), 14_916_862.0);
        assert_eq!(profile.scale("Unheard of", "/maps/unheard-of").unwrap().metres(), 20_015_086.0);
    }

    #[test]
    fn a_broken_profile_is_named() {
        let error = Profile::parse("name = 1", "mine.toml").unwrap_err();
        assert!(error.to_string().starts_with("mine.toml: not a site profile"), "{error}");
        assert!(Profile::find("nowhere").unwrap_err().to_string().contains("arena, geoguessr"));
    }
}
