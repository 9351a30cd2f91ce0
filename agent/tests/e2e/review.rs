//! `review`: the page in a real Chromium, its accessibility, decisions that last, and writing what was confirmed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use landfall_agent::testing::{BrowserOptions, browser};
use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use serde_json::{Value, json};
use thirtyfour::{By, WebDriver};

use crate::fixtures;

const PLACES: [&str; 4] = ["aizkorri-meadow", "brooklyn-elevated-railway", "nagoya-castle", "rome-colosseum"];

/// A running `landfall review`, killed on drop.
struct Review {
    process: Child,
    url: String,
}

impl Review {
    fn start(manifest: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["review", "--port", "0"]).args(args).arg(manifest);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim().to_owned() }
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let response = crate::http().post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn dots(&self) -> Vec<Value> {
        let json: Value =
            crate::http().get(format!("{}api/review", self.url)).send().await.unwrap().json().await.unwrap();
        json["dots"].as_array().unwrap().clone()
    }
}

impl Drop for Review {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A directory with some pictures, and its manifest.
fn archive() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    for place in PLACES {
        let view = fixtures().join("rounds").join(place).join("view_000.jpg");
        std::fs::copy(view, photos.join(format!("{place}.jpg"))).unwrap();
    }
    let manifest = dir.path().join("m.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["locate", "--bundle", "pocket", "--manifest"]).arg(&manifest).arg(photos);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (dir, manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_last_and_only_they_are_written() {
    let (dir, manifest) = archive();
    let review = Review::start(&manifest, &["--sidecar"]);
    let world = json!({ "south": -90, "west": -180, "north": 90, "east": 180 });
    let (status, all) = review.post("api/accept", json!({ "bounds": world, "min_p": 0.0 })).await;
    assert!(status == StatusCode::OK && all["dots"].as_array().unwrap().len() == PLACES.len(), "{all}");
    review.post("api/undo", json!({})).await;
    review.post("api/accept", json!({ "ids": [0, 0, 99] })).await;
    let (_, corrected) = review.post("api/correct", json!({ "id": 3, "lat": 41.8902, "lng": 12.4922 })).await;
    assert_eq!((&corrected["dots"][0][1], &corrected["dots"][0][4]), (&json!(41.8902), &json!("corrected")));

    // Requests of other pages, and for what is not listed.
    let get = async |path: &str, header: (_, &str)| {
        crate::http().get(format!("{}{path}", review.url)).header(header.0, header.1).send().await.unwrap().status()
    };
    assert_eq!(get("api/review", (ORIGIN, "http://evil.example")).await, StatusCode::FORBIDDEN);
    assert_eq!(get("api/review", (HOST, "evil.example")).await, StatusCode::MISDIRECTED_REQUEST);
    let own = (ORIGIN, review.url.trim_end_matches('/').to_owned());
    let own = (own.0, own.1.as_str());
    assert_eq!(get("thumbnails/0", own.clone()).await, StatusCode::OK);
    for path in ["thumbnails/4", "pictures/4", "api/pictures/4", "m.jsonl", "pictures/..%2fm.jsonl", "tiles/99/0/0.png"]
    {
        assert!(get(path, own.clone()).await.is_client_error(), "{path}");
    }
    let (status, _) = review.post("api/correct", json!({ "id": 3, "lat": 95, "lng": 0 })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, promised) = review.post("api/write", json!({ "dry_run": true })).await;
    assert_eq!((&promised["summary"]["sidecars"], &promised["summary"]["is_dry_run"]), (&json!(2), &json!(true)));
    drop(review);

    let statuses = |dots: Vec<Value>| dots.iter().map(|dot| dot[4].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let review = Review::start(&manifest, &["--sidecar"]);
    assert_eq!(statuses(review.dots().await), ["accepted", "open", "open", "corrected"]);
    let sidecar = |place: &str| dir.path().join("photos").join(format!("{place}.jpg.xmp"));
    assert!(!sidecar(PLACES[0]).exists(), "the dry run wrote nothing");
    let (_, written) = review.post("api/write", json!({ "dry_run": false })).await;
    assert_eq!(written["summary"]["sidecars"], 2, "{written}");
    let text = |place: &str| std::fs::read_to_string(sidecar(place)).unwrap_or_default();
    assert!(text(PLACES[0]).contains("confirmed by a person") && text(PLACES[0]).contains("GPSHPositioningError"));
    assert!(text(PLACES[3]).contains("41,53.412000N") && !text(PLACES[3]).contains("GPSHPositioningError"));
    assert!(!sidecar(PLACES[1]).exists() && !text(PLACES[3]).contains("estimate by"));
    drop(review);
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["review", "--write", "--json", "--write-exif"]).arg(dir.path().join("copies")).arg(&manifest);
    let output = command.output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &summary["copies"]), (Some(0), &json!(2)), "{output:?}");
}

/// Waits until a script returns true.
async fn until(driver: &WebDriver, script: &str) {
    let start = Instant::now();
    loop {
        let state = driver.execute(script, Vec::new()).await.unwrap().json().clone();
        if state == json!(true) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{script}: {state}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What axe finds.
async fn findings(driver: &WebDriver) -> Value {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-demo/node_modules/axe-core/axe.min.js");
    driver.execute(std::fs::read_to_string(axe).unwrap(), Vec::new()).await.unwrap();
    let run = "const done = arguments[arguments.length - 1];
        axe.run().then(({ violations }) => done(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])));";
    driver.execute_async(run, Vec::new()).await.unwrap().json().clone()
}

/// Saves what the page shows, if `LANDFALL_SCREENSHOTS` names a directory.
async fn screenshot(driver: &WebDriver, name: &str) {
    if let Some(dir) = std::env::var_os("LANDFALL_SCREENSHOTS") {
        tokio::time::sleep(Duration::from_secs(1)).await;
        driver.screenshot(&Path::new(&dir).join(name)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_accessible_and_decisions_are_made_by_mouse_and_keyboard() {
    let (_dir, manifest) = archive();
    let review = Review::start(&manifest, &["--sidecar"]);
    for (width, height) in [(1280, 800), (390, 844)] {
        let options = BrowserOptions { viewport: (width, height), ..BrowserOptions::default() };
        let driver = browser::open(&options).await.unwrap();
        let size = format!("{width}x{height}");
        driver.goto(&review.url).await.unwrap();
        until(&driver, "return document.images.length > 4 && [...document.images].every((image) => image.complete)")
            .await;
        screenshot(&driver, &format!("list-{size}.png")).await;
        assert_eq!(findings(&driver).await, json!([]), "list, {size}");
        assert_eq!(
            driver.execute("return document.documentElement.scrollWidth <= innerWidth", vec![]).await.unwrap().json(),
            &json!(true)
        );

        driver.find(By::Css(".thumbnail")).await.unwrap().click().await.unwrap();
        until(&driver, "return !!document.querySelector('.picture-frame img')?.naturalWidth").await;
        screenshot(&driver, &format!("picture-{size}.png")).await;
        assert_eq!(findings(&driver).await, json!([]), "picture, {size}");

        // By keyboard: correct to the middle of the map, accept the next one, take both back.
        let keys = |key: &'static str| {
            format!(
                "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }})); return true"
            )
        };
        driver.execute(keys("c"), vec![]).await.unwrap();
        screenshot(&driver, &format!("placing-{size}.png")).await;
        assert_eq!(findings(&driver).await, json!([]), "placing, {size}");
        driver.find(By::Css(".placing-bar .primary")).await.unwrap().click().await.unwrap();
        until(&driver, "return document.querySelector('.facts').textContent.includes('Corrected to')").await;
        driver.execute(keys("n"), vec![]).await.unwrap();
        until(&driver, "return document.querySelector('.facts').textContent.includes('StatusOpen')").await;
        driver.execute(keys("a"), vec![]).await.unwrap();
        until(&driver, "return document.querySelector('.counts').textContent.startsWith('2 of 4')").await;
        assert_eq!(review.dots().await.iter().filter(|dot| dot[4] != "open").count(), 2);
        for left in ["1 of 4", "0 of 4"] {
            driver.execute(keys("u"), vec![]).await.unwrap();
            until(&driver, &format!("return document.querySelector('.counts').textContent.startsWith('{left}')")).await;
        }

        driver.execute(keys("Escape"), vec![]).await.unwrap();
        driver.find(By::Css(".list > .primary")).await.unwrap().click().await.unwrap();
        until(&driver, "return document.querySelector('.counts').textContent.startsWith('4 of 4')").await;
        driver.find(By::XPath("//button[.='Write…']")).await.unwrap().click().await.unwrap();
        until(
            &driver,
            "return !!document.querySelector('dialog[open]')?.textContent.includes('This will write 0 copies and 4')",
        )
        .await;
        screenshot(&driver, &format!("write-{size}.png")).await;
        assert_eq!(findings(&driver).await, json!([]), "dialog, {size}");
        browser::shutdown(driver, &options).await;
        review.post("api/undo", json!({})).await;
    }
}
