//! Manifests of rounds: one JSON object per line, with the places and the URLs and hashes of the pictures.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_model::{LatLng, countries};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

/// Maximum size of a manifest in bytes. A round has less than a kilobyte.
const MAX_BYTES: u64 = 64 << 20;
const MAX_ROUNDS: usize = 10_000;
const MAX_VIEWS: usize = 8;
/// Maximum size of a picture in bytes.
const MAX_PICTURE_BYTES: u64 = 64 << 20;
const MAX_TEXT_CHARS: usize = 500;

/// A picture to fetch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct ManifestView {
    #[serde(deserialize_with = "url")]
    pub url: Url,
    pub sha256: String,
    pub bytes: u64,
    /// Degrees clockwise from north.
    #[serde(default)]
    pub heading: Option<f64>,
}

fn url<'de, D: Deserializer<'de>>(text: D) -> Result<Url, D::Error> {
    let text = String::deserialize(text)?;
    Url::parse(&text).map_err(|why| D::Error::custom(format!("`{text}` is not a URL: {why}")))
}

/// Who made the pictures, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Source {
    pub author: String,
    /// SPDX identifier.
    pub licence: String,
    /// Page that states both.
    pub source: String,
}

/// A line of a manifest. Fields that are not needed here, such as `accuracy_m`, are ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct ManifestRound {
    pub id: String,
    #[serde(flatten)]
    pub at: LatLng,
    #[serde(default)]
    pub country: Option<String>,
    #[serde(flatten)]
    pub credits: Source,
    pub views: Vec<ManifestView>,
}

/// The frozen set: openly licensed photographs that were in no training set.
const FROZEN: &str = include_str!("../../../fixtures/bench/frozen.jsonl");
/// Its name.
pub(crate) const FROZEN_NAME: &str = "frozen";

/// # Errors
/// As [`parse`].
pub(crate) fn frozen() -> Result<Vec<ManifestRound>> {
    parse("fixtures/bench/frozen.jsonl", FROZEN)
}

/// # Errors
/// When the file cannot be read, or as [`parse`].
pub(crate) fn read(file: &Path) -> Result<Vec<ManifestRound>> {
    let bytes = read_limited(file, MAX_BYTES).with_context(|| usage_error("the set of rounds cannot be used"))?;
    let shown = file.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| usage_error(format!("{shown}: not a text in UTF-8")))?;
    parse(&shown, &text)
}

/// Parses a manifest. `shown`: its name for messages.
///
/// # Errors
/// A usage error that names the line and what is wrong with it.
pub(crate) fn parse(shown: &str, text: &str) -> Result<Vec<ManifestRound>> {
    let (mut rounds, mut ids) = (Vec::new(), HashSet::new());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: String| usage_error(format!("{shown}, line {}: {why}", n + 1));
        let round: ManifestRound =
            serde_json::from_str(line).map_err(|why| wrong(format!("not a round of a manifest: {why}")))?;
        check(&round).map_err(wrong)?;
        if !ids.insert(round.id.clone()) {
            return Err(wrong(format!("`{}` is the identifier of two rounds", round.id)));
        }
        rounds.push(round);
        if rounds.len() > MAX_ROUNDS {
            return Err(wrong(format!("more than {MAX_ROUNDS} rounds")));
        }
    }
    if rounds.is_empty() {
        return Err(usage_error(format!("{shown}: no rounds; a manifest has one JSON object per line")));
    }
    Ok(rounds)
}

fn check(round: &ManifestRound) -> Result<(), String> {
    let Source { author, licence, source } = &round.credits;
    for (name, text) in [("id", &round.id), ("author", author), ("licence", licence), ("source", source)] {
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARS {
            return Err(format!("`{name}` must have 1 to {MAX_TEXT_CHARS} characters"));
        }
    }
    LatLng::new(round.at.lat, round.at.lng).map_err(|why| why.to_string())?;
    if !(-180.0..=180.0).contains(&round.at.lng) {
        return Err(format!("the longitude {} is not within ±180", round.at.lng));
    }
    if let Some(code) = round.country.as_ref().filter(|code| countries::by_code(code).is_none()) {
        return Err(format!("`{code}` is not an ISO country code of two capital letters"));
    }
    if round.views.is_empty() || round.views.len() > MAX_VIEWS {
        return Err(format!("a round has 1 to {MAX_VIEWS} views, not {}", round.views.len()));
    }
    round.views.iter().try_for_each(check_view)
}

fn check_view(view: &ManifestView) -> Result<(), String> {
    let is_digest = view.sha256.len() == 64 && view.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        return Err(format!("`{}` is not a sha256 in 64 hexadecimal digits", view.sha256));
    }
    if !(1..=MAX_PICTURE_BYTES).contains(&view.bytes) {
        return Err(format!("a picture has 1 to {MAX_PICTURE_BYTES} bytes, not {}", view.bytes));
    }
    if view.heading.is_some_and(|heading| !(0.0..=360.0).contains(&heading)) {
        return Err("a heading is 0 to 360 degrees".to_owned());
    }
    let is_loopback = match view.url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_safe = view.url.scheme() == "https" || (view.url.scheme() == "http" && is_loopback);
    is_safe.then_some(()).ok_or_else(|| format!("{}: pictures are fetched over https only", view.url))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn line(id: &str, changed: &[(&str, serde_json::Value)]) -> String {
        let mut round = serde_json::json!({
            "id": id, "lat": 48.2, "lng": 16.4, "accuracy_m": 50, "country": "AT", "licence": "CC-BY-4.0",
            "author": "A. Photographer", "source": "https://example.org/page",
            "views": [{ "url": "https://example.org/a.jpg", "sha256": "0".repeat(64), "bytes": 10 }],
        });
        for (key, value) in changed {
            round[*key] = value.clone();
        }
        round.to_string()
    }

    #[test]
    fn the_frozen_set_is_valid() {
        let rounds = frozen().unwrap();
        assert!(rounds.len() >= 100, "{}", rounds.len());
        for round in &rounds {
            let country = round.country.as_deref().unwrap();
            let found = crate::benchmark::set::country_at(round.at);
            assert!(found.is_none_or(|found| found == country) || is_at_border(round), "{}: {country}", round.id);
        }
    }

    /// Whether the country is that of a place within 10 km.
    fn is_at_border(round: &ManifestRound) -> bool {
        let around = (0..16).map(|i| round.at.destination(f64::from(i) * 22.5, 10_000.0));
        around.into_iter().any(|at| crate::benchmark::set::country_at(at) == round.country)
    }

    #[test]
    fn errors_name_the_line_and_what_is_wrong() {
        assert_eq!(parse("m", &format!("{}\n\n{}", line("a", &[]), line("b", &[]))).unwrap().len(), 2);
        let view = |key: &str, value: serde_json::Value| {
            let mut view =
                serde_json::json!({ "url": "https://example.org/a.jpg", "sha256": "0".repeat(64), "bytes": 10 });
            view[key] = value;
            ("views", serde_json::json!([view]))
        };
        for (changed, why) in [
            (("lat", 91.into()), "latitude must be within"),
            (("lng", 181.into()), "not within ±180"),
            (("country", "XQ".into()), "`XQ` is not an ISO country code"),
            (("licence", "".into()), "`licence` must have 1 to"),
            (("author", serde_json::Value::Null), "not a round of a manifest"),
            (("views", serde_json::json!([])), "1 to 8 views, not 0"),
            (("id", "a".into()), "`a` is the identifier of two rounds"),
            (view("sha256", "abc".into()), "`abc` is not a sha256"),
            (view("bytes", 0.into()), "not 0"),
            (view("url", "http://example.org/a.jpg".into()), "over https only"),
            (view("url", "file:///etc/passwd".into()), "over https only"),
            (view("url", "a.jpg".into()), "not a round of a manifest"),
            (view("heading", 400.into()), "a heading is"),
        ] {
            let error =
                parse("m.jsonl", &format!("{}\n{}", line("a", &[]), line("b", &[changed]))).unwrap_err().to_string();
            assert!(error.starts_with("m.jsonl, line 2: ") && error.contains(why), "{error}");
        }
        assert!(parse("m", "\n").unwrap_err().to_string().contains("no rounds"));
    }
}
