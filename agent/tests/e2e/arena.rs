//! The HTTP API of the arena: whole games, secrecy of the truth, map tiles and errors.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use landfall_agent::testing::{Arena, ArenaOptions, Dialogs, RoundSource};
use landfall_model::score::WORLD_SCALE_M;
use landfall_model::{LatLng, MapScale};
use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Coordinates with digits that cannot appear in a response by chance.
const TRUTHS: [(f64, f64); 6] = [
    (45.764043, 4.835659),
    (-33.856784, 151.215297),
    (35.658581, 139.745433),
    (-22.951911, -43.210487),
    (64.147208, -21.942400),
    (1.283405, 103.860435),
];

fn jpeg(shade: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(64, 32, Rgb([shade, 90, 160])).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// A JPEG with GPS coordinates in its EXIF data: a hand-written big-endian TIFF with one GPS directory.
fn geotagged(lat: f64, lng: f64) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value].concat()
    };
    tiff.extend([0, 1]);
    tiff.extend(entry(0x8825, 4, 1, 26_u32.to_be_bytes()));
    tiff.extend([0; 4]);
    let hemisphere = |value: f64, positive: u8, negative: u8| [if value < 0.0 { negative } else { positive }, 0, 0, 0];
    tiff.extend([0, 4]);
    tiff.extend(entry(1, 2, 2, hemisphere(lat, b'N', b'S')));
    tiff.extend(entry(2, 5, 3, 80_u32.to_be_bytes()));
    tiff.extend(entry(3, 2, 2, hemisphere(lng, b'E', b'W')));
    tiff.extend(entry(4, 5, 3, 104_u32.to_be_bytes()));
    tiff.extend([0; 4]);
    for value in [lat, lng] {
        for (num, denom) in [((value.abs() * 1e6).round() as u32, 1_000_000_u32), (0, 1), (0, 1)] {
            tiff.extend(num.to_be_bytes());
            tiff.extend(denom.to_be_bytes());
        }
    }
    let untagged = jpeg(200);
    let length = u16::try_from(tiff.len() + 8).unwrap().to_be_bytes();
    [&untagged[..2], &[0xff, 0xe1], &length, b"Exif\0\0", &tiff, &untagged[2..]].concat()
}

fn write_page(dir: &Path) {
    std::fs::create_dir(dir.join("page")).unwrap();
    std::fs::write(dir.join("page/arena.html"), "<title>the arena's page</title>").unwrap();
    std::fs::write(dir.join("page/index.html"), "<title>another page</title>").unwrap();
}

/// An arena with six rounds, of which those with an even index are panoramas, and an HTTP client.
struct TestArena {
    dir: TempDir,
    arena: Arena,
    client: reqwest::Client,
}

impl TestArena {
    async fn new(configure: impl FnOnce(&mut ArenaOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_page(dir.path());
        for (i, (lat, lng)) in TRUTHS.iter().enumerate() {
            let round = dir.path().join(format!("rounds/secret_{i}"));
            std::fs::create_dir_all(&round).unwrap();
            let mut json = json!({ "name": format!("Secret {i}"), "truth": { "lat": lat, "lng": lng } });
            let file = if i % 2 == 0 { "pano.jpg" } else { "view_000.jpg" };
            if i % 2 == 0 {
                json["pano"] = file.into();
            }
            json["views"] = json!([{ "file": "view_000.jpg", "heading": 0.0 }]);
            std::fs::write(round.join("round.json"), json.to_string()).unwrap();
            std::fs::write(round.join(file), jpeg(i as u8 * 40)).unwrap();
        }
        let mut options = ArenaOptions::new(RoundSource::Fixtures(dir.path().to_owned()));
        options.page = Some(dir.path().join("page"));
        configure(&mut options);
        let arena = Arena::start(options).await.unwrap();
        Self { dir, arena, client: crate::http() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.arena.url())
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let response = self.client.post(self.url(path)).json(&body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn new_game(&self) -> (String, Value) {
        let rules = json!({ "map": "arena", "type": "standard", "timeLimit": 0, "forbidMoving": true,
                            "forbidZooming": false, "forbidRotating": false });
        let (status, game) = self.post("api/v3/games", rules).await;
        assert_eq!(status, StatusCode::OK, "{game}");
        (format!("api/v3/games/{}", game["token"].as_str().unwrap()), game)
    }
}

/// The current round of a game, as JSON.
fn current_round(game: &Value) -> &Value {
    game["rounds"].as_array().unwrap().last().unwrap()
}

/// Whether a text contains a secret: the name of a round, or a coordinate with three decimals.
fn reveals_secret(text: &str) -> bool {
    let numbers = TRUTHS.iter().flat_map(|(lat, lng)| [lat, lng]);
    text.to_lowercase().contains("secret")
        || numbers.map(|number| (number.abs() * 1e3).trunc() / 1e3).any(|number| text.contains(&number.to_string()))
}

#[tokio::test]
async fn game_scores_correctly_and_keeps_the_truth_secret() {
    let server = TestArena::new(|_| {}).await;
    let (path, mut game) = server.new_game().await;
    assert_eq!((&game["roundCount"], &game["mapName"]), (&json!(5), &json!("Landfall Arena")));
    let guess = LatLng::new(40.0, 10.0).unwrap();
    let (mut total, mut played) = (0, Vec::new());
    for n in 1..=5 {
        assert_eq!(game["round"], n);
        assert!(!reveals_secret(&current_round(&game).to_string()), "{game}");
        if n == 1 {
            assert!(!reveals_secret(&game.to_string()), "{game}");
        }
        let picture = current_round(&game)["picture"]["url"].as_str().unwrap().trim_start_matches('/').to_owned();
        let picture = server.get(&picture).await;
        assert_eq!(picture.headers()["content-type"], "image/jpeg");
        assert!(!reveals_secret(&format!("{:?}", picture.headers())));
        assert_eq!(image::load_from_memory(&picture.bytes().await.unwrap()).unwrap().width(), 64);

        let body = json!({ "lat": guess.lat, "lng": guess.lng, "timedOut": false, "stepsCount": 0 });
        let (status, response) = server.post(&path, body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{response}");
        let truth = current_round(&response);
        let truth = LatLng::new(truth["lat"].as_f64().unwrap(), truth["lng"].as_f64().unwrap()).unwrap();
        assert!(reveals_secret(&current_round(&response).to_string()), "{response}");
        let place = TRUTHS.iter().position(|&(lat, lng)| LatLng::new(lat, lng) == Ok(truth)).unwrap();
        assert!(!played.contains(&place), "place {place} was played twice");
        played.push(place);
        let points = MapScale::WORLD.points(guess.distance_m(truth));
        total += points;
        let guess_json = &response["player"]["guesses"][n - 1];
        assert_eq!(guess_json["roundScoreInPoints"], points);
        assert_eq!(guess_json["distanceInMeters"].as_f64().unwrap(), guess.distance_m(truth));
        assert_eq!(response["player"]["totalScore"]["amount"], total.to_string());
        assert_eq!(server.post(&path, body).await.0, StatusCode::CONFLICT);

        // Only a request with `client=web`, as the page sends it, starts the next round.
        let polled: Value = server.get(&path).await.json().await.unwrap();
        assert_eq!(polled["round"], n);
        game = server.get(&format!("{path}?client=web")).await.json().await.unwrap();
    }
    assert_eq!((&game["state"], &game["round"]), (&json!("finished"), &json!(5)));
    server.arena.stop().await;
}

#[tokio::test]
async fn seed_repeats_rounds_but_not_tokens() {
    let mut starts = Vec::new();
    for _ in 0..2 {
        let server = TestArena::new(|options| options.seed = Some(7)).await;
        let (path, game) = server.new_game().await;
        let (_, response) = server.post(&path, json!({ "lat": 0, "lng": 0 })).await;
        starts.push((game["token"].clone(), response["rounds"][0]["name"].clone()));
    }
    assert_eq!(starts[0].1, starts[1].1);
    assert_ne!(starts[0].0, starts[1].0);
}

#[tokio::test]
async fn missing_rounds_are_reported_in_the_notes() {
    let server = TestArena::new(|options| options.rounds_per_game = 9).await;
    assert!(server.arena.notes()[0].contains("6 instead of 9"), "{:?}", server.arena.notes());
    assert_eq!(server.new_game().await.1["roundCount"], 6);
}

#[tokio::test]
async fn invalid_requests_get_an_error_message() {
    let server = TestArena::new(|_| {}).await;
    let (path, _) = server.new_game().await;
    for (status, at, body) in [
        (StatusCode::BAD_REQUEST, path.as_str(), json!({ "lat": 91, "lng": 0 })),
        (StatusCode::BAD_REQUEST, &path, json!({ "lat": 0, "lng": 180.5 })),
        (StatusCode::BAD_REQUEST, &path, json!({ "lat": "x", "lng": 0 })),
        (StatusCode::BAD_REQUEST, &path, json!({})),
        (StatusCode::NOT_FOUND, "api/v3/games/nobody", json!({ "lat": 0, "lng": 0 })),
        (StatusCode::NOT_FOUND, "api/v3/games", json!({ "map": "world" })),
        (StatusCode::BAD_REQUEST, "api/v3/games", json!({ "type": "streak" })),
        (StatusCode::BAD_REQUEST, "api/v3/games", json!({ "timeLimit": 100_000 })),
        (StatusCode::NOT_FOUND, "api/v3/profiles", json!({})),
    ] {
        let (actual, response) = server.post(at, body.clone()).await;
        assert_eq!(actual, status, "{at} {body}: {response}");
        assert!(response["message"].as_str().is_some_and(|message| message.len() > 10), "{response}");
    }
    for path in ["api/v3/games/nobody", "api/maps/world", "pictures/nothing", "tiles/1/0/2.png", "tiles/11/0/0.png"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.json::<Value>().await.unwrap()["message"].is_string(), "{path}");
    }
}

#[tokio::test]
async fn page_has_the_urls_of_the_live_game() {
    let server = TestArena::new(|options| options.first_shows = Dialogs { consent: true, interstitial: false }).await;
    for path in ["", "maps/arena", "game/anything", "arena.html"] {
        assert!(server.get(path).await.text().await.unwrap().contains("the arena's page"), "{path}");
    }
    assert_eq!(server.get("../rounds/secret_0/round.json").await.status(), StatusCode::NOT_FOUND);
    let map: Value = server.get("api/maps/arena").await.json().await.unwrap();
    assert_eq!(map["maxErrorDistance"].as_f64(), Some(WORLD_SCALE_M));
    assert_eq!((&map["arena"]["consent"], &map["arena"]["interstitial"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn tiles_are_map_images() {
    let server = TestArena::new(|_| {}).await;
    let tile = server.get("tiles/3/4/2.png").await;
    assert_eq!(tile.headers()["content-type"], "image/png");
    let tile = tile.bytes().await.unwrap();
    let picture = image::load_from_memory(&tile).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (256, 256));
    let colors: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(colors.len() > 10, "only {} colours: land, sea and borders are missing", colors.len());
    assert_eq!(server.get("tiles/3/-4/2.png").await.bytes().await.unwrap(), tile, "columns wrap around");
}

#[tokio::test]
async fn photos_are_served_without_their_coordinates() {
    let dir = tempfile::tempdir().unwrap();
    write_page(dir.path());
    let photos = dir.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    let tagged = geotagged(-33.5, 70.25);
    std::fs::write(photos.join("Santiago.jpg"), &tagged).unwrap();
    std::fs::write(photos.join("plain.jpg"), jpeg(1)).unwrap();
    let options = ArenaOptions {
        page: Some(dir.path().join("page")),
        rounds_per_game: 1,
        ..ArenaOptions::new(RoundSource::Photos(photos))
    };
    let arena = Arena::start(options).await.unwrap();
    assert_eq!(arena.notes(), ["left out 1 of 2 photos: they have no GPS coordinates"]);
    let server = TestArena { dir, arena, client: crate::http() };
    let (path, game) = server.new_game().await;
    assert!(!game.to_string().contains("Santiago"));
    let picture = server.get(current_round(&game)["picture"]["url"].as_str().unwrap().trim_start_matches('/')).await;
    let picture = picture.bytes().await.unwrap();
    let holds_exif = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"Exif");
    assert!(holds_exif(&tagged) && !holds_exif(&picture));
    let (_, response) = server.post(&path, json!({ "lat": -33.5, "lng": 70.25 })).await;
    assert_eq!(response["player"]["guesses"][0]["roundScoreInPoints"], 5000);
    assert_eq!(response["rounds"][0]["name"], "Santiago.jpg");
}

#[tokio::test]
async fn dropped_arena_stops_its_server() {
    let TestArena { arena, dir, client } = TestArena::new(|_| {}).await;
    let url = arena.url().to_owned();
    assert!(client.get(&url).send().await.is_ok());
    drop((arena, client, dir));
    for _ in 0..100 {
        if crate::http().get(&url).send().await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the arena still responds");
}

#[tokio::test]
async fn other_hosts_and_origins_are_refused() {
    let server = TestArena::new(|_| {}).await;
    let (path, _) = server.new_game().await;
    let port = server.arena.url().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    // A page of evil.example whose name resolves to this computer, after it has been loaded (DNS rebinding).
    for host in ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1:1".into(), "localhost".into()] {
        for path in ["", "api/maps/arena", &path, "tiles/0/0/0.png", "nothing"] {
            let response = server.client.get(server.url(path)).header(HOST, &host).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
            assert!(!response.text().await.unwrap().contains("arena's page"), "{host} {path}");
        }
        let game = server.client.post(server.url("api/v3/games")).header(HOST, &host).json(&json!({}));
        assert_eq!(game.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    // A page of another site that sends requests to this one.
    for origin in ["https://evil.example", "null", &format!("http://evil.example:{port}"), "http://127.0.0.1:1"] {
        for path in ["api/v3/games", &path] {
            let guess = server.client.post(server.url(path)).header(ORIGIN, origin);
            let response = guess.json(&json!({ "lat": 1, "lng": 1 })).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin} {path}");
        }
        let read = server.client.get(server.url(&path)).header(ORIGIN, origin).send().await.unwrap();
        assert_eq!(read.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    let game: Value = server.get(&path).await.json().await.unwrap();
    assert!(game["player"]["guesses"].as_array().unwrap().is_empty(), "{game}");
    for origin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
        let own = server.client.post(server.url("api/v3/games")).header(ORIGIN, &origin).json(&json!({}));
        assert_eq!(own.send().await.unwrap().status(), StatusCode::OK, "{origin}");
    }
    let named = server.client.get(server.url("")).header(HOST, format!("localhost:{port}")).send().await.unwrap();
    assert_eq!(named.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_response_has_security_headers() {
    let server = TestArena::new(|_| {}).await;
    let (path, game) = server.new_game().await;
    let picture = current_round(&game)["picture"]["url"].as_str().unwrap().trim_start_matches('/').to_owned();
    let mut responses = Vec::new();
    for path in ["", "game/x", "arena.html", "nothing", "api/maps/arena", "api/x", &path, &picture, "tiles/1/0/0.png"] {
        responses.push(server.get(path).await);
    }
    responses.push(server.client.get(server.url("")).header(HOST, "evil.example").send().await.unwrap());
    responses.push(server.client.post(server.url(&path)).header(ORIGIN, "null").send().await.unwrap());
    responses.push(server.client.post(server.url(&path)).json(&json!({ "lat": "x" })).send().await.unwrap());
    responses.push(server.client.delete(server.url("")).send().await.unwrap());
    for response in responses {
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let url = response.url();
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{url}");
        assert_eq!(header("cross-origin-resource-policy").as_deref(), Some("same-origin"), "{url}");
        let policy = header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("unsafe"), "{url}: {policy}");
    }
}

#[tokio::test]
async fn bodies_and_kept_games_are_limited() {
    let server = TestArena::new(|options| options.rounds_per_game = 1).await;
    let (first, _) = server.new_game().await;
    let large = json!({ "lat": 1, "lng": 1, "token": "x".repeat(20_000) });
    let (status, response) = server.post(&first, large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{response}");
    let (second, _) = server.new_game().await;
    for _ in 0..999 {
        server.new_game().await;
        // A game that is played is kept.
        assert_eq!(server.get(&second).await.status(), StatusCode::OK);
    }
    assert_eq!(server.get(&first).await.status(), StatusCode::NOT_FOUND);
}

/// The policy must not break the page: a whole game in the browser causes no violation.
#[tokio::test(flavor = "multi_thread")]
async fn page_complies_with_its_policy() {
    use landfall_agent::testing::{BrowserOptions, Consent, NextStep, Page, Profile, browser, input, look, pin};
    let first_shows = Dialogs { consent: true, interstitial: true };
    // The first round of this seed is a panorama, the second a photograph.
    let source = RoundSource::Fixtures(crate::fixtures());
    let options = ArenaOptions { seed: Some(3), rounds_per_game: 2, first_shows, ..ArenaOptions::new(source) };
    let arena = Arena::start(options).await.unwrap();
    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    let (url, profile) = (arena.url().parse().unwrap(), Profile::find("arena").unwrap());
    let page = Page::open(driver, profile, &url, Consent::default()).await.unwrap();
    let observe = "window.seen ??= []; new ReportingObserver(reports => seen.push(...reports.map(it => \
        `${it.body.effectiveDirective} ${it.body.blockedURL}`)), {types: ['csp-violation'], buffered: true}).observe()";
    let mut violations: Vec<String> = Vec::new();
    for n in 1..=2 {
        page.await_round().await.unwrap();
        page.script::<()>(observe).await.unwrap();
        look::around(&page, &crate::look::inference(crate::look::TWO_VIEWS), None).await.unwrap();
        pin::place_pin(&page, LatLng::new(10.0, 20.0).unwrap(), 50_000.0).await.unwrap();
        let guessed = page.guess().await.unwrap();
        assert_eq!(matches!(page.next(guessed).await.unwrap(), NextStep::Over(_)), n == 2);
        input::pause(300).await;
        violations.extend(page.script::<Vec<String>>("return window.seen").await.unwrap());
    }
    assert_eq!(violations, Vec::<String>::new());
    // A violation would have been noticed.
    page.script::<()>("document.head.append(Object.assign(document.createElement('style'), {textContent: 'b {}'}))")
        .await
        .unwrap();
    let seen = async || Ok(Some(page.script::<Vec<String>>("return seen").await?).filter(|seen| !seen.is_empty()));
    let reported = page.until("no violation is reported", seen).await.unwrap();
    assert!(reported.iter().all(|violation| violation == "style-src-elem inline"), "{reported:?}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
    arena.stop().await;
}
