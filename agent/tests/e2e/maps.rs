//! The pin on guess maps of both kinds, by the map's own reckoning of where it came to be: Leaflet's tile pictures and
//! MapLibre GL's canvas, from the pages in `pages/`.
//!
//! A pin takes one second on tiles and three on a canvas, so a few are placed every time; `LANDFALL_PINS=100` places so
//! many on each map.

use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use image::ImageFormat;
use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use landfall_agent::play::pin;
use landfall_agent::play::pin::PlacedPin;
use landfall_agent::site::Profile;
use landfall_agent::site::guard::Consent;
use landfall_agent::site::page::Page;
use landfall_model::LatLng;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tower_http::services::ServeDir;
use url::Url;

const RASTER_MAP: &str = r##"
tiles = ["#map img.leaflet-tile"]
tile_address = ['/(?<z>\d+)/(?<x>-?\d+)/(?<y>\d+)\.png']
marker = ["#map .pin"]
"##;

const CANVAS_MAP: &str = r##"
kind = "canvas"
marker = ["#map .maplibregl-marker"]
"##;

/// Where MapLibre's own pin, 41 pixels high, has its point: 14 below its middle.
const MAPLIBRE_ANCHOR: [f64; 2] = [0.5, 34.5 / 41.0];

/// A profile for the test pages with this guess map.
fn profile(map: &str, anchor: [f64; 2]) -> Profile {
    let text = format!(
        r##"
        name = "maps"
        version = 1
        hosts = ["127.0.0.1"]
        needs_consent = false
        paths = {{ play = ["^/(raster|canvas)$"], refuse = [] }}
        page = {{ dismiss = [], start = [], loading = [], map_name = [], problem = [] }}
        look = {{ view = ["#view"], photo = [], hide = ["#box"], heading = [], still_ms = 50, hfov = 90.0 }}
        [result]
        shown = ["#result"]
        points = ["#result @data-points"]
        truth = [[], []]
        guess = [["#result @data-lat"], ["#result @data-lng"]]
        next = []
        total = []
        [map]
        canvas = ["#map"]
        guess = ["#guess"]
        marker_anchor = {anchor:?}
        {map}
        "##
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maps.toml");
    std::fs::write(&file, text).unwrap();
    Profile::find(file.to_str().unwrap()).unwrap()
}

/// Serves the test pages, and what they are made with.
async fn serve() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib: PathBuf = here.join("../web-demo/node_modules");
    assert!(lib.join("maplibre-gl").is_dir(), "the page's packages are missing: run `npm ci` in web-demo");
    let page = |script: &str, stylesheet: &str| {
        let text = include_str!("pages/page.html").replace("SCRIPT", script).replace("STYLESHEET", stylesheet);
        get(move || async move { Html(text) })
    };
    let mut tile = Vec::new();
    image::RgbImage::from_pixel(256, 256, image::Rgb([190, 210, 230]))
        .write_to(&mut std::io::Cursor::new(&mut tile), ImageFormat::Png)
        .unwrap();
    let app = Router::new()
        .route("/raster", page("/pages/raster.js", "/lib/leaflet/dist/leaflet.css"))
        .route("/canvas", page("/pages/canvas.js", "/lib/maplibre-gl/dist/maplibre-gl.css"))
        .route("/tiles/{z}/{x}/{y}", get(move || async move { ([(header::CONTENT_TYPE, "image/png")], tile) }))
        .nest_service("/pages", ServeDir::new(here.join("tests/e2e/pages")))
        .nest_service("/lib", ServeDir::new(lib));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

async fn open(path: &str, profile: Profile) -> Page {
    let url = Url::parse(&format!("{}{path}", serve().await)).unwrap();
    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    let page = Page::open(driver, profile, &url, Consent::default()).await.unwrap();
    ready(&page).await;
    page
}

/// Goes to another page of the same server.
async fn again(page: &Page, path: &str) {
    page.go(&page.address().await.unwrap().join(path).unwrap()).await.unwrap();
    ready(page).await;
}

async fn ready(page: &Page) {
    page.await_round().await.unwrap();
    page.until("the test page has no map", async || {
        Ok(page.driver.execute("return window.ready", vec![]).await?.convert::<Option<bool>>()?)
    })
    .await
    .unwrap();
}

/// What the map says of the pin.
#[derive(Debug, Deserialize)]
struct Judgement {
    /// Pixels between the pin and the target.
    off: f64,
    lat: f64,
    lng: f64,
}

/// A new round with this target. The agent's answer, and the map's.
async fn play(page: &Page, wanted: LatLng) -> (PlacedPin, Judgement) {
    page.driver.execute("newRound()", vec![]).await.unwrap();
    let placed = match pin::place_pin(page, wanted, 25_000.0).await {
        Ok(placed) => placed,
        Err(error) => panic!("{wanted}: {error:#}"),
    };
    let script = format!("return judge({}, {})", wanted.lat, wanted.lng);
    (placed, page.driver.execute(&script, vec![]).await.unwrap().convert().unwrap())
}

/// Plays all targets. Neither the pins nor their positions as read back may be off by more than `most_px` pixels.
async fn all(name: &str, page: &Page, targets: &[LatLng], most_px: f64) {
    let start = Instant::now();
    let mut off = Vec::new();
    for wanted in targets {
        let (placed, judgement) = play(page, *wanted).await;
        let is = LatLng { lat: judgement.lat, lng: judgement.lng };
        let belief = placed.at.distance_m(is) / placed.metres_per_pixel;
        assert!(judgement.off < most_px && belief < most_px, "{wanted}: {placed:?}, {judgement:?}, {belief} px apart");
        assert!(placed.metres_per_pixel <= 25_000.0, "{wanted}: {placed:?}, {judgement:?}");
        println!("{name}: {wanted} off by {:.2} px, {:.1} s", judgement.off, start.elapsed().as_secs_f64());
        off.push(judgement.off);
    }
    let seconds = start.elapsed().as_secs_f64() / targets.len() as f64;
    off.sort_by(f64::total_cmp);
    let (median, largest) = (off[off.len() / 2], off[off.len() - 1]);
    println!("{name}: {} pins, {seconds:.2} s each, off by {median:.2} px (median), {largest:.2} (largest)", off.len());
}

/// Small islands, many of them far from everything, some at the date line.
const ISLANDS: [(f64, f64); 20] = [
    (-25.07, -130.1),  // Pitcairn
    (-37.11, -12.28),  // Tristan da Cunha
    (-15.97, -5.70),   // Saint Helena
    (32.30, -64.77),   // Bermuda
    (-19.05, -169.86), // Niue
    (-0.53, 166.93),   // Nauru
    (-8.52, 179.20),   // Tuvalu
    (-9.95, -150.21),  // Caroline Island
    (-44.0, -176.55),  // Chatham Islands
    (-7.31, 72.42),    // Diego Garcia
    (-27.12, -109.36), // Easter Island
    (-7.94, -14.37),   // Ascension
    (-54.42, 3.35),    // Bouvet
    (-54.28, -36.51),  // South Georgia
    (37.74, -25.66),   // Azores
    (-13.28, -176.18), // Wallis
    (52.90, 172.91),   // Attu
    (-16.85, -179.98), // Taveuni
    (71.00, -8.30),    // Jan Mayen
    (74.43, 19.03),    // Bear Island
];

/// How many places are tried on a map.
fn pins(usually: usize) -> usize {
    std::env::var("LANDFALL_PINS").map_or(usually, |count| count.parse().unwrap())
}

/// Islands, both sides of the date line, and anywhere up to 80 degrees north and south.
fn targets(count: usize) -> Vec<LatLng> {
    let mut rng = StdRng::seed_from_u64(6);
    let place = |(lat, lng): (f64, f64)| LatLng::new(lat, lng).unwrap();
    let mut targets: Vec<LatLng> = ISLANDS.into_iter().map(place).take(count / 4).collect();
    for i in 0..count / 5 {
        let beyond = rng.random_range(0.0..2.0);
        targets.push(place((rng.random_range(-80.0..80.0), if i % 2 == 0 { 180.0 - beyond } else { beyond - 180.0 })));
    }
    while targets.len() < count {
        targets.push(place((rng.random_range(-80.0..80.0), rng.random_range(-180.0..180.0))));
    }
    targets
}

fn canvas(lat: f64, lng: f64, zoom: f64, more: &str) -> Profile {
    profile(&format!("{CANVAS_MAP}view = {{ lat = {lat}, lng = {lng}, zoom = {zoom}{more} }}"), MAPLIBRE_ANCHOR)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_tiles_pins_are_less_than_a_pixel_off() {
    let page = open("/raster", profile(RASTER_MAP, [0.5, 1.0])).await;
    all("tiles", &page, &targets(pins(12)), 1.0).await;
    browser::shutdown(page.driver.clone(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_canvas_pins_are_less_than_three_pixels_off() {
    let page = open("/canvas", canvas(20.0, 10.0, 1.0, "")).await;
    all("canvas", &page, &targets(pins(5)), 3.0).await;
    // What is sent is where the agent believes the pin to be.
    let (placed, _) = play(&page, LatLng::new(-33.9, 18.4).unwrap()).await;
    let guessed = page.guess().await.unwrap();
    let sent = page.outcome(&guessed).await.unwrap().guess.unwrap();
    assert!(sent.distance_m(placed.at) < 3.0 * placed.metres_per_pixel, "{sent} is not {}", placed.at);
    browser::shutdown(page.driver.clone(), &BrowserOptions::default()).await;
}

/// Places that lie far apart, at both sides of the date line, in the far north and south.
fn few() -> Vec<LatLng> {
    let places = [(-17.8, 179.9), (78.2, 15.6), (-16.8, -179.95), (-77.8, -70.2)];
    places.iter().take(pins(2)).map(|(lat, lng)| LatLng::new(*lat, *lng).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_tiles_may_move_by_themselves_begin_close_and_be_small() {
    let page = open("/raster", profile(RASTER_MAP, [0.5, 1.0])).await;
    let near = vec![LatLng::new(48.2, 16.4).unwrap()];
    for (name, address, targets) in [
        ("animated tiles", "/raster?animate&slow", few()),
        ("recentring tiles", "/raster?recentre&animate", few()),
        ("tiles between zooms", "/raster?snap=0", few()),
        ("close tiles in a small box", "/raster?small&min=4&zoom=4&lat=46&lng=12", near),
    ] {
        again(&page, address).await;
        all(name, &page, &targets, 1.0).await;
    }
    browser::shutdown(page.driver.clone(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_on_a_canvas_may_move_by_themselves_begin_close_and_be_small() {
    let near = vec![LatLng::new(48.2, 16.4).unwrap()];
    for (name, address, profile, targets) in [
        // The world is less high than the box that the map grows to.
        ("low canvas", "/canvas?min=-2&zoom=-1&slow", canvas(20.0, 10.0, -1.0, ""), few()),
        ("recentring canvas", "/canvas?recentre=0", canvas(20.0, 10.0, 1.0, ""), few()),
        ("gliding canvas", "/canvas?recentre=300", canvas(20.0, 10.0, 1.0, ""), few()),
        ("single canvas", "/canvas?single", canvas(20.0, 10.0, 1.0, ", repeats = false"), few()),
        (
            "close canvas in a small box",
            "/canvas?small&min=4&max=5&zoom=4&lat=46&lng=12",
            canvas(46.0, 12.0, 4.0, ""),
            near,
        ),
    ] {
        let page = open(address, profile).await;
        all(name, &page, &targets, 3.0).await;
        browser::shutdown(page.driver.clone(), &BrowserOptions::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_canvas_cannot_do_is_said() {
    let page = open("/canvas?max=1", canvas(20.0, 10.0, 1.0, "")).await;
    // A pixel spans 39 km at zoom 1, and this map comes no closer.
    let error = pin::place_pin(&page, LatLng::new(1.35, 103.8).unwrap(), 25_000.0).await.unwrap_err();
    assert!(error.to_string().contains("it does not zoom as expected"), "{error:#}");
    // There is a pin now, so this is no new round.
    let error = pin::place_pin(&page, LatLng::new(1.35, 103.8).unwrap(), 25_000.0).await.unwrap_err();
    assert!(error.to_string().contains("already has a pin"), "{error:#}");
    browser::shutdown(page.driver.clone(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_the_map_does_not_show_is_said() {
    let wanted = LatLng::new(48.2, 16.4).unwrap();
    let page = open("/canvas?land&lng=-40&zoom=1.4", canvas(20.0, -40.0, 1.4, "")).await;
    let shown = pin::view::shown(&page, 512.0).await.unwrap().unwrap();
    assert_eq!(shown.to_string(), "{ lat = 20.0, lng = -40.0, zoom = 1.4 }");
    all("land", &page, &[wanted], 3.0).await;
    let browser = page.driver.clone();
    for (address, lat, lng, zoom) in
        [("/canvas?land&lng=-40&zoom=1.4", 20.0, -30.0, 1.4), ("/canvas?land", 20.0, 10.0, 2.0)]
    {
        let url = page.address().await.unwrap().join(address).unwrap();
        let page = Page::open(browser.clone(), canvas(lat, lng, zoom, ""), &url, Consent::default()).await.unwrap();
        ready(&page).await;
        let error = pin::place_pin(&page, wanted, 25_000.0).await.unwrap_err();
        assert!(error.to_string().contains("map.view does not match the initial view of the map"), "{error:#}");
        assert_eq!(landfall_agent::error::exit_code(&error) as u8, 2);
    }
    browser::shutdown(browser, &BrowserOptions::default()).await;
}
