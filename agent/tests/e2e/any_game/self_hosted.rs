//! The shipped profiles of games that people run themselves, on stubs with the structure of their pages.

use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::header;
use axum::response::{Html, Json};
use axum::routing::{get, post};
use landfall_agent::testing::{Arena, ArenaOptions, RoundSource};
use landfall_model::LatLng;
use serde_json::Value;
use tower_http::services::ServeDir;

use crate::any_game::{Guesses, probe};
use crate::{fixtures, listen};

/// The frame of another site in which two of the games show the panorama. They move its upper 285 pixels, here red, out of
/// the window: Google names the place there.
const EMBED: &str = "<style>body { margin: 0; background: #000 center / cover }\
    div { height: 285px; background: #f00 }</style><body><div></div>\
    <script>document.body.style.backgroundImage = `url(${new URLSearchParams(location.search).get('picture')})`</script>";

/// Serves the stubs, with map tiles of the arena.
async fn serve() -> (Arena, String, Guesses) {
    let arena = Arena::start(ArenaOptions::new(RoundSource::Fixtures(fixtures()))).await.unwrap();
    let tiles = format!("{}tiles", arena.url());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = here.join("../web-demo/node_modules");
    assert!(lib.join("leaflet").is_dir(), "the pages' packages are missing: run `npm ci` in web-demo");
    let tile = move |UrlPath((z, x, y)): UrlPath<(u32, i64, String)>| async move {
        let png = crate::http().get(format!("{tiles}/{z}/{x}/{y}")).send().await.unwrap().bytes().await.unwrap();
        ([(header::CONTENT_TYPE, "image/png")], png)
    };
    let plain = crate::tile_png();
    let guesses = Guesses::default();
    let taken = guesses.clone();
    let take = move |body: String| async move { taken.lock().unwrap().push(serde_json::from_str(&body).unwrap()) };
    let page = |page: &'static str| get(move || async move { Html(page) });
    let earthwalker = include_str!("../pages/earthwalker.html");
    let app = Router::new()
        .route("/", page(include_str!("../pages/worldguessr.html")))
        .route("/embed", page(EMBED))
        .route("/vt/{tile}", get(move || async move { ([(header::CONTENT_TYPE, "image/png")], plain) }))
        .route("/join", page(earthwalker))
        .route("/play", page(earthwalker))
        .route("/scores", page(earthwalker))
        .route("/wikidata-guessr/", page(include_str!("../pages/wikidata-guessr.html")))
        .route("/miniguessr/", page(include_str!("../pages/miniguessr.html")))
        .route("/places.json", get(|| async { Json(probe::places(false)) }))
        .route("/guess", post(take))
        .route("/tiles/{z}/{x}/{y}", get(tile))
        .nest_service("/pictures", ServeDir::new(fixtures().join("rounds")))
        .nest_service("/pages", ServeDir::new(here.join("tests/e2e/pages")))
        .nest_service("/lib", ServeDir::new(lib));
    (arena, listen(app).await, guesses)
}

/// Plays both rounds of a stub with the shipped profile. Returns the game.
fn play(site: &str, base: &str, path: &str) -> Value {
    let runs = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["play", "--json", "--bundle", "pocket", "--min-gain", "5000", "--rounds", "2", "--site", site]);
    command.args(["--base-url", base, "--runs"]).arg(runs.path()).arg(format!("{base}{path}"));
    let start = std::time::Instant::now();
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    println!("{site}: {:.1} s\n{stderr}", start.elapsed().as_secs_f64());
    assert_eq!(output.status.code(), Some(0), "{site}: {stderr}");
    assert!(!stderr.contains("warning: round"), "{site}: the formula of the profile is not the page's: {stderr}");
    let game: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{site}: {error}: {stderr}"));
    let record = Path::new(game["record"].as_str().unwrap());
    for n in 1..=2 {
        let view = image::open(record.join(format!("round_{n}/view_000.jpg"))).unwrap().to_rgb8();
        let is_red = |pixel: &image::Rgb<u8>| pixel.0[0] > 240 && pixel.0[1] < 20 && pixel.0[2] < 20;
        assert!(view.width() > 300 && !view.pixels().any(is_red), "{site}: what is out of the window is in the view");
    }
    game
}

/// Both rounds have the pin that the page took, and the points and the distance that it showed.
fn assert_played(site: &str, game: &Value, guesses: &Guesses) {
    let place = |at: &Value| LatLng { lat: at["lat"].as_f64().unwrap(), lng: at["lng"].as_f64().unwrap() };
    let taken: Vec<Value> = guesses.lock().unwrap().drain(..).collect();
    let rounds = game["rounds"].as_array().unwrap();
    assert_eq!((rounds.len(), taken.len()), (2, 2), "{site}: {game}");
    for (i, ((round, guess), truth)) in
        rounds.iter().zip(&taken).zip(probe::places(false).as_array().unwrap()).enumerate()
    {
        assert!(guess["game"] == site && guess["round"] == i, "{site}: {guess}");
        let (placed, guess) = (place(&round["pin"]["placed"]), place(guess));
        let (pin_m, shown_m) = (placed.distance_m(guess), round["distance_m"].as_f64().unwrap());
        assert!(pin_m < 25_000.0, "{site}: {pin_m} m: {round}");
        let off_m = (guess.distance_m(place(truth)) - shown_m).abs();
        assert!(off_m < 1_500.0, "{site}: {off_m} m: {round}"); // some show whole kilometres
        if site == "miniguessr" {
            assert!(round["score"].is_u64() && round["page_score"].is_null(), "{site}: {round}"); // it shows no points
            continue;
        }
        let (ours, shown) = (round["score"].as_i64().unwrap(), round["page_score"].as_i64().unwrap());
        assert!((ours - shown).abs() <= 2, "{site}: {round}");
    }
    let sum: Option<i64> = rounds.iter().map(|round| round["page_score"].as_i64()).sum();
    assert_eq!(game["page_score"].as_i64(), sum, "{site}: {game}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_profiles_play_stubs_of_self_hosted_games() {
    let (arena, base, guesses) = serve().await;
    for (site, path) in [
        ("worldguessr", "/"),
        ("earthwalker", "/join?id=stub"),
        ("wikidata-guessr", "/wikidata-guessr/"),
        ("miniguessr", "/miniguessr/"),
    ] {
        let here = base.clone();
        let game = tokio::task::spawn_blocking(move || play(site, &here, path)).await.unwrap();
        assert_played(site, &game, &guesses);
    }
    arena.stop().await;
}
