//! Games without a browser: a program asks for views, places a pin and guesses. It gets the truth of a round, and the credits
//! of its image, only after the guess.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use image::RgbImage;
use landfall_common::picture::to_jpeg;
use landfall_common::text::eprint_sanitized;
use landfall_model::{LatLng, images, place};
use lru::LruCache;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::OnceCell;

use crate::error::describe;
use crate::server::arena::api::MAX_TIME_LIMIT_S;
use crate::server::arena::game::{
    ARENA, ArenaGame, GameRules, GuessRejection, GuessRequest, known_map, validated_point,
};
use crate::server::arena::options::RoundSource;
use crate::server::arena::played::{self, PlayedGame, PlayedRound};
use crate::server::arena::round::{ArenaRound, Picture, PictureKind};
use crate::server::arena::view::Gaze;
use crate::server::arena::{picture, rounds, view};
use crate::server::json_error::lock;

/// Maximum number of games that are kept: the least recently used one is dropped for a new one.
const MAX_GAMES: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// After this time without a call a game is dropped.
const MAX_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Maximum number of rounds per game.
const MAX_ROUNDS: usize = 100;
/// Number of decoded images that are kept, of up to 25 MB each.
const IMAGE_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// Maximum width and height of a view in pixels.
const VIEW_SIZE_PX: (u32, u32) = (1024, 768);
const JPEG_QUALITY: u8 = 88;
/// Maximum number of views of a round that are recorded.
const MAX_RECORDED: usize = 8;

/// Why something cannot be done, and what to do instead.
#[derive(Debug)]
pub(in crate::server) struct Refusal(pub String);

/// What a game shall be like.
#[derive(Debug, Default)]
pub(in crate::server) struct GameWishes {
    pub rounds: Option<usize>,
    /// Seed of the choice of rounds.
    pub seed: Option<u64>,
    /// Time limit per round in seconds.
    pub time_limit_s: Option<u32>,
    /// Who plays, for the record.
    pub player: String,
}

/// Where a game stands.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Standing {
    /// Number of the current round, from 1.
    pub round: usize,
    pub rounds: usize,
    /// Whether the current round can be turned around in: a panorama.
    pub is_panorama: bool,
    /// Points of the rounds so far.
    pub points: u32,
    pub is_over: bool,
}

/// A view.
pub(in crate::server) struct Seen {
    pub jpeg: Vec<u8>,
    pub gaze: Gaze,
    pub standing: Standing,
}

/// A round after its guess.
pub(in crate::server) struct Revealed {
    pub truth: LatLng,
    /// The truth in words.
    pub place: String,
    /// Author and licence of the image.
    pub credits: Option<String>,
    pub guess: Option<LatLng>,
    pub timed_out: bool,
    pub distance_m: Option<f64>,
    pub points: u32,
    pub seconds: u64,
    pub standing: Standing,
    /// The directory of the record, if the game is over and recorded.
    pub record: Option<PathBuf>,
}

/// All games, and the rounds that they choose from.
pub(in crate::server) struct HeadlessGames {
    source: Option<RoundSource>,
    /// Directory for records; `None` to write none.
    runs: Option<PathBuf>,
    rounds: OnceCell<Vec<ArenaRound>>,
    games: Mutex<LruCache<String, HeadlessGame>>,
    images: Arc<Mutex<LruCache<Picture, Arc<RgbImage>>>>,
}

/// A game.
struct HeadlessGame {
    game: ArenaGame,
    player: String,
    pin: Option<LatLng>,
    /// The first views of each round.
    looks: Vec<Vec<Gaze>>,
    used: Instant,
}

impl HeadlessGames {
    /// Rounds are loaded for the first game.
    pub(in crate::server) fn new(source: Option<RoundSource>, runs: Option<PathBuf>) -> Self {
        Self {
            source,
            runs,
            rounds: OnceCell::new(),
            games: Mutex::new(LruCache::new(MAX_GAMES)),
            images: Arc::new(Mutex::new(LruCache::new(IMAGE_CACHE_SIZE))),
        }
    }

    /// Starts a game. The time of its first round begins.
    ///
    /// # Errors
    /// When there are no rounds, or the wishes cannot be fulfilled.
    pub(in crate::server) async fn start(&self, wishes: GameWishes) -> Result<(String, Standing), Refusal> {
        let all = self.rounds().await?;
        let most = all.len().min(MAX_ROUNDS);
        let count = wishes.rounds.unwrap_or(5.min(most));
        if !(1..=most).contains(&count) {
            return Err(Refusal(format!("`rounds` must be from 1 to {most}, not {count}.")));
        }
        let time_limit = wishes.time_limit_s.unwrap_or_default();
        if time_limit > MAX_TIME_LIMIT_S {
            return Err(Refusal(format!("`time_limit_s` must be at most {MAX_TIME_LIMIT_S}.")));
        }
        let mut choice = StdRng::seed_from_u64(wishes.seed.unwrap_or_else(|| rand::rng().random()));
        let rounds = all.sample(&mut choice, count).map(|round| (round.clone(), String::new())).collect();
        // Not derived from the seed, so that nobody can guess it.
        let id = Alphanumeric.sample_string(&mut rand::rng(), 16);
        let rules = GameRules { time_limit, ..GameRules::default() };
        let game = HeadlessGame {
            game: ArenaGame::new(id.clone(), ARENA, rules, rounds),
            player: wishes.player,
            pin: None,
            looks: vec![Vec::new(); count],
            used: Instant::now(),
        };
        let standing = game.standing();
        let mut games = lock(&self.games);
        drop_idle(&mut games);
        games.put(id.clone(), game);
        Ok((id, standing))
    }

    async fn rounds(&self) -> Result<&[ArenaRound], Refusal> {
        let Some(source) = self.source.clone() else {
            let why = "This server has no rounds: start `landfall mcp` with --fixtures DIR or --photos DIR.";
            return Err(Refusal(why.to_owned()));
        };
        let load = async || tokio::task::spawn_blocking(move || rounds::load(&source)).await?;
        let loaded = self.rounds.get_or_try_init(async || load().await.map(|pool| pool.rounds)).await;
        // The message may name files and with them places.
        loaded.map(Vec::as_slice).map_err(|error| hidden("the rounds cannot be loaded", &error))
    }

    /// What is seen in a direction; by default as the round begins. After a guess, this begins the next round.
    ///
    /// # Errors
    /// When there is no such game, it is over, or the direction is none.
    pub(in crate::server) async fn look(
        &self,
        id: &str,
        heading: Option<f64>,
        pitch: Option<f64>,
        zoom: Option<f64>,
    ) -> Result<Seen, Refusal> {
        let (round, gaze, standing) = self.with_game(id, |game| {
            game.enter_round()?;
            let turn = &game.game.turns[game.game.current];
            let initial = if turn.round.kind == PictureKind::Panorama { turn.round.heading } else { 0.0 };
            let gaze = Gaze::new(heading.unwrap_or(initial), pitch.unwrap_or(0.0), zoom.unwrap_or(1.0));
            let gaze = gaze.map_err(|why| Refusal(format!("{why}.")))?;
            let looks = &mut game.looks[game.game.current];
            if looks.len() < MAX_RECORDED && !looks.contains(&gaze) {
                looks.push(gaze);
            }
            Ok((turn.round.clone(), gaze, game.standing()))
        })?;
        let images = Arc::clone(&self.images);
        let drawn = tokio::task::spawn_blocking(move || draw(&images, &round, gaze)).await;
        let drawn = drawn.map_err(anyhow::Error::from).flatten();
        // The path may reveal the location.
        let jpeg = drawn.map_err(|error| hidden("the image of this round cannot be shown", &error))?;
        Ok(Seen { jpeg, gaze, standing })
    }

    /// Places the pin of the current round, or moves it.
    ///
    /// # Errors
    /// When there is no such game, it is over, or the coordinates are not on earth.
    pub(in crate::server) fn pin(&self, id: &str, lat: f64, lng: f64) -> Result<(LatLng, Standing), Refusal> {
        self.with_game(id, |game| {
            let at = validated_point(lat, lng).map_err(refused)?;
            game.enter_round()?;
            game.pin = Some(at);
            Ok((at, game.standing()))
        })
    }

    /// Guesses with the pin. The last guess writes the record of the game.
    ///
    /// # Errors
    /// When there is no such game, it is over, the round has been guessed, or there is no pin and time left.
    pub(in crate::server) async fn guess(&self, id: &str) -> Result<Revealed, Refusal> {
        let arrived = Instant::now();
        let (mut revealed, finished) = self.with_game(id, |game| {
            let revealed = game.guess(arrived)?;
            Ok((revealed, game.game.finished().then(|| game.played())))
        })?;
        if let Some((game, runs)) = finished.zip(self.runs.clone()) {
            let images = Arc::clone(&self.images);
            let draw = move |round: &ArenaRound, gaze| draw(&images, round, gaze);
            let written = tokio::task::spawn_blocking(move || played::write(&runs, &game, draw)).await;
            let written = written.map_err(anyhow::Error::from).flatten();
            // The game is over even if it cannot be recorded.
            let written = written
                .inspect_err(|error| eprint_sanitized(format!("the game was not recorded: {}", describe(error))));
            revealed.record = written.ok();
        }
        Ok(revealed)
    }

    fn with_game<T>(&self, id: &str, act: impl FnOnce(&mut HeadlessGame) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut games = lock(&self.games);
        drop_idle(&mut games);
        let game = games.get_mut(id).ok_or_else(|| {
            let hours = MAX_IDLE.as_secs() / 3600;
            Refusal(format!(
                "There is no such game. A game ends after {hours} hours without a call; arena_new_game starts one."
            ))
        })?;
        game.used = Instant::now();
        act(game)
    }
}

fn drop_idle(games: &mut LruCache<String, HeadlessGame>) {
    while games.peek_lru().is_some_and(|(_, game)| game.used.elapsed() > MAX_IDLE) {
        games.pop_lru();
    }
}

impl HeadlessGame {
    fn standing(&self) -> Standing {
        let game = &self.game;
        Standing {
            round: game.current + 1,
            rounds: game.turns.len(),
            is_panorama: game.turns[game.current].round.kind == PictureKind::Panorama,
            points: game.turns.iter().filter_map(|turn| turn.guess.as_ref()).map(|guess| guess.points).sum(),
            is_over: game.finished(),
        }
    }

    fn played(&self) -> PlayedGame {
        let rounds = self.game.turns.iter().zip(&self.looks).filter_map(|(turn, looks)| {
            let guess = turn.guess.as_ref()?;
            let (round, looks) = (turn.round.clone(), looks.clone());
            Some(PlayedRound { round, looks, guess: guess.pin, seconds: guess.seconds })
        });
        PlayedGame { map: known_map(self.game.map), player: self.player.clone(), rounds: rounds.collect() }
    }

    /// Begins the next round if the current one has been guessed.
    fn enter_round(&mut self) -> Result<(), Refusal> {
        if self.game.finished() {
            return Err(Refusal("This game is over: arena_new_game starts another one.".to_owned()));
        }
        if self.game.turns[self.game.current].guess.is_some() {
            self.game.advance();
            self.pin = None;
        }
        Ok(())
    }

    fn guess(&mut self, arrived: Instant) -> Result<Revealed, Refusal> {
        let is_open = self.game.turns[self.game.current].guess.is_none();
        let is_late = self.game.current_round().deadline.is_some_and(|deadline| arrived > deadline);
        if is_open && self.pin.is_none() && !is_late {
            return Err(Refusal("This round has no pin: place one with arena_pin, then guess.".to_owned()));
        }
        let (lat, lng) = self.pin.map(|pin| (pin.lat, pin.lng)).unzip();
        let request = GuessRequest { lat, lng, timed_out: self.pin.is_none(), steps_count: 0 };
        self.game.guess(request, arrived).map_err(refused)?;
        let turn = &self.game.turns[self.game.current];
        let guess = turn.guess.as_ref().ok_or_else(|| Refusal("This round has no guess.".to_owned()))?;
        Ok(Revealed {
            truth: turn.round.truth,
            place: place::describe(turn.round.truth).description,
            credits: turn.round.credits.clone(),
            guess: guess.pin,
            timed_out: guess.timed_out,
            distance_m: guess.pin.map(|_| guess.distance_m),
            points: guess.points,
            seconds: guess.seconds,
            standing: self.standing(),
            record: None,
        })
    }
}

fn refused(rejection: GuessRejection) -> Refusal {
    Refusal(match rejection {
        GuessRejection::BadPin(why) => format!("{why}."),
        GuessRejection::TooLate("this game is finished") => {
            "This game is over: arena_new_game starts another one.".into()
        }
        GuessRejection::TooLate(_) => "This round has been guessed: arena_look begins the next one.".into(),
    })
}

/// Tells the user of the server about an error, and the player only that there is one.
fn hidden(what: &str, error: &anyhow::Error) -> Refusal {
    eprint_sanitized(format!("mcp: {what}: {}", describe(error)));
    Refusal(format!("{what}; the server's standard error says why."))
}

fn draw(images: &Mutex<LruCache<Picture, Arc<RgbImage>>>, round: &ArenaRound, gaze: Gaze) -> Result<Vec<u8>> {
    let kept = lock(images).get(&round.picture).cloned();
    let image = match kept {
        Some(image) => image,
        None => {
            let image = Arc::new(images::from_bytes(&picture::to_served_jpeg(round)?)?);
            lock(images).put(round.picture.clone(), Arc::clone(&image));
            image
        }
    };
    let seen = match round.kind {
        PictureKind::Panorama => view::of_panorama(&image, gaze, VIEW_SIZE_PX),
        PictureKind::Photo => view::of_photo(&image, gaze, VIEW_SIZE_PX),
    };
    Ok(to_jpeg(&seen, JPEG_QUALITY)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{GameRecord, Round};

    /// Games of one photo, which is at 10 degrees north and 20 degrees east.
    fn games(dir: &std::path::Path) -> HeadlessGames {
        let round = dir.join("rounds/secret-place");
        std::fs::create_dir_all(&round).unwrap();
        RgbImage::new(64, 48).save(round.join("secret-file.jpg")).unwrap();
        let json = r#"{"name":"Secret","truth":{"lat":10,"lng":20},"views":[{"file":"secret-file.jpg","heading":30}]}"#;
        std::fs::write(round.join("round.json"), json).unwrap();
        std::fs::write(round.join("CREDITS"), "Author: A. Uthor\nLicence: CC0\nSource: secret").unwrap();
        HeadlessGames::new(Some(RoundSource::Fixtures(dir.to_owned())), Some(dir.join("runs")))
    }

    fn why<T>(result: Result<T, Refusal>) -> String {
        result.err().map(|Refusal(why)| why).unwrap()
    }

    #[tokio::test]
    async fn a_game_is_recorded_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let games = games(dir.path());
        let (id, standing) =
            games.start(GameWishes { player: "mcp:me".into(), ..GameWishes::default() }).await.unwrap();
        assert_eq!((standing.round, standing.rounds, standing.is_panorama), (1, 1, false));
        let seen = games.look(&id, Some(10.0), Some(-3.0), Some(2.0)).await.unwrap();
        let size = image::load_from_memory(&seen.jpeg).unwrap();
        assert_eq!((size.width(), size.height()), (32, 24));
        games.pin(&id, 10.0, 21.0).unwrap();
        assert!(!dir.path().join("runs").exists());
        let revealed = games.guess(&id).await.unwrap();
        assert_eq!(revealed.credits.as_deref(), Some("Author: A. Uthor · Licence: CC0"));
        assert!(
            revealed.distance_m.is_some_and(|metres| (100e3..120e3).contains(&metres)) && revealed.standing.is_over
        );

        let record = revealed.record.unwrap();
        let game = GameRecord::read(&record).unwrap();
        assert_eq!((game.score, game.bundle.as_str()), (Some(revealed.points), "mcp:me"));
        let round = Round::read(&record.join("round_1/round.json")).unwrap();
        assert_eq!((round.truth.unwrap().lat, round.placed().unwrap().lng, round.views.len()), (10.0, 21.0, 1));
        let credits = std::fs::read_to_string(record.join("round_1/CREDITS")).unwrap();
        assert_eq!(credits, "Author: A. Uthor\nLicence: CC0");
        assert!(record.join("round_1/view_000.jpg").is_file());
        assert!(why(games.guess(&id).await).contains("over"));
    }

    #[tokio::test]
    async fn after_the_time_limit_a_guess_needs_no_pin_and_has_no_points() {
        let dir = tempfile::tempdir().unwrap();
        let games = games(dir.path());
        let wishes = GameWishes { time_limit_s: Some(60), ..GameWishes::default() };
        let (id, _) = games.start(wishes).await.unwrap();
        assert!(why(games.guess(&id).await).contains("arena_pin"));
        let later = Instant::now() + Duration::from_secs(61);
        let revealed = games.with_game(&id, |game| game.guess(later)).unwrap();
        assert!(revealed.timed_out && revealed.guess.is_none() && revealed.distance_m.is_none());
        assert_eq!((revealed.points, revealed.seconds), (0, 60));
    }

    #[tokio::test]
    async fn idle_games_are_dropped_and_errors_do_not_name_rounds() {
        let dir = tempfile::tempdir().unwrap();
        let games = games(dir.path());
        let (id, _) = games.start(GameWishes::default()).await.unwrap();
        std::fs::write(dir.path().join("rounds/secret-place/secret-file.jpg"), "damaged").unwrap();
        let message = why(games.look(&id, None, None, None).await);
        assert!(message.contains("cannot be shown") && !message.contains("secret"), "{message}");
        if let Some(long_ago) = Instant::now().checked_sub(MAX_IDLE + Duration::from_secs(1)) {
            lock(&games.games).get_mut(&id).unwrap().used = long_ago;
            assert!(why(games.pin(&id, 0.0, 0.0)).contains("no such game"));
        }
        let wishes = GameWishes { rounds: Some(2), ..GameWishes::default() };
        assert!(why(games.start(wishes).await).contains("from 1 to 1"));
        let missing = HeadlessGames::new(Some(RoundSource::Fixtures(dir.path().join("secret"))), None);
        assert!(!why(missing.start(GameWishes::default()).await).contains("secret"));
    }
}
