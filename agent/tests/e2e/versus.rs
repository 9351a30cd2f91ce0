//! A person plays against Landfall in a real Chromium. The person is scripted; Landfall uses the pocket bundle.

use std::time::{Duration, Instant};

use landfall_agent::testing::{
    Arena, ArenaOptions, BrowserOptions, Consent, NextStep, Page, Profile, RoundSource, Versus, browser, input,
};
use landfall_model::{LatLng, MapScale};
use serde_json::Value;
use url::Url;

use crate::look::{TWO_VIEWS, inference};

/// Runs a script of the test in the page.
async fn run_script(page: &Page, script: &str) -> Value {
    page.script(script).await.unwrap()
}

/// Waits until the script returns a value that is not null.
async fn wait_for(page: &Page, script: &str) -> Value {
    let start = Instant::now();
    loop {
        let value = run_script(page, script).await;
        if !value.is_null() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "timed out: {script}");
        input::pause(100).await;
    }
}

async fn json(url: String) -> Value {
    crate::http().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn versus_game_is_scored_and_added_to_the_series() {
    let dir = tempfile::tempdir().unwrap();
    let series = dir.path().join("runs/versus.jsonl");
    let versus = Versus { classifier: inference(TWO_VIEWS).classifier, series: series.clone() };
    // This seed starts with a panorama and a photograph.
    let options = ArenaOptions {
        seed: Some(3),
        rounds_per_game: 2,
        versus: Some(versus),
        ..ArenaOptions::new(RoundSource::Fixtures(crate::fixtures()))
    };
    let arena = Arena::start(options).await.unwrap();
    let browser = BrowserOptions::default();
    let driver = browser::open(&browser).await.unwrap();
    let url = Url::parse(arena.url()).unwrap();
    let page = Page::open(driver, Profile::find("arena").unwrap(), &url, Consent::default()).await.unwrap();
    let lead = wait_for(&page, "return document.querySelector('.start-lead')?.textContent ?? null").await;
    assert!(lead.as_str().unwrap().contains("against Landfall (pocket@"), "{lead}");

    let mut machine_total = 0;
    for n in 0..2 {
        page.await_round().await.unwrap();
        let token = page.address().await.unwrap().path().rsplit('/').next().unwrap().to_owned();
        let game = format!("{url}api/v3/games/{token}");
        let game_json = json(game.clone()).await;
        assert_eq!(
            game_json["rival"]["guesses"].as_array().unwrap().len(),
            n,
            "the guess is secret until the person has guessed: {game_json}"
        );
        let canvas = page.rect(&page.profile().map.canvas, "guess map").await.unwrap();
        page.hover(canvas.centre()).await.unwrap();
        input::pause(700).await; // hovering enlarges the map
        let canvas = page.rect(&page.profile().map.canvas, "guess map").await.unwrap();
        page.click(canvas.at(0.45, 0.4)).await.unwrap();
        let guessed = page.guess().await.unwrap();
        let pins = "return [document.querySelectorAll('.results-map .guess-pin').length, \
            document.querySelectorAll('.results-map .rival-pin').length]";
        assert_eq!(run_script(&page, pins).await[0], 1);
        wait_for(
            &page,
            &format!("const [own, its] = (() => {{ {pins} }})(); return own === 1 && its === 1 ? true : null"),
        )
        .await;

        let game_json = json(game).await;
        let (rival_guess, truth) = (&game_json["rival"]["guesses"][n], &game_json["rounds"][n]);
        let place = |json: &Value| LatLng::new(json["lat"].as_f64().unwrap(), json["lng"].as_f64().unwrap()).unwrap();
        let points = MapScale::WORLD.points(place(rival_guess).distance_m(place(truth)));
        assert_eq!(rival_guess["roundScoreInPoints"], points);
        let shown = run_script(&page, "return document.querySelector('[data-qa=rival-result]').dataset.points").await;
        assert_eq!(shown, points.to_string());
        machine_total += points;
        let after = page.next(guessed).await.unwrap();
        assert_eq!(matches!(after, NextStep::Over(Some(_))), n == 1, "{after:?}");
    }

    let shown = run_script(&page, "return document.querySelector('[data-qa=rival-score]').dataset.points").await;
    assert_eq!(shown, machine_total.to_string());
    // Intercept the download of the result card.
    let save_card = "HTMLAnchorElement.prototype.click = function () { \
            fetch(this.href).then(it => it.blob()).then(createImageBitmap).then(it => { window.card = [this.download, it.width] }) }; \
        document.querySelector('[data-qa=save-card-button]').click(); return null";
    run_script(&page, save_card).await;
    let card = wait_for(&page, "return window.card ?? null").await;
    assert_eq!(card, serde_json::json!(["landfall-versus.png", 1200]));

    let lines = std::fs::read_to_string(&series).unwrap();
    let game: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&game["rounds"], &game["machine"]), (&2.into(), &machine_total.into()), "{lines}");
    let person = game["person"].as_u64().unwrap();
    let standing = json(format!("{url}api/maps/arena")).await["arena"]["versus"]["series"].clone();
    let count = |by: bool| usize::from(by);
    let (person_won, machine_won) = (person > machine_total.into(), person < machine_total.into());
    assert_eq!((&standing["person"], &standing["machine"]), (&count(person_won).into(), &count(machine_won).into()));
    page.go(&url).await.unwrap();
    let lead = wait_for(&page, "return document.querySelector('.start-lead')?.textContent ?? null").await;
    assert!(lead.as_str().unwrap().contains("The series so far: you"), "{lead}");
    browser::shutdown(page.into_driver(), &browser).await;
    arena.stop().await;
}
