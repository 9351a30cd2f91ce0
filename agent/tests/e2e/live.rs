//! The `geoguessr` profile in a real Chromium, on an arena that has the structure of the live page, and on one where
//! class names have changed since the profile was written.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use landfall_agent::testing::{Arena, ArenaOptions, Dialogs, RoundSource, Structure};
use serde_json::Value;

async fn arena(structure: Structure, seed: u64) -> Arena {
    let fixtures = crate::fixtures();
    let options = ArenaOptions {
        structure,
        seed: Some(seed),
        first_shows: Dialogs { consent: true, interstitial: true },
        level_up: true,
        ..ArenaOptions::new(RoundSource::Fixtures(fixtures))
    };
    Arena::start(options).await.unwrap()
}

/// Runs `landfall` on a blocking thread, so that the arena can serve requests meanwhile.
async fn landfall(args: &[&str]) -> Output {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Plays rounds of a game of five with the `geoguessr` profile. The page reveals no coordinates, only points and a rounded
/// distance.
async fn play_game(structure: Structure, count: usize) {
    let (arena, runs) = (arena(structure, 1).await, tempfile::tempdir().unwrap());
    let runs_dir = runs.path().to_str().unwrap();
    let args = ["--base-url", arena.url(), "--site", "geoguessr", "--bundle", "pocket", "--json", "--runs", runs_dir];
    let output = landfall(&[&["play", "--min-gain", "5000", "--rounds", &count.to_string()], &args[..]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("violate the terms of this site"), "{}", stderr(&output));
    let game: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&game["site"], &game["map"]["name"]), (&"geoguessr".into(), &"World".into()));
    assert_eq!(game["map"]["scale_m"], 14_916_862.0);
    let rounds = game["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), count);
    let (mut sum, mut turned) = (0, 0);
    for round in rounds {
        assert!(round["page_score"].is_u64() && round["score"] == round["page_score"], "{round}");
        assert!(round["truth"].is_null(), "the page does not show the truth: {round}");
        assert!(round["distance_m"].is_number() && round["distance_within_m"].is_number(), "{round}");
        assert!(round["pin"]["error_m"].as_f64().unwrap() < 25_000.0, "{round}");
        let url = round["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}game/", arena.url())), "{url}");
        sum += round["score"].as_u64().unwrap();
        let views = round["views"].as_array().unwrap();
        let folder = Path::new(game["record"].as_str().unwrap()).join(format!("round_{}", round["n"]));
        let picture = |view: &Value| std::fs::read(folder.join(view["file"].as_str().unwrap())).unwrap();
        let pictures: BTreeSet<Vec<u8>> = views.iter().map(picture).collect();
        assert_eq!(pictures.len(), views.len(), "each view shows a different image: {round}");
        turned += usize::from(views.len() > 1);
    }
    assert!((1..count).contains(&turned), "choose a seed with both kinds, this one has {turned} panoramas");
    assert_eq!(game["score"].as_u64(), Some(sum));
    if count == 5 {
        assert_eq!(game["page_score"].as_u64(), Some(sum));
    }
    // Records without truths can be replayed.
    let record = game["record"].as_str().unwrap();
    let replay = landfall(&["replay", "--json", "--bundle", "pocket", "--from", "logits", record]).await;
    assert_eq!(replay.status.code(), Some(0), "{}", stderr(&replay));
    let replay: Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert!(replay["rounds"].as_array().unwrap().iter().all(|round| round["repeats"] == true), "{replay}");
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plays_the_live_structure() {
    play_game(Structure::Live, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plays_with_changed_class_names() {
    play_game(Structure::Aged, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_fallback_locators() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("page.png");
    for (structure, has_fallen_back) in [(Structure::Live, false), (Structure::Aged, true)] {
        let arena = arena(structure, 1).await;
        let args = ["--site", "geoguessr", "--base-url", arena.url(), "--picture", picture.to_str().unwrap()];
        let output = landfall(&[&["doctor", "--json"], &args[..]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        for role in ["look.view", "map.canvas", "map.tiles", "map.guess", "page.map_name"] {
            let finding = findings.iter().find(|finding| finding["role"] == role).unwrap();
            assert!(finding["ok"] == true && finding["detail"] != "not on the page now", "{finding}");
            if ["look.view", "map.guess"].contains(&role) {
                assert_eq!(finding["detail"].as_str().unwrap().starts_with("fell back"), has_fallen_back, "{finding}");
            }
        }
        arena.stop().await;
    }
}

/// The source of the page contains no test attributes of the arena, even after a guess.
#[tokio::test(flavor = "multi_thread")]
async fn live_structure_has_no_arena_attributes() {
    use landfall_agent::testing::{BrowserOptions, Consent, Page, Profile, browser, pin};
    use landfall_model::LatLng;

    let arena = arena(Structure::Live, 7).await;
    let base = arena.url().parse().unwrap();
    let profile = Profile::find("geoguessr").unwrap().at(&base).unwrap();
    let (driver, start) = (browser::open(&BrowserOptions::default()).await.unwrap(), profile.start(&base).unwrap());
    let page = Page::open(driver, profile, &start, Consent::default()).await.unwrap();
    page.await_round().await.unwrap();
    pin::place_pin(&page, LatLng::new(10.0, 10.0).unwrap(), 25_000.0).await.unwrap();
    let guessed = page.guess().await.unwrap();
    let outcome = page.outcome(&guessed).await.unwrap();
    assert!(outcome.points.is_some() && outcome.distance.is_some());
    assert!(outcome.truth.is_none() && outcome.guess.is_none());
    let source = page.script::<String>("return document.documentElement.outerHTML").await.unwrap();
    let token = page.address().await.unwrap().path().trim_start_matches("/game/").to_owned();
    let game =
        crate::http().get(format!("{}api/v3/games/{token}", arena.url())).send().await.unwrap().text().await.unwrap();
    let game: Value = serde_json::from_str(&game).unwrap();
    let truth = game["rounds"][0]["lat"].as_f64().unwrap();
    assert!(
        !source.contains(&format!("{truth:.3}")) && !source.contains(&truth.to_string()),
        "the truth is in the page"
    );
    for attribute in
        ["data-lat", "data-lng", "data-points", "data-metres", "data-heading", "data-state", "guess-location"]
    {
        assert!(!source.contains(attribute), "{attribute}");
    }
    // The game JSON agrees with the page.
    assert_eq!(game["player"]["guesses"][0]["roundScoreInPoints"], outcome.points.unwrap());
    let (distance, shown) = (game["player"]["guesses"][0]["distanceInMeters"].as_f64(), outcome.distance.unwrap());
    assert!((distance.unwrap() - shown.metres).abs() <= shown.within_m, "{distance:?} {shown:?}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
    arena.stop().await;
}

#[tokio::test]
async fn live_structure_has_the_map_and_tile_urls_of_the_live_game() {
    let arena = arena(Structure::Live, 1).await;
    let get = async |path: &str| crate::http().get(format!("{}{path}", arena.url())).send().await.unwrap();
    let map: Value = serde_json::from_str(&get("api/maps/world").await.text().await.unwrap()).unwrap();
    assert_eq!((&map["name"], &map["slug"]), (&"World".into(), &"world".into()));
    assert_eq!((&map["arena"]["structure"], &map["arena"]["levelUp"]), (&"live".into(), &true.into()));
    assert!(get("maps/world").await.status().is_success() && get("maps/other").await.status() == 404);
    let tile = async |path: &str| get(path).await.bytes().await.unwrap();
    assert_eq!(tile("maps/vt?pb=!1m5!1m4!1i3!2i4!3i2!4i256!3i715").await, tile("tiles/3/4/2.png").await);
    for bad in ["maps/vt?pb=!1i3!2i4", "maps/vt?pb=!1i3!2i4!3i8", "maps/vt?pb=!1i-1!2i0!3i0"] {
        assert_eq!(get(bad).await.status(), 404, "{bad}");
    }
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn base_url_must_be_on_this_computer() {
    for args in [
        &["play", "--site", "geoguessr", "--base-url", "https://www.geoguessr.com"][..],
        &["play", "--site", "geoguessr", "--base-url", "http://127.0.0.1.example.org:8014"],
        &["play", "--site", "geoguessr", "--i-own-this-account", "--base-url", "https://www.geoguessr.com"],
        &["doctor", "--site", "geoguessr", "--base-url", "http://192.168.1.1:8014"],
        &["doctor", "--base-url", "http://example.org"],
    ] {
        let output = landfall(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("origin on this computer"), "{}", stderr(&output));
    }
    for (args, message) in [
        (
            &["--base-url", "http://127.0.0.1:9", "https://www.geoguessr.com/maps/world"][..],
            "is for http://127.0.0.1:9",
        ),
        (&["--base-url", "http://127.0.0.1:9", "http://127.0.0.1:9/duels/5f0"], "does not play there"),
        (&["--base-url", "http://127.0.0.1:9", "--structure", "live"], "apply to the arena"),
    ] {
        let output = landfall(&[&["play", "--site", "geoguessr"], args].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
    }
}
