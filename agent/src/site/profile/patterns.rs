//! Regular expressions in profiles, with limits, since a profile may come from others.

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// Maximum number of regular expressions in a list.
const MAX_PATTERNS: usize = 200;
/// Maximum size in bytes of a compiled regular expression. A short one can be compiled to a very large one.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Regular expressions over the path of a URL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Paths that may be played.
    #[serde(deserialize_with = "list")]
    #[schemars(with = "Vec<String>")]
    pub play: Vec<Regex>,
    /// Paths that must not be played, even if `play` matches. Case is ignored.
    #[serde(deserialize_with = "list_in_any_case")]
    #[schemars(with = "Vec<String>")]
    pub refuse: Vec<Regex>,
    /// Path at which a game starts if no URL is given.
    #[serde(default = "root")]
    pub start: String,
}

fn root() -> String {
    "/".into()
}

pub(super) fn list<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Vec<Regex>, D::Error> {
    compile(&Vec::<String>::deserialize(field)?, false).map_err(serde::de::Error::custom)
}

pub(super) fn one<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Option<Regex>, D::Error> {
    let text = [String::deserialize(field)?];
    Ok(compile(&text, false).map_err(serde::de::Error::custom)?.pop())
}

fn list_in_any_case<'de, D: serde::Deserializer<'de>>(field: D) -> std::result::Result<Vec<Regex>, D::Error> {
    compile(&Vec::<String>::deserialize(field)?, true).map_err(serde::de::Error::custom)
}

fn compile(texts: &[String], in_any_case: bool) -> std::result::Result<Vec<Regex>, String> {
    if texts.len() > MAX_PATTERNS {
        return Err(format!("more than {MAX_PATTERNS} patterns"));
    }
    let regex =
        |text: &String| RegexBuilder::new(text).case_insensitive(in_any_case).size_limit(MAX_PATTERN_BYTES).build();
    texts.iter().map(|text| regex(text).map_err(|error| error.to_string())).collect()
}
