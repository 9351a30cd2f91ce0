//! `landfall probe` on unknown games, with different map libraries and languages, and `landfall play` with the profiles that it
//! writes.

use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::header;
use axum::response::{Html, Json};
use axum::routing::get;
use landfall_agent::testing::{Arena, ArenaOptions, RoundSource};
use serde_json::{Value, json};
use tower_http::services::ServeDir;

use crate::any_game::{self, Guesses, Played};
use crate::{fixtures, listen};

/// Three fixture places with an image each: either panoramas or photographs.
pub(super) fn places(panoramas: bool) -> Value {
    let mut folders: Vec<_> =
        std::fs::read_dir(fixtures().join("rounds")).unwrap().map(|it| it.unwrap().path()).collect();
    folders.sort();
    let place = |folder: &std::path::PathBuf| {
        let round: Value = serde_json::from_slice(&std::fs::read(folder.join("round.json")).unwrap()).unwrap();
        let picture = if panoramas { "pano.jpg" } else { "view_000.jpg" };
        let name = folder.file_name().unwrap().to_str().unwrap();
        let mut place = round["truth"].clone();
        place["picture"] = format!("/pictures/{name}/{picture}").into();
        (round["pano"].is_string() == panoramas).then_some(place)
    };
    folders.iter().filter_map(place).take(3).collect()
}

/// Serves the games, and a page on another origin that embeds one of them in a frame. The arena provides the map tiles.
async fn serve() -> (Arena, String, String) {
    let arena = Arena::start(ArenaOptions::new(RoundSource::Fixtures(fixtures()))).await.unwrap();
    let tiles = format!("{}tiles", arena.url());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = here.join("../web-demo/node_modules");
    assert!(lib.join("ol").is_dir(), "the pages' packages are missing: run `npm ci` in web-demo");
    let tile = move |UrlPath((z, x, y)): UrlPath<(u32, i64, String)>| async move {
        let png = crate::http().get(format!("{tiles}/{z}/{x}/{y}")).send().await.unwrap().bytes().await.unwrap();
        ([(header::CONTENT_TYPE, "image/png")], png)
    };
    let game = |page: &'static str| get(move || async move { Html(page) });
    let app = Router::new()
        .route("/wo-bin-ich", game(include_str!("../pages/wo-bin-ich.html")))
        .route("/donde", game(include_str!("../pages/donde.html")))
        .route("/pinpoint", game(include_str!("../pages/pinpoint.html")))
        .route("/places/photos.json", get(|| async { Json(places(false)) }))
        .route("/places/panoramas.json", get(|| async { Json(places(true)) }))
        .route("/tiles/{z}/{x}/{y}", get(tile))
        .nest_service("/pictures", ServeDir::new(fixtures().join("rounds")))
        .nest_service("/lib", ServeDir::new(lib));
    let base = listen(app).await;
    let host = include_str!("../pages/pinpoint-host.html").replace("GAME", &format!("{base}/pinpoint"));
    let host = listen(Router::new().route("/games", get(move || async move { Html(host) }))).await;
    (arena, base, host)
}

fn landfall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap()
}

fn stdout_json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    println!("{stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

/// Probes a page, plays `rounds` of its three rounds with the written profile and returns that profile.
fn probe_and_play(url: &str, panoramas: bool, rounds: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("found.toml");
    let (file, runs) = (file.to_str().unwrap(), dir.path().join("runs"));
    let start = std::time::Instant::now();
    let found = stdout_json(&landfall(&["probe", "--json", "--out", file, url]));
    let profile = std::fs::read_to_string(file).unwrap();
    println!("{profile}\nprobed in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!((found["rounds"].as_array().unwrap().len(), &found["missing"]), (3, &json!([])), "{found}");
    let steps = found["steps"].as_array().unwrap();
    assert!(steps.len() > 3 && steps.iter().all(|step| step["did"].is_string() && step["seconds"].is_f64()), "{found}");

    let count = rounds.to_string();
    let play = [
        "play",
        "--rounds",
        &count,
        "--json",
        "--bundle",
        "pocket",
        "--min-gain",
        "5000",
        "--site",
        file,
        "--runs",
        runs.to_str().unwrap(),
        url,
    ];
    let game = stdout_json(&landfall(&play));
    println!("{} s in total", start.elapsed().as_secs_f64());
    let played = game["rounds"].as_array().unwrap();
    assert_eq!(played.len(), rounds, "{game}");
    for round in played {
        assert!(round["page_score"].is_u64() && round["score"] == round["page_score"], "{round}");
        assert!(round["pin"]["error_m"].as_f64().unwrap() < 25_000.0, "{round}");
    }
    // The total that the page shows is the sum of its rounds.
    if rounds == 3 {
        assert!(game["page_score"].is_u64() && game["score"] == game["page_score"], "{game}");
    }
    // The distance that the page shows must match the pin position that `play` recorded; only the test knows the truth.
    let truths = places(panoramas);
    for (round, truth) in played.iter().zip(truths.as_array().unwrap()) {
        let place = |value: &Value| landfall_model::LatLng {
            lat: value["lat"].as_f64().unwrap(),
            lng: value["lng"].as_f64().unwrap(),
        };
        let (placed, shown) = (place(&round["pin"]["placed"]), round["distance_m"].as_f64().unwrap());
        let error_m = (placed.distance_m(place(truth)) - shown).abs();
        assert!(error_m < 25_000.0, "{error_m} m: {round}");
    }
    profile
}

#[tokio::test(flavor = "multi_thread")]
async fn german_photo_game_with_leaflet() {
    let (arena, base, _) = serve().await;
    let profile =
        tokio::task::spawn_blocking(move || probe_and_play(&format!("{base}/wo-bin-ich"), false, 1)).await.unwrap();
    assert!(profile.contains("falloff_km = 1491.6862"), "{profile}");
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spanish_panorama_game_with_openlayers_and_own_score_formula() {
    let (arena, base, _) = serve().await;
    let profile = tokio::task::spawn_blocking(move || probe_and_play(&format!("{base}/donde"), true, 3)).await.unwrap();
    assert!(profile.contains("max_points = 1000.0\nfalloff_km = 2500.0"), "{profile}");
    assert!(profile.contains("photo = []") && profile.contains("total = [\".final strong\""), "{profile}");
    let hfov: f64 = profile.split("hfov = ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((85.0..=95.0).contains(&hfov), "the page uses 90: {hfov}");
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn english_game_with_maplibre_in_a_cross_origin_frame() {
    let (arena, _, host) = serve().await;
    let profile =
        tokio::task::spawn_blocking(move || probe_and_play(&format!("{host}/games"), false, 1)).await.unwrap();
    assert!(profile.contains("frame = [") && profile.contains("falloff_km = 1853.4781"), "{profile}");
    arena.stop().await;
}

#[test]
fn probe_rejects_foreign_pages_and_does_not_overwrite_profiles() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, "mine").unwrap();
    let file = file.to_str().unwrap();
    for (args, message) in [
        (&["https://game.example.org/"][..], "pass --with-permission"),
        (&["--with-permission", "https://www.geoguessr.com/maps/world"], "--i-own-this-account"),
        (&["--with-permission", "--i-own-this-account", "https://www.geoguessr.com/duels/5f0"], "affect other people"),
        (&["http://127.0.0.1:9/ranked/5"], "affect other people"),
        (&["--out", file, "http://127.0.0.1:9/"], "exists; pass --force"),
    ] {
        let output = landfall(&[&["probe"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(message), "{args:?}: {stderr}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

/// A probe of the game with one peculiarity per word, with these lines of a partial profile.
struct Probed {
    output: Output,
    found: Value,
    url: String,
    guesses: Guesses,
    dir: tempfile::TempDir,
}

impl Probed {
    async fn new(words: &str, draft: &str) -> Self {
        let (base, guesses) = any_game::serve().await;
        let (url, dir) = (format!("{base}/game?v={words}"), tempfile::tempdir().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["probe", "--json", &url, "--out"]).arg(dir.path().join("found.toml"));
        if !draft.is_empty() {
            std::fs::write(dir.path().join("draft.toml"), draft).unwrap();
            command.arg("--profile").arg(dir.path().join("draft.toml"));
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let found = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { output, found, url, guesses, dir }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The written profile, after checking that the probe says that it plays.
    fn profile(&self) -> String {
        assert_eq!(self.output.status.code(), Some(0), "{}", self.stderr());
        std::fs::read_to_string(self.dir.path().join("found.toml")).unwrap()
    }

    async fn play(self) -> Played {
        let file = self.dir.path().join("found.toml");
        self.guesses.lock().unwrap().clear();
        Played::with_profile(&self.url, &file, self.guesses, self.dir).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_explored_and_the_map_is_opened() {
    let words = "modes,modal,consent";
    let probed = Probed::new(words, "").await;
    assert!(probed.profile().contains("\nopen = "), "{}", probed.profile());
    // It has played one game to the end, and two rounds with its own profile.
    assert_eq!(probed.guesses.lock().unwrap().len(), 4, "{}", probed.stderr());
    probed.play().await.assert_complete(words);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_and_results_may_lie_outside_the_window_and_react_late() {
    let words = "drawer,slides,focus,forgets,asks,halts";
    let probed = Probed::new(words, "").await;
    let profile = probed.profile();
    let open = profile.lines().find(|line| line.starts_with("open = ")).unwrap_or_default();
    assert!(open.contains("Atlas"), "{profile}");
    assert!(profile.contains("marker_anchor = [0.5, 1.0]") && profile.contains("total = [\"#final\""), "{profile}");
    // The points of the rounds are those that the page counted up to, not those at which it halted.
    let falloff: f64 = profile.split("falloff_km = ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((1980.0..=2020.0).contains(&falloff), "{profile}");
    probed.play().await.assert_complete(words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_profile_helps_where_the_map_cannot_be_recognised() {
    // A map of lines without coasts does not tell which part of the world it shows.
    let alone = Probed::new("drawn", "").await;
    assert_eq!(alone.output.status.code(), Some(1), "{}", alone.stderr());
    assert!(alone.found["missing"][0].as_str().unwrap().starts_with("map.view"), "{}", alone.found);
    let probed = Probed::new("drawn", "[map]\nview = { lat = 20.0, lng = 0.0, zoom = 0.3 }\n").await;
    assert!(probed.profile().contains("view = { lat = 20.0, lng = 0.0, zoom = 0.3 }"), "{}", probed.profile());
    probed.play().await.assert_complete("drawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_partial_profile_states_wrongly_is_named() {
    for (draft, message) in [
        (
            "[map]\nguess = ['#submit']",
            "draft.toml: map.guess finds nothing on display after the pin was placed: `#submit`",
        ),
        (
            "[map]\ncanvas = ['#atlas']",
            "draft.toml: map.canvas finds nothing on display before the first round: `#atlas`",
        ),
        ("[map]\nmarkers = ['#pin']", "draft.toml, line 2: unknown key `map.markers`; the keys of [map] are"),
    ] {
        let probed =
            Probed::new("plain", &format!("{}{draft}", if draft.contains("canvas") { "patience_s = 3\n" } else { "" }))
                .await;
        assert!(probed.stderr().contains(message), "{draft}: {}", probed.stderr());
        assert!(probed.guesses.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_points_gets_a_profile_that_expects_none() {
    let probed = Probed::new("mute", "").await;
    assert!(probed.profile().contains("points = []"), "{}", probed.profile());
    let played = probed.play().await;
    played.assert_rounds("mute");
    assert!(played.game["page_score"].is_null(), "{}", played.game);
}
