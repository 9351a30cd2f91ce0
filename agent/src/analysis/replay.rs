//! Replay: predicts recorded rounds again without a browser, and compares the scores with expected ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use landfall_common::exit::{Exit, check_failed, usage_error};
use landfall_common::fs::{f32_to_le_bytes, read_limited, write_atomic, write_json};
use landfall_model::{Bundle, Classifier, LatLng};
use serde::{Deserialize, Serialize};

use crate::analysis::compare;
use crate::analysis::compare::{PairedComparison, RoundPair, SharedRound};
use crate::error::{describe, exit_code};
use crate::inference;
use crate::inference::{Objective, predict};
use crate::record::{Round, RoundDir, View, find_rounds, recorded_file, recorded_image};

/// Images are decoded together, so that all cores have work, until they take this many bytes.
const MAX_BATCH_BYTES: usize = 256 << 20;
/// Maximum size of a file of expected results in bytes.
const MAX_EXPECTED_BYTES: u64 = 64 << 20;

/// Input of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReplayInput {
    /// The images, with full inference. Bit-exact on the same kind of processor, within a few points on others.
    Pictures,
    /// The recorded logits, with fusion and decision only. Bit-exact on every processor.
    Logits,
}

/// The contents of `expected.json`: expected guesses and scores per bundle and round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// Tolerance in points per round, since the order of float additions differs between processors. The tolerance of
    /// the total is this times the number of rounds.
    pub tolerance_points: u32,
    /// By bundle (`name@version`), then by directory of the round.
    pub bundles: BTreeMap<String, BTreeMap<String, Guess>>,
}

/// A guess and its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guess {
    /// The guess.
    pub guess: LatLng,
    /// The score.
    pub score: u32,
}

/// Result of a replay.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Replay {
    /// The bundle, `name@version`.
    pub bundle: String,
    /// The rounds with their new predictions.
    pub rounds: Vec<ReplayedRound>,
    /// Total score of all rounds with known truth.
    pub score: u32,
    /// Expected total score, if compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Deviations from the expected results, one sentence each.
    pub outside: Vec<String>,
    /// Comparison with another bundle, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PairedComparison>,
    /// Rounds and directories that cannot be read, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// One replayed round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReplayedRound {
    /// Directory of the round, relative to the replayed directory.
    pub dir: String,
    /// The round with the new prediction.
    #[serde(flatten)]
    pub round: Round,
    /// Whether prediction and logits are bit-identical to the recorded ones; `None` if another bundle recorded the
    /// round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<bool>,
    /// Logits, one row per view.
    #[serde(skip)]
    pub(crate) logits: Vec<Vec<f32>>,
    /// Directory of the round.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// Replays all rounds under `dir`. Rounds that cannot be read are left out.
///
/// # Errors
/// When there are no rounds, none can be read, or inference fails.
pub(crate) fn replay(dir: &Path, bundle: Bundle, from: ReplayInput) -> Result<Replay> {
    let (found, mut left_out) = find_rounds(&[dir])?;
    let id = bundle.manifest.id();
    let classifier = match from {
        ReplayInput::Pictures => Some(inference::load(bundle.clone())?),
        ReplayInput::Logits => None,
    };
    let progress = ProgressBar::new(found.len() as u64);
    let mut rounds = Vec::new();
    let mut first_error = None;
    for found in &found {
        let answered = replay_round(found, &bundle, classifier.as_ref());
        match answered.with_context(|| format!("{}", found.file().display())) {
            Ok(replayed) => rounds.push(replayed),
            Err(error) if exit_code(&error) == Exit::Usage => {
                left_out.push(describe(&error));
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if let Some(error) = first_error.filter(|_| rounds.is_empty()) {
        return Err(error);
    }
    let score = rounds.iter().filter_map(|replayed| replayed.round.score).fold(0, u32::saturating_add);
    Ok(Replay { bundle: id, rounds, score, expected: None, outside: Vec::new(), against: None, left_out })
}

fn replay_round(found: &RoundDir, bundle: &Bundle, classifier: Option<&Classifier>) -> Result<ReplayedRound> {
    let mut round = Round::read(&found.file())?;
    if round.views.is_empty() {
        return Err(usage_error("the round has no recorded views; play it first"));
    }
    let same_bundle = round.bundle.as_deref() == Some(bundle.manifest.id().as_str());
    let cells = bundle.cells.cells.len();
    let recorded = if same_bundle { round.logits(&found.folder, cells)? } else { None };
    let logits = match classifier {
        Some(classifier) => classify(classifier, &found.folder, &round.views)?,
        None => recorded.clone().ok_or_else(|| {
            usage_error(format!("no logits of {} are recorded; replay --from pictures", bundle.manifest.id()))
        })?,
    };
    let prediction = predict(bundle, &logits, Objective::Round(&round.map))?;
    let repeats = recorded.map(|recorded| {
        let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
        bits(&recorded) == bits(&logits) && round.guess == Some(prediction.point)
    });
    round.guess = Some(prediction.point);
    round.place = Some(prediction.place);
    round.expected_score = Some(prediction.expected_score);
    round.top = prediction.candidates;
    round.bundle = Some(bundle.manifest.id());
    round.engine = classifier.map(|classifier| classifier.engine().to_string()).or(round.engine);
    // The score of the page and the position of its pin belong to the old guess.
    (round.page_score, round.pin, round.seconds) = (None, None, None);
    round.measure(prediction.point, None);
    Ok(ReplayedRound { dir: found.name(), round, repeats, logits, folder: found.folder.clone() })
}

/// The logits of the images of views in a directory, one row per view.
fn classify(classifier: &Classifier, folder: &Path, views: &[View]) -> Result<Vec<Vec<f32>>> {
    let (mut logits, mut pictures, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (i, view) in views.iter().enumerate() {
        let picture = recorded_image(folder, &view.file)?;
        bytes += picture.as_raw().len();
        pictures.push(picture);
        if bytes > MAX_BATCH_BYTES || i + 1 == views.len() {
            logits.extend(classifier.logits(&pictures)?);
            pictures.clear();
            bytes = 0;
        }
    }
    Ok(logits)
}

impl Replay {
    /// Compares this replay with that of another bundle on the same rounds.
    ///
    /// # Errors
    /// When no round has a known score.
    pub(crate) fn compare_with(&self, second: &Self) -> Result<PairedComparison> {
        let of_second: HashMap<&str, &Round> =
            second.rounds.iter().map(|replayed| (replayed.dir.as_str(), &replayed.round)).collect();
        let common = |replayed: &ReplayedRound| {
            let other = of_second.get(replayed.dir.as_str())?;
            let (score, against, truth) = (replayed.round.score?, other.score?, replayed.round.truth?);
            let gain = replayed.round.map.to_standard_points(f64::from(score) - f64::from(against));
            Some(SharedRound { pair: RoundPair { dir: replayed.dir.clone(), score, against }, truth, gain })
        };
        let common = self.rounds.iter().filter_map(common).collect();
        compare::compare(second.bundle.clone(), second.score, common)
            .ok_or_else(|| usage_error("no round has a known truth, so the bundles cannot be compared"))
    }

    /// Compares the replay with expected results: bit-exact guesses from logits, scores within the tolerance from
    /// images.
    ///
    /// # Errors
    /// When there are no expectations for this bundle.
    pub(crate) fn compare_with_expected(&mut self, expected: &Expected, from: ReplayInput) -> Result<()> {
        let rounds = expected.bundles.get(&self.bundle).ok_or_else(|| {
            let known: Vec<_> = expected.bundles.keys().cloned().collect();
            usage_error(format!("no expected results for bundle {}; available: {}", self.bundle, known.join(", ")))
        })?;
        self.expected = Some(rounds.values().map(|guess| guess.score).fold(0, u32::saturating_add));
        let found: BTreeMap<&str, &Round> =
            self.rounds.iter().map(|replayed| (replayed.dir.as_str(), &replayed.round)).collect();
        for (dir, expected_guess) in rounds {
            match found.get(dir.as_str()).and_then(|round| Some((round.guess?, round.score?))) {
                None => self.outside.push(format!("{dir}: expected, but not replayed")),
                Some((guess, score)) => {
                    let off = score.abs_diff(expected_guess.score);
                    if off > expected.tolerance_points || (from == ReplayInput::Logits && guess != expected_guess.guess)
                    {
                        self.outside.push(format!(
                            "{dir}: {score} points at {guess}, expected {} at {}",
                            expected_guess.score, expected_guess.guess
                        ));
                    }
                }
            }
        }
        for replayed in self.rounds.iter().filter(|replayed| !rounds.contains_key(&replayed.dir)) {
            self.outside.push(format!("{}: replayed, but not expected", replayed.dir));
        }
        Ok(())
    }

    /// Checks that everything agreed.
    ///
    /// # Errors
    /// When there are deviations; the message lists them.
    pub(crate) fn check(&self, from: ReplayInput) -> Result<()> {
        let mut outside = self.outside.clone();
        if from == ReplayInput::Logits {
            let changed = self.rounds.iter().filter(|replayed| replayed.repeats == Some(false));
            outside.extend(
                changed.map(|replayed| format!("{}: the prediction differs from the recorded one", replayed.dir)),
            );
        }
        if outside.is_empty() { Ok(()) } else { Err(check_failed(outside.join("\n"))) }
    }

    /// Writes the new predictions and logits to the records.
    ///
    /// # Errors
    /// Before anything is written, when a round is that of a game or names files that cannot be written beside it; and
    /// when a file cannot be written.
    pub(crate) fn record(&self) -> Result<()> {
        let files = self.rounds.iter().map(ReplayedRound::logits_files).collect::<Result<Vec<_>>>()?;
        for (replayed, names) in self.rounds.iter().zip(files) {
            let mut round = replayed.round.clone();
            for ((view, row), name) in round.views.iter_mut().zip(&replayed.logits).zip(names) {
                write_atomic(&recorded_file(&replayed.folder, &name)?, &f32_to_le_bytes(row))?;
                view.logits = Some(name);
            }
            write_json(&replayed.folder.join("round.json"), &round)?;
        }
        Ok(())
    }

    /// Adds the results of this replay to `expected`; entries of other bundles are kept.
    pub(crate) fn add_to(&self, expected: &mut Expected) {
        let guess = |round: &Round| Some(Guess { guess: round.guess?, score: round.score? });
        let rounds = self.rounds.iter().filter_map(|replayed| Some((replayed.dir.clone(), guess(&replayed.round)?)));
        expected.bundles.insert(self.bundle.clone(), rounds.collect());
    }
}

impl ReplayedRound {
    /// The names of the files for the logits, one per view.
    fn logits_files(&self) -> Result<Vec<String>> {
        let folder = self.folder.display();
        if Round::read(&self.folder.join("round.json"))?.pin.is_some() {
            let why = "is the record of a game; --record is for fixtures and would overwrite what was played";
            return Err(usage_error(format!("{folder} {why}")));
        }
        let mut names = HashSet::new();
        let name = |view: &View| {
            let name = Path::new(&view.file).with_extension("f32").to_string_lossy().into_owned();
            recorded_file(&self.folder, &name)?;
            if !names.insert(name.clone()) {
                return Err(usage_error(format!("{folder}: the logits of two views would both be `{name}`")));
            }
            Ok(name)
        };
        self.round.views.iter().map(name).collect()
    }
}

impl Expected {
    /// Reads `expected.json`.
    ///
    /// # Errors
    /// When it cannot be read or is invalid.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let json = read_limited(file, MAX_EXPECTED_BYTES)?;
        serde_json::from_slice(&json)
            .map_err(|error| usage_error(format!("{}: not a file of expected replay results: {error}", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replay of one round in a directory, with one row of logits per view.
    fn replay_of(folder: &Path, views: &[&str]) -> Replay {
        std::fs::create_dir_all(folder).unwrap();
        let views: Vec<_> = views.iter().map(|file| serde_json::json!({"file": file, "heading": 0})).collect();
        let text = serde_json::json!({"format": 1, "map": {"name": "W", "scale_m": 1000}, "views": views}).to_string();
        std::fs::write(folder.join("round.json"), &text).unwrap();
        let round = serde_json::from_str(&text).unwrap();
        let (dir, folder, logits) = (".".to_owned(), folder.to_owned(), vec![vec![1.0]; views.len()]);
        let rounds = vec![ReplayedRound { dir, round, repeats: None, logits, folder }];
        Replay {
            bundle: "pocket@1".to_owned(),
            rounds,
            score: 0,
            expected: None,
            outside: Vec::new(),
            against: None,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn record_writes_only_to_the_directory_of_the_round() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("round_1");
        let error = replay_of(&folder, &["view_000.jpg", "../out.jpg"]).record().unwrap_err().to_string();
        assert!(error.contains("`../out.f32` is not the name of a file beside the record"), "{error}");
        assert!(!dir.path().join("out.f32").exists() && !folder.join("view_000.f32").exists());
        // A backslash in the name of a directory is no separator where it is not one.
        #[cfg(unix)]
        {
            let folder = dir.path().join("runs").join("..\\..\\other");
            replay_of(&folder, &["a.jpg"]).record().unwrap();
            assert!(folder.join("a.f32").is_file() && !dir.path().join("other").exists());
        }
    }

    #[test]
    fn record_refuses_two_views_with_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = replay_of(dir.path(), &["a.jpg", "a.png"]).record().unwrap_err().to_string();
        assert!(error.contains("two views would both be `a.f32`"), "{error}");
        assert!(!dir.path().join("a.f32").exists());
    }

    #[cfg(unix)]
    #[test]
    fn record_does_not_write_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, outside) = (dir.path().join("round_1"), dir.path().join("outside"));
        let replay = replay_of(&folder, &["a.jpg"]);
        std::fs::write(&outside, "untouched").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("a.f32")).unwrap();
        assert!(replay.record().unwrap_err().to_string().contains("symbolic link"));
        std::fs::remove_file(folder.join("a.f32")).unwrap();
        std::fs::remove_file(folder.join("round.json")).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("round.json")).unwrap();
        assert!(replay.record().is_err());
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "untouched");
    }
}
