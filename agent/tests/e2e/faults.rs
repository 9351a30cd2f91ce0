//! What breaks while a game is played, in a real Chromium: the game goes on where it can, and nothing is guessed
//! blindly where it cannot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use landfall_agent::error::{describe, exit_code};
use landfall_agent::play::game;
use landfall_agent::play::game::{GameEvent, PlayOptions, SubmitMode};
use landfall_agent::play::{look, pin};
use landfall_agent::record::Area;
use landfall_agent::record::GameRecord;
use landfall_agent::server::arena::{Arena, ArenaOptions, RoundSource};
use landfall_agent::site::Profile;
use landfall_agent::site::guard::Consent;
use landfall_agent::site::page::Page;
use landfall_model::{Bundle, Classifier, LatLng};
use sysinfo::{Pid, ProcessesToUpdate, System};
use thirtyfour::WebDriver;
use url::Url;

use crate::look::{TWO_VIEWS, inference};

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    Refused,
}

type Rule = Arc<dyn Fn(&str) -> Fate + Send + Sync>;

/// The arena behind a server that can fail, and what is needed to play there.
struct Ground {
    arena: Arena,
    url: Url,
    guesses: Arc<AtomicUsize>,
    runs: tempfile::TempDir,
}

impl Ground {
    async fn new(
        rounds_per_game: usize,
        seconds_a_round: u32,
        rule: impl Fn(&str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let rounds = RoundSource::Fixtures(crate::fixtures());
        let options = ArenaOptions { seed: Some(3), rounds_per_game, ..ArenaOptions::new(rounds) };
        let arena = Arena::start(options).await.unwrap();
        let guesses = Arc::new(AtomicUsize::new(0));
        let base = serve(arena.url().trim_end_matches('/').to_owned(), Arc::new(rule), Arc::clone(&guesses)).await;
        let rules = serde_json::json!({ "timeLimit": seconds_a_round });
        let made = reqwest::Client::new().post(format!("{base}/api/v3/games")).json(&rules).send().await.unwrap();
        let game: serde_json::Value = made.json().await.unwrap();
        let url = Url::parse(&format!("{base}/game/{}", game["token"].as_str().unwrap())).unwrap();
        Self { arena, url, guesses, runs: tempfile::tempdir().unwrap() }
    }

    fn guesses(&self) -> usize {
        self.guesses.load(Ordering::SeqCst)
    }

    /// Plays the game with the arena's profile, changed; `begun` gets the browser when the first round shows.
    async fn play(&self, change: &[(&str, &str)], begun: impl AsyncFnOnce(WebDriver)) -> Result<GameRecord> {
        let classifier = Arc::new(Classifier::load(Bundle::find("pocket").unwrap()).unwrap());
        let mut page = self.page(change, BrowserOptions::default()).await;
        page.await_round().await.unwrap();
        begun(page.driver.clone()).await;
        let options = PlayOptions {
            browser: BrowserOptions::default(),
            runs: self.runs.path().to_owned(),
            scale: None,
            area: Area::default(),
            rounds: 2,
            max_pin_error_m: 25_000.0,
            submit_mode: SubmitMode::Agent,
            time_budget: None,
            min_gain: TWO_VIEWS,
        };
        let on_event = |news: GameEvent<'_>| eprintln!("{news:?}");
        let game = game::play(&mut page, classifier, &options, on_event).await;
        browser::shutdown(page.driver, &BrowserOptions::default()).await;
        game
    }

    async fn page(&self, change: &[(&str, &str)], options: BrowserOptions) -> Page {
        let mut text = include_str!("../../profiles/arena.toml").to_owned();
        for (from, to) in change {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let file = self.runs.path().join("mine.toml");
        std::fs::write(&file, text).unwrap();
        let profile = Profile::find(file.to_str().unwrap()).unwrap();
        let driver = browser::open(&options).await.unwrap();
        Page::open(driver, profile, &self.url, Consent::default()).await.unwrap()
    }

    /// Files of the one game that is recorded.
    fn record(&self) -> PathBuf {
        let games = std::fs::read_dir(self.runs.path()).unwrap().map(|entry| entry.unwrap().path());
        games.into_iter().find(|path| path.is_dir()).unwrap()
    }
}

async fn serve(arena: String, rule: Rule, guesses: Arc<AtomicUsize>) -> String {
    let client = reqwest::Client::new();
    let app = axum::Router::new().fallback(move |request: Request| {
        let (client, arena, rule, guesses) = (client.clone(), arena.clone(), Arc::clone(&rule), Arc::clone(&guesses));
        async move { pass_on(&client, &arena, &rule, &guesses, request).await }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

async fn pass_on(
    client: &reqwest::Client,
    arena: &str,
    rule: &Rule,
    guesses: &AtomicUsize,
    asked: Request,
) -> Response {
    let (parts, body) = asked.into_parts();
    match rule(parts.uri.path()) {
        Fate::Answered => {}
        Fate::Refused => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
    if parts.method == Method::POST && parts.uri.path().starts_with("/api/v3/games/") {
        guesses.fetch_add(1, Ordering::SeqCst);
    }
    let mut request = client.request(parts.method, format!("{arena}{}", parts.uri));
    if let Some(kind) = parts.headers.get("content-type") {
        request = request.header("content-type", kind);
    }
    let answer = request.body(to_bytes(body, 1 << 20).await.unwrap()).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// All rounds played, and page and we agree.
fn assert_whole(game: &GameRecord) {
    assert_eq!(game.rounds.len(), 1, "{game:?}");
    assert!(game.score.is_some() && game.score == game.page_score, "{game:?}");
}

pub(crate) fn is_alive(id: u32) -> bool {
    let (id, mut system) = (Pid::from_u32(id), System::new());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    system.process(id).is_some_and(|process| process.status() != sysinfo::ProcessStatus::Zombie)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_killed_is_replaced_and_leaves_no_browser_behind() {
    let ground = Ground::new(1, 0, |_| Fate::Answered).await;
    let mut id = 0;
    let game = ground
        .play(&[], async |driver| {
            id = browser::process(&driver).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                let mut system = System::new();
                system.refresh_processes(ProcessesToUpdate::All, true);
                // The driver is the browser's parent.
                let driver = system.process(Pid::from_u32(id)).and_then(sysinfo::Process::parent).unwrap();
                let driver = system.process(driver).unwrap();
                assert_eq!(driver.name(), "chromedriver");
                assert!(driver.kill());
            });
        })
        .await
        .unwrap();
    assert_whole(&game);
    assert_eq!((game.failed.len(), ground.guesses()), (1, 1), "{game:?}");
    let failed = std::fs::read_to_string(ground.record().join("failed_1/failed.json")).unwrap();
    assert!(failed.contains("\"sent\": false"), "{failed}");
    assert!(!is_alive(id), "the browser outlived its driver");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_crashes_is_replaced() {
    let ground = Ground::new(1, 0, |_| Fate::Answered).await;
    let game = ground
        .play(&[], async |driver| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                _ = driver.goto("chrome://crash").await; // never answers well
            });
        })
        .await
        .unwrap();
    assert_whole(&game);
    assert_eq!((game.failed.len(), ground.guesses()), (1, 1), "{game:?}");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_browsers_own_come_at_any_moment() {
    let ground = Ground::new(1, 0, |_| Fate::Answered).await;
    let game = ground
        .play(&[], async |driver| {
            let script = "let n = 0; const say = () => { [alert, confirm, prompt][n++ % 3]('Level ' + n); \
                setTimeout(say, 200 + n * 173 % 700) }; setTimeout(say, 0)";
            driver.execute(script, vec![]).await.unwrap();
        })
        .await
        .unwrap();
    assert_whole(&game);
    assert_eq!(ground.guesses(), 1);
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_server_that_fails_does_not_hide_where_places_are() {
    let refuse_tiles = |path: &str| if path.starts_with("/tiles/") { Fate::Refused } else { Fate::Answered };
    let ground = Ground::new(1, 0, refuse_tiles).await;
    let game = ground.play(&[], async |_| {}).await.unwrap();
    assert_whole(&game);
    assert!(game.failed.is_empty(), "{game:?}");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_guessed_where_the_map_never_loads_or_the_button_is_gone() {
    let ground = Ground::new(1, 0, |_| Fate::Answered).await;
    let empty = [("needs_consent = false", "needs_consent = false\npatience_s = 4"), ("img.leaflet-tile", "img.never")];
    let error = ground.play(&empty, async |_| {}).await.unwrap_err();
    assert_eq!((exit_code(&error) as u8, ground.guesses()), (3, 0));
    assert!(
        describe(&error).contains("shows no tiles") && describe(&error).contains("rounds played before"),
        "{error:#}"
    );
    let record = ground.record();
    assert!(record.join("failed_1/view_000.jpg").is_file() && record.join("failed_1_2/failed.json").is_file());

    let gone = [("[data-qa=perform-guess]", "[data-qa=gone]"), ("guess-map_guessButton__", "gone__")];
    let error = ground.play(&gone, async |_| {}).await.unwrap_err();
    assert_eq!((exit_code(&error) as u8, ground.guesses()), (3, 0));
    assert!(describe(&error).contains("the page has no guess button"), "{error:#}");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_never_shows_is_not_guessed_twice() {
    let ground = Ground::new(2, 0, |_| Fate::Answered).await;
    let blind = [
        ("needs_consent = false", "needs_consent = false\npatience_s = 4"),
        ("[data-qa=round-result]\", \"[class*=round-result_wrapper__]", "[data-qa=never]"),
    ];
    let game = ground.play(&blind, async |_| {}).await.unwrap();
    assert_eq!((game.rounds.len(), game.failed.len(), ground.guesses()), (0, 2, 2), "{game:?}");
    assert!(game.failed.iter().all(|failed| failed.sent));
    assert!(game.score.is_none() && game.page_score.is_some(), "{game:?}");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_out_ends_the_round_and_not_the_game() {
    let ground = Ground::new(2, 13, |_| Fate::Answered).await;
    // Somebody was away from the keyboard until the clock was nearly out.
    let away = async |driver: WebDriver| {
        let nearly = "return /^0?0:0[12]$/.test(document.querySelector('[data-qa=timer]').textContent.trim())";
        while !driver.execute(nearly, vec![]).await.unwrap().convert::<bool>().unwrap() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let game = ground.play(&[], away).await.unwrap();
    assert!(game.page_score.is_some() && game.rounds.len() + game.failed.len() == 2, "{game:?}");
    assert!(game.failed.iter().all(|failed| failed.sent) && !game.failed.is_empty(), "{game:?}");
    ground.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_large_and_fine_screens_take_the_pin() {
    let ground = Ground::new(2, 0, |_| Fate::Answered).await;
    for (viewport, pixel_ratio) in [((360, 640), 1.0), ((3840, 2160), 1.0), ((800, 800), 1.5)] {
        let options = BrowserOptions { viewport, pixel_ratio, ..BrowserOptions::default() };
        let page = ground.page(&[], options.clone()).await;
        page.await_round().await.unwrap();
        let size: (u32, u32, f64) = page.script("return [innerWidth, innerHeight, devicePixelRatio]").await.unwrap();
        // Sizes in whole pixels of the screen may be no whole CSS pixels.
        let close = size.0.abs_diff(viewport.0) <= 1 && size.1.abs_diff(viewport.1) <= 1;
        assert!(close && size.2 == pixel_ratio, "{size:?}");
        let wanted = LatLng::new(-54.8, -68.3).unwrap();
        let placed = pin::place_pin(&page, wanted, 25_000.0).await.unwrap();
        let error_m = placed.at.distance_m(wanted);
        assert!(error_m < 1.5 * placed.metres_per_pixel, "{viewport:?}: {error_m} m off");
        // A large panorama takes long to draw without a graphics card.
        if viewport.0 < 1000 {
            let views = async |budget| look::around(&page, &inference(TWO_VIEWS), budget).await.unwrap().len();
            assert_eq!(views(None).await, 2);
            assert_eq!(views(Some(Duration::from_secs(5))).await, 1, "rather fewer views than no guess");
        }
        browser::shutdown(page.driver, &options).await;
    }
    ground.arena.stop().await;
}
