//! A person plays against Landfall, which sees the same image and computes its guess while the person is looking. The
//! results of all games are stored as a series.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::fs::open_append;
use landfall_common::text::eprint_sanitized;
use landfall_model::{Classifier, LatLng, preprocess};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::error::describe;
use crate::inference::{Objective, predict};
use crate::record::Map;
use crate::server::arena::round::{ArenaRound, PictureKind};
use crate::server::arena::view::Gaze;
use crate::server::arena::{picture, view};

/// The opponent of the person, and the file of the series.
#[derive(Clone)]
pub struct Versus {
    /// The classifier that plays.
    pub classifier: Arc<Classifier>,
    /// File of the series, with one JSON line per game.
    pub series: PathBuf,
}

impl std::fmt::Debug for Versus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Versus({}, {})", self.name(), self.series.display())
    }
}

/// The predicted location and its description; `None` if the image could not be classified.
pub(super) type RivalGuess = Option<(LatLng, String)>;
/// The guess for a round, once it has been computed.
pub(super) type PendingRival = Arc<OnceCell<RivalGuess>>;

/// What the opponent gets of a round.
pub(super) struct RivalRound {
    pub(super) round: ArenaRound,
    pub(super) map: Map,
    /// The cell for its guess.
    pub(super) pending: PendingRival,
    /// When its time ends, if the game has a time limit.
    pub(super) deadline: Option<Instant>,
}

/// Number of views of a panorama, evenly spaced from the initial heading.
const PANORAMA_VIEWS: u32 = 4;
/// Width and height of a view in pixels.
const VIEW_SIZE_PX: (u32, u32) = (768, 576);

/// A finished game with the points of both players.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SeriesGame {
    time: String,
    bundle: String,
    rounds: usize,
    person: u32,
    machine: u32,
}

/// Number of games won in a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct SeriesScore {
    person: usize,
    machine: usize,
    draws: usize,
}

impl Versus {
    /// The bundle's `name@version`.
    pub(super) fn name(&self) -> String {
        self.classifier.bundle.manifest.id()
    }

    /// Waits for the guess of a round, starting its computation if necessary. It has none if it takes longer than the time limit.
    pub(super) async fn guess(self, rival: RivalRound) {
        let RivalRound { round, map, pending, deadline } = rival;
        let shown = round.picture.clone();
        let compute = async move || {
            let prediction = tokio::task::spawn_blocking(move || self.locate(&round, &map)).await;
            // The path may reveal the location, so it is printed but not sent to the page.
            let prediction = prediction.map_err(anyhow::Error::from).flatten();
            let prediction = prediction
                .inspect_err(|error| eprint_sanitized(format!("Landfall cannot locate {shown}: {}", describe(error))));
            prediction.ok().filter(|_| {
                let in_time = deadline.is_none_or(|deadline| Instant::now() <= deadline);
                if !in_time {
                    eprint_sanitized("Landfall has not guessed: the time limit of the round was over");
                }
                in_time
            })
        };
        pending.get_or_init(compute).await;
    }

    fn locate(&self, round: &ArenaRound, map: &Map) -> Result<(LatLng, String)> {
        let shown = preprocess::from_bytes(&picture::to_served_jpeg(round)?)?;
        let views = match round.kind {
            PictureKind::Photo => vec![shown],
            PictureKind::Panorama => panorama_views(&shown, round.heading).map(|(_, view)| view).collect(),
        };
        let logits = self.classifier.logits(&views)?;
        let prediction = predict(&self.classifier.bundle, &logits, Objective::Round(map))?;
        Ok((prediction.point, prediction.place))
    }

    /// Reads the games won so far from the file of the series.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid.
    pub(super) fn read_score(&self) -> Result<SeriesScore> {
        let shown = self.series.display();
        let text = match std::fs::read_to_string(&self.series) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| usage_error(format!("cannot read {shown}")))?,
        };
        let mut standing = SeriesScore::default();
        for (n, line) in text.lines().enumerate() {
            let game: SeriesGame = serde_json::from_str(line).map_err(|error| {
                usage_error(format!("{shown}, line {}: not a game of a series ({error}); move the file away", n + 1))
            })?;
            *match game.person.cmp(&game.machine) {
                std::cmp::Ordering::Greater => &mut standing.person,
                std::cmp::Ordering::Less => &mut standing.machine,
                std::cmp::Ordering::Equal => &mut standing.draws,
            } += 1;
        }
        Ok(standing)
    }

    /// Adds a game to the series.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn append_game(&self, rounds: usize, person: u32, machine: u32) -> Result<()> {
        let time = chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false);
        let line = serde_json::to_string(&SeriesGame { time, bundle: self.name(), rounds, person, machine })? + "\n";
        let folder = self.series.parent().map_or(Ok(()), std::fs::create_dir_all);
        // A single write, so that lines are never partial.
        let opened = folder.and_then(|()| open_append(&self.series));
        let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
        written.with_context(|| environment_error(format!("cannot write {}", self.series.display())))
    }
}

/// Views of a panorama all around, each with its heading in degrees clockwise from the first.
pub(crate) fn panorama_views(panorama: &RgbImage, first: f64) -> impl Iterator<Item = (f64, RgbImage)> {
    let turned = (0..PANORAMA_VIEWS).map(|n| 360.0 / f64::from(PANORAMA_VIEWS) * f64::from(n));
    turned.map(move |heading| {
        let gaze = Gaze { heading: first + heading, pitch: 0.0, zoom: 1.0 };
        (heading, view::of_panorama(panorama, gaze, VIEW_SIZE_PX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = landfall_model::Bundle::find("pocket").unwrap();
        let classifier = Arc::new(Classifier::load(bundle).unwrap());
        let versus = Versus { classifier, series: dir.path().join("runs/versus.jsonl") };
        assert_eq!(versus.read_score().unwrap(), SeriesScore::default());
        for (person, machine) in [(5, 4), (3, 9), (7, 7), (6, 2)] {
            versus.append_game(5, person, machine).unwrap();
        }
        assert_eq!(versus.read_score().unwrap(), SeriesScore { person: 2, machine: 1, draws: 1 });
        std::fs::write(&versus.series, "{}\n").unwrap();
        let error = format!("{:#}", versus.read_score().unwrap_err());
        assert!(error.contains("versus.jsonl, line 1: not a game of a series"), "{error}");
    }
}
