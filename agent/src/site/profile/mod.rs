//! Site profiles: everything that the agent needs to know about a site, as data.
//!
//! A profile is a TOML file of locators with ordered fallbacks; see `profiles/README.md`. Sites change their pages
//! every few months, so no code is specific to a site.

mod guess_map;
mod local;
pub(crate) mod locator;
mod look;
mod patterns;
mod schema;
mod sizes;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use guess_map::DeclaredMapKind;
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_model::score::MapScale;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::dirs;
use crate::record::Area;
use crate::site::address;
pub(crate) use guess_map::{MapKind, MapLocators, StartView};
pub(crate) use local::is_loopback;
use locator::{Locator, Locators};
pub(crate) use look::LookLocators;
pub(crate) use patterns::Paths;
pub(crate) use schema::schema;
pub(crate) use sizes::{MapSize, ScoreFormula};

/// Maximum size of a profile in bytes.
const MAX_PROFILE_BYTES: u64 = 1 << 20;
/// A site profile.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, such as `arena`.
    pub name: String,
    /// Increased with every change.
    pub version: u32,
    /// Hosts that the profile applies to.
    #[serde(deserialize_with = "hosts")]
    pub hosts: Vec<String>,
    /// Whether playing requires `--i-own-this-account`.
    pub needs_consent: bool,
    /// Time limit in seconds for everything that the page does.
    #[serde(default = "patience")]
    pub patience_s: f64,
    /// Which paths may be played and which must not.
    pub paths: Paths,
    /// Score formula, if it is not GeoGuessr's.
    #[serde(default)]
    pub score: ScoreFormula,
    /// Sizes of maps by name or slug, since the page does not state them.
    #[serde(default)]
    pub maps: BTreeMap<String, MapSize>,
    /// Elements around the game.
    pub page: PageLocators,
    /// The view.
    pub look: LookLocators,
    /// The guess map.
    pub map: MapLocators,
    /// Elements shown after a guess. Only the page driver uses them, and only after a guess.
    pub(in crate::site) result: ResultLocators,
    /// The origin on this computer that replaces the hosts, if the profile was moved.
    #[serde(skip)]
    base: Option<Url>,
    /// File name and text of the profile, for messages.
    #[serde(skip)]
    source: (String, String),
    /// Whether its JavaScript may run: it is built in, or the user has read it.
    #[serde(skip)]
    may_run_scripts: bool,
}

/// Elements around the game.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageLocators {
    /// Dialogs that are closed whenever they appear: consent, messages, ads.
    pub dismiss: Locators,
    /// Buttons pressed one after another before a game: mode, length, tour. Each locator is one step.
    #[serde(default)]
    pub setup: Locators,
    /// Empty text field for the player's name, which some pages require before a game.
    #[serde(default)]
    pub nickname: Locators,
    /// Button that starts a game.
    pub start: Locators,
    /// Visible while the page loads.
    pub loading: Locators,
    /// Name of the map.
    pub map_name: Locators,
    /// Error message of the page.
    pub problem: Locators,
}

/// Elements shown after a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultLocators {
    /// Visible when the result is shown.
    pub shown: Locators,
    /// Points of the round.
    pub points: Locators,
    /// Distance of the guess, as text.
    #[serde(default)]
    pub distance: Locators,
    /// Regular expression with the groups `points` and `distance` over a text that holds both.
    #[serde(default, deserialize_with = "patterns::one")]
    #[schemars(with = "Option<String>")]
    pub sentence: Option<Regex>,
    /// The true location.
    pub truth: [Locators; 2],
    /// Location of the guess.
    pub guess: [Locators; 2],
    /// Button that continues with the next round.
    pub next: Locators,
    /// Total score, visible after the last round.
    pub total: Locators,
}

fn patience() -> f64 {
    30.0
}

fn hosts<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Vec<String>, D::Error> {
    Ok(Vec::<String>::deserialize(field)?.iter().map(|host| address::normalize_host(host)).collect())
}

/// Built-in profiles.
pub(crate) const BUILT_IN: &[(&str, &str)] = &[
    ("arena", include_str!("../../../profiles/arena.toml")),
    ("geoguessr", include_str!("../../../profiles/geoguessr.toml")),
    ("generic", GENERIC),
    ("worldguessr", include_str!("../../../profiles/worldguessr.toml")),
    ("earthwalker", include_str!("../../../profiles/earthwalker.toml")),
    ("wikidata-guessr", include_str!("../../../profiles/wikidata-guessr.toml")),
    ("miniguessr", include_str!("../../../profiles/miniguessr.toml")),
];

/// The built-in profiles, parsed once: the guard applies their rules before every click.
pub(in crate::site) fn built_in() -> &'static [Profile] {
    static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        let parse = |(name, text): &(&str, &str)| Profile::parse(text, name).expect("is covered by the tests");
        BUILT_IN.iter().map(parse).map(|profile| Profile { may_run_scripts: true, ..profile }).collect()
    });
    &PROFILES
}

/// The profile with which `probe` explores unknown pages.
pub(crate) const GENERIC: &str = include_str!("../../../profiles/generic.toml");

impl Profile {
    /// The profile with this name, built-in or the user's, or in this file. A user profile cannot replace a built-in
    /// one, whose rules ensure fair play.
    ///
    /// # Errors
    /// When there is none, or the file is not a valid profile.
    pub fn find(name: &str) -> Result<Self> {
        if let Some(profile) = built_in().iter().find(|profile| profile.name == name) {
            return Ok(profile.clone());
        }
        let folder = dirs::user_profiles().unwrap_or_default();
        let file = dirs::file(&folder, name).unwrap_or_else(|| PathBuf::from(name));
        if !file.is_file() {
            let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
            let is_own = |name: &String| !BUILT_IN.iter().any(|(built_in, _)| built_in == name);
            let names: Vec<String> = built_in.chain(dirs::names(&folder).into_iter().filter(is_own)).collect();
            return Err(usage_error(format!(
                "there is no site profile `{name}`; available: {}, or name a file",
                names.join(", ")
            )));
        }
        let name = file.display().to_string();
        let text = String::from_utf8(read_limited(&file, MAX_PROFILE_BYTES)?);
        let text = text.with_context(|| usage_error(format!("{name}: not UTF-8 text")))?;
        Self::parse(&text, &name)
    }

    /// Parses a profile; `name` is its file, for messages.
    pub(crate) fn parse(text: &str, name: &str) -> Result<Self> {
        let parsed = toml::from_str(text);
        let profile: Self =
            parsed.map_err(|error| usage_error(format!("{name}: not a site profile: {}", error.to_string().trim())))?;
        let profile = Self { source: (name.to_owned(), text.to_owned()), ..profile };
        if let Some(fault) = profile.validation_error() {
            return Err(usage_error(format!("{name}: {fault}")));
        }
        for (map, MapSize { bounds, countries, .. }) in &profile.maps {
            let area = Area { bounds: *bounds, countries: countries.clone() };
            area.check().with_context(|| usage_error(format!("{name}: map `{map}`")))?;
        }
        for (role, locators) in profile.roles() {
            if let Some((at, message)) =
                locators.spans().find_map(|(locator, at)| Some((at, locator.validation_error()?)))
            {
                return Err(usage_error(format!("{}: {role}: {message}", profile.line(at))));
            }
            let is_plain =
                |locator: &Locator| locator.css.is_some() && locator.text.is_none() && locator.role.is_none();
            if ["look.hide", "map.tiles"].contains(&role)
                && let Some((_, at)) = locators.spans().find(|(locator, _)| !is_plain(locator))
            {
                return Err(usage_error(format!("{}: {role} accepts CSS selectors only", profile.line(at))));
            }
        }
        if let Some((at, message)) = profile.map.validation_error() {
            return Err(usage_error(format!("{}: {message}", profile.line(at))));
        }
        Ok(profile)
    }

    /// File and line of a byte offset, for messages.
    pub(in crate::site) fn line(&self, byte: usize) -> String {
        let (name, text) = &self.source;
        let line = text.get(..byte).unwrap_or_default().matches('\n').count() + 1;
        format!("{name}, line {line}")
    }

    /// File and line of the initial view of the guess map, for messages.
    pub fn line_of_view(&self) -> String {
        self.line(self.map.view_at())
    }

    /// Locators that may be used before a guess, with their keys in the profile.
    pub fn required_locators(&self) -> Vec<(&'static str, &Locators)> {
        self.roles().into_iter().filter(|(role, _)| !role.starts_with("result.")).collect()
    }

    /// Locators that `probe` discovers, with their keys in the profile.
    pub(crate) fn discoverable_locators(&self) -> Vec<(&'static str, &Locators)> {
        self.roles()
    }

    /// All locators, with their keys in the profile.
    pub(in crate::site) fn roles(&self) -> Vec<(&'static str, &Locators)> {
        let Self { page, look, map, result, .. } = self;
        let mut roles = vec![
            ("page.dismiss", &page.dismiss),
            ("page.setup", &page.setup),
            ("page.nickname", &page.nickname),
            ("page.start", &page.start),
            ("page.loading", &page.loading),
            ("page.map_name", &page.map_name),
            ("page.problem", &page.problem),
            ("look.view", &look.view),
            ("look.photo", &look.photo),
            ("look.hide", &look.hide),
            ("look.heading", &look.heading),
            ("look.clock", &look.clock),
            ("map.open", &map.open),
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
        roles.retain(|(role, _)| *role != "map.tiles" || map.kind == DeclaredMapKind::Tiles);
        roles
    }

    /// Name and version, as in records.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The scale of the map with this name or in this path, else of the site's score formula, else of a map of unknown
    /// size.
    ///
    /// # Errors
    /// When the listed bounds are invalid.
    pub fn scale(&self, map_name: &str, path: &str) -> Result<MapScale> {
        match self.map(map_name, path) {
            Some(size) => size.scale().with_context(|| usage_error(format!("profile {}: map `{map_name}`", self.name))),
            None => match self.score.falloff_km {
                Some(km) => Ok(MapScale::try_from(10_000.0 * km)?),
                None => Ok(MapScale::of_map(None, None)),
            },
        }
    }

    /// The area of the map with this name or in this path, as far as it is listed.
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
    fn built_in_profiles_are_valid() {
        for (name, _) in BUILT_IN {
            let profile = Profile::find(name).unwrap();
            profile.check_scripts().unwrap();
            assert_eq!(profile.name, *name);
            for size in profile.maps.values() {
                size.scale().unwrap();
            }
            for locators in [&profile.look.view, &profile.map.canvas, &profile.map.guess, &profile.result.shown] {
                assert!(locators.iter().count() >= 2, "{name}: needs a fallback");
            }
        }
    }

    #[test]
    fn the_readme_has_a_valid_example_and_every_key() {
        let readme = include_str!("../../../profiles/README.md");
        let mut examples = readme.split("```toml\n").skip(1).map(|text| text.split("```").next().unwrap());
        let complete = examples.find(|text| text.starts_with("#:schema")).unwrap();
        Profile::parse(complete, "README.md").unwrap();
        // The next two state what differs from it.
        for text in examples.take(2) {
            let mut example: toml::Table = complete.parse().unwrap();
            for (section, keys) in text.parse::<toml::Table>().unwrap() {
                let merged = example[&section].as_table_mut().unwrap();
                merged.extend(keys.as_table().unwrap().clone());
                let is_drawn = merged.get("kind").is_some_and(|kind| kind.as_str() == Some("canvas"));
                merged.retain(|key, _| !is_drawn || !key.starts_with("tile"));
            }
            Profile::parse(&example.to_string(), "README.md").unwrap();
        }
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../profiles/profile.schema.json")).unwrap();
        let sections = [
            ("score", "ScoreFormula"),
            ("page", "PageLocators"),
            ("look", "LookLocators"),
            ("map", "MapLocators"),
            ("result", "ResultLocators"),
        ];
        for (section, kind) in sections {
            for key in schema["$defs"][kind]["properties"].as_object().unwrap().keys() {
                assert!(readme.contains(&format!("`{section}.{key}`")), "{section}.{key} is not in README.md");
            }
        }
    }

    #[test]
    fn scales_are_found_by_name_then_slug() {
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
    fn errors_name_file_and_line() {
        let error = Profile::parse("name = 1", "mine.toml").unwrap_err();
        assert!(error.to_string().starts_with("mine.toml: not a site profile"), "{error}");
        let (_, good) = BUILT_IN[0];
        let line = good.lines().position(|line| line.starts_with("marker = ")).unwrap() + 1;
        for (bad, message) in [("{ frame = ['#f'] }", "needs css, text or role"), ("{ text = '(' }", "unclosed group")]
        {
            let text = good.replace("\nmarker = [", &format!("\nmarker = [{bad}, "));
            let error = Profile::parse(&text, "mine.toml").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("mine.toml, line {line}: map.marker: ")) && error.contains(message),
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
        for (instead, lines_on, message) in [
            ("", 2, "map.tiles and map.tile_address are missing"),
            ("kind = 'canvas'", 2, "needs map.view"),
            ("view = { lat = 0, lng = 0, zoom = 1 }", 1, "kind = \"canvas\""),
            ("kind = 'canvas'\nview = { lat = 0, lng = 0, zoom = 40 }", 2, "zoom must be -3 to 24"),
            ("kind = 'canvas'\nview = { lat = 95, lng = 0, zoom = 1 }", 2, "map.view: "),
            ("kind = 'globe'", 1, "unknown variant `globe`"),
            ("kind = 'canvas'\nview = { lat = 0, lng = 0, zoom = 1, pitch = 3 }", 2, "unknown field `pitch`"),
        ] {
            let error = Profile::parse(&of_canvas(instead), "mine.toml").unwrap_err().to_string();
            assert!(
                error.contains(&format!("line {}", map + lines_on)) && error.contains(message),
                "{instead}: {error}"
            );
        }
        assert!(Profile::find("nowhere").unwrap_err().to_string().contains("arena, geoguessr"));
    }
}
