//! Rounds from a directory of records: fixtures or recorded games.

use std::path::Path;

use anyhow::{Context, Result, bail};
use landfall_common::fs::{read_regular, sibling_file};
use landfall_model::LatLng;
use serde::Deserialize;

use crate::server::arena::round::{ArenaRound, Picture, PictureKind, RoundPool};

/// Largest texture size that every WebGL implementation supports.
const MAX_FIXTURE_SIDE: u32 = 4096;

/// Maximum size in bytes of the texts beside an image.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// The fields of `round.json` that a game needs.
#[derive(Deserialize)]
struct RoundFile {
    name: Option<String>,
    country: Option<String>,
    truth: Option<FixtureTruth>,
    pano: Option<String>,
    #[serde(default)]
    views: Vec<FixtureView>,
}

#[derive(Deserialize)]
struct FixtureTruth {
    lat: f64,
    lng: f64,
}

#[derive(Deserialize)]
struct FixtureView {
    file: String,
    #[serde(default)]
    heading: f64,
}

/// A round, with the name of its directory.
pub(crate) struct NamedRound {
    pub id: String,
    /// ISO 3166-1 alpha-2 code, if it is recorded.
    pub country: Option<String>,
    pub round: ArenaRound,
}

/// All rounds `rounds/NAME/round.json` under `dir`, sorted by name.
///
/// # Errors
/// When a record is invalid or there are none.
pub(super) fn load(dir: &Path) -> Result<RoundPool> {
    Ok(RoundPool { rounds: load_named(dir)?.into_iter().map(|named| named.round).collect(), notes: Vec::new() })
}

/// As [`load`], with the names of the rounds.
pub(super) fn load_named(dir: &Path) -> Result<Vec<NamedRound>> {
    let rounds_dir = dir.join("rounds");
    let entries = std::fs::read_dir(&rounds_dir).with_context(|| {
        format!("cannot read {}: give a directory that contains rounds/NAME/round.json", rounds_dir.display())
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path().join("round.json");
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{} contains no NAME/round.json: there is nothing to play", rounds_dir.display());
    }
    files.iter().map(|file| load_fixture(file)).collect()
}

fn load_fixture(file: &Path) -> Result<NamedRound> {
    let json = read_regular(file, MAX_TEXT_BYTES).with_context(|| format!("cannot read {}", file.display()))?;
    let dir = file.parent().unwrap_or(Path::new("."));
    let credits = read_regular(&dir.join("CREDITS"), MAX_TEXT_BYTES).ok();
    let picture = |name: &str| sibling_file(dir, name).filter(|picture| picture.is_file()).map(Picture::File);
    let id = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    parse(id, &file.display().to_string(), &json, credits.as_deref(), picture)
}

/// The rounds in the program.
#[cfg(feature = "embed")]
pub(super) fn embedded() -> Result<RoundPool> {
    Ok(RoundPool { rounds: embedded_named()?.into_iter().map(|named| named.round).collect(), notes: Vec::new() })
}

/// As [`embedded`], with the names of the rounds.
#[cfg(feature = "embed")]
pub(super) fn embedded_named() -> Result<Vec<NamedRound>> {
    use crate::server::embedded::{ROUNDS, find};

    let rounds = ROUNDS.iter().filter_map(|file| Some((file, file.name.strip_suffix("/round.json")?)));
    let rounds = rounds.map(|(file, dir)| {
        let sibling = |name: &str| find(ROUNDS, &format!("{dir}/{name}"));
        let credits = sibling("CREDITS").map(|credits| credits.read());
        parse(dir.to_owned(), file.name, &file.read(), credits.as_deref(), |name| {
            Some(Picture::Embedded(sibling(name)?.name))
        })
    });
    rounds.collect()
}

/// Parses a round's record. `shown`: its path for messages; `picture` finds an image beside it.
fn parse(
    id: String,
    shown: &str,
    json: &[u8],
    credits: Option<&[u8]>,
    picture: impl FnOnce(&str) -> Option<Picture>,
) -> Result<NamedRound> {
    let round: RoundFile = serde_json::from_slice(json).with_context(|| format!("{shown} is not a round record"))?;
    let truth = round.truth.with_context(|| format!("{shown} has no \"truth\": the arena cannot score it"))?;
    let truth = LatLng::new(truth.lat, truth.lng).with_context(|| format!("{shown} has an invalid \"truth\""))?;
    let first = round.views.first();
    let (name, kind) = match (&round.pano, first) {
        (Some(pano), _) => (pano, PictureKind::Panorama),
        (None, Some(view)) => (&view.file, PictureKind::Photo),
        (None, None) => bail!("{shown} has neither \"pano\" nor \"views\": there is no image to show"),
    };
    let picture = picture(name)
        .with_context(|| format!("{shown} refers to the image {name}, which does not exist in its directory"))?;
    let arena_round = ArenaRound {
        truth,
        picture,
        kind,
        heading: first.map_or(0.0, |view| view.heading.rem_euclid(360.0)),
        name: round.name,
        credits: credits.map(|text| author_and_licence(&String::from_utf8_lossy(text))),
        max_side: MAX_FIXTURE_SIDE,
    };
    Ok(NamedRound { id, country: round.country, round: arena_round })
}

/// Author and licence name from a CREDITS file.
fn author_and_licence(credits: &str) -> String {
    let named = credits.lines().filter(|line| line.starts_with("Author:") || line.starts_with("Licence:"));
    named.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(json: &str) -> (tempfile::TempDir, Result<RoundPool>) {
        let dir = tempfile::tempdir().unwrap();
        let round = dir.path().join("rounds/one");
        std::fs::create_dir_all(&round).unwrap();
        std::fs::write(round.join("round.json"), json).unwrap();
        std::fs::write(round.join("pano.jpg"), "").unwrap();
        std::fs::write(round.join("view_090.jpg"), "").unwrap();
        let loaded = load(dir.path());
        (dir, loaded)
    }

    #[test]
    fn panoramas_are_preferred_and_start_at_the_first_view() {
        let (_dir, loaded) = fixture(
            r#"{"name":"Lyon","truth":{"lat":45.75,"lng":4.85},"pano":"pano.jpg","scale_m":1,
                "views":[{"file":"view_090.jpg","heading":90.0,"logits":"x"}]}"#,
        );
        let round = loaded.unwrap().rounds.remove(0);
        assert_eq!((round.kind, round.heading), (PictureKind::Panorama, 90.0));
        assert!(round.picture.to_string().ends_with("one/pano.jpg"));
        assert_eq!(round.name.as_deref(), Some("Lyon"));
    }

    #[test]
    fn without_a_panorama_the_first_view_is_the_photograph() {
        let (_dir, loaded) = fixture(r#"{"truth":{"lat":1,"lng":2},"views":[{"file":"view_090.jpg"}]}"#);
        let round = loaded.unwrap().rounds.remove(0);
        assert_eq!((round.kind, round.heading), (PictureKind::Photo, 0.0));
        assert!(round.picture.to_string().ends_with("one/view_090.jpg"));
    }

    #[test]
    fn errors_name_the_invalid_round() {
        for (json, why) in [
            (r#"{"pano":"pano.jpg"}"#, "no \"truth\""),
            (r#"{"truth":{"lat":91,"lng":0},"pano":"pano.jpg"}"#, "invalid \"truth\""),
            (r#"{"truth":{"lat":1,"lng":0}}"#, "no image"),
            (r#"{"truth":{"lat":1,"lng":0},"pano":"gone.jpg"}"#, "gone.jpg"),
            ("{", "is not a round record"),
        ] {
            let (_dir, loaded) = fixture(json);
            let error = loaded.unwrap_err().to_string();
            assert!(error.contains("one/round.json") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn errors_name_the_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("rounds"));
        std::fs::create_dir(dir.path().join("rounds")).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("nothing to play"));
    }
}
