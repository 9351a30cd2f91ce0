//! Plays a game inside nested frames with a user profile, whose locators use texts and roles where possible.

use std::path::Path;
use std::process::{Command, Output};

use landfall_agent::testing::{Arena, ArenaOptions, Dialogs, RoundSource};
use toml::{Table, Value};

/// The arena's profile with each locator inside a frame, and with buttons located by their text.
fn profile(host_paths: &[&str]) -> Table {
    let text = include_str!("../../profiles/arena.toml");
    let mut profile: Table = toml::from_str(text).unwrap();
    profile["name"] = "framed".into();
    profile["paths"]["play"] = host_paths.iter().copied().map(Value::from).collect::<Vec<_>>().into();
    let frame = || Value::from(vec![Value::from("#outer"), Value::from("iframe")]);
    let framed = |locator: &Value| {
        let locator = locator.as_str().unwrap();
        let (css, attribute) = locator.split_once(" @").map_or((locator, None), |(css, name)| (css, Some(name)));
        let mut table = Table::from_iter([("css".to_owned(), css.into()), ("frame".to_owned(), frame())]);
        table.extend(attribute.map(|name| ("attribute".to_owned(), name.into())));
        Value::Table(table)
    };
    for part in ["page", "look", "map", "result"] {
        for (name, locators) in profile[part].as_table_mut().unwrap() {
            let is_locator_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_str));
            match locators {
                Value::Array(_) if name == "tile_address" => {}
                list if is_locator_list(list) => {
                    *list = list.as_array().unwrap().iter().map(framed).collect::<Vec<_>>().into()
                }
                Value::Array(pair) if pair.iter().all(is_locator_list) => {
                    pair.iter_mut().for_each(|list| {
                        *list = list.as_array().unwrap().iter().map(framed).collect::<Vec<_>>().into()
                    });
                }
                _ => {}
            }
        }
    }
    let button = |text: &str| {
        Value::Table(Table::from_iter([
            ("role".to_owned(), "button".into()),
            ("text".to_owned(), text.into()),
            ("frame".to_owned(), frame()),
        ]))
    };
    profile["map"]["guess"] = vec![button("guess|raten|deviner")].into();
    profile["result"]["next"] = vec![button("next( round)?|continue|view summary")].into();
    profile
}

/// Serves a page that embeds a URL in a frame within a frame, next to other elements.
async fn host(game_url: &str) -> String {
    let inner = format!(
        "<body style='margin:0'><p style='height:20px;margin:0'>Game of the day</p>\
         <iframe src='{game_url}' style='border:3px solid;margin-left:11px;width:760px;height:700px'></iframe>"
    );
    let outer = "<body style='margin:0'><h1 style='height:30px;margin:0'>Games</h1><button>Guess</button>\
                 <iframe id='outer' src='/inner' style='border:0;margin-left:5px;width:790px;height:740px'></iframe>";
    let app = axum::Router::new()
        .route("/embed", axum::routing::get(move || async move { axum::response::Html(outer) }))
        .route("/inner", axum::routing::get(move || async move { axum::response::Html(inner) }));
    crate::listen(app).await
}

fn play(profile: &Path, url: &str, runs: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command
        .args(["play", "--json", "--bundle", "pocket", "--rounds", "2", "--min-gain", "5000", "--site"])
        .arg(profile);
    command.arg("--runs").arg(runs).arg(url).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plays_within_frames_by_text_and_role() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = RoundSource::Fixtures(crate::fixtures());
    let first_shows = Dialogs { consent: true, interstitial: true };
    let options = ArenaOptions { seed: Some(1), rounds_per_game: 2, first_shows, ..ArenaOptions::new(rounds) };
    let arena = Arena::start(options).await.unwrap();
    let base = host(arena.url()).await;
    let file = dir.path().join("framed.toml");
    std::fs::write(&file, toml::to_string(&profile(&["^/embed$"])).unwrap()).unwrap();
    let (url, runs) = (format!("{base}/embed"), dir.path().to_owned());
    let output = tokio::task::spawn_blocking(move || play(&file, &url, &runs)).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let game: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rounds = game["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert_eq!(round["score"], round["page_score"], "{round}");
        assert!(round["page_score"].is_u64() && round["pin"]["error_m"].as_f64().unwrap() < 25_000.0, "{round}");
    }
    assert_eq!(game["score"], game["page_score"]);
    arena.stop().await;
}

/// The page itself may be played, but not what it shows in a frame.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_refused_pages_are_not_played() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::start(ArenaOptions::new(RoundSource::Fixtures(crate::fixtures()))).await.unwrap();
    let base = host(&format!("{}maps/arena", arena.url())).await;
    let file = dir.path().join("framed.toml");
    let mut profile = profile(&["^/embed$"]);
    profile["paths"]["refuse"] = vec!["^/maps/arena$"].into();
    std::fs::write(&file, toml::to_string(&profile).unwrap()).unwrap();
    let (url, runs) = (format!("{base}/embed"), dir.path().to_owned());
    let output = tokio::task::spawn_blocking(move || play(&file, &url, &runs)).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("/maps/arena: live, ranked"), "{stderr}");
    arena.stop().await;
}

#[test]
fn profile_errors_name_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let valid = include_str!("../../profiles/arena.toml");
    let line = valid.lines().position(|line| line.starts_with("marker = ")).unwrap() + 1;
    std::fs::write(&file, valid.replace("[data-qa=guess-marker]", "[data-qa==guess-marker]")).unwrap();
    let output = play(&file, "http://127.0.0.1:9/", dir.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains(&format!("mine.toml, line {line}: `[data-qa==guess-marker]` is not a CSS selector")),
        "{stderr}"
    );

    std::fs::write(&file, valid.replace("still_ms", "still_mss")).unwrap();
    let output = play(&file, "http://127.0.0.1:9/", dir.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = valid.lines().position(|line| line.starts_with("still_ms")).unwrap() + 1;
    assert!(
        output.status.code() == Some(2) && stderr.contains("unknown field") && stderr.contains(&format!("line {line}")),
        "{stderr}"
    );

    std::fs::write(&file, valid.replace("tiles = [", "tiles = [{ role = \"img\" }, ")).unwrap();
    let output = play(&file, "http://127.0.0.1:9/", dir.path());
    assert!(String::from_utf8_lossy(&output.stderr).contains("map.tiles accepts CSS selectors only"));
}

#[test]
fn doctor_reports_failing_locators_and_suggests_others() {
    let dir = tempfile::tempdir().unwrap();
    let (file, picture) = (dir.path().join("mine.toml"), dir.path().join("page.png"));
    let doctor = |profile: &str| {
        std::fs::write(&file, profile).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        let output =
            command.args(["doctor", "--json", "--site"]).arg(&file).arg("--picture").arg(&picture).output().unwrap();
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let finding_of = |role: &str| {
            let found = findings.as_array().unwrap().iter().find(|finding| finding["role"] == role).unwrap();
            (found["ok"].as_bool().unwrap(), found["detail"].as_str().unwrap().to_owned())
        };
        let all = ["look.view", "map.canvas", "map.tiles", "map.guess", "page.start"].map(finding_of);
        (output.status.code(), all)
    };
    let valid = include_str!("../../profiles/arena.toml");
    let (code, [view, canvas, tiles, guess, start]) = doctor(valid);
    assert!(code == Some(0) && view.0 && canvas.0 && tiles.0 && guess.0, "{view:?} {canvas:?} {tiles:?} {guess:?}");
    assert!(guess.1.contains("found by `[data-qa=perform-guess]`"), "{guess:?}");
    assert_eq!(start, (true, "not on the page now".to_owned()));
    assert!(image::open(&picture).unwrap().width() >= 800);

    let outdated =
        valid.replace("[data-qa=perform-guess]", "[data-qa=gone]").replace("guess-map_guessButton__", "gone__");
    let (code, [view, .., guess, _]) = doctor(&outdated.replace("view = [", "view = [\"#old-view\", "));
    assert_eq!(code, Some(1));
    assert!(
        view.0 && view.1.starts_with("fell back to locator 2 of 4") && view.1.contains("`#old-view` finds nothing"),
        "{view:?}"
    );
    assert!(
        !guess.0 && guess.1.contains("none of 2 locators finds it") && guess.1.contains("Place your pin on the map"),
        "{guess:?}"
    );
}
