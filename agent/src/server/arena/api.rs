//! Routes of the arena: the page, the API of the live game, images and map tiles.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use landfall_common::text::eprint_sanitized;
use lru::LruCache;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::error::describe;
use crate::server::arena::game;
use crate::server::arena::game::{ArenaGame, GameRules, GuessRejection, GuessRequest, MapId};
use crate::server::arena::options::{ArenaOptions, Dialogs, Structure};
use crate::server::arena::referee::{ArenaGuess, Referee};
use crate::server::arena::round::{ArenaRound, Picture};
use crate::server::arena::versus::Versus;
use crate::server::arena::{game_json, picture};
use crate::server::assets::Pages;
use crate::server::json_error::{ApiError, lock};
use crate::server::{spans, tiles};

/// Number of cached images, so that a reload does not encode them again.
const PICTURE_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// Maximum number of games that are kept: the least recently used one is dropped for a new one.
const MAX_GAMES: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
/// Maximum number of rounds in all games that are kept, of less than a kilobyte each.
const MAX_ROUNDS: usize = 20_000;
/// Maximum number of rounds for which the opponent guesses ahead at the same time.
const MAX_GUESSES_AHEAD: usize = 4;
/// Number of cached tiles, of a few kilobytes each.
const TILE_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
/// Maximum time limit of a round in seconds, as on the live page.
pub(super) const MAX_TIME_LIMIT_S: u32 = 600;

/// State shared by all requests.
pub(super) struct State {
    rounds: Vec<ArenaRound>,
    rounds_per_game: usize,
    pages: Pages,
    map: MapId,
    structure: Structure,
    first_shows: Dialogs,
    level_up: bool,
    slow_tiles: Option<Duration>,
    versus: Option<Versus>,
    referee: Option<Referee>,
    choice: Mutex<StdRng>,
    games: Mutex<LruCache<String, ArenaGame>>,
    guesses_ahead: Arc<Semaphore>,
    pictures: Mutex<LruCache<Picture, Bytes>>,
    tiles: Mutex<LruCache<tiles::TileId, Bytes>>,
}

impl State {
    /// `rounds` must not be empty.
    pub(super) fn new(rounds: Vec<ArenaRound>, pages: Pages, options: &ArenaOptions) -> Self {
        let rounds_per_game = options.rounds_per_game.min(rounds.len());
        let games = NonZeroUsize::new(MAX_ROUNDS / rounds_per_game.max(1)).unwrap_or(NonZeroUsize::MIN).min(MAX_GAMES);
        Self {
            rounds_per_game,
            rounds,
            pages,
            map: if options.structure == Structure::Plain { game::ARENA } else { game::WORLD },
            structure: options.structure,
            first_shows: options.first_shows,
            level_up: options.level_up,
            slow_tiles: options.slow_tiles,
            versus: options.versus.clone(),
            referee: None,
            choice: Mutex::new(StdRng::seed_from_u64(options.seed.unwrap_or_else(|| rand::rng().random()))),
            games: Mutex::new(LruCache::new(games)),
            guesses_ahead: Arc::new(Semaphore::new(MAX_GUESSES_AHEAD)),
            pictures: Mutex::new(LruCache::new(PICTURE_CACHE_SIZE)),
            tiles: Mutex::new(LruCache::new(TILE_CACHE_SIZE)),
        }
    }
}

impl State {
    /// Every game has all rounds in their order, and the referee is told the guesses.
    pub(super) fn with_referee(self, referee: Referee) -> Self {
        Self { rounds_per_game: self.rounds.len(), referee: Some(referee), ..self }
    }

    fn choose_rounds(&self) -> Vec<ArenaRound> {
        if self.referee.is_some() {
            return self.rounds.clone();
        }
        self.rounds.sample(&mut *lock(&self.choice), self.rounds_per_game).cloned().collect()
    }

    /// Checks that the slug is that of the map, or `arena`, which the page always uses.
    fn check_slug(&self, slug: &str) -> Result<(), ApiError> {
        if [self.map.slug, game::ARENA.slug].contains(&slug) {
            return Ok(());
        }
        Err(not_found(format!("there is no map {slug:?} here, only {:?}", self.map.slug)))
    }
}

type App = Shared<Arc<State>>;

/// The router of the arena.
pub(super) fn router(state: Arc<State>) -> Router {
    let pages = state.pages.clone();
    let router = Router::new()
        .route("/", get(serve_page))
        .route("/maps/{slug}", get(serve_map_page))
        .route("/maps/vt", get(read_live_tile))
        .route("/game/{token}", get(serve_page))
        .route("/results/{token}", get(serve_page))
        .route("/api/v3/games", post(create_game))
        .route("/api/v3/games/{token}", get(read_game).post(guess))
        .route("/api/maps/{slug}", get(read_map))
        .route("/api/{*rest}", any(unknown_api_path))
        .route("/pictures/{token}", get(read_picture))
        .route("/tiles/{z}/{x}/{y}", get(read_tile));
    spans::with_spans(pages.serve_on(router).with_state(state))
}

impl From<GuessRejection> for ApiError {
    fn from(refusal: GuessRejection) -> Self {
        match refusal {
            GuessRejection::BadPin(why) => Self(StatusCode::BAD_REQUEST, why),
            GuessRejection::TooLate(why) => Self(StatusCode::CONFLICT, why.into()),
        }
    }
}

fn rejected(body: JsonRejection) -> ApiError {
    let is_too_large = body.status() == StatusCode::PAYLOAD_TOO_LARGE;
    let status = if is_too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    ApiError(status, body.body_text())
}

fn not_found(message: impl Into<String>) -> ApiError {
    ApiError(StatusCode::NOT_FOUND, message.into())
}

fn internal_error(error: &dyn std::fmt::Display) -> ApiError {
    ApiError(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}

/// A JSON response that must not be cached, since the state of a game changes between requests.
fn uncached_json(json: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(json)).into_response()
}

async fn serve_page(Shared(state): App) -> Result<Response, ApiError> {
    let html = state.pages.read("arena.html").await;
    let html =
        html.map_err(|error| internal_error(&format!("the arena's page is gone from {}: {error}", state.pages)))?;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, html).into_response())
}

async fn serve_map_page(state: App, Path(slug): Path<String>) -> Result<Response, ApiError> {
    state.0.check_slug(&slug)?;
    serve_page(state).await
}

async fn unknown_api_path() -> ApiError {
    not_found("no such API call")
}

/// The map object, with the settings of this arena for the page.
async fn read_map(Shared(state): App, Path(slug): Path<String>) -> Result<Response, ApiError> {
    state.check_slug(&slug)?;
    let mut map = game_json::map_json(state.map);
    map["arena"] = json!({
        "places": state.rounds.len(),
        "roundCount": state.rounds_per_game,
        "consent": state.first_shows.consent,
        "interstitial": state.first_shows.interstitial,
        "levelUp": state.level_up,
        "structure": state.structure,
    });
    if let Some(versus) = &state.versus {
        let standing = versus.read_score().map_err(|error| internal_error(&error))?;
        map["arena"]["versus"] = json!({ "name": versus.name(), "series": standing });
    }
    Ok(uncached_json(map))
}

async fn create_game(Shared(state): App, body: Result<Json<GameRules>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(rules) = body.map_err(rejected)?;
    state.check_slug(&rules.map)?;
    if rules.kind != "standard" {
        return Err(ApiError(
            StatusCode::BAD_REQUEST,
            format!("the arena has no {:?} games, only \"standard\"", rules.kind),
        ));
    }
    if rules.time_limit > MAX_TIME_LIMIT_S {
        return Err(ApiError(StatusCode::BAD_REQUEST, format!("a round lasts at most {MAX_TIME_LIMIT_S} seconds")));
    }
    // Tokens are not derived from the seed, so that they do not reveal the round.
    let token = |length| Alphanumeric.sample_string(&mut rand::rng(), length);
    let rounds = state.choose_rounds().into_iter().map(|round| (round, token(32))).collect();
    let id = token(16);
    let mut game = ArenaGame::new(id.clone(), state.map, rules, rounds);
    if let Some(versus) = &state.versus {
        game.set_rival(versus.name());
    }
    start_rival(&state, &game);
    let json = game.json();
    lock(&state.games).put(id, game);
    Ok(uncached_json(json))
}

/// Starts the guess of the opponent while the person is looking.
fn start_rival(state: &State, game: &ArenaGame) {
    if let Some(versus) = &state.versus {
        // Without a free slot the guess is computed when the person has guessed.
        let Ok(slot) = Arc::clone(&state.guesses_ahead).try_acquire_owned() else { return };
        let guess = versus.clone().guess(game.current_round());
        tokio::spawn(async move {
            guess.await;
            drop(slot);
        });
    }
}

/// Applies a function to the game `token` and returns its new state.
fn with_game(
    state: &State,
    token: &str,
    act: impl FnOnce(&mut ArenaGame) -> Result<(), GuessRejection>,
) -> Result<Response, ApiError> {
    let mut games = lock(&state.games);
    let game = games.get_mut(token).ok_or_else(|| not_found(format!("there is no game {token:?}")))?;
    act(game)?;
    Ok(uncached_json(game.json()))
}

#[derive(Deserialize)]
struct GameQuery {
    client: Option<String>,
}

/// The state of a game. A request by the page (`?client=web`) after a guess advances to the next round.
async fn read_game(
    Shared(state): App,
    Path(token): Path<String>,
    Query(query): Query<GameQuery>,
) -> Result<Response, ApiError> {
    with_game(&state, &token, |game| {
        if query.client.as_deref() == Some("web") {
            game.advance();
            start_rival(&state, game);
        }
        Ok(())
    })
}

async fn guess(
    Shared(state): App,
    Path(token): Path<String>,
    body: Result<Json<GuessRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let arrived = Instant::now(); // the time of the person ends here
    let Json(pin) = body.map_err(rejected)?;
    if let Some(versus) = &state.versus {
        // Do not hold the lock while the opponent computes its guess.
        let round = lock(&state.games).peek(&token).map(ArenaGame::current_round);
        if let Some(round) = round {
            let deadline = round.deadline;
            let guess = versus.clone().guess(round);
            match deadline {
                Some(deadline) => _ = tokio::time::timeout_at(deadline.into(), guess).await,
                None => guess.await,
            }
        }
    }
    let (mut scores, mut guessed) = (None, None);
    let answer = with_game(&state, &token, |game| {
        game.guess(pin, arrived)?;
        scores = game.final_scores();
        let turn = &game.turns[game.current];
        guessed = turn.guess.as_ref().map(|guess| ArenaGuess {
            index: game.current,
            pin: guess.pin,
            seconds: turn.began.map_or(0.0, |(_, since)| arrived.saturating_duration_since(since).as_secs_f64()),
        });
        Ok(())
    })?;
    if let Some((Referee(told), guess)) = state.referee.as_ref().zip(guessed) {
        told(guess);
    }
    if let Some((versus, (rounds, person, machine))) = state.versus.as_ref().zip(scores) {
        // The game is finished even if the series cannot be written.
        _ = versus
            .append_game(rounds, person, machine)
            .inspect_err(|error| eprint_sanitized(format!("the series was not saved: {}", describe(error))));
    }
    Ok(answer)
}

async fn read_picture(Shared(state): App, Path(token): Path<String>) -> Result<Response, ApiError> {
    let round = lock(&state.games).iter().find_map(|(_, game)| game.picture(&token).cloned());
    let round = round.ok_or_else(|| not_found("there is no such picture"))?;
    let kept = lock(&state.pictures).get(&round.picture).cloned();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let shown = round.picture.clone();
            let served = tokio::task::spawn_blocking(move || picture::to_served_jpeg(&round)).await;
            // The path may reveal the location, so it is printed but not sent to the page.
            let bytes = served.map_err(anyhow::Error::from).flatten().map_err(|error| {
                eprint_sanitized(format!("cannot show {shown}: {}", describe(&error)));
                internal_error(&"the image of this round cannot be shown; see the terminal of the arena")
            })?;
            let bytes = Bytes::from(bytes);
            lock(&state.pictures).put(shown, bytes.clone());
            bytes
        }
    };
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, bytes).into_response())
}

async fn read_tile(Shared(state): App, Path((z, x, file)): Path<(u32, i64, String)>) -> Result<Response, ApiError> {
    let y = file.strip_suffix(".png").and_then(|y| y.parse::<i64>().ok());
    let tile = y.and_then(|y| tiles::TileId::new(z, x, y)).ok_or_else(|| {
        not_found(format!(
            "there is no tile {z}/{x}/{file}: zoom must be 0 to {} and y inside the map",
            tiles::MAX_ZOOM
        ))
    })?;
    send_tile(&state, tile).await
}

#[derive(Deserialize)]
struct LiveTile {
    pb: String,
}

/// A tile with a URL as on the live page: `pb=!1m5!1m4!1i{z}!2i{x}!3i{y}` and further parameters.
async fn read_live_tile(Shared(state): App, Query(query): Query<LiveTile>) -> Result<Response, ApiError> {
    let number = |key: &str| query.pb.split('!').find_map(|part| part.strip_prefix(key)?.parse::<i64>().ok());
    let tile = number("1i").zip(number("2i")).zip(number("3i")).and_then(|((z, x), y)| {
        let z = u32::try_from(z).ok()?;
        tiles::TileId::new(z, x, y)
    });
    send_tile(&state, tile.ok_or_else(|| not_found(format!("there is no tile {:?}", query.pb)))?).await
}

async fn send_tile(state: &State, tile: tiles::TileId) -> Result<Response, ApiError> {
    if let Some(delay) = state.slow_tiles {
        tokio::time::sleep(delay).await;
    }
    let kept = lock(&state.tiles).get(&tile).cloned();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let drawn = tokio::task::spawn_blocking(move || tiles::draw(tile)).await;
            let bytes =
                Bytes::from(drawn.map_err(anyhow::Error::from).flatten().map_err(|error| internal_error(&error))?);
            lock(&state.tiles).put(tile, bytes.clone());
            bytes
        }
    };
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "public, max-age=86400")];
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::arena::options::RoundSource;
    use crate::server::arena::round::PictureKind;
    use landfall_model::{Bundle, Classifier, LatLng};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_thinking_of_the_opponent_is_not_the_time_of_the_person() {
        let dir = tempfile::tempdir().unwrap();
        let classifier = Arc::new(Classifier::with_workers(Bundle::find("pocket").unwrap(), 1).unwrap());
        let versus = Versus { classifier, series: dir.path().join("versus.jsonl") };
        let source = RoundSource::Fixtures("unused".into());
        let options = ArenaOptions { versus: Some(versus), ..ArenaOptions::new(source) };
        let round = ArenaRound {
            truth: LatLng::new(1.0, 1.0).unwrap(),
            picture: Picture::File("gone.jpg".into()),
            kind: PictureKind::Photo,
            heading: 0.0,
            name: None,
            credits: None,
            max_side: 1,
        };
        for time_limit in [0, 1] {
            let state = Arc::new(State::new(vec![round.clone()], Pages::Dir("gone".into()), &options));
            let rules = GameRules { time_limit, ..GameRules::default() };
            let game = ArenaGame::new("game".into(), game::ARENA, rules, vec![(round.clone(), "picture".into())]);
            // An opponent that takes three seconds.
            let (pending, (started, start)) = (game.current_round().pending, tokio::sync::oneshot::channel());
            tokio::spawn(async move {
                let think = || async move {
                    started.send(()).unwrap();
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    None
                };
                pending.get_or_init(think).await;
            });
            start.await.unwrap();
            lock(&state.games).put("game".into(), game);
            let pin = GuessRequest { lat: Some(1.0), lng: Some(1.0), ..GuessRequest::default() };
            let answer = guess(Shared(Arc::clone(&state)), Path("game".into()), Ok(Json(pin))).await.ok().unwrap();
            let json: Value =
                serde_json::from_slice(&axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap();
            assert_eq!(json["player"]["guesses"][0]["time"], 0, "{json}");
            let has_thought = lock(&state.games).peek("game").unwrap().turns[0].rival.get().is_some();
            assert_eq!(has_thought, time_limit == 0, "the person waits for the opponent only within the limit");
        }
    }
}
