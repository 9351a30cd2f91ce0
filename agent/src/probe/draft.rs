//! The profile as it is found: the generic one at first, role by role replaced, and written as TOML in the end.

use std::fmt::Write;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use toml::{Table, Value};

use crate::site::profile::locator::Locator;
use crate::site::{GENERIC, Profile};

/// What of a profile is written, in this order.
const PARTS: [(&str, &[&str]); 7] = [
    ("", &["name", "version", "hosts", "needs_consent"]),
    ("paths", &["start", "play", "refuse"]),
    ("score", &["max_points", "falloff_km"]),
    ("page", &["dismiss", "start", "loading", "map_name", "problem"]),
    ("look", &["view", "photo", "hide", "heading", "clock", "still_ms", "hfov", "key"]),
    ("map", &["kind", "canvas", "tiles", "tile_address", "view", "marker", "marker_anchor", "guess"]),
    ("result", &["shown", "points", "distance", "truth", "guess", "next", "total"]),
];
/// Lines are broken where they would be longer.
const WIDTH: usize = 118;

pub(super) struct ProfileDraft {
    table: Table,
    generic: Table,
}

impl ProfileDraft {
    /// The generic profile for this host.
    pub(super) fn new(host: &str) -> Result<Self> {
        let generic: Table = toml::from_str(GENERIC).context(usage_error("the generic profile is damaged"))?;
        let mut table = generic.clone();
        table.insert("name".into(), slug(host).into());
        table.insert("hosts".into(), Value::Array(vec![host.into()]));
        Ok(Self { table, generic })
    }

    /// Puts a value in place of what is there, or takes it away.
    pub(super) fn set(&mut self, part: &str, key: &str, value: Option<impl Into<Value>>) {
        let part = self.table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        let Some(part) = part.as_table_mut() else { return };
        match value {
            Some(value) => _ = part.insert(key.into(), value.into()),
            None => _ = part.remove(key),
        }
    }

    /// Puts ways in place of what is there.
    pub(super) fn ways(&mut self, part: &str, key: &str, ways: &[Locator]) {
        self.set(part, key, Some(ways.iter().map(written).collect::<Vec<Value>>()));
    }

    /// The ways there are now.
    pub(super) fn of(&self, part: &str, key: &str) -> Vec<Locator> {
        ways_of(&self.table, part, key)
    }

    /// The generic profile's ways, in this frame.
    pub(super) fn generic(&self, part: &str, key: &str, frame: &[String]) -> Vec<Locator> {
        ways_of(&self.generic, part, key).into_iter().map(|way| Locator { frame: frame.to_vec(), ..way }).collect()
    }

    /// The generic profile's texts of a key: regular expressions.
    pub(super) fn words(&self, part: &str, key: &str) -> Vec<String> {
        self.generic(part, key, &[]).into_iter().filter_map(|way| way.text).collect()
    }

    /// The generic profile's tile addresses.
    pub(super) fn tile_addresses(&self) -> Vec<String> {
        let listed = self.generic["map"].get("tile_address").and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// The profile that this is now.
    pub(super) fn profile(&self) -> Result<Profile> {
        Profile::parse(&self.text(""), "the profile that was found")
    }

    /// As TOML, behind some lines of comment.
    pub(super) fn text(&self, comment: &str) -> String {
        let mut text = String::from(
            "#:schema https://raw.githubusercontent.com/landfall-geo/landfall/main/agent/profiles/profile.schema.json\n",
        );
        comment.lines().for_each(|line| _ = writeln!(text, "# {line}"));
        for (part, keys) in PARTS {
            let table =
                if part.is_empty() { Some(&self.table) } else { self.table.get(part).and_then(Value::as_table) };
            let Some(table) = table else { continue };
            if !part.is_empty() {
                _ = write!(text, "\n[{part}]\n");
            }
            for (key, value) in keys.iter().filter_map(|key| Some((key, table.get(*key)?))) {
                let line = format!("{key} = {value}");
                match value.as_array().filter(|_| line.chars().count() > WIDTH) {
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

fn ways_of(table: &Table, part: &str, key: &str) -> Vec<Locator> {
    let listed = table.get(part).and_then(|part| part.get(key)).and_then(Value::as_array);
    let way = |value: &Value| match value {
        Value::String(text) => Some(Locator::of(text)),
        value => value.clone().try_into().ok(),
    };
    listed.into_iter().flatten().filter_map(way).collect()
}

/// A way as a person would write it.
fn written(way: &Locator) -> Value {
    if let Locator { css: Some(css), text: None, role: None, attribute: None, frame } = way
        && frame.is_empty()
    {
        return css.as_str().into();
    }
    Value::try_from(way).unwrap_or_else(|_| Value::Table(Table::new()))
}

/// A name for files and records: of `www.example.org` it is `example`.
pub(super) fn slug(host: &str) -> String {
    let is_number = host.chars().all(|c| c.is_ascii_digit() || ".:[]".contains(c));
    let parts: Vec<&str> = host.split('.').filter(|part| !part.is_empty() && *part != "www").collect();
    let name = match parts.as_slice() {
        _ if is_number => host.to_owned(),
        [.., name, _] => (*name).to_owned(),
        _ => host.to_owned(),
    };
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Patterns for the paths that a game was seen at: parts with digits in them are taken for numbers of games.
pub(super) fn patterns<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
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
    fn the_generic_profile_is_written_as_it_is_read() {
        let mut draft = ProfileDraft::new("www.example.org").unwrap();
        let frame = vec!["#game".to_owned()];
        let ways = [Locator { frame, ..Locator::of("#a \"b\"") }, Locator::of("#b @title"), Locator::of(".c")];
        draft.ways("map", "marker", &ways);
        draft.set("score", "max_points", Some(1000.0));
        let profile = draft.profile().unwrap();
        assert_eq!((profile.name.as_str(), profile.max_points()), ("example", 1000.0));
        assert_eq!(profile.map.marker.iter().cloned().collect::<Vec<_>>(), ways);
        assert_eq!(draft.of("map", "marker"), ways);
        let generic = Profile::find("generic").unwrap();
        let texts = |profile: &Profile| profile.map.guess.iter().cloned().collect::<Vec<_>>();
        assert_eq!(texts(&profile), texts(&generic));
    }

    #[test]
    fn names_and_patterns() {
        for (host, name) in [("www.example.org", "example"), ("127.0.0.1", "127-0-0-1"), ("localhost", "localhost")] {
            assert_eq!(slug(host), name);
        }
        let paths = patterns(["/spiel/", "/game/a8Bc1", "/game/x7", "/index.html"]);
        assert_eq!(paths, ["^/spiel/$", "^/game/[^/]+$", r"^/index\.html$"]);
        assert!(regex::Regex::new(&paths[1]).unwrap().is_match("/game/zzz"));
    }
}
