//! Games written without the agent in mind: `landfall play` with a profile on pages with one peculiarity each. The page sends
//! every guess as it took it itself, and no pin may be recorded elsewhere.

mod probe;
mod self_hosted;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::{get, post};
use landfall_model::LatLng;
use serde_json::Value;
use tower_http::services::ServeDir;

use crate::{fixtures, listen};

const PROFILE: &str = r##"
name = "any"
version = 1
hosts = ["127.0.0.1"]
needs_consent = false
patience_s = 20
[paths]
play = ["^/game$"]
refuse = []
[score]
falloff_km = 2000.0
[page]
dismiss = []
start = ["#go"]
loading = []
map_name = []
problem = []
[look]
view = ["#view"]
photo = ["#photo"]
hide = ["#side"]
heading = []
still_ms = 100
hfov = 90.0
[map]
canvas = ["#map"]
MAP
guess = ["#send"]
[result]
shown = ["#next"]
points = ["#points"]
distance = ["#off"]
truth = [[], []]
guess = [[], []]
next = ["#next"]
total = ["#final"]
"##;
const TILES: &str = r##"tiles = ["#map img.leaflet-tile"]
tile_address = ['/(?<z>\d+)/(?<x>-?\d+)/(?<y>\d+)\.png']
marker = ["#map .leaflet-marker-icon"]
marker_anchor = [0.5, 1.0]"##;
const DRAWN: &str = r##"kind = "canvas"
view = { lat = 20.0, lng = 0.0, zoom = 0.3 }
marker = ["#map .maplibregl-marker"]
marker_anchor = [0.5, 0.841]"##;

/// A frame that asks for consent.
const CONSENT: &str =
    "<!doctype html>We value your privacy <button onclick=\"parent.postMessage('ok', '*')\">Accept all</button>";

type Guesses = Arc<Mutex<Vec<Value>>>;

async fn serve() -> (String, Guesses) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = here.join("../web-demo/node_modules");
    assert!(lib.join("leaflet").is_dir(), "the page's packages are missing: run `npm ci` in web-demo");
    let tile = crate::tile_png();
    let photo = std::fs::read(fixtures().join("rounds/rome-colosseum/view_000.jpg")).unwrap();
    let guesses = Guesses::default();
    let taken = Arc::clone(&guesses);
    let take = move |body: String| async move { taken.lock().unwrap().push(serde_json::from_str(&body).unwrap()) };
    let app = Router::new()
        .route("/game", get(|| async { Html(include_str!("../pages/game.html")) }))
        .route("/guess", post(take))
        .route("/consent", get(|| async { Html(CONSENT) }))
        .route("/photo/{n}", get(move || async move { ([(header::CONTENT_TYPE, "image/jpeg")], photo) }))
        .route("/tiles/{z}/{x}/{y}", get(move || async move { ([(header::CONTENT_TYPE, "image/png")], tile) }))
        .nest_service("/pages", ServeDir::new(here.join("tests/e2e/pages")))
        .nest_service("/lib", ServeDir::new(lib));
    (listen(app).await, guesses)
}

/// A game on the page with these words.
struct Played {
    output: Output,
    game: Value,
    guesses: Vec<Value>,
    runs: tempfile::TempDir,
}

impl Played {
    async fn new(words: &str, replacements: &[(&str, &str)]) -> Self {
        let (base, guesses) = serve().await;
        let runs = tempfile::tempdir().unwrap();
        let map = if words.contains("drawn") { DRAWN } else { TILES };
        let mut text = PROFILE.replace("MAP", map);
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let file = runs.path().join("any.toml");
        std::fs::write(&file, text).unwrap();
        Self::with_profile(&format!("{base}/game?v={words}"), &file, guesses, runs).await
    }

    async fn with_profile(url: &str, file: &Path, guesses: Guesses, runs: tempfile::TempDir) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["play", "--bundle", "pocket", "--json", "--rounds", "5", url]);
        command.arg("--site").arg(file).arg("--runs").arg(runs.path().join("runs"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let game = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{url}: {error}"));
        let guesses = guesses.lock().unwrap().clone();
        Self { output, game, guesses, runs }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Both rounds were played, each guess was taken once, and where it is recorded.
    fn assert_complete(&self, words: &str) {
        self.assert_rounds(words);
        for round in self.game["rounds"].as_array().unwrap() {
            assert!(round["page_score"].is_u64(), "{words}: {round}");
        }
    }

    /// As [`Played::assert_complete`], also on pages that show no points.
    fn assert_rounds(&self, words: &str) {
        let stderr = self.stderr();
        assert_eq!(self.output.status.code(), Some(0), "{words}: {stderr}");
        let rounds: Vec<i64> = self.guesses.iter().map(|guess| guess["round"].as_i64().unwrap()).collect();
        assert_eq!(rounds, [0, 1], "{words}: {stderr}");
        let recorded = self.game["rounds"].as_array().unwrap();
        assert_eq!(recorded.len(), 2, "{words}: {stderr}");
        let place = |at: &Value| LatLng { lat: at["lat"].as_f64().unwrap(), lng: at["lng"].as_f64().unwrap() };
        for (round, taken) in recorded.iter().zip(&self.guesses) {
            let off_m = place(&round["pin"]["placed"]).distance_m(place(taken));
            assert!(off_m < 25_000.0, "{words}: {off_m} m: {round}");
            assert!(round["score"].is_u64() && round["distance_m"].is_f64(), "{words}: {round}");
        }
    }
}

async fn play_all(variants: &[&str]) {
    for words in variants {
        Played::new(words, &[]).await.assert_complete(words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_has_one_effect() {
    play_all(&["fading", "stays,toast"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_reached() {
    play_all(&["below,ctrl", "minimap", "modal,covered,consent"]).await;
    let words = "drawer,slides,focus,asks";
    let open = "open = [\"#open\"]\nguess = [\"#send\"]";
    Played::new(words, &[("guess = [\"#send\"]", open)]).await.assert_complete(words);
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_read_back_on_unusual_maps() {
    play_all(&["late,tms", "drawn,zooms"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_read_in_other_forms() {
    for words in ["sentence", "arabic"] {
        let distance: &[(&str, &str)] = if words == "sentence" { &[("\"#off\"", "\"#points\"")] } else { &[] };
        let played = Played::new(words, distance).await;
        played.assert_complete(words);
        assert_eq!(played.game["score"], played.game["page_score"], "{words}: {}", played.game);
    }
    let sentence = "total = [\"#final\"]\nsentence = 'were (?<distance>.+) off and got (?<points>.+) points'";
    let played = Played::new("sentence", &[("\"#off\"", "\"#points\""), ("total = [\"#final\"]", sentence)]).await;
    played.assert_complete("sentence");
    assert_eq!(played.game["score"], played.game["page_score"], "{}", played.game);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawn_map_may_stay_where_a_round_left_it() {
    play_all(&["drawn,keeps"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_points_on_the_page_scores_are_computed() {
    let played = Played::new("mute", &[("points = [\"#points\"]", "points = []")]).await;
    played.assert_rounds("mute");
    let (game, rounds) = (&played.game, played.game["rounds"].as_array().unwrap());
    assert!(game["page_score"].is_null() && game["score"].is_u64(), "{game}");
    assert!(rounds.iter().all(|round| round["page_score"].is_null()), "{game}");
    assert_eq!(game["map"]["is_scored_by_page"], false, "{game}");
    assert!(played.stderr().contains("no points on the page"), "{}", played.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_law_decides_and_agrees_with_the_page() {
    let law = "law = 'max / (1 + distance_km / scale)'\nconstants = { max = 5000.0, scale = 250.0 }";
    let played = Played::new("otherlaw", &[("falloff_km = 2000.0", law)]).await;
    played.assert_complete("otherlaw");
    assert_eq!(played.game["score"], played.game["page_score"], "{}", played.game);
    assert!(!played.stderr().contains("warning: round"), "{}", played.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_proposes_the_formula_of_practice_rounds() {
    let (base, guesses) = serve().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("any.toml");
    std::fs::write(&file, PROFILE.replace("MAP", TILES)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["doctor", "--json", "--try=2", &format!("{base}/game?v=otherlaw"), "--site"]).arg(&file);
    command.arg("--picture").arg(dir.path().join("page.png"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let score = reports.as_array().unwrap().iter().find(|report| report["role"] == "score").unwrap();
    let detail = score["detail"].as_str().unwrap();
    assert!(detail.starts_with("warning: ") && detail.contains("max = 5000.0, scale = 250.0"), "{detail}");
    assert_eq!(guesses.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_score_formula_is_a_warning_with_the_formula() {
    let played = Played::new("otherlaw", &[]).await;
    played.assert_complete("otherlaw");
    let stderr = played.stderr();
    assert!(stderr.contains("warning: round") && stderr.contains("5000 / (1 + km / 250)"), "{stderr}");
    assert!(stderr.contains("law = \"max / (1 + distance_km / scale)\""), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_the_page_took_elsewhere_is_a_failed_round() {
    let guess = r##"guess = [["#mine @data-lat"], ["#mine @data-lng"]]"##;
    let played = Played::new("liar", &[("guess = [[], []]", guess)]).await;
    assert!(played.game["rounds"].as_array().unwrap().is_empty(), "{}", played.game);
    let failed = played.game["failed"].as_array().unwrap();
    assert_eq!((failed.len(), played.guesses.len()), (2, 2), "{}", played.game);
    assert!(failed.iter().all(|failed| failed["sent"] == true), "{failed:?}");
    assert!(failed[0]["why"].as_str().unwrap().contains("for the guess, 890 km from the pin"), "{failed:?}");
    let record = Path::new(played.game["record"].as_str().unwrap()).join("failed_1");
    assert!(record.join("page.png").is_file() && record.join("failed.json").is_file());
    assert!(record.starts_with(played.runs.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_without_total_ends_where_another_is_offered() {
    let played = Played::new("restart", &[("total = [\"#final\"]", "total = []")]).await;
    played.assert_complete("restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_print_json_and_name_what_is_missing() {
    let played = Played::new("modal", &[("\"#map\"", "\"#nothing\""), ("patience_s = 20", "patience_s = 4")]).await;
    assert_eq!(played.output.status.code(), Some(3), "{}", played.stderr());
    let error = played.game["error"].as_str().unwrap();
    assert!(error.contains("map.canvas") && error.contains("map.open") && error.contains("--window"), "{error}");
    assert_eq!((&played.game["exit_code"], played.guesses.len()), (&serde_json::json!(3), 0));
}
