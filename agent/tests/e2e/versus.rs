//! A person against the machine, in a real Chromium: the person is scripted, the machine is the small bundle.

use std::time::{Duration, Instant};

use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use landfall_agent::browser::input;
use landfall_agent::server::arena::{Arena, ArenaOptions, RoundSource, Versus};
use landfall_agent::site::Profile;
use landfall_agent::site::guard::Consent;
use landfall_agent::site::page::{NextStep, Page};
use landfall_model::{LatLng, MapScale};
use serde_json::Value;
use url::Url;

use crate::look::{TWO_VIEWS, inference};

/// What a script of the test's own says of the page.
async fn says(page: &Page, script: &str) -> Value {
    page.script(script).await.unwrap()
}

/// Waits until the page says something that is not null.
async fn until(page: &Page, script: &str) -> Value {
    let start = Instant::now();
    loop {
        let said = says(page, script).await;
        if !said.is_null() {
            return said;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never: {script}");
        input::pause(100).await;
    }
}

async fn json(url: String) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_plays_against_the_machine_and_the_series_is_kept() {
    let kept = tempfile::tempdir().unwrap();
    let series = kept.path().join("runs/versus.jsonl");
    let versus = Versus { classifier: inference(TWO_VIEWS).classifier, series: series.clone() };
    // A panorama and a photograph.
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
    let lead = until(&page, "return document.querySelector('.start-lead')?.textContent ?? null").await;
    assert!(lead.as_str().unwrap().contains("against Landfall (pocket@"), "{lead}");

    let mut machine = 0;
    for n in 0..2 {
        page.await_round().await.unwrap();
        let token = page.address().await.unwrap().path().rsplit('/').next().unwrap().to_owned();
        let game = format!("{url}api/v3/games/{token}");
        let told = json(game.clone()).await;
        assert_eq!(told["rival"]["guesses"].as_array().unwrap().len(), n, "it tells nothing before: {told}");
        let canvas = page.rect(&page.profile.map.canvas, "guess map").await.unwrap();
        page.hover(canvas.centre()).await.unwrap();
        input::pause(700).await; // the map grows
        let canvas = page.rect(&page.profile.map.canvas, "guess map").await.unwrap();
        page.click(canvas.at(0.45, 0.4)).await.unwrap();
        let guessed = page.guess().await.unwrap();
        let pins = "return [document.querySelectorAll('.results-map .guess-pin').length, \
            document.querySelectorAll('.results-map .rival-pin').length]";
        assert_eq!(says(&page, pins).await[0], 1);
        until(
            &page,
            &format!("const [own, its] = (() => {{ {pins} }})(); return own === 1 && its === 1 ? true : null"),
        )
        .await;

        let told = json(game).await;
        let (said, truth) = (&told["rival"]["guesses"][n], &told["rounds"][n]);
        let place = |json: &Value| LatLng::new(json["lat"].as_f64().unwrap(), json["lng"].as_f64().unwrap()).unwrap();
        let points = MapScale::WORLD.points(place(said).distance_m(place(truth)));
        assert_eq!(said["roundScoreInPoints"], points);
        let shown = says(&page, "return document.querySelector('[data-qa=rival-result]').dataset.points").await;
        assert_eq!(shown, points.to_string());
        machine += points;
        let after = page.next(guessed).await.unwrap();
        assert_eq!(matches!(after, NextStep::Over(Some(_))), n == 1, "{after:?}");
    }

    let shown = says(&page, "return document.querySelector('[data-qa=rival-score]').dataset.points").await;
    assert_eq!(shown, machine.to_string());
    // The picture to share, as it is handed over for saving.
    let save = "HTMLAnchorElement.prototype.click = function () { \
            fetch(this.href).then(it => it.blob()).then(createImageBitmap).then(it => { window.card = [this.download, it.width] }) }; \
        document.querySelector('[data-qa=save-card-button]').click(); return null";
    says(&page, save).await;
    let card = until(&page, "return window.card ?? null").await;
    assert_eq!(card, serde_json::json!(["landfall-versus.png", 1200]));

    let lines = std::fs::read_to_string(&series).unwrap();
    let game: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&game["rounds"], &game["machine"]), (&2.into(), &machine.into()), "{lines}");
    let person = game["person"].as_u64().unwrap();
    let standing = json(format!("{url}api/maps/arena")).await["arena"]["versus"]["series"].clone();
    let won = |by: bool| usize::from(by);
    let (more, less) = (person > machine.into(), person < machine.into());
    assert_eq!((&standing["person"], &standing["machine"]), (&won(more).into(), &won(less).into()));
    page.go(&url).await.unwrap();
    let lead = until(&page, "return document.querySelector('.start-lead')?.textContent ?? null").await;
    assert!(lead.as_str().unwrap().contains("The series so far: you"), "{lead}");
    browser::shutdown(page.driver, &browser).await;
    arena.stop().await;
}
