//! The round loop: look, think, place, guess, compare, record, next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use landfall_model::{Classifier, MapScale, preprocess};
use serde::Serialize;
use url::Url;

use crate::decide::{Answer, Question, decide};
use crate::record::{self, FORMAT, Map, Pin, Recorder, Round, Seconds, View};
use crate::site::page::{Guessed, Page};
use crate::{look, map};

/// A game as it stands: rounds played so far.
#[derive(Clone, Debug, Serialize)]
pub struct Game {
    /// Name of the profile.
    pub site: String,
    /// The map that is played.
    pub map: Map,
    /// Bundle that plays, `name@version`.
    pub bundle: String,
    /// Rounds played.
    pub rounds: Vec<Round>,
    /// Points by our own law; `None` while a round's truth is not known.
    pub score: Option<u32>,
    /// Points as the page said, of the game where it says so, else of its rounds.
    pub page_score: Option<u32>,
    /// Folder of the record.
    pub record: PathBuf,
}

/// How to play.
pub struct PlayOptions {
    /// Folder that records go in.
    pub runs: PathBuf,
    /// Scale of the map where the user knows better than the profile.
    pub scale: Option<MapScale>,
    /// Rounds to stop after, for games without end.
    pub rounds: u32,
    /// A pin that cannot be set within so many metres of where it is wanted is not sent.
    pub max_pin_error_m: f64,
    /// Who sends the guess.
    pub sender: Sender,
}

/// Who sends the guess, once the pin is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The agent.
    Agent,
    /// A person at the browser, who may move the pin before.
    Person,
}

/// What a game tells while it is played.
#[derive(Debug)]
pub enum News<'a> {
    /// The pin is set, and a person is to send the guess.
    Set(&'a Round),
    /// A round is over.
    Over(&'a Round),
}

/// Plays the game on a page to its end. `told` hears of each round.
///
/// # Errors
/// When the page, the browser or the classifier fails; the rounds played until then stay recorded, and the message
/// says where.
pub async fn play(
    page: &Page,
    classifier: Arc<Classifier>,
    options: &PlayOptions,
    mut told: impl FnMut(News<'_>),
) -> Result<Game> {
    page.await_round().await?;
    let name = page.read(&page.profile.page.map_name).await?.unwrap_or_else(|| "unknown map".to_owned());
    let scale_m = match options.scale {
        Some(scale) => scale,
        None => page.profile.scale(&name, page.address().await?.path())?,
    };
    let recorder = Recorder::create(&options.runs, &page.profile.name, &name)?;
    let mut game = Game {
        site: page.profile.name.clone(),
        map: Map { name, scale_m },
        bundle: classifier.bundle.manifest.id(),
        rounds: Vec::new(),
        score: Some(0),
        page_score: None,
        record: recorder.dir.clone(),
    };
    record::write_json(&recorder.dir.join("game.json"), &game)?;
    let kept = || format!("the rounds played so far are in {}", recorder.dir.display());
    loop {
        let n = u32::try_from(game.rounds.len())? + 1;
        let mut player = Player { page, classifier: &classifier, recorder: &recorder, map: &game.map, options };
        let (round, guessed) = player.round(n, &mut told).await.with_context(kept)?;
        told(News::Over(&round));
        game.rounds.push(round);
        game.tally(None);
        record::write_json(&recorder.dir.join("game.json"), &game)?;
        let total = page.next(guessed).await.with_context(kept)?;
        if total.is_some() || n >= options.rounds {
            game.tally(total);
            record::write_json(&recorder.dir.join("game.json"), &game)?;
            return Ok(game);
        }
        page.await_round().await.with_context(kept)?;
    }
}

impl Game {
    fn tally(&mut self, page_total: Option<u32>) {
        self.score = self.rounds.iter().map(|round| round.score).sum();
        self.page_score = page_total.or_else(|| self.rounds.iter().map(|round| round.page_score).sum());
    }
}

struct Player<'a> {
    page: &'a Page,
    classifier: &'a Arc<Classifier>,
    recorder: &'a Recorder,
    map: &'a Map,
    options: &'a PlayOptions,
}

impl Player<'_> {
    async fn round(&mut self, n: u32, told: &mut impl FnMut(News<'_>)) -> Result<(Round, Guessed)> {
        let start = Instant::now();
        let url: Url = self.page.address().await?;
        let dir = self.recorder.round_dir(n)?;
        let views = look::around(self.page).await?;
        let looked = start.elapsed();

        let mut round = Round {
            format: FORMAT,
            name: None,
            country: None,
            n: Some(n),
            url: Some(url.into()),
            profile: Some(self.page.profile.id()),
            map: self.map.clone(),
            pano: None,
            views: Vec::new(),
            bundle: Some(self.classifier.bundle.manifest.id()),
            top: Vec::new(),
            guess: None,
            place: None,
            expected_score: None,
            pin: None,
            truth: None,
            truth_within_m: None,
            distance_m: None,
            distance_within_m: None,
            score: None,
            page_score: None,
            seconds: None,
        };
        for view in &views {
            let file = record::view_file(view.heading);
            record::write(&dir.join(&file), &view.jpeg)?;
            round.views.push(View { file, heading: view.heading, logits: None });
        }
        let (logits, answer) = self.think(views).await?;
        for (view, row) in round.views.iter_mut().zip(&logits) {
            let file = view.file.replace(".jpg", ".f32");
            record::write(&dir.join(&file), &record::logits_to_bytes(row))?;
            view.logits = Some(file);
        }
        round.top = answer.top;
        round.guess = Some(answer.pin.at);
        round.place = Some(answer.place.description);
        round.expected_score = Some(answer.pin.expected_score);
        // Before the page is touched: what was seen and thought is kept even if the rest fails.
        record::write_json(&dir.join("round.json"), &round)?;
        let thought = start.elapsed();

        let placed = map::place_pin(self.page, answer.pin.at, self.options.max_pin_error_m).await?;
        let set = start.elapsed();
        let guessed = match self.options.sender {
            Sender::Agent => self.page.guess().await?,
            Sender::Person => {
                told(News::Set(&round));
                self.page.await_guess().await?
            }
        };
        let outcome = self.page.outcome(&guessed).await?;
        let at = outcome.guess.unwrap_or(placed.at);
        round.pin = Some(Pin {
            wanted: answer.pin.at,
            placed: at,
            error_m: at.distance_m(answer.pin.at),
            click: placed.click,
            metres_per_pixel: placed.metres_per_pixel,
        });
        (round.truth, round.page_score) = (outcome.truth, outcome.points);
        round.measure(at, outcome.distance);
        round.seconds = Some(Seconds {
            look: looked.as_secs_f64(),
            think: (thought - looked).as_secs_f64(),
            place: (set - thought).as_secs_f64(),
            total: start.elapsed().as_secs_f64(),
        });
        record::write_json(&dir.join("round.json"), &round)?;
        Ok((round, guessed))
    }

    async fn think(&self, views: Vec<look::View>) -> Result<(Vec<Vec<f32>>, Answer)> {
        let (classifier, scale) = (Arc::clone(self.classifier), self.map.scale_m);
        tokio::task::spawn_blocking(move || {
            let pictures =
                views.iter().map(|view| preprocess::from_bytes(&view.jpeg)).collect::<Result<Vec<_>, _>>()?;
            let logits = classifier.logits(&pictures)?;
            let answer = decide(&classifier.bundle, &logits, Question::Round(scale))?;
            Ok((logits, answer))
        })
        .await?
    }
}
