//! Replay: saved rounds answered again, without a browser, and held against what they must score.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use landfall_common::exit::{check_failed, usage_error};
use landfall_common::fs::{f32_to_le_bytes, write_atomic, write_json};
use landfall_model::{Bundle, Classifier, LatLng, preprocess};
use serde::{Deserialize, Serialize};

use crate::analysis::compare;
use crate::analysis::compare::{PairedComparison, RoundPair, SharedRound};
use crate::inference::{Objective, predict};
use crate::record::{Round, RoundDir, View, find_rounds, recorded_file};

/// What the answer is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayInput {
    /// The pictures: the whole path. Repeats to the last bit on one kind of processor, to a few points on any.
    Pictures,
    /// The recorded logits: fusing and deciding alone. Repeats to the last bit anywhere.
    Logits,
}

/// The contents of `expected.json`: for each bundle what the rounds must score.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Expected {
    /// Tolerance in points per round, since processors add floats in another order; the sum may differ by as much
    /// for each round.
    pub tolerance_points: u32,
    /// By bundle, `name@version`, then by the round's folder.
    pub bundles: BTreeMap<String, BTreeMap<String, Guess>>,
}

/// An answer and its points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// The answer.
    pub guess: LatLng,
    /// Its points.
    pub score: u32,
}

/// A replay's result.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// Bundle that answered, `name@version`.
    pub bundle: String,
    /// The rounds with their new answers.
    pub rounds: Vec<ReplayedRound>,
    /// Points of all rounds whose truth is known.
    pub score: u32,
    /// Points they must have, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// What does not agree, a sentence each.
    pub outside: Vec<String>,
    /// Another bundle on the same rounds, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PairedComparison>,
}

/// One round answered again.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayedRound {
    /// The round's folder, relative to the folder that was replayed.
    pub dir: String,
    /// The round, with the new answer.
    #[serde(flatten)]
    pub round: Round,
    /// Whether answer and logits are the recorded ones to the last bit, if the same bundle recorded the round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<bool>,
    /// One row a view.
    #[serde(skip)]
    pub(crate) logits: Vec<Vec<f32>>,
}

/// Answers every round under `dir` again.
///
/// # Errors
/// When there is no round, or one is broken.
pub fn replay(dir: &Path, bundle: Bundle, from: ReplayInput) -> Result<Replay> {
    let found = find_rounds(&[dir])?;
    let id = bundle.manifest.id();
    let classifier = match from {
        ReplayInput::Pictures => Some(Classifier::load(bundle.clone())?),
        ReplayInput::Logits => None,
    };
    let progress = ProgressBar::new(found.len() as u64);
    let mut rounds = Vec::new();
    for found in &found {
        let answered = replay_round(found, &bundle, classifier.as_ref());
        rounds.push(answered.with_context(|| format!("{}", found.file().display()))?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let score = rounds.iter().filter_map(|replayed| replayed.round.score).sum();
    Ok(Replay { bundle: id, rounds, score, expected: None, outside: Vec::new(), against: None })
}

fn replay_round(found: &RoundDir, bundle: &Bundle, classifier: Option<&Classifier>) -> Result<ReplayedRound> {
    let mut round = Round::read(&found.file())?;
    if round.views.is_empty() {
        return Err(usage_error("the round has no views; play it first to record what is to be seen"));
    }
    let same_bundle = round.bundle.as_deref() == Some(bundle.manifest.id().as_str());
    let recorded = if same_bundle { round.logits(&found.folder)? } else { None };
    let logits = match classifier {
        Some(classifier) => {
            let open = |view: &View| Ok(preprocess::open(&recorded_file(&found.folder, &view.file)?)?);
            classifier.logits(&round.views.iter().map(open).collect::<Result<Vec<_>>>()?)?
        }
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
    // What the page said, and where its pin was, belongs to another answer.
    (round.page_score, round.pin, round.seconds) = (None, None, None);
    round.measure(prediction.point, None);
    Ok(ReplayedRound { dir: found.name(), round, repeats, logits })
}

impl Replay {
    /// Holds this replay against another bundle's of the same rounds.
    ///
    /// # Errors
    /// When no round's points are known.
    pub fn compare_with(&self, second: &Self) -> Result<PairedComparison> {
        let of_second: HashMap<&str, &Round> =
            second.rounds.iter().map(|replayed| (replayed.dir.as_str(), &replayed.round)).collect();
        let common = |replayed: &ReplayedRound| {
            let other = of_second.get(replayed.dir.as_str())?;
            let (score, against, truth) = (replayed.round.score?, other.score?, replayed.round.truth?);
            let gain = replayed.round.map.usual(f64::from(score) - f64::from(against));
            Some(SharedRound { pair: RoundPair { dir: replayed.dir.clone(), score, against }, truth, gain })
        };
        let common = self.rounds.iter().filter_map(common).collect();
        compare::compare(second.bundle.clone(), second.score, common)
            .ok_or_else(|| usage_error("no round's truth is known, so the bundles cannot be compared"))
    }

    /// Holds the replay against what is expected: guesses to the last bit from logits, points within the tolerance
    /// from pictures.
    ///
    /// # Errors
    /// When nothing is expected of this bundle.
    pub fn compare_with_expected(&mut self, expected: &Expected, from: ReplayInput) -> Result<()> {
        let rounds = expected.bundles.get(&self.bundle).ok_or_else(|| {
            let known: Vec<_> = expected.bundles.keys().cloned().collect();
            usage_error(format!("nothing is expected of bundle {}; there is: {}", self.bundle, known.join(", ")))
        })?;
        self.expected = Some(rounds.values().map(|guess| guess.score).sum());
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
            self.outside.push(format!("{}: replayed, but nothing is expected of it", replayed.dir));
        }
        Ok(())
    }

    /// Whether everything agreed.
    ///
    /// # Errors
    /// When something did not; the message lists it.
    pub fn check(&self, from: ReplayInput) -> Result<()> {
        let mut outside = self.outside.clone();
        if from == ReplayInput::Logits {
            let changed = self.rounds.iter().filter(|replayed| replayed.repeats == Some(false));
            outside.extend(changed.map(|replayed| format!("{}: another answer than the recorded one", replayed.dir)));
        }
        if outside.is_empty() { Ok(()) } else { Err(check_failed(outside.join("\n"))) }
    }

    /// Writes the answers and logits into the rounds' folders under `dir`, as if they had been recorded so.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn record(&self, dir: &Path) -> Result<()> {
        for replayed in &self.rounds {
            let folder = dir.join(&replayed.dir);
            if Round::read(&folder.join("round.json"))?.pin.is_some() {
                let why = "is the record of a game; --record is for fixtures and would overwrite what was played";
                return Err(usage_error(format!("{} {why}", folder.display())));
            }
            let mut round = replayed.round.clone();
            for (view, row) in round.views.iter_mut().zip(&replayed.logits) {
                let name = Path::new(&view.file).with_extension("f32").to_string_lossy().into_owned();
                let file = recorded_file(&folder, &name)?;
                write_atomic(&file, &f32_to_le_bytes(row))?;
                view.logits = Some(name);
            }
            write_json(&folder.join("round.json"), &round)?;
        }
        Ok(())
    }

    /// What `expected.json` must say for this replay to pass, added to what it says of other bundles.
    pub fn add_to(&self, expected: &mut Expected) {
        let guess = |round: &Round| Some(Guess { guess: round.guess?, score: round.score? });
        let rounds = self.rounds.iter().filter_map(|replayed| Some((replayed.dir.clone(), guess(&replayed.round)?)));
        expected.bundles.insert(self.bundle.clone(), rounds.collect());
    }
}

impl Expected {
    /// Reads `expected.json`.
    ///
    /// # Errors
    /// When it cannot be read or is not of the format.
    pub fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
        serde_json::from_str(&text)
            .map_err(|error| usage_error(format!("{}: not expectations of a replay: {error}", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_beside_a_rounds_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("round_1");
        std::fs::create_dir(&folder).unwrap();
        let text = r#"{"format":1,"map":{"name":"W","scale_m":1000},"views":[{"file":"../out.jpg","heading":0}]}"#;
        std::fs::write(folder.join("round.json"), text).unwrap();
        let round = serde_json::from_str(text).unwrap();
        let replayed = ReplayedRound { dir: ".".to_owned(), round, repeats: None, logits: vec![vec![1.0]] };
        let replay = Replay {
            bundle: "pocket@1".to_owned(),
            rounds: vec![replayed],
            score: 0,
            expected: None,
            outside: Vec::new(),
            against: None,
        };
        let error = replay.record(&folder).unwrap_err().to_string();
        assert!(error.contains("`../out.f32` is not the name of a file beside the record"), "{error}");
        assert!(!dir.path().join("out.f32").exists());
    }
}
