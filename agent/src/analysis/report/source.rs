//! Loads the content of a report: rounds under directories, grouped by game.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::NaiveDateTime;
use landfall_common::text::eprint_sanitized;
use landfall_model::Bundle;

use crate::analysis::replay::Replay;
use crate::analysis::report::format;
use crate::error::describe;
use crate::record::{FailedRound, GameRecord, Map, Round, find_rounds, read_rounds};

/// Maximum number of rounds on a page. Each takes about a hundred kilobytes.
const MAX_ROUNDS: usize = 2_000;
/// Maximum number of earlier games for comparison.
const MAX_PAST_GAMES: usize = 60;

/// A game, or rounds without a game.
#[derive(Default)]
pub(super) struct GameSection {
    /// Name of the directory.
    pub(super) folder: String,
    /// Name of the site profile, for games.
    pub(super) site: Option<String>,
    /// Start time.
    pub(super) when: Option<NaiveDateTime>,
    /// Rounds in order.
    pub(super) rounds: Vec<LoadedRound>,
    /// Failures, one sentence each.
    pub(super) failed: Vec<String>,
    /// Total score shown by the page.
    pub(super) page_score: Option<u32>,
    /// Earlier games on the same map in the same directory of runs, oldest first.
    pub(super) earlier: Vec<PastGame>,
}

/// An earlier game.
pub(super) struct PastGame {
    pub(super) when: NaiveDateTime,
    pub(super) bundle: String,
    pub(super) rounds: usize,
    pub(super) points_per_round: f64,
}

/// A recorded round.
pub(super) struct LoadedRound {
    /// Directory of its images.
    pub(super) dir: PathBuf,
    /// The record.
    pub(super) round: Round,
    /// Logits of a replay, one row per view. Recorded ones are read when they are needed, by [`LoadedRound::logits`].
    pub(super) replayed: Option<Vec<Vec<f32>>>,
}

impl LoadedRound {
    /// The logits of this bundle, one row per view, if known.
    ///
    /// # Errors
    /// When a file cannot be read or has another size.
    pub(super) fn logits(&self, bundle: &Bundle) -> Result<Option<Cow<'_, [Vec<f32>]>>> {
        match &self.replayed {
            Some(replayed) => Ok(Some(Cow::Borrowed(replayed))),
            None => Ok(self.round.logits(&self.dir, bundle.cells.cells.len())?.map(Cow::Owned)),
        }
    }
}

/// The rounds under directories, grouped by game; and, one sentence each, what cannot be read and was left out.
///
/// # Errors
/// When a directory has no rounds, or none can be read.
pub(super) fn read(dirs: &[PathBuf]) -> Result<(Vec<GameSection>, Vec<String>)> {
    let mut sections: Vec<(PathBuf, GameSection)> = Vec::new();
    let (found, left_out) = find_rounds(dirs)?;
    let (mut rounds, mut left_out) = read_rounds(found, left_out)?;
    left_out.extend(limit(&mut rounds, MAX_ROUNDS));
    for (found, round) in rounds {
        let of = found.game().unwrap_or(&found.asked).to_owned();
        let loaded = LoadedRound { dir: found.folder, round, replayed: None };
        match sections.iter_mut().find(|(known, _)| *known == of) {
            Some((_, section)) => section.rounds.push(loaded),
            None => sections.push((of.clone(), GameSection { rounds: vec![loaded], ..section(&of) })),
        }
    }
    let mut sections: Vec<GameSection> = sections.into_iter().map(|(_, section)| section).collect();
    for section in &mut sections {
        section.rounds.sort_by_key(|loaded| loaded.round.n); // round_10 comes after round_2; the sort is stable
    }
    Ok((sections, left_out))
}

/// Leaves out what exceeds a number of rounds, and says so.
fn limit<T>(rounds: &mut Vec<T>, max: usize) -> Option<String> {
    let further = rounds.len().saturating_sub(max);
    rounds.truncate(max);
    (further > 0).then(|| format!("{further} further rounds: a page has at most {max}; give fewer directories"))
}

/// The rounds of a replay of `dir`, with the new predictions.
pub(super) fn of_replay(dir: &Path, replay: &Replay) -> GameSection {
    let loaded = |again: &crate::analysis::replay::ReplayedRound| LoadedRound {
        dir: again.folder.clone(),
        round: again.round.clone(),
        replayed: Some(again.logits.clone()),
    };
    let mut rounds: Vec<LoadedRound> = replay.rounds.iter().map(loaded).collect();
    rounds.sort_by_key(|loaded| loaded.round.n);
    GameSection { rounds, folder: folder_name(dir), ..GameSection::default() }
}

/// A section without rounds.
fn section(dir: &Path) -> GameSection {
    let folder = folder_name(dir);
    let game_record = match GameRecord::read(dir) {
        Ok(game_record) => game_record,
        Err(error) => {
            // The rounds are shown without what only the game knows. Fixtures have no game.
            if dir.join("game.json").exists() {
                eprint_sanitized(format!("landfall: {}", describe(&error)));
            }
            return GameSection { folder, ..GameSection::default() };
        }
    };
    let failed =
        |failure: &FailedRound| format!("Round {}: {}", failure.n, format::redact_paths_and_urls(&failure.why));
    GameSection {
        when: format::start_time(&folder),
        failed: game_record.failed.iter().map(failed).collect(),
        earlier: past_games(dir, &game_record.map),
        site: Some(game_record.site),
        page_score: game_record.page_score,
        rounds: Vec::new(),
        folder,
    }
}

/// The last component of a path, after resolving paths such as `.`.
fn folder_name(dir: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    name(dir).or_else(|| name(&fs::canonicalize(dir).ok()?)).unwrap_or_else(|| "rounds".to_owned())
}

/// Games in the same directory on maps of the same size that started earlier.
fn past_games(dir: &Path, map: &Map) -> Vec<PastGame> {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let (Some(runs), Some(own)) = (dir.parent(), dir.file_name()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()); // not a link to one
    let names = entries.flatten().filter(is_dir).map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter(|name| &**name < own).collect();
    names.sort();
    let game = |name: &std::ffi::OsString| {
        let when = format::start_time(&name.to_string_lossy())?;
        let game_record = GameRecord::read(&runs.join(name)).ok().filter(|game_record| {
            let of = |map: &Map| (map.scale_m, map.name.clone(), map.max_points, map.score_law.clone());
            of(&game_record.map) == of(map)
        })?;
        let scores: Vec<u32> = game_record.rounds.iter().filter_map(|round| round.score).collect();
        let points_per_round = scores.iter().copied().map(f64::from).sum::<f64>() / scores.len() as f64;
        (!scores.is_empty()).then_some(PastGame {
            when,
            bundle: game_record.bundle,
            rounds: scores.len(),
            points_per_round,
        })
    };
    let mut games: Vec<PastGame> = names.iter().rev().filter_map(game).take(MAX_PAST_GAMES).collect();
    games.reverse();
    games
}

/// Bundles by `name@version`; each is searched only once.
#[derive(Default)]
pub(super) struct BundleCache(HashMap<String, Option<Bundle>>);

impl BundleCache {
    /// A cache that contains this bundle.
    pub(super) fn containing(bundle: Bundle) -> Self {
        Self(HashMap::from([(bundle.manifest.id(), Some(bundle))]))
    }

    /// Loads the bundles of these rounds.
    pub(super) fn load_for<'a>(&mut self, rounds: impl Iterator<Item = &'a Round>) {
        for id in rounds.filter_map(|round| round.bundle.as_deref()) {
            if !self.0.contains_key(id) {
                let name = id.split('@').next().unwrap_or_default();
                // Search by name only: an untrusted record must not refer to a directory.
                let is_name = landfall_model::bundle::names().iter().any(|known| known == name);
                let found = is_name.then(|| Bundle::find(name).ok()).flatten();
                self.0.insert(id.to_owned(), found.filter(|bundle| bundle.manifest.id() == id));
            }
        }
    }

    /// The bundle of a round, if it is installed in that version.
    pub(super) fn of_round(&self, round: &Round) -> Option<&Bundle> {
        self.0.get(round.bundle.as_deref()?)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_a_joint_number_of_rounds() {
        let mut rounds = vec![1, 2, 3];
        assert_eq!((limit(&mut rounds, 3), rounds.len()), (None, 3));
        let left_out = limit(&mut rounds, 2).unwrap();
        assert_eq!(
            (left_out.as_str(), rounds),
            ("1 further rounds: a page has at most 2; give fewer directories", vec![1, 2])
        );
    }

    /// A recorded game of `rounds` rounds with the same score.
    fn game(dir: &Path, scale_m: f64, scores: &[u32]) {
        fs::create_dir_all(dir).unwrap();
        let map = serde_json::json!({"name": "World", "scale_m": scale_m});
        let round =
            |n: usize, score: u32| serde_json::json!({"format": 1, "n": n, "map": map, "views": [], "score": score});
        let rounds: Vec<_> = scores.iter().enumerate().map(|(i, score)| round(i + 1, *score)).collect();
        for (i, round) in rounds.iter().enumerate() {
            let folder = dir.join(format!("round_{}", i + 1));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("round.json"), round.to_string()).unwrap();
        }
        let why = "cannot write /home/ada/x: full";
        let game = serde_json::json!({"site": "arena", "map": map, "bundle": "pocket@1", "rounds": rounds, "score": 1,
            "page_score": 7, "failed": [{"n": 2, "why": why, "sent": false}], "record": "/home/ada"});
        fs::write(dir.join("game.json"), game.to_string()).unwrap();
    }

    #[test]
    fn rounds_are_grouped_by_game_and_sorted() {
        let runs = tempfile::tempdir().unwrap();
        let named = |name: &str| runs.path().join(name);
        game(&named("2026-11-20T10-00-00_arena_world"), 14_916_862.0, &[1000, 3000]);
        game(&named("2026-11-21T10-00-00_arena_france"), 800_000.0, &[5000]);
        game(&named("2026-11-22T10-00-00_arena_world"), 14_916_862.0, &[10; 11]);
        game(&named("2026-11-23T10-00-00_arena_world"), 14_916_862.0, &[4000]);
        let (sections, left_out) = read(&[named("2026-11-22T10-00-00_arena_world")]).unwrap();
        assert!(left_out.is_empty(), "{left_out:?}");
        assert_eq!(sections.len(), 1);
        let section = &sections[0];
        assert_eq!(
            section.rounds.iter().filter_map(|loaded| loaded.round.n).collect::<Vec<_>>(),
            (1..=11).collect::<Vec<_>>()
        );
        assert_eq!((section.site.as_deref(), section.page_score), (Some("arena"), Some(7)));
        assert_eq!(section.failed, ["Round 2: cannot write … full"]);
        // Only earlier games on the same map.
        assert_eq!(section.earlier.iter().map(|game| game.points_per_round).collect::<Vec<_>>(), [2000.0]);
        assert_eq!(read(&[runs.path().to_owned()]).unwrap().0.len(), 4);
    }

    #[test]
    fn a_damaged_round_or_game_does_not_hide_the_others() {
        let runs = tempfile::tempdir().unwrap();
        let dir = runs.path().join("2026-11-20T10-00-00_arena_world");
        game(&dir, 14_916_862.0, &[1000, 3000, 5000]);
        fs::write(dir.join("round_2/round.json"), "{\"format\":1").unwrap();
        let (sections, left_out) = read(&[runs.path().to_owned()]).unwrap();
        assert_eq!((sections[0].rounds.len(), sections[0].site.as_deref()), (2, Some("arena")));
        assert!(left_out.len() == 1 && left_out[0].contains("round_2/round.json: not the record"), "{left_out:?}");
        fs::write(dir.join("game.json"), "[".repeat(100_000)).unwrap();
        let (sections, _) = read(&[runs.path().to_owned()]).unwrap();
        assert_eq!((sections[0].rounds.len(), sections[0].site.as_deref()), (2, None));
        for round in ["round_1", "round_3"] {
            fs::write(dir.join(round).join("round.json"), "{}").unwrap();
        }
        assert!(read(&[runs.path().to_owned()]).is_err(), "no round is left");
    }

    #[cfg(unix)]
    #[test]
    fn games_are_not_read_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, outside) = (dir.path().join("runs"), dir.path().join("outside"));
        let (own, earlier) = ("2026-11-22T10-00-00_arena_world", "2026-11-20T10-00-00_arena_world");
        game(&runs.join(own), 14_916_862.0, &[1000]);
        game(&outside.join(earlier), 14_916_862.0, &[3000]);
        std::os::unix::fs::symlink(outside.join(earlier), runs.join(earlier)).unwrap();
        assert!(read(&[runs.join(own)]).unwrap().0[0].earlier.is_empty());
        fs::rename(runs.join(own).join("game.json"), outside.join("game.json")).unwrap();
        std::os::unix::fs::symlink(outside.join("game.json"), runs.join(own).join("game.json")).unwrap();
        assert_eq!(read(&[runs.join(own)]).unwrap().0[0].site, None);
    }

    #[test]
    fn records_cannot_refer_to_bundles_by_path() {
        let text = r#"{"format":1,"map":{"name":"W","scale_m":1000},"views":[],"bundle":"../../elsewhere@1"}"#;
        let round: Round = serde_json::from_str(text).unwrap();
        let mut bundles = BundleCache::default();
        bundles.load_for(std::iter::once(&round));
        assert!(bundles.of_round(&round).is_none());
    }
}
