//! Fault injection in a real Chromium: games continue after failures where possible, and no guess is submitted
//! otherwise.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use landfall_agent::testing::{
    Area, Arena, ArenaOptions, BrowserOptions, Consent, GameEvent, GameRecord, Page, PlayOptions, Profile, RoundSource,
    SubmitMode, browser, describe, exit_code, game, look, pin,
};
use landfall_model::{Bundle, Classifier, LatLng};
use sysinfo::{Pid, ProcessesToUpdate, System};
use thirtyfour::WebDriver;
use url::Url;

use crate::chromedriver::ChromeDriver;
use crate::look::{TWO_VIEWS, inference};

/// How the proxy handles a request.
#[derive(Clone, Copy, PartialEq)]
enum ProxyAction {
    Forward,
    Fail,
    /// Forward after this time if it is a guess.
    DelayGuess(Duration),
}

type Rule = Arc<dyn Fn(&str) -> ProxyAction + Send + Sync>;

/// The arena behind a proxy that can fail requests, with one game and a directory for records.
struct FaultHarness {
    arena: Arena,
    url: Url,
    guesses: Arc<AtomicUsize>,
    runs: tempfile::TempDir,
    _panoramas: tempfile::TempDir,
}

impl FaultHarness {
    async fn new(
        rounds_per_game: usize,
        seconds_per_round: u32,
        rule: impl Fn(&str) -> ProxyAction + Send + Sync + 'static,
    ) -> Self {
        let panoramas = crate::panoramas();
        let rounds = RoundSource::Fixtures(panoramas.path().to_owned());
        let options = ArenaOptions { seed: Some(3), rounds_per_game, ..ArenaOptions::new(rounds) };
        let arena = Arena::start(options).await.unwrap();
        let guesses = Arc::new(AtomicUsize::new(0));
        let base = serve(arena.url().trim_end_matches('/').to_owned(), Arc::new(rule), Arc::clone(&guesses)).await;
        let rules = serde_json::json!({ "timeLimit": seconds_per_round });
        let created = crate::http().post(format!("{base}/api/v3/games")).json(&rules).send().await.unwrap();
        let game: serde_json::Value = created.json().await.unwrap();
        let url = Url::parse(&format!("{base}/game/{}", game["token"].as_str().unwrap())).unwrap();
        Self { arena, url, guesses, runs: tempfile::tempdir().unwrap(), _panoramas: panoramas }
    }

    fn guesses(&self) -> usize {
        self.guesses.load(Ordering::SeqCst)
    }

    /// Plays the game with the arena's profile after some replacements. `on_start` is called with the browser when the
    /// first round is shown.
    async fn play(&self, replacements: &[(&str, &str)], on_start: impl AsyncFnOnce(WebDriver)) -> Result<GameRecord> {
        let (driver, page) = self.page(replacements, BrowserOptions::default()).await;
        page.await_round().await.unwrap();
        on_start(driver).await;
        self.play_on(page, BrowserOptions::default()).await
    }

    async fn play_on(&self, mut page: Page, browser_options: BrowserOptions) -> Result<GameRecord> {
        let classifier = Arc::new(Classifier::load(Bundle::find("pocket").unwrap()).unwrap());
        let options = PlayOptions {
            browser: browser_options.clone(),
            runs: self.runs.path().to_owned(),
            scale: None,
            area: Area::default(),
            rounds: 2,
            max_pin_error_m: 25_000.0,
            submit_mode: SubmitMode::Agent,
            time_budget: None,
            min_gain: TWO_VIEWS,
        };
        let on_event = |event: GameEvent<'_>| eprintln!("{event:?}");
        let game = game::play(&mut page, classifier, &options, on_event).await;
        browser::shutdown(page.into_driver(), &browser_options).await;
        game
    }

    async fn page(&self, replacements: &[(&str, &str)], options: BrowserOptions) -> (WebDriver, Page) {
        let mut text = include_str!("../../profiles/arena.toml").to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let file = self.runs.path().join("mine.toml");
        std::fs::write(&file, text).unwrap();
        let profile = Profile::find(file.to_str().unwrap()).unwrap();
        let driver = browser::open(&options).await.unwrap();
        let page = Page::open(driver.clone(), profile, &self.url, Consent::default()).await.unwrap();
        (driver, page)
    }

    /// Waits until the first round is being played.
    fn round_begun(&self) -> impl Future<Output = ()> + use<> {
        let runs = self.runs.path().to_owned();
        async move {
            let has_round = |game: std::io::Result<std::fs::DirEntry>| game.unwrap().path().join("round_1").is_dir();
            while !std::fs::read_dir(&runs).unwrap().any(has_round) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Directory of the only recorded game.
    fn record(&self) -> PathBuf {
        let games = std::fs::read_dir(self.runs.path()).unwrap().map(|entry| entry.unwrap().path());
        games.into_iter().find(|path| path.is_dir()).unwrap()
    }
}

async fn serve(arena: String, rule: Rule, guesses: Arc<AtomicUsize>) -> String {
    let client = crate::http();
    let app = axum::Router::new().fallback(move |request: Request| {
        let (client, arena, rule, guesses) = (client.clone(), arena.clone(), Arc::clone(&rule), Arc::clone(&guesses));
        async move { proxy_request(&client, &arena, &rule, &guesses, request).await }
    });
    crate::listen(app).await
}

async fn proxy_request(
    client: &reqwest::Client,
    arena: &str,
    rule: &Rule,
    guesses: &AtomicUsize,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let action = rule(parts.uri.path());
    if action == ProxyAction::Fail {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if parts.method == Method::POST && parts.uri.path().starts_with("/api/v3/games/") {
        guesses.fetch_add(1, Ordering::SeqCst);
        if let ProxyAction::DelayGuess(time) = action {
            tokio::time::sleep(time).await;
        }
    }
    let mut request = client.request(parts.method, format!("{arena}{}", parts.uri));
    if let Some(kind) = parts.headers.get("content-type") {
        request = request.header("content-type", kind);
    }
    let upstream = request.body(to_bytes(body, 1 << 20).await.unwrap()).send().await.unwrap();
    let mut response = Response::builder().status(upstream.status());
    if let Some(kind) = upstream.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    response.body(Body::from(upstream.bytes().await.unwrap())).unwrap()
}

/// The round was played, and our score equals that of the page.
fn assert_played(game: &GameRecord) {
    assert_eq!(game.rounds.len(), 1, "{game:?}");
    assert!(game.score.is_some() && game.score == game.page_score, "{game:?}");
}

pub(crate) fn is_alive(id: u32) -> bool {
    let (id, mut system) = (Pid::from_u32(id), System::new());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    system.process(id).is_some_and(|process| process.status() != sysinfo::ProcessStatus::Zombie)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_driver_is_replaced_and_its_browser_terminated() {
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::Forward).await;
    let mut id = 0;
    let game = harness
        .play(&[], async |driver| {
            id = browser::process(&driver).unwrap();
            let begun = harness.round_begun();
            tokio::spawn(async move {
                begun.await;
                let mut system = System::new();
                system.refresh_processes(ProcessesToUpdate::All, true);
                // chromedriver is the parent process of the browser.
                let driver = system.process(Pid::from_u32(id)).and_then(sysinfo::Process::parent).unwrap();
                let driver = system.process(driver).unwrap();
                assert_eq!(driver.name(), "chromedriver");
                assert!(driver.kill());
            });
        })
        .await
        .unwrap();
    assert_played(&game);
    assert_eq!((game.failed.len(), harness.guesses()), (1, 1), "{game:?}");
    let failed = std::fs::read_to_string(harness.record().join("failed_1/failed.json")).unwrap();
    assert!(failed.contains("\"sent\": false"), "{failed}");
    assert!(!is_alive(id), "the browser outlived its driver");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashed_tab_is_replaced() {
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::Forward).await;
    let game = harness
        .play(&[], async |driver| {
            let begun = harness.round_begun();
            tokio::spawn(async move {
                begun.await;
                _ = driver.goto("chrome://crash").await; // always fails
            });
        })
        .await
        .unwrap();
    assert_played(&game);
    assert_eq!((game.failed.len(), harness.guesses()), (1, 1), "{game:?}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_dialogs_are_closed_at_any_time() {
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::Forward).await;
    let game = harness
        .play(&[], async |driver| {
            let script = "let n = 0; const say = () => { [alert, confirm, prompt][n++ % 3]('Level ' + n); \
                setTimeout(say, 200 + n * 173 % 700) }; setTimeout(say, 0)";
            driver.execute(script, vec![]).await.unwrap();
        })
        .await
        .unwrap();
    assert_played(&game);
    assert_eq!(harness.guesses(), 1);
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_placed_without_tile_images() {
    let refuse_tiles = |path: &str| if path.starts_with("/tiles/") { ProxyAction::Fail } else { ProxyAction::Forward };
    let harness = FaultHarness::new(1, 0, refuse_tiles).await;
    let game = harness.play(&[], async |_| {}).await.unwrap();
    assert_played(&game);
    assert!(game.failed.is_empty(), "{game:?}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_guess_without_map_or_guess_button() {
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::Forward).await;
    let no_tiles =
        [("needs_consent = false", "needs_consent = false\npatience_s = 4"), ("img.leaflet-tile", "img.never")];
    let error = harness.play(&no_tiles, async |_| {}).await.unwrap_err();
    assert_eq!((exit_code(&error) as u8, harness.guesses()), (3, 0));
    assert!(
        describe(&error).contains("shows no tiles") && describe(&error).contains("rounds played before"),
        "{error:#}"
    );
    let record = harness.record();
    assert!(record.join("failed_1/view_000.jpg").is_file() && record.join("failed_1_2/failed.json").is_file());

    let no_button = [
        ("needs_consent = false", "needs_consent = false\npatience_s = 4"),
        ("[data-qa=perform-guess]", "[data-qa=gone]"),
        ("guess-map_guessButton__", "gone__"),
    ];
    let error = harness.play(&no_button, async |_| {}).await.unwrap_err();
    assert_eq!((exit_code(&error) as u8, harness.guesses()), (3, 0));
    assert!(describe(&error).contains("the page has no guess button"), "{error:#}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_result_does_not_repeat_the_guess() {
    let harness = FaultHarness::new(2, 0, |_| ProxyAction::Forward).await;
    let no_result = [
        ("needs_consent = false", "needs_consent = false\npatience_s = 4"),
        ("[data-qa=round-result]\", \"[class*=round-result_wrapper__]", "[data-qa=never]"),
    ];
    let game = harness.play(&no_result, async |_| {}).await.unwrap();
    assert_eq!((game.rounds.len(), game.failed.len(), harness.guesses()), (0, 2, 2), "{game:?}");
    assert!(game.failed.iter().all(|failed| failed.sent));
    assert!(game.score.is_none() && game.page_score.is_some(), "{game:?}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_page_gets_the_guess_once() {
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::DelayGuess(Duration::from_secs(10))).await;
    // A page that does not disable its button while it sends, and reports each press.
    let report_presses = async |driver: WebDriver| {
        let script = "const button = () => document.querySelector('[data-qa=perform-guess]'); \
            setInterval(() => { if (button()) button().disabled = false }, 20); \
            document.addEventListener('click', event => { \
              if (button()?.contains(event.target)) navigator.sendBeacon('/api/v3/games/pressed') }, true)";
        driver.execute(script, vec![]).await.unwrap();
    };
    let game = harness.play(&[], report_presses).await.unwrap();
    assert_played(&game);
    assert_eq!((game.failed.len(), harness.guesses()), (0, 2), "one press and one guess: {game:?}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn press_whose_outcome_is_unknown_is_not_repeated() {
    // The guess is still on its way when the driver's answer is lost.
    let harness = FaultHarness::new(1, 0, |_| ProxyAction::DelayGuess(Duration::from_secs(2))).await;
    // A driver whose answer to the first successful click on an element is lost.
    let driver = ChromeDriver::start();
    let upstream = driver.url.clone();
    let clicks = Arc::new(AtomicUsize::new(0));
    let (client, counted) = (crate::http(), Arc::clone(&clicks));
    let app = axum::Router::new().fallback(move |request: Request| {
        let (client, counted, upstream) = (client.clone(), Arc::clone(&counted), upstream.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let sent = client.request(parts.method, format!("{upstream}{}", parts.uri)).body(body);
            let answer = sent.header("content-type", "application/json").send().await.unwrap();
            let (status, bytes) = (answer.status(), answer.bytes().await.unwrap());
            let is_click = status.is_success() && parts.uri.path().ends_with("/click");
            if is_click && counted.fetch_add(1, Ordering::SeqCst) == 0 {
                let lost =
                    serde_json::json!({"value": {"error": "unknown error", "message": "lost", "stacktrace": ""}});
                return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(lost)).into_response();
            }
            (status, bytes).into_response()
        }
    });
    let webdriver = Some(Url::parse(&crate::listen(app).await).unwrap());
    let options = BrowserOptions { webdriver, ..BrowserOptions::default() };
    let (_, page) = harness.page(&[], options.clone()).await;
    let game = harness.play_on(page, options).await.unwrap();
    assert!(game.rounds.is_empty() && game.failed.len() == 1 && game.failed[0].sent, "{game:?}");
    assert!(game.page_score.is_some(), "{game:?}");
    assert_eq!(harness.guesses(), 1);
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_time_limit_ends_the_round_but_not_the_game() {
    let harness = FaultHarness::new(2, 13, |_| ProxyAction::Forward).await;
    // Start only when the time limit of the round has almost expired.
    let wait_for_timeout = async |driver: WebDriver| {
        let script = "return /^0?0:0[12]$/.test(document.querySelector('[data-qa=timer]').textContent.trim())";
        while !driver.execute(script, vec![]).await.unwrap().convert::<bool>().unwrap() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let game = harness.play(&[], wait_for_timeout).await.unwrap();
    assert!(game.page_score.is_some() && game.rounds.len() + game.failed.len() == 2, "{game:?}");
    assert!(game.failed.iter().all(|failed| failed.sent) && !game.failed.is_empty(), "{game:?}");
    harness.arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_work_on_all_screen_sizes_and_pixel_ratios() {
    let harness = FaultHarness::new(2, 0, |_| ProxyAction::Forward).await;
    for (viewport, pixel_ratio) in [((360, 640), 1.0), ((3840, 2160), 1.0), ((800, 800), 1.5)] {
        let options = BrowserOptions { viewport, pixel_ratio, ..BrowserOptions::default() };
        let (_, page) = harness.page(&[], options.clone()).await;
        page.await_round().await.unwrap();
        let size: (u32, u32, f64) = page.script("return [innerWidth, innerHeight, devicePixelRatio]").await.unwrap();
        // Window sizes are whole device pixels, but not necessarily whole CSS pixels.
        let close = size.0.abs_diff(viewport.0) <= 1 && size.1.abs_diff(viewport.1) <= 1;
        assert!(close && size.2 == pixel_ratio, "{size:?}");
        let wanted = LatLng::new(-54.8, -68.3).unwrap();
        let placed = pin::place_pin(&page, wanted, 25_000.0).await.unwrap();
        let error_m = placed.at.distance_m(wanted);
        assert!(error_m < 1.5 * placed.metres_per_pixel, "{viewport:?}: {error_m} m off");
        // Large panoramas render slowly without a GPU.
        if viewport.0 < 1000 {
            let views = async |budget| look::around(&page, &inference(TWO_VIEWS), budget).await.unwrap().len();
            assert_eq!(views(None).await, 2);
            assert_eq!(views(Some(Duration::from_secs(5))).await, 1, "fewer views to meet the time budget");
        }
        browser::shutdown(page.into_driver(), &options).await;
    }
    harness.arena.stop().await;
}
