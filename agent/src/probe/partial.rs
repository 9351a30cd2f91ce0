//! A partial profile from the user (`probe --profile`): what it states is kept as it is, and the probe finds the rest.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use toml::{Table, Value};

use crate::probe::draft::SECTIONS;
use crate::site::profile::locator::Locator;

/// Maximum size of a partial profile in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The stated part of a profile.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartialProfile {
    /// File name, for messages.
    file: String,
    table: Table,
}

impl PartialProfile {
    /// Reads a partial profile.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or has a key that profiles do not have.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = file.display().to_string();
        let text = read_limited(file, MAX_BYTES).with_context(|| usage_error(format!("cannot read {name}")))?;
        let text = String::from_utf8(text).with_context(|| usage_error(format!("{name}: not UTF-8 text")))?;
        Self::parse(&text, &name)
    }

    /// Parses a partial profile; `file` is its name for messages.
    pub(super) fn parse(text: &str, file: &str) -> Result<Self> {
        let table: Table =
            toml::from_str(text).map_err(|error| usage_error(format!("{file}: {}", error.to_string().trim())))?;
        let unknown = |section: &str, key: &str, known: &[&str]| {
            let line = text.lines().position(|line| is_about(line, key)).map_or(1, |line| line + 1);
            let (key, of) = match section {
                "" => (key.to_owned(), "a profile".to_owned()),
                section => (format!("{section}.{key}"), format!("[{section}]")),
            };
            usage_error(format!("{file}, line {line}: unknown key `{key}`; the keys of {of} are {}", known.join(", ")))
        };
        for (name, value) in &table {
            let section = SECTIONS.iter().find(|(section, _)| section == name && !name.is_empty());
            match (section, value) {
                (Some((section, keys)), Value::Table(values)) => {
                    let is_known = |key: &String| *section == "maps" || keys.contains(&key.as_str());
                    if let Some(key) = values.keys().find(|key| !is_known(key)) {
                        return Err(unknown(section, key, keys));
                    }
                }
                (Some(_), _) => return Err(usage_error(format!("{file}: `{name}` must be a table, as in [{name}]"))),
                (None, _) if SECTIONS[0].1.contains(&name.as_str()) => {}
                (None, _) => {
                    let sections = SECTIONS.iter().map(|(section, _)| *section).filter(|section| !section.is_empty());
                    let known: Vec<&str> = SECTIONS[0].1.iter().copied().chain(sections).collect();
                    return Err(unknown("", name, &known));
                }
            }
        }
        Ok(Self { file: file.to_owned(), table })
    }

    /// Name of the file, for messages.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// All values, with their sections and keys.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.table.iter().flat_map(|(name, value)| match value {
            Value::Table(section) => {
                section.iter().map(|(key, value)| (name.as_str(), key.as_str(), value)).collect::<Vec<_>>()
            }
            value => vec![("", name.as_str(), value)],
        })
    }

    /// Whether it states this key.
    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        let table = if section.is_empty() { Some(&self.table) } else { self.section(section) };
        table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether it states a value of this section.
    pub(super) fn has_section(&self, section: &str) -> bool {
        self.section(section).is_some_and(|table| !table.is_empty())
    }

    fn section(&self, section: &str) -> Option<&Table> {
        self.table.get(section).and_then(Value::as_table)
    }

    /// Whether it states that the map is drawn on a canvas.
    pub(super) fn is_drawn(&self) -> bool {
        let map = self.section("map");
        let kind = map.and_then(|map| map.get("kind")).and_then(Value::as_str);
        kind == Some("canvas") || map.is_some_and(|map| map.contains_key("view"))
    }

    /// An error about a value. The line that it names is not one of this file, which is only a part of the profile.
    pub(super) fn in_words(&self, error: &anyhow::Error) -> anyhow::Error {
        let text = error.to_string();
        let text = text.strip_prefix(&self.file).unwrap_or(&text);
        let text = text.trim_start_matches(", line ").trim_start_matches(|c: char| c.is_ascii_digit());
        usage_error(format!("{}{text}", self.file))
    }

    /// The error for stated locators that find nothing; `when` says when they should.
    pub(super) fn dead(&self, role: &str, locators: &[Locator], when: &str) -> String {
        let listed = locators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{}: {role} finds nothing on display {when}: {listed}", self.file)
    }
}

/// Whether a line of TOML begins with this key.
fn is_about(line: &str, key: &str) -> bool {
    let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
    line.strip_prefix(key)
        .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', '.', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::draft::ProfileDraft;

    fn draft(text: &str) -> Result<ProfileDraft> {
        ProfileDraft::new("example.org")?.with_given(&PartialProfile::parse(text, "draft.toml")?)
    }

    #[test]
    fn what_is_stated_is_kept() {
        let mut draft = draft(
            "patience_s = 7.0\n[map]\nguess = ['#here']\n[maps]\n\"Old Town\" = { max_error_distance_m = 9000.0 }\n",
        )
        .unwrap();
        draft.set_locators("map", "guess", &[Locator::of("#other")]);
        draft.set_locators("map", "marker", &[Locator::of("#pin")]);
        let profile = draft.profile().unwrap();
        assert_eq!(profile.map.guess.iter().cloned().collect::<Vec<_>>(), [Locator::of("#here")]);
        assert_eq!(profile.map.marker.iter().cloned().collect::<Vec<_>>(), [Locator::of("#pin")]);
        assert_eq!((profile.patience_s, profile.scale("Old Town", "/").unwrap().metres()), (7.0, 9000.0));
        assert_eq!(draft.given_locators("map", "guess").unwrap(), [Locator::of("#here")]);
        assert_eq!(draft.given_locators("map", "marker"), None);
    }

    #[test]
    fn a_stated_view_is_one_of_a_drawn_map() {
        let draft = draft("[map]\nview = { lat = 20, lng = 0, zoom = 0.3 }").unwrap();
        assert!(draft.to_toml("").contains("kind = \"canvas\"") && !draft.to_toml("").contains("tile_address"));
        // The view is still to be found.
        let draft = super::tests::draft("[map]\nkind = 'canvas'").unwrap();
        assert!(draft.given().is_drawn() && draft.profile().is_ok());
    }

    #[test]
    fn errors_name_the_key_and_what_is_known() {
        for (text, message) in [
            (
                "[map]\n\ncanvass = ['#m']",
                "draft.toml, line 3: unknown key `map.canvass`; the keys of [map] are kind, open,",
            ),
            ("[mapp]\nguess = []", "draft.toml, line 1: unknown key `mapp`; the keys of a profile are name, version,"),
            ("guess = ['#g']", "draft.toml, line 1: unknown key `guess`"),
            ("map = 3", "draft.toml: `map` must be a table"),
            ("[map]\nguess = [{ text = '(' }]", "draft.toml: map.guess: "),
            ("[look]\nhfov = 500.0", "draft.toml: look.hfov must be 1 to 179 degrees"),
            ("[look]\nhfov = 'wide'", "draft.toml: not a site profile"),
            ("[map", "draft.toml: TOML parse error"),
        ] {
            let error = draft(text).map(drop).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn all_keys_of_the_schema_can_be_stated() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../profiles/profile.schema.json")).unwrap();
        let keys =
            |kind: &str| schema["$defs"][kind]["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for (section, kind) in [
            ("paths", "Paths"),
            ("score", "ScoreFormula"),
            ("page", "PageLocators"),
            ("look", "LookLocators"),
            ("map", "MapLocators"),
            ("result", "ResultLocators"),
        ] {
            let known = SECTIONS.iter().find(|(name, _)| *name == section).unwrap().1;
            for key in keys(kind) {
                // A script needs a permission that `probe` does not ask for.
                assert!(known.contains(&key.as_str()) || key == "call", "{section}.{key}");
            }
        }
    }
}
