//! The arena over HTTP: whole games, what it keeps secret, its tiles and its errors.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use landfall_agent::server::arena::{Arena, ArenaOptions, Dialogs, RoundSource};
use landfall_model::score::WORLD_SCALE_M;
use landfall_model::{LatLng, MapScale};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Places with digits that turn up nowhere by chance.
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

/// A JPEG whose EXIF data says where it was taken: big-endian TIFF with one GPS directory, written by hand.
fn geotagged(lat: f64, lng: f64) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value].concat()
    };
    tiff.extend([0, 1]);
    tiff.extend(entry(0x8825, 4, 1, 26_u32.to_be_bytes()));
    tiff.extend([0; 4]);
    let letter = |value: f64, positive: u8, negative: u8| [if value < 0.0 { negative } else { positive }, 0, 0, 0];
    tiff.extend([0, 4]);
    tiff.extend(entry(1, 2, 2, letter(lat, b'N', b'S')));
    tiff.extend(entry(2, 5, 3, 80_u32.to_be_bytes()));
    tiff.extend(entry(3, 2, 2, letter(lng, b'E', b'W')));
    tiff.extend(entry(4, 5, 3, 104_u32.to_be_bytes()));
    tiff.extend([0; 4]);
    for value in [lat, lng] {
        for (num, denom) in [((value.abs() * 1e6).round() as u32, 1_000_000_u32), (0, 1), (0, 1)] {
            tiff.extend(num.to_be_bytes());
            tiff.extend(denom.to_be_bytes());
        }
    }
    let plain = jpeg(200);
    let length = u16::try_from(tiff.len() + 8).unwrap().to_be_bytes();
    [&plain[..2], &[0xff, 0xe1], &length, b"Exif\0\0", &tiff, &plain[2..]].concat()
}

fn write_page(dir: &Path) {
    std::fs::create_dir(dir.join("page")).unwrap();
    std::fs::write(dir.join("page/arena.html"), "<title>the arena's page</title>").unwrap();
    std::fs::write(dir.join("page/index.html"), "<title>another page</title>").unwrap();
}

/// An arena over six fixtures, the even ones panoramas, and the client that plays in it.
struct Ground {
    dir: TempDir,
    arena: Arena,
    client: reqwest::Client,
}

impl Ground {
    async fn new(change: impl FnOnce(&mut ArenaOptions)) -> Self {
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
        change(&mut options);
        let arena = Arena::start(options).await.unwrap();
        Self { dir, arena, client: reqwest::Client::new() }
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

/// The last round of a game as JSON.
fn current(game: &Value) -> &Value {
    game["rounds"].as_array().unwrap().last().unwrap()
}

/// Whether a text holds a place to three decimals, or a name.
fn tells(text: &str) -> bool {
    let numbers = TRUTHS.iter().flat_map(|(lat, lng)| [lat, lng]);
    text.to_lowercase().contains("secret")
        || numbers.map(|number| (number.abs() * 1e3).trunc() / 1e3).any(|number| text.contains(&number.to_string()))
}

#[tokio::test]
async fn a_whole_game_keeps_the_law_and_its_secrets() {
    let ground = Ground::new(|_| {}).await;
    let (path, mut game) = ground.new_game().await;
    assert_eq!((&game["roundCount"], &game["mapName"]), (&json!(5), &json!("Landfall Arena")));
    let guess = LatLng::new(40.0, 10.0).unwrap();
    let (mut total, mut seen) = (0, Vec::new());
    for n in 1..=5 {
        assert_eq!(game["round"], n);
        assert!(!tells(&current(&game).to_string()), "{game}");
        if n == 1 {
            assert!(!tells(&game.to_string()), "{game}");
        }
        let picture = current(&game)["picture"]["url"].as_str().unwrap().trim_start_matches('/').to_owned();
        let picture = ground.get(&picture).await;
        assert_eq!(picture.headers()["content-type"], "image/jpeg");
        assert!(!tells(&format!("{:?}", picture.headers())));
        assert_eq!(image::load_from_memory(&picture.bytes().await.unwrap()).unwrap().width(), 64);

        let body = json!({ "lat": guess.lat, "lng": guess.lng, "timedOut": false, "stepsCount": 0 });
        let (status, answer) = ground.post(&path, body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let truth = current(&answer);
        let truth = LatLng::new(truth["lat"].as_f64().unwrap(), truth["lng"].as_f64().unwrap()).unwrap();
        assert!(tells(&current(&answer).to_string()), "{answer}");
        let place = TRUTHS.iter().position(|&(lat, lng)| LatLng::new(lat, lng) == Ok(truth)).unwrap();
        assert!(!seen.contains(&place), "place {place} came twice");
        seen.push(place);
        let points = MapScale::WORLD.points(guess.distance_m(truth));
        total += points;
        let given = &answer["player"]["guesses"][n - 1];
        assert_eq!(given["roundScoreInPoints"], points);
        assert_eq!(given["distanceInMeters"].as_f64().unwrap(), guess.distance_m(truth));
        assert_eq!(answer["player"]["totalScore"]["amount"], total.to_string());
        assert_eq!(ground.post(&path, body).await.0, StatusCode::CONFLICT);

        // Without the page's own mark a look at the game changes nothing.
        let look: Value = ground.get(&path).await.json().await.unwrap();
        assert_eq!(look["round"], n);
        game = ground.get(&format!("{path}?client=web")).await.json().await.unwrap();
    }
    assert_eq!((&game["state"], &game["round"]), (&json!("finished"), &json!(5)));
    ground.arena.stop().await;
}

#[tokio::test]
async fn a_seed_repeats_the_choice_and_not_the_tokens() {
    let mut starts = Vec::new();
    for _ in 0..2 {
        let ground = Ground::new(|options| options.seed = Some(7)).await;
        let (path, game) = ground.new_game().await;
        let (_, answer) = ground.post(&path, json!({ "lat": 0, "lng": 0 })).await;
        starts.push((game["token"].clone(), answer["rounds"][0]["name"].clone()));
    }
    assert_eq!(starts[0].1, starts[1].1);
    assert_ne!(starts[0].0, starts[1].0);
}

#[tokio::test]
async fn fewer_rounds_than_asked_for_are_played_and_told() {
    let ground = Ground::new(|options| options.rounds_per_game = 9).await;
    assert!(ground.arena.notes()[0].contains("6 instead of 9"), "{:?}", ground.arena.notes());
    assert_eq!(ground.new_game().await.1["roundCount"], 6);
}

#[tokio::test]
async fn wrong_calls_get_a_sentence() {
    let ground = Ground::new(|_| {}).await;
    let (path, _) = ground.new_game().await;
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
        let (given, answer) = ground.post(at, body.clone()).await;
        assert_eq!(given, status, "{at} {body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 10), "{answer}");
    }
    for path in ["api/v3/games/nobody", "api/maps/world", "pictures/nothing", "tiles/1/0/2.png", "tiles/11/0/0.png"] {
        let response = ground.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.json::<Value>().await.unwrap()["message"].is_string(), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_served_where_the_live_game_has_it() {
    let ground = Ground::new(|options| options.first_shows = Dialogs { consent: true, interstitial: false }).await;
    for path in ["", "maps/arena", "game/anything", "arena.html"] {
        assert!(ground.get(path).await.text().await.unwrap().contains("the arena's page"), "{path}");
    }
    assert_eq!(ground.get("../rounds/secret_0/round.json").await.status(), StatusCode::NOT_FOUND);
    let map: Value = ground.get("api/maps/arena").await.json().await.unwrap();
    assert_eq!(map["maxErrorDistance"].as_f64(), Some(WORLD_SCALE_M));
    assert_eq!((&map["arena"]["consent"], &map["arena"]["interstitial"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn tiles_are_pictures_of_the_earth() {
    let ground = Ground::new(|_| {}).await;
    let tile = ground.get("tiles/3/4/2.png").await;
    assert_eq!(tile.headers()["content-type"], "image/png");
    let tile = tile.bytes().await.unwrap();
    let picture = image::load_from_memory(&tile).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (256, 256));
    let colors: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(colors.len() > 10, "land, sea and borders have more than {} colours", colors.len());
    assert_eq!(ground.get("tiles/3/-4/2.png").await.bytes().await.unwrap(), tile, "the earth is round");
}

#[tokio::test]
async fn photos_are_played_without_their_place() {
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
    assert_eq!(arena.notes(), ["left out 1 of 2 photos: they carry no GPS place"]);
    let ground = Ground { dir, arena, client: reqwest::Client::new() };
    let (path, game) = ground.new_game().await;
    assert!(!game.to_string().contains("Santiago"));
    let picture = ground.get(current(&game)["picture"]["url"].as_str().unwrap().trim_start_matches('/')).await;
    let picture = picture.bytes().await.unwrap();
    let holds_exif = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"Exif");
    assert!(holds_exif(&tagged) && !holds_exif(&picture));
    let (_, answer) = ground.post(&path, json!({ "lat": -33.5, "lng": 70.25 })).await;
    assert_eq!(answer["player"]["guesses"][0]["roundScoreInPoints"], 5000);
    assert_eq!(answer["rounds"][0]["name"], "Santiago.jpg");
}

#[tokio::test]
async fn a_dropped_arena_is_gone() {
    let Ground { arena, dir, client } = Ground::new(|_| {}).await;
    let url = arena.url().to_owned();
    assert!(client.get(&url).send().await.is_ok());
    drop((arena, client, dir));
    for _ in 0..100 {
        if reqwest::get(&url).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the arena still answers");
}
