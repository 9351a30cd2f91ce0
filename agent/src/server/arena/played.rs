//! Records of games without a browser, in the format of all other games.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::LatLng;

use crate::record::{FORMAT, GameRecord, Map, Recorder, Round, RoundTimings, View};
use crate::server::arena::round::{ArenaRound, PictureKind};
use crate::server::arena::view::Gaze;

/// Name of the site in records.
const SITE: &str = "arena";

/// A game that is over.
pub(super) struct PlayedGame {
    pub map: Map,
    /// Who played.
    pub player: String,
    pub rounds: Vec<PlayedRound>,
}

/// A round that has been guessed.
pub(super) struct PlayedRound {
    pub round: ArenaRound,
    /// What the player looked at.
    pub looks: Vec<Gaze>,
    /// The pin; `None` if the time ended without one.
    pub guess: Option<LatLng>,
    pub seconds: u64,
}

/// Writes the record of a game to a new directory under `runs`, which is returned. `draw` draws the views, as JPEG.
///
/// # Errors
/// When a view cannot be drawn or a file cannot be written.
pub(super) fn write(
    runs: &Path,
    game: &PlayedGame,
    draw: impl Fn(&ArenaRound, Gaze) -> Result<Vec<u8>>,
) -> Result<PathBuf> {
    let recorder = Recorder::create(runs, SITE, &game.map.name)?;
    let written = write_to(&recorder, game, draw);
    if written.is_err() {
        _ = std::fs::remove_dir_all(&recorder.dir); // half a record is none
    }
    written.map(|()| recorder.dir)
}

fn write_to(recorder: &Recorder, game: &PlayedGame, draw: impl Fn(&ArenaRound, Gaze) -> Result<Vec<u8>>) -> Result<()> {
    let mut record = GameRecord {
        site: SITE.to_owned(),
        map: game.map.clone(),
        bundle: game.player.clone(),
        rounds: Vec::new(),
        failed: Vec::new(),
        score: None,
        page_score: None,
        record: recorder.dir.clone(),
    };
    for (n, played) in (1..).zip(&game.rounds) {
        let dir = recorder.round_dir(n)?;
        let mut round = as_record(game, n, played);
        for (view, gaze) in round.views.iter().zip(shown(played)) {
            write_atomic(&dir.join(&view.file), &draw(&played.round, gaze)?)?;
        }
        // Licences ask for the name of the author wherever the image is.
        if let Some(credits) = &played.round.credits {
            write_atomic(&dir.join("CREDITS"), credits.replace(" · ", "\n").as_bytes())?;
        }
        match played.guess {
            Some(pin) => round.measure(pin, None),
            None => round.score = Some(0),
        }
        round.page_score = round.score;
        write_json(&dir.join("round.json"), &round)?;
        record.rounds.push(round);
    }
    record.tally(None);
    let file = recorder.dir.join("game.json");
    write_json(&file, &record).with_context(|| environment_error(format!("cannot write {}", file.display())))
}

/// What the player looked at, else what the round begins with, so that no record is without an image.
fn shown(played: &PlayedRound) -> Vec<Gaze> {
    let initial = Gaze { heading: first_heading(&played.round), pitch: 0.0, zoom: 1.0 };
    if played.looks.is_empty() { vec![initial] } else { played.looks.clone() }
}

fn first_heading(round: &ArenaRound) -> f64 {
    if round.kind == PictureKind::Panorama { round.heading } else { 0.0 }
}

fn as_record(game: &PlayedGame, n: u32, played: &PlayedRound) -> Round {
    let first = first_heading(&played.round);
    let view = |(i, gaze): (usize, Gaze)| View {
        file: format!("view_{i:03}.jpg"),
        heading: (gaze.heading - first).rem_euclid(360.0),
        logits: None,
    };
    Round {
        format: FORMAT,
        name: None,
        country: None,
        n: Some(n),
        url: None,
        profile: None,
        map: game.map.clone(),
        pano: None,
        views: shown(played).into_iter().enumerate().map(view).collect(),
        bundle: Some(game.player.clone()),
        engine: None,
        top: Vec::new(),
        guess: played.guess,
        place: None,
        expected_score: None,
        pin: None,
        truth: Some(played.round.truth),
        truth_within_m: None,
        distance_m: None,
        distance_within_m: None,
        score: None,
        page_score: None,
        seconds: Some(RoundTimings { total: played.seconds as f64, ..RoundTimings::default() }),
    }
}
