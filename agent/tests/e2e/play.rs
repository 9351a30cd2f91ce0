//! Whole games in a real Chromium against the arena with the real model, as run by `cargo xtask play`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::fixtures;
use crate::look::{TWO_VIEWS, inference};
use landfall_agent::testing::{
    Area, Arena, ArenaOptions, BrowserOptions, Consent, GameEvent, Page, PlayOptions, Profile, RoundSource, SubmitMode,
    browser, exit_code, game, look, pin,
};
use landfall_model::{Bundle, Classifier, LatLng};
use serde_json::Value;
use thirtyfour::{By, WebDriver};
use url::Url;

fn landfall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    let problem = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {problem}"))
}

/// Whether the fixture at this place is a panorama.
fn is_panorama(truth: &Value) -> bool {
    let folders = std::fs::read_dir(fixtures().join("rounds")).unwrap();
    let rounds = folders.map(|folder| std::fs::read(folder.unwrap().path().join("round.json")).unwrap());
    let mut rounds = rounds.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
    rounds.any(|round| round["truth"] == *truth && round["pano"].is_string())
}

async fn open_arena(seed: u64) -> (Arena, WebDriver, Page) {
    let options = ArenaOptions { seed: Some(seed), ..ArenaOptions::new(RoundSource::Fixtures(fixtures())) };
    let arena = Arena::start(options).await.unwrap();
    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    let url = Url::parse(arena.url()).unwrap();
    let page = Page::open(driver.clone(), Profile::find("arena").unwrap(), &url, Consent::default()).await.unwrap();
    page.await_round().await.unwrap();
    (arena, driver, page)
}

#[test]
fn plays_with_dialogs_and_slow_tiles_and_can_be_replayed() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().to_str().unwrap();
    let output = landfall(&[
        "play",
        "--json",
        "--seed",
        "1",
        "--rounds",
        "3",
        "--dialogs",
        "--slow-tiles",
        "250",
        "--runs",
        folder,
    ]);
    let game = json(&output);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(game["map"]["scale_m"], 14_916_862.0);
    let rounds = game["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 3);
    let mut sum = 0;
    for round in rounds {
        assert_eq!(round["score"], round["page_score"], "{round}");
        assert!(round["pin"]["error_m"].as_f64().unwrap() < 25_000.0, "{round}");
        assert!(round["truth"]["lat"].is_number() && round["place"].is_string());
        sum += round["score"].as_u64().unwrap();
    }
    assert_eq!((game["score"].as_u64(), game["page_score"].as_u64()), (Some(sum), Some(sum)));
    // Panoramas have several views, photographs only one.
    let record = PathBuf::from(game["record"].as_str().unwrap());
    let mut panoramas = 0;
    for round in rounds {
        let views = round["views"].as_array().unwrap();
        let headings: Vec<f64> = views.iter().map(|view| view["heading"].as_f64().unwrap()).collect();
        if is_panorama(&round["truth"]) {
            panoramas += 1;
            let expected: Vec<f64> =
                landfall_agent::testing::HEADINGS.iter().map(|heading| heading.rem_euclid(360.0)).collect();
            assert!(headings.len() > 1 && expected.starts_with(&headings), "{headings:?}");
            let folder = record.join(format!("round_{}", round["n"]));
            let mut pictures: Vec<_> =
                views.iter().map(|view| std::fs::read(folder.join(view["file"].as_str().unwrap())).unwrap()).collect();
            pictures.sort();
            pictures.dedup();
            assert_eq!(pictures.len(), views.len(), "the view did not turn");
        } else {
            assert_eq!(headings, [0.0]);
        }
    }
    assert!((1..3).contains(&panoramas), "choose a seed with both kinds, this one has {panoramas} panoramas");

    // `play` writes a report next to the game.
    let report = std::fs::read_to_string(record.join("report.html")).unwrap();
    assert!(report.contains(" of 15,000 points") && report.contains("The page shows the same total"));

    // The same pictures, and the same logits, give the same answers to the last bit; a replay has a report too.
    let record = record.to_str().unwrap();
    let page = runs.path().join("replay.html");
    for from in ["pictures", "logits"] {
        let replay = landfall(&["replay", "--json", "--from", from, "--report", page.to_str().unwrap(), record]);
        assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
        let replay = json(&replay);
        assert_eq!(replay["rounds"].as_array().unwrap().len(), rounds.len());
        for (replayed, played) in replay["rounds"].as_array().unwrap().iter().zip(rounds) {
            assert_eq!(replayed["repeats"], true, "from {from}");
            assert_eq!(replayed["guess"], played["guess"]);
            assert_eq!(replayed["top"], played["top"]);
        }
    }
    assert!(std::fs::read_to_string(page).unwrap().contains(" of 15,000 points"));
    // `locate` on the views of a round ranks the same cells.
    let views = rounds[0]["views"].as_array().unwrap();
    let files: Vec<String> =
        views.iter().map(|view| format!("{record}/round_1/{}", view["file"].as_str().unwrap())).collect();
    let mut args = vec!["locate", "--json", "--one-place"];
    args.extend(files.iter().map(String::as_str));
    // Compare only cells: probabilities differ because `locate` has no map bounds.
    let cells = |answer: &Value| -> Vec<Value> {
        answer["top"].as_array().unwrap().iter().map(|top| top["cell"].clone()).collect()
    };
    assert_eq!(cells(&json(&landfall(&args))), cells(&rounds[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn places_pins_anywhere_on_the_map() {
    let (arena, driver, page) = open_arena(5).await;
    for (lat, lng) in
        [(45.76, 4.83), (-54.8, -68.3), (78.2, 15.6), (-17.8, 179.97), (65.5, -179.9), (0.0, 0.0), (-45.9, 170.5)]
    {
        let wanted = LatLng::new(lat, lng).unwrap();
        let placed = pin::place_pin(&page, wanted, 25_000.0).await.unwrap();
        let error_m = placed.at.distance_m(wanted);
        assert!(
            error_m < 1.5 * placed.metres_per_pixel && placed.metres_per_pixel < 25_000.0,
            "{wanted}: {error_m} m off"
        );
    }
    // The page sends the position that we read back, within one pixel.
    let wanted = LatLng::new(-33.9, 18.4).unwrap();
    let placed = pin::place_pin(&page, wanted, 25_000.0).await.unwrap();
    let guessed = page.guess().await.unwrap();
    let outcome = page.outcome(&guessed).await.unwrap();
    assert!(outcome.guess.unwrap().distance_m(placed.at) <= placed.metres_per_pixel);
    browser::shutdown(driver, &BrowserOptions::default()).await;
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_does_not_contain_the_truth_before_the_guess() {
    let (arena, driver, page) = open_arena(7).await;
    let source_before = driver.source().await.unwrap();
    pin::place_pin(&page, LatLng::new(10.0, 10.0).unwrap(), 25_000.0).await.unwrap();
    let source_pinned = driver.source().await.unwrap();
    let guessed = page.guess().await.unwrap();
    let truth = page.outcome(&guessed).await.unwrap().truth.unwrap();
    let source_after = driver.source().await.unwrap();
    let reveals_truth =
        |source: &str| source.contains(&format!("{:.3}", truth.lat)) || source.contains(&truth.lat.to_string());
    assert!(!reveals_truth(&source_before) && !reveals_truth(&source_pinned));
    assert!(reveals_truth(&source_after), "the truth must be detectable after the guess");
    browser::shutdown(driver, &BrowserOptions::default()).await;
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_session_is_an_environment_error() {
    let (arena, driver, page) = open_arena(9).await;
    browser::shutdown(driver, &BrowserOptions::default()).await;
    let error = look::around(&page, &inference(TWO_VIEWS), None).await.unwrap_err();
    assert_eq!(exit_code(&error) as u8, 3, "{error:#}");
    arena.stop().await;
}

#[test]
fn score_mismatch_fails_the_check_but_keeps_the_record() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().to_str().unwrap();
    let output = landfall(&["play", "--json", "--seed", "1", "--rounds", "1", "--scale", "1000000", "--runs", folder]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("check the scale of the map"));
    let game = json(&output);
    assert_ne!(game["rounds"][0]["score"], game["rounds"][0]["page_score"]);
    let record = Path::new(game["record"].as_str().unwrap());
    assert!(record.join("game.json").is_file() && record.join("round_1/round.json").is_file());
}

#[test]
fn plays_several_games_in_sequence() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().to_str().unwrap();
    let args = ["--seed", "1", "--rounds", "1", "--games", "2", "--pause", "0", "--bundle", "pocket", "--runs", folder];
    let output = landfall(&[&["play", "--json"], &args[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let games: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(games.len(), 2);
    assert_ne!(games[0]["record"], games[1]["record"]);
    assert_ne!(games[0]["rounds"][0]["url"], games[1]["rounds"][0]["url"], "two different games");
    for game in &games {
        assert!(game["score"].is_u64() && game["score"] == game["page_score"], "{game}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn person_submits_the_pin_set_by_the_agent() {
    let (arena, driver, mut page) = open_arena(11).await;
    let runs = tempfile::tempdir().unwrap();
    let options = PlayOptions {
        runs: runs.path().to_owned(),
        scale: None,
        area: Area::default(),
        rounds: 1,
        max_pin_error_m: 25_000.0,
        submit_mode: SubmitMode::Person,
        time_budget: None,
        min_gain: TWO_VIEWS,
        browser: BrowserOptions::default(),
    };
    let classifier = Arc::new(Classifier::load(Bundle::find("pocket").unwrap()).unwrap());
    let browser = driver.clone();
    let (mut set, mut person) = (None, None);
    let on_event = |event: GameEvent<'_>| {
        let GameEvent::PinPlaced(round) = event else { return };
        set = Some(round.clone());
        let browser = browser.clone();
        person = Some(tokio::spawn(async move {
            // No result is shown before the person presses the button.
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            assert!(browser.find_all(By::Css("[data-qa=round-result]")).await.unwrap().is_empty());
            browser.find(By::Css("[data-qa=perform-guess]")).await.unwrap().click().await.unwrap();
        }));
    };
    let game = game::play(&mut page, classifier, &options, on_event).await.unwrap();
    person.unwrap().await.unwrap();
    let (set, round) = (set.unwrap(), &game.rounds[0]);
    assert!(set.truth.is_none() && set.place.is_some() && set.expected_score.is_some());
    assert_eq!(round.guess, set.guess);
    assert!(round.truth.is_some() && round.score.is_some() && round.score == round.page_score, "{round:?}");
    browser::shutdown(driver, &BrowserOptions::default()).await;
    arena.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pin_exceeding_the_maximum_error_is_not_submitted() {
    let (arena, driver, page) = open_arena(13).await;
    // Browser dialogs are closed automatically.
    driver.execute("setTimeout(() => alert('Level up!'), 0)", vec![]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    page.rect(&page.profile().map.canvas, "map").await.unwrap();
    // The map cannot be zoomed in that far.
    let error = pin::place_pin(&page, LatLng::new(45.76, 4.83).unwrap(), 0.001).await.unwrap_err();
    assert!(exit_code(&error) as u8 == 3 && error.to_string().contains("after 4 clicks"), "{error:#}");
    browser::shutdown(driver, &BrowserOptions::default()).await;
    arena.stop().await;
}
