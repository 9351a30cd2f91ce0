//! Sites: what the agent must know of a page to play on it, as data.
//!
//! A profile is a TOML file of selectors with ordered fallbacks; see `profiles/README.md`. Sites change their pages
//! every few months, so nothing about one site is in code.

mod guess_map;
mod local;
pub mod locator;
mod schema;
mod sizes;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use guess_map::MapMaterial;
use landfall_common::exit::usage_error;
use landfall_model::score::MapScale;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::dirs;
use crate::record::Area;
pub use guess_map::{MapKind, MapLocators, StartView};
pub use local::is_loopback;
use locator::{Locator, Locators};
pub use schema::schema;
pub use sizes::{MapSize, ScoreLaw};
pub use view::{LookLocators, TurnKey};

/// Everything the agent knows of a site.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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
    /// Seconds that the page may take for anything before that is an error.
    #[serde(default = "patience")]
    pub patience_s: f64,
    /// Which addresses may be played, and which must not.
    pub paths: Paths,
    /// How points fall with distance, where that is not GeoGuessr's law.
    #[serde(default)]
    pub score: ScoreLaw,
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
    /// The origin on this computer that it was moved to, in place of its hosts.
    #[serde(skip)]
    base: Option<Url>,
    /// What it was read from, for messages: the file or its name, and the text.
    #[serde(skip)]
    source: (String, String),
}

/// Addresses by regular expressions over their path.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// May be played.
    #[serde(deserialize_with = "patterns")]
    #[schemars(with = "Vec<String>")]
    pub play: Vec<Regex>,
    /// Must not be touched, whatever `play` says.
    #[serde(deserialize_with = "patterns")]
    #[schemars(with = "Vec<String>")]
    pub refuse: Vec<Regex>,
    /// Where a game begins, when the address does not say it.
    #[serde(default = "root")]
    pub start: String,
}

fn root() -> String {
    "/".into()
}

/// The page around the game.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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

/// What the page shows after a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultLocators {
    /// The result, once it is there.
    pub shown: Locators,
    /// Points of the round.
    pub points: Locators,
    /// How far off the guess was, in words.
    #[serde(default)]
    pub distance: Locators,
    /// Where it was.
    pub truth: [Locators; 2],
    /// Where the page took the guess to be.
    pub guess: [Locators; 2],
    /// Goes on to the next round.
    pub next: Locators,
    /// Shows after the last round: points of the game.
    pub total: Locators,
}

fn patience() -> f64 {
    30.0
}

fn patterns<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Vec<Regex>, D::Error> {
    let texts = Vec::<String>::deserialize(field)?;
    texts.iter().map(|text| Regex::new(text).map_err(serde::de::Error::custom)).collect()
}

/// The profiles that come with the agent.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("arena", include_str!("../../../profiles/arena.toml")),
    ("geoguessr", include_str!("../../../profiles/geoguessr.toml")),
    ("generic", GENERIC),
];

/// What is known of pages that nobody has described.
pub(crate) const GENERIC: &str = include_str!("../../../profiles/generic.toml");

impl Profile {
    /// The built-in profile of this name, the user's own of this name, or the one in this file. An own one cannot take
    /// a built-in's place, which says what is fair.
    ///
    /// # Errors
    /// When there is none, or the file is no profile.
    pub fn find(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(text, name);
        }
        let folder = dirs::folder().unwrap_or_default();
        let file = dirs::file(&folder, name).unwrap_or_else(|| PathBuf::from(name));
        if !file.is_file() {
            let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
            let is_own = |name: &String| !BUILT_IN.iter().any(|(built_in, _)| built_in == name);
            let names: Vec<String> = built_in.chain(dirs::names(&folder).into_iter().filter(is_own)).collect();
            return Err(usage_error(format!(
                "there is no site `{name}`; there are: {}, or give a profile's file",
                names.join(", ")
            )));
        }
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| usage_error(format!("cannot read {name}")))?;
        Self::parse(&text, &name)
    }

    /// From the text of the file of this name.
    pub(crate) fn parse(text: &str, name: &str) -> Result<Self> {
        let parsed = toml::from_str(text);
        let profile: Self =
            parsed.map_err(|error| usage_error(format!("{name}: not a site profile: {}", error.to_string().trim())))?;
        let profile = Self { source: (name.to_owned(), text.to_owned()), ..profile };
        if !(0.1..=600.0).contains(&profile.patience_s) {
            return Err(usage_error(format!("{name}: patience_s must be a number of seconds from 0.1 to 600")));
        }
        if let Some(fault) = profile.score.fault() {
            return Err(usage_error(format!("{name}: {fault}")));
        }
        for (map, MapSize { bounds, countries, .. }) in &profile.maps {
            let area = Area { bounds: *bounds, countries: countries.clone() };
            area.check().with_context(|| usage_error(format!("{name}: map `{map}`")))?;
        }
        for (role, ways) in profile.roles() {
            if let Some((at, why)) = ways.spans().find_map(|(way, at)| Some((at, way.fault()?))) {
                return Err(usage_error(format!("{}: {role}: {why}", profile.line(at))));
            }
            let is_plain = |way: &Locator| way.css.is_some() && way.text.is_none() && way.role.is_none();
            if ["look.hide", "map.tiles"].contains(&role)
                && let Some((_, at)) = ways.spans().find(|(way, _)| !is_plain(way))
            {
                return Err(usage_error(format!("{}: {role} takes CSS selectors alone", profile.line(at))));
            }
        }
        if profile.look.key.is_some() && profile.look.call.is_some() {
            return Err(usage_error(format!("{name}: look.key and look.call are two ways to turn: keep one")));
        }
        if let Some((at, why)) = profile.map.fault() {
            return Err(usage_error(format!("{}: {why}", profile.line(at))));
        }
        Ok(profile)
    }

    /// Where something stands in the profile, for messages: its file and line.
    pub(in crate::site) fn line(&self, byte: usize) -> String {
        let (name, text) = &self.source;
        let line = text.get(..byte).unwrap_or_default().matches('\n').count() + 1;
        format!("{name}, line {line}")
    }

    /// Where the profile says what its guess map shows at first, for messages.
    pub fn line_of_view(&self) -> String {
        self.line(self.map.view_at())
    }

    /// What may be looked for before a guess, by its name in the profile.
    pub fn required_locators(&self) -> Vec<(&'static str, &Locators)> {
        self.roles().into_iter().filter(|(role, _)| !role.starts_with("result.")).collect()
    }

    /// Everything that a probe may have found, which plays to learn it.
    pub(crate) fn discoverable_locators(&self) -> Vec<(&'static str, &Locators)> {
        self.roles()
    }

    /// Everything that is looked for, by its name in the profile.
    pub(in crate::site) fn roles(&self) -> Vec<(&'static str, &Locators)> {
        let Self { page, look, map, result, .. } = self;
        let mut roles = vec![
            ("page.dismiss", &page.dismiss),
            ("page.start", &page.start),
            ("page.loading", &page.loading),
            ("page.map_name", &page.map_name),
            ("page.problem", &page.problem),
            ("look.view", &look.view),
            ("look.photo", &look.photo),
            ("look.hide", &look.hide),
            ("look.heading", &look.heading),
            ("look.clock", &look.clock),
            ("map.canvas", &map.canvas),
            ("map.tiles", &map.tiles),
            ("map.marker", &map.marker),
            ("map.guess", &map.guess),
            ("result.shown", &result.shown),
            ("result.points", &result.points),
            ("result.distance", &result.distance),
            ("result.truth", &result.truth[0]),
            ("result.truth", &result.truth[1]),
            ("result.guess", &result.guess[0]),
            ("result.guess", &result.guess[1]),
            ("result.next", &result.next),
            ("result.total", &result.total),
        ];
        roles.retain(|(role, _)| *role != "map.tiles" || map.kind == MapMaterial::Tiles);
        roles
    }

    /// Name and version as records show them.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The scale of the map with this name, or in this address; that of the site's own law, or of a map of unknown size,
    /// when neither is listed.
    ///
    /// # Errors
    /// When the listed bounds are no places on earth.
    pub fn scale(&self, map_name: &str, path: &str) -> Result<MapScale> {
        match self.map(map_name, path) {
            Some(size) => size.scale().with_context(|| usage_error(format!("profile {}: map `{map_name}`", self.name))),
            None => match self.score.falloff_km {
                Some(km) => Ok(MapScale::try_from(10_000.0 * km)?),
                None => Ok(MapScale::of_map(None, None)),
            },
        }
    }

    /// Most points a round can bring.
    pub fn max_points(&self) -> f64 {
        self.score.max_points
    }

    /// Where the places are of the map with this name, or in this address, as far as that is listed.
    pub fn area(&self, map_name: &str, path: &str) -> Area {
        let listed = |map: &MapSize| Area { bounds: map.bounds, countries: map.countries.clone() };
        self.map(map_name, path).map(listed).unwrap_or_default()
    }

    fn map(&self, name: &str, path: &str) -> Option<&MapSize> {
        let slug = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.maps.get(name).or_else(|| self.maps.get(slug))
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
            for ways in [&profile.look.view, &profile.map.canvas, &profile.map.guess, &profile.result.shown] {
                assert!(ways.iter().count() >= 2, "{name}: each needs a fallback");
            }
        }
    }

    #[test]
    fn scales_come_by_name_then_slug() {
        let profile = Profile::find("geoguessr").unwrap();
        assert_eq!(profile.scale("A Community World", "/game/x").unwrap().metres(), 18_534_781.0);
        assert_eq!(profile.scale("?", "/maps/famous-places").unwrap().metres(), 20_015_086.0);
        assert_eq!(profile.scale("World", "/maps/world").unwrap().metres(), 14_916_862.0);
        for (name, path) in [("United States", "/game/x"), ("?", "/maps/usa")] {
            assert_eq!(profile.scale(name, path).unwrap().metres(), 8_326_737.0);
            assert_eq!(profile.area(name, path).countries, ["US"]);
        }
        assert_eq!(profile.scale("Unheard of", "/maps/unheard-of").unwrap().metres(), 20_015_086.0);
    }

    #[test]
    fn a_broken_profile_is_named() {
        let error = Profile::parse("name = 1", "mine.toml").unwrap_err();
        assert!(error.to_string().starts_with("mine.toml: not a site profile"), "{error}");
        let (_, good) = BUILT_IN[0];
        let line = good.lines().position(|line| line.starts_with("marker = ")).unwrap() + 1;
        for (bad, why) in [("{ frame = ['#f'] }", "needs css, text or role"), ("{ text = '(' }", "unclosed group")] {
            let text = good.replace("\nmarker = [", &format!("\nmarker = [{bad}, "));
            let error = Profile::parse(&text, "mine.toml").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("mine.toml, line {line}: map.marker: ")) && error.contains(why),
                "{error}"
            );
        }
        let of_canvas = |instead: &str| {
            let map = good.replace("[map]", &format!("[map]\n{instead}"));
            let gone = ["tiles = ", "tile_address = "];
            map.lines().filter(|line| !gone.iter().any(|key| line.starts_with(key))).collect::<Vec<_>>().join("\n")
        };
        Profile::parse(&of_canvas("kind = 'canvas'\nview = { lat = 20, lng = 0, zoom = 1 }"), "mine.toml").unwrap();
        let map = good.lines().position(|line| line == "[map]").unwrap() + 1;
        for (instead, lines_on, why) in [
            ("", 2, "map.tiles and map.tile_address are missing"),
            ("kind = 'canvas'", 2, "needs map.view"),
            ("view = { lat = 0, lng = 0, zoom = 1 }", 1, "is for kind = \"canvas\" alone"),
            ("kind = 'canvas'\nview = { lat = 0, lng = 0, zoom = 40 }", 2, "zoom goes from -3 to 24"),
            ("kind = 'canvas'\nview = { lat = 95, lng = 0, zoom = 1 }", 2, "map.view: "),
            ("kind = 'globe'", 1, "unknown variant `globe`"),
            ("kind = 'canvas'\nview = { lat = 0, lng = 0, zoom = 1, pitch = 3 }", 2, "unknown field `pitch`"),
        ] {
            let error = Profile::parse(&of_canvas(instead), "mine.toml").unwrap_err().to_string();
            assert!(error.contains(&format!("line {}", map + lines_on)) && error.contains(why), "{instead}: {error}");
        }
        assert!(Profile::find("nowhere").unwrap_err().to_string().contains("arena, geoguessr"));
    }
}
