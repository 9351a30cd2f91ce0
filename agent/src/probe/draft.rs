//! A profile under construction: starts as the generic profile, is replaced key by key, and is written as TOML.

use std::fmt::Write;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use toml::{Table, Value};

use crate::probe::partial::PartialProfile;
use crate::site::profile::locator::Locator;
use crate::site::{GENERIC, Profile};

/// Sections and keys of the written profile, in order.
pub(super) const SECTIONS: [(&str, &[&str]); 8] = [
    ("", &["name", "version", "hosts", "needs_consent", "patience_s"]),
    ("paths", &["start", "play", "refuse"]),
    ("score", &["max_points", "falloff_km", "law", "constants"]),
    ("maps", &[]), // any name of a map
    ("page", &["dismiss", "setup", "nickname", "start", "loading", "map_name", "problem"]),
    ("look", &["view", "photo", "hide", "heading", "clock", "still_ms", "hfov", "key"]),
    (
        "map",
        &[
            "kind",
            "open",
            "moves_after_click",
            "canvas",
            "tiles",
            "tile_address",
            "view",
            "marker",
            "marker_anchor",
            "guess",
        ],
    ),
    ("result", &["shown", "points", "distance", "sentence", "truth", "guess", "next", "total"]),
];
/// Maximum line length of the written profile.
const MAX_LINE_CHARS: usize = 118;

pub(super) struct ProfileDraft {
    table: Table,
    generic: Table,
    /// Texts of buttons that the user knows, by key.
    hints: Vec<Hint>,
    /// What the user has stated in a partial profile.
    given: PartialProfile,
}

/// The text of a button that the user knows, as in `guess=Lock it in`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hint {
    /// Key in the profile: `start`, `guess` or `next`.
    pub(crate) key: String,
    /// Text of the button.
    pub(crate) text: String,
}

impl ProfileDraft {
    /// The generic profile for this host.
    pub(super) fn new(host: &str) -> Result<Self> {
        let generic: Table = toml::from_str(GENERIC).context(usage_error("the generic profile is invalid"))?;
        let mut table = generic.clone();
        table.insert("name".into(), profile_name(host).into());
        table.insert("hosts".into(), Value::Array(vec![host.into()]));
        Ok(Self { table, generic, hints: Vec::new(), given: PartialProfile::default() })
    }

    /// Takes over a partial profile. Its values are kept: [`ProfileDraft::set`] does not change them.
    ///
    /// # Errors
    /// When a value is invalid.
    pub(super) fn with_given(mut self, given: &PartialProfile) -> Result<Self> {
        for (section, key, value) in given.values() {
            let is_kind = (section, key) == ("map", "kind");
            if is_kind && given.is_drawn() && !given.has("map", "view") {
                continue; // the draft is valid only with the view, which sets the kind too
            }
            match section {
                "" => _ = self.table.insert(key.to_owned(), value.clone()),
                section => self.set(section, key, Some(value.clone())),
            }
        }
        if given.has("map", "view") {
            self.set("map", "kind", Some("canvas"));
            self.set("map", "tiles", None::<Value>);
            self.set("map", "tile_address", None::<Value>);
        }
        self.given = given.clone();
        Profile::parse(&self.to_toml(""), given.file()).map_err(|error| given.in_words(&error))?;
        Ok(self)
    }

    /// What the user has stated.
    pub(super) fn given(&self) -> &PartialProfile {
        &self.given
    }

    /// The locators of a partial profile for this element, if it states them.
    pub(super) fn given_locators(&self, section: &str, key: &str) -> Option<Vec<Locator>> {
        self.given.has(section, key).then(|| self.locators(section, key))
    }

    /// Adds texts of buttons, which are preferred to all words.
    pub(super) fn with_hints(self, hints: &[Hint]) -> Self {
        Self { hints: hints.to_vec(), ..self }
    }

    /// Whether the user has named a button of this kind by this text.
    pub(super) fn is_hinted(&self, key: &str, text: &str) -> bool {
        let same = |hint: &Hint| hint.key == key && hint.text.trim().to_lowercase() == text.trim().to_lowercase();
        self.hints.iter().any(same)
    }

    /// Sets or removes a value, unless the user has stated it.
    pub(super) fn set(&mut self, section: &str, key: &str, value: Option<impl Into<Value>>) {
        let is_given = self.given.has(section, key);
        let section = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let Some(table) = section.as_table_mut() else { return };
        if is_given && table.contains_key(key) {
            return;
        }
        match value {
            Some(value) => _ = table.insert(key.into(), value.into()),
            None => _ = table.remove(key),
        }
    }

    /// Sets locators.
    pub(super) fn set_locators(&mut self, section: &str, key: &str, locators: &[Locator]) {
        self.set(section, key, Some(locators.iter().map(locator_value).collect::<Vec<Value>>()));
    }

    /// The current locators.
    pub(super) fn locators(&self, section: &str, key: &str) -> Vec<Locator> {
        parse_locators(&self.table, section, key)
    }

    /// Locators of the generic profile, in this frame.
    pub(super) fn generic_locators(&self, section: &str, key: &str, frame: &[String]) -> Vec<Locator> {
        parse_locators(&self.generic, section, key)
            .into_iter()
            .map(|locator| Locator { frame: frame.to_vec(), ..locator })
            .collect()
    }

    /// Text patterns of the generic profile, as regular expressions.
    pub(super) fn generic_texts(&self, section: &str, key: &str) -> Vec<String> {
        let hinted = self.hints.iter().filter(|hint| hint.key == key).map(|hint| regex::escape(hint.text.trim()));
        hinted.chain(self.generic_locators(section, key, &[]).into_iter().filter_map(|locator| locator.text)).collect()
    }

    /// Patterns of tile URLs: those that the user has stated, else those of the generic profile.
    pub(super) fn tile_addresses(&self) -> Vec<String> {
        let table = if self.given.has("map", "tile_address") { &self.table } else { &self.generic };
        let listed = table.get("map").and_then(|map| map.get("tile_address")).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// Parses the current draft.
    pub(super) fn profile(&self) -> Result<Profile> {
        Profile::parse(&self.to_toml(""), "the profile that was found")
    }

    /// The draft as TOML after a comment.
    pub(super) fn to_toml(&self, comment: &str) -> String {
        let mut text = String::from(
            "#:schema https://raw.githubusercontent.com/landfall-geo/landfall/main/agent/profiles/profile.schema.json\n",
        );
        comment.lines().for_each(|line| _ = writeln!(text, "# {line}"));
        for (section, keys) in SECTIONS {
            let table =
                if section.is_empty() { Some(&self.table) } else { self.table.get(section).and_then(Value::as_table) };
            let Some(table) = table else { continue };
            if !section.is_empty() {
                _ = write!(text, "\n[{section}]\n");
            }
            let listed = keys.iter().filter_map(|key| Some(((*key).to_owned(), table.get(*key)?)));
            let any = table.iter().filter(|_| section == "maps").map(|(key, value)| (quoted(key), value));
            for (key, value) in listed.chain(any) {
                let line = format!("{key} = {value}");
                match value.as_array().filter(|_| line.chars().count() > MAX_LINE_CHARS) {
                    Some(list) => {
                        _ = writeln!(text, "{key} = [");
                        list.iter().for_each(|value| _ = writeln!(text, "  {value},"));
                        text.push_str("]\n");
                    }
                    None => _ = writeln!(text, "{line}"),
                }
            }
        }
        text
    }
}

/// A key in quotes, as names of maps need them.
fn quoted(key: &str) -> String {
    Value::from(key).to_string()
}

fn parse_locators(table: &Table, section: &str, key: &str) -> Vec<Locator> {
    let listed = table.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
    let locator = |value: &Value| match value {
        Value::String(text) => Some(Locator::of(text)),
        value => value.clone().try_into().ok(),
    };
    listed.into_iter().flatten().filter_map(locator).collect()
}

/// A locator in its shortest TOML form.
fn locator_value(locator: &Locator) -> Value {
    if let Locator { css: Some(css), text: None, role: None, attribute: None, frame } = locator
        && frame.is_empty()
    {
        return css.as_str().into();
    }
    Value::try_from(locator).unwrap_or_else(|_| Value::Table(Table::new()))
}

/// The profile name for a host: `example` for `www.example.org`.
pub(super) fn profile_name(host: &str) -> String {
    let is_number = host.chars().all(|c| c.is_ascii_digit() || ".:[]".contains(c));
    let parts: Vec<&str> = host.split('.').filter(|part| !part.is_empty() && *part != "www").collect();
    let name = match parts.as_slice() {
        _ if is_number => host.to_owned(),
        [.., name, _] => (*name).to_owned(),
        _ => host.to_owned(),
    };
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Patterns for the URL paths of a game. Path segments with digits are treated as game ids.
pub(super) fn path_patterns<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for path in paths {
        let part = |part: &str| {
            let is_number = part.contains(|c: char| c.is_ascii_digit()) && !part.contains('.');
            if is_number { "[^/]+".to_owned() } else { regex::escape(part) }
        };
        let pattern = format!("^{}$", path.split('/').map(part).collect::<Vec<_>>().join("/"));
        if !found.contains(&pattern) {
            found.push(pattern);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_profile_reads_back_the_same() {
        let mut draft = ProfileDraft::new("www.example.org").unwrap();
        let frame = vec!["#game".to_owned()];
        let locators = [Locator { frame, ..Locator::of("#a \"b\"") }, Locator::of("#b @title"), Locator::of(".c")];
        draft.set_locators("map", "marker", &locators);
        draft.set("score", "max_points", Some(1000.0));
        let profile = draft.profile().unwrap();
        assert_eq!((profile.name.as_str(), profile.score.max_points), ("example", Some(1000.0)));
        assert_eq!(profile.map.marker.iter().cloned().collect::<Vec<_>>(), locators);
        assert_eq!(draft.locators("map", "marker"), locators);
        let generic = Profile::find("generic").unwrap();
        let texts = |profile: &Profile| profile.map.guess.iter().cloned().collect::<Vec<_>>();
        assert_eq!(texts(&profile), texts(&generic));
    }

    #[test]
    fn profile_names_and_path_patterns() {
        for (host, name) in [("www.example.org", "example"), ("127.0.0.1", "127-0-0-1"), ("localhost", "localhost")] {
            assert_eq!(profile_name(host), name);
        }
        let paths = path_patterns(["/spiel/", "/game/a8Bc1", "/game/x7", "/index.html"]);
        assert_eq!(paths, ["^/spiel/$", "^/game/[^/]+$", r"^/index\.html$"]);
        assert!(regex::Regex::new(&paths[1]).unwrap().is_match("/game/zzz"));
    }
}
