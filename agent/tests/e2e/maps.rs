//! Accuracy of pins on both kinds of guess maps: image tiles (Leaflet) and a canvas (MapLibre GL). The test pages in
//! `pages/` report where the map itself has the pin.
//!
//! A pin takes one second on tiles and several on a canvas that is drawn without a graphics card, so only a few are placed by default. `LANDFALL_PINS=100`
//! places 100 on each map.

use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use landfall_agent::testing::{BrowserOptions, Consent, Page, PlacedPin, Profile, browser, pin};
use landfall_model::LatLng;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use thirtyfour::WebDriver;
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

/// Anchor of the default marker of MapLibre: it is 41 pixels high, and its tip is 14 pixels below its centre.
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

/// Serves the test pages and their packages.
async fn serve() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib: PathBuf = here.join("../web-demo/node_modules");
    assert!(lib.join("maplibre-gl").is_dir(), "the page's packages are missing: run `npm ci` in web-demo");
    let page = |script: &str, stylesheet: &str| {
        let text = include_str!("pages/page.html").replace("SCRIPT", script).replace("STYLESHEET", stylesheet);
        get(move || async move { Html(text) })
    };
    let tile = crate::tile_png();
    let app = Router::new()
        .route("/raster", page("/pages/raster.js", "/lib/leaflet/dist/leaflet.css"))
        .route("/canvas", page("/pages/canvas.js", "/lib/maplibre-gl/dist/maplibre-gl.css"))
        .route("/tiles/{z}/{x}/{y}", get(move || async move { ([(header::CONTENT_TYPE, "image/png")], tile) }))
        .nest_service("/pages", ServeDir::new(here.join("tests/e2e/pages")))
        .nest_service("/lib", ServeDir::new(lib));
    crate::listen(app).await
}

async fn open(path: &str, profile: Profile) -> Page {
    let url = Url::parse(&format!("{}{path}", serve().await)).unwrap();
    open_in(start_browser().await, &url, profile).await
}

async fn start_browser() -> WebDriver {
    // No larger than the maps, which are drawn without a graphics card.
    let options = BrowserOptions { viewport: (640, 580), ..BrowserOptions::default() };
    browser::open(&options).await.unwrap()
}

async fn open_in(driver: WebDriver, url: &Url, profile: Profile) -> Page {
    let page = Page::open(driver, profile, url, Consent::default()).await.unwrap();
    wait_until_ready(&page).await;
    page
}

/// Navigates to another page of the same server.
async fn navigate(page: &Page, path: &str) {
    page.go(&page.address().await.unwrap().join(path).unwrap()).await.unwrap();
    wait_until_ready(page).await;
}

async fn wait_until_ready(page: &Page) {
    page.await_round().await.unwrap();
    page.until("the test page has no map", async || page.script::<Option<bool>>("return window.ready").await)
        .await
        .unwrap();
}

/// Position of the pin according to the map.
#[derive(Debug, Deserialize)]
struct MapPin {
    /// Pixels between the pin and the target.
    off: f64,
    lat: f64,
    lng: f64,
}

/// Starts a new round and places a pin at the target. Returns its position according to the agent and to the map.
async fn play(page: &Page, wanted: LatLng) -> (PlacedPin, MapPin) {
    page.script::<()>("newRound()").await.unwrap();
    let placed = match pin::place_pin(page, wanted, 25_000.0).await {
        Ok(placed) => placed,
        Err(error) => panic!("{wanted}: {error:#}"),
    };
    let script = format!("return judge({}, {})", wanted.lat, wanted.lng);
    (placed, page.script(&script).await.unwrap())
}

/// Places a pin at each target. Neither the pin nor the position read back may be off by `max_px` pixels or more.
async fn check_targets(name: &str, page: &Page, targets: &[LatLng], max_px: f64) {
    let start = Instant::now();
    let mut off = Vec::new();
    for wanted in targets {
        let (placed, map_pin) = play(page, *wanted).await;
        let actual = LatLng { lat: map_pin.lat, lng: map_pin.lng };
        let read_back_px = placed.at.distance_m(actual) / placed.metres_per_pixel;
        assert!(
            map_pin.off < max_px && read_back_px < max_px,
            "{wanted}: {placed:?}, {map_pin:?}, {read_back_px} px apart"
        );
        assert!(placed.metres_per_pixel <= 25_000.0, "{wanted}: {placed:?}, {map_pin:?}");
        println!("{name}: {wanted} off by {:.2} px, {:.1} s", map_pin.off, start.elapsed().as_secs_f64());
        off.push(map_pin.off);
    }
    let seconds = start.elapsed().as_secs_f64() / targets.len() as f64;
    off.sort_by(f64::total_cmp);
    let (median, largest) = (off[off.len() / 2], off[off.len() - 1]);
    println!("{name}: {} pins, {seconds:.2} s each, off by {median:.2} px (median), {largest:.2} (largest)", off.len());
}

/// Small islands, many of them remote, some near the date line.
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

/// Number of pins per map: `LANDFALL_PINS`, or this default.
fn pin_count(default_count: usize) -> usize {
    std::env::var("LANDFALL_PINS").map_or(default_count, |count| count.parse().unwrap())
}

/// Islands, both sides of the date line, and anywhere up to 80 degrees north and south.
fn targets(count: usize) -> Vec<LatLng> {
    let mut rng = StdRng::seed_from_u64(6);
    let place = |(lat, lng): (f64, f64)| LatLng::new(lat, lng).unwrap();
    let mut targets: Vec<LatLng> = ISLANDS.into_iter().map(place).take(count / 4).collect();
    for i in 0..count / 5 {
        let offset = rng.random_range(0.0..2.0);
        targets.push(place((rng.random_range(-80.0..80.0), if i % 2 == 0 { 180.0 - offset } else { offset - 180.0 })));
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
async fn pins_on_tiles_are_within_one_pixel() {
    let page = open("/raster", profile(RASTER_MAP, [0.5, 1.0])).await;
    check_targets("tiles", &page, &targets(pin_count(12)), 1.0).await;
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_on_a_canvas_are_within_three_pixels() {
    let page = open("/canvas", canvas(20.0, 10.0, 1.0, "")).await;
    check_targets("canvas", &page, &targets(pin_count(4)), 3.0).await;
    // The page submits the position that the agent read back.
    let (placed, _) = play(&page, LatLng::new(-33.9, 18.4).unwrap()).await;
    let guessed = page.guess().await.unwrap();
    let sent = page.outcome(&guessed).await.unwrap().guess.unwrap();
    assert!(sent.distance_m(placed.at) < 3.0 * placed.metres_per_pixel, "{sent} is not {}", placed.at);
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

/// Distant places on both sides of the date line and in the far north and south.
fn few_targets(default_count: usize) -> Vec<LatLng> {
    let count = pin_count(default_count);
    let places = [(-17.8, 179.9), (78.2, 15.6), (-16.8, -179.95), (-77.8, -70.2)];
    places.iter().take(count).map(|(lat, lng)| LatLng::new(*lat, *lng).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tile_maps_may_animate_recentre_and_be_small() {
    let page = open("/raster", profile(RASTER_MAP, [0.5, 1.0])).await;
    let near = vec![LatLng::new(48.2, 16.4).unwrap()];
    for (name, address, targets) in [
        ("animated tiles", "/raster?animate&slow", few_targets(2)),
        ("recentring tiles", "/raster?recentre&animate", few_targets(2)),
        ("tiles between zooms", "/raster?snap=0", few_targets(2)),
        ("close tiles in a small box", "/raster?small&min=4&zoom=4&lat=46&lng=12", near),
    ] {
        navigate(&page, address).await;
        check_targets(name, &page, &targets, 1.0).await;
    }
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn canvas_maps_may_animate_recentre_and_be_small() {
    let near = vec![LatLng::new(48.2, 16.4).unwrap()];
    let (base, driver) = (Url::parse(&serve().await).unwrap(), start_browser().await);
    for (name, address, profile, targets) in [
        // The world is lower than the enlarged map.
        ("low canvas", "/canvas?min=-2&zoom=-1&slow", canvas(20.0, 10.0, -1.0, ""), few_targets(1)),
        ("recentring canvas", "/canvas?recentre=0", canvas(20.0, 10.0, 1.0, ""), few_targets(1)),
        ("gliding canvas", "/canvas?recentre=300", canvas(20.0, 10.0, 1.0, ""), few_targets(1)),
        ("single canvas", "/canvas?single", canvas(20.0, 10.0, 1.0, ", repeats = false"), few_targets(1)),
        (
            "close canvas in a small box",
            "/canvas?small&min=4&max=5&zoom=4&lat=46&lng=12",
            canvas(46.0, 12.0, 4.0, ""),
            near,
        ),
    ] {
        let page = open_in(driver.clone(), &base.join(address).unwrap(), profile).await;
        check_targets(name, &page, &targets, 3.0).await;
    }
    browser::shutdown(driver, &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coarse_map_is_used_where_that_is_allowed() {
    let page = open("/raster?max=2", profile(RASTER_MAP, [0.5, 1.0])).await;
    let lima = LatLng::new(-12.05, -77.04).unwrap();
    let error = pin::place_pin(&page, lima, 25_000.0).await.unwrap_err();
    assert!(format!("{error:#}").ends_with("pass --max-pin-error 79"), "{error:#}");
    let placed = pin::place_pin(&page, lima, 79_000.0).await.unwrap();
    assert!(placed.at.distance_m(lima) < 40_000.0, "{placed:?}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn canvas_map_errors_are_reported() {
    let page = open("/canvas?max=1", canvas(20.0, 10.0, 1.0, "")).await;
    // A pixel spans 39 km at zoom 1, the maximum zoom of this map.
    let error = pin::place_pin(&page, LatLng::new(1.35, 103.8).unwrap(), 25_000.0).await.unwrap_err();
    assert!(error.to_string().contains("it does not zoom as expected"), "{error:#}");
    // The pin of the first attempt is still there.
    let error = pin::place_pin(&page, LatLng::new(1.35, 103.8).unwrap(), 25_000.0).await.unwrap_err();
    assert!(error.to_string().contains("already has a pin"), "{error:#}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_initial_view_is_reported() {
    let wanted = LatLng::new(48.2, 16.4).unwrap();
    let page = open("/canvas?land&lng=-40&zoom=1.4", canvas(20.0, -40.0, 1.4, "")).await;
    let shown = pin::shown(&page, 512.0).await.unwrap().unwrap();
    assert_eq!(shown.to_string(), "{ lat = 20.0, lng = -40.0, zoom = 1.4 }");
    check_targets("land", &page, &[wanted], 3.0).await;
    let base = page.address().await.unwrap();
    let browser = page.into_driver();
    for (address, lat, lng, zoom) in
        [("/canvas?land&lng=-40&zoom=1.4", 20.0, -30.0, 1.4), ("/canvas?land", 20.0, 10.0, 2.0)]
    {
        let url = base.join(address).unwrap();
        let page = open_in(browser.clone(), &url, canvas(lat, lng, zoom, "")).await;
        let error = pin::place_pin(&page, wanted, 25_000.0).await.unwrap_err();
        assert!(error.to_string().contains("map.view does not match the initial view of the map"), "{error:#}");
        assert_eq!(landfall_agent::testing::exit_code(&error) as u8, 2);
    }
    browser::shutdown(browser, &BrowserOptions::default()).await;
}
