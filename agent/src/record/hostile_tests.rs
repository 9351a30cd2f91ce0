//! Records with values that no round or game has.

use serde_json::{Value, json};

use super::{GameRecord, Round};

/// A round with every value that the agent records.
fn round() -> Value {
    serde_json::from_str(include_str!("../../tests/compat/game/round_1/round.json")).unwrap()
}

fn parse(value: &Value) -> Result<Round, String> {
    Round::parse(value.to_string().as_bytes())
}

#[test]
fn values_that_no_round_has_are_refused_with_a_reason() {
    assert!(parse(&round()).is_ok());
    let view = json!({"file": "view_000.jpg", "heading": 0.0});
    let cell = json!({"cell": "47f4", "lat": 1.0, "lng": 2.0, "p": 0.1});
    for (path, value, reason) in [
        ("/truth", json!({"lat": 95.0, "lng": 0.0}), "not a location on earth"),
        ("/guess", json!({"lat": 5.0, "lng": 1e300}), "not a location on earth"),
        ("/pin/placed", json!({"lat": -91.0, "lng": 0.0}), "`pin.placed`"),
        ("/top/0/lat", json!(1e9), "not a location on earth"),
        ("/top/0/p", json!(-1.0), "not a probability"),
        ("/top/0/p", json!(1e300), "not a probability"),
        ("/top", vec![cell; 1_001].into(), "1001 cells"),
        ("/views", vec![view; 65].into(), "65 views; the limit is 64"),
        ("/views/0/heading", json!(1e300), "not a heading"),
        ("/map/max_points", json!(0), "maximum score"),
        ("/map/max_points", json!(-5000), "maximum score"),
        ("/map/area", json!({"countries": vec!["FR"; 301]}), "301 countries"),
        ("/map/name", "x".repeat(70_000).into(), "70000 bytes of text"),
        ("/place", "x".repeat(70_000).into(), "70000 bytes of text"),
        ("/distance_m", json!(1e300), "metres"),
        ("/expected_score", json!(-1.0), "points"),
        ("/seconds/total", json!(1e300), "seconds"),
        ("/format", json!(2), "newer"),
    ] {
        let mut changed = round();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { Some(&mut changed) } else { changed.pointer_mut(parent) };
        match parent.unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
        let error = parse(&changed).unwrap_err();
        assert!(error.contains(reason), "{path}: {error}");
    }
}

#[test]
fn json_that_is_too_deep_or_too_large_a_number_is_refused_in_few_words() {
    let deep = "[".repeat(1_000_000);
    let long = format!("{{\"format\": \"{}\"}}", "é".repeat(1_000_000));
    let huge = round().to_string().replacen("\"heading\":", "\"heading\":1e999,\"unused\":", 1);
    for text in [deep, long, huge, String::new(), "null".into()] {
        let error = Round::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with("not the record of a round: ") && error.chars().count() < 350, "{error}");
    }
}

#[test]
fn games_are_checked_with_their_rounds() {
    let game: Value = serde_json::from_str(include_str!("../../tests/compat/game/game.json")).unwrap();
    assert!(GameRecord::parse(game.to_string().as_bytes()).is_ok());
    let mut changed = game;
    changed["rounds"][0]["truth"] = json!({"lat": 95.0, "lng": 0.0});
    assert!(GameRecord::parse(changed.to_string().as_bytes()).unwrap_err().contains("not a location on earth"));
}

#[test]
fn sums_of_absurd_scores_do_not_overflow() {
    let mut game: GameRecord = serde_json::from_str(include_str!("../../tests/compat/game/game.json")).unwrap();
    game.failed.clear();
    let mut round = game.rounds[0].clone();
    (round.score, round.page_score) = (Some(u32::MAX), Some(u32::MAX));
    game.rounds = vec![round; 3];
    game.tally(None);
    assert_eq!((game.score, game.page_score), (Some(u32::MAX), Some(u32::MAX)));
}
