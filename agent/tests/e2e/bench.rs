//! `landfall bench`: repeatable runs, programs as players, manifests, a game in a browser and one of a person.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{fixtures, http, listen};

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.arg("bench").args(args);
    command
}

fn finish(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// The result of a run in `out`, without the times, which differ.
fn result(out: &Path) -> Value {
    let mut result: Value = serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap();
    result.as_object_mut().unwrap().remove("seconds");
    for round in result["per_round"].as_array_mut().unwrap() {
        round.as_object_mut().unwrap().remove("seconds");
    }
    result
}

#[test]
fn the_same_player_gets_the_same_numbers_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, player: &str| {
        let out = dir.path().join(name);
        let args = ["--player", player, "--rounds", "3", "--out", out.to_str().unwrap()];
        let (code, _, err) = finish(&mut bench(&args));
        assert_eq!(code, Some(0), "{err}");
        out
    };
    let (first, again) = (run("a", "pocket"), run("b", "pocket"));
    assert_eq!(result(&first), result(&again));
    // As after a kill while the third answer was written.
    let answers = again.join("answers.jsonl");
    let text = std::fs::read_to_string(&answers).unwrap();
    let third = text.trim_end().rfind('\n').unwrap();
    std::fs::write(&answers, &text[..third + 30]).unwrap();
    assert_eq!(result(&run("b", "pocket")), result(&first));
    assert!(std::fs::read_to_string(&answers).unwrap().starts_with(&text[..third]));

    let html = std::fs::read_to_string(first.join("report.html")).unwrap();
    assert!(html.matches("<article").count() == 3 && html.contains("data:image/jpeg") && html.contains("Licence:"));
    // Another player does not continue the run.
    let args = ["--player", "constant:1,2", "--rounds", "3", "--out", first.to_str().unwrap()];
    let (code, _, err) = finish(&mut bench(&args));
    assert!(code == Some(2) && err.contains("the player was different"), "{err}");

    let constant = run("c", "constant:1,2");
    let paths = [first.to_str().unwrap(), constant.to_str().unwrap()];
    let (code, out, err) = finish(&mut bench(&["compare", paths[0], paths[1], "--json"]));
    assert_eq!(code, Some(0), "{err}");
    let compared: Value = serde_json::from_str(&out).unwrap();
    assert!(compared["rounds"] == 3 && compared["difference"]["mean"].as_f64().unwrap() > 0.0, "{compared}");
    let (_, table, _) = finish(&mut bench(&["table", paths[0], paths[1]]));
    assert!(table.lines().count() == 4 && table.contains("| pocket | 3 |"), "{table}");
}

#[test]
fn the_program_of_the_documentation_plays() {
    let docs = std::fs::read_to_string(fixtures().join("../docs/bench.md")).unwrap();
    let program = docs.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("atlantic.py"), dir.path().join("out"));
    std::fs::write(&script, program).unwrap();
    let player = format!("python3 '{}'", script.display());
    let args = ["--player", &player, "--rounds", "4", "--out", out.to_str().unwrap(), "--markdown"];
    let (code, table, err) = finish(&mut bench(&args));
    assert!(code == Some(0) && table.contains("| atlantic | 4 |"), "{table}{err}");
    let result = result(&out);
    assert_eq!((&result["answered"], &result["confidence"]["rounds"]), (&json!(4), &json!(4)));
    assert_eq!(result["cost"]["usd"], 0.0);
    // What a player does wrong is counted.
    let out = dir.path().join("wrong");
    let args = ["--player", "echo Paris", "--rounds", "2", "--retries", "0", "--out", out.to_str().unwrap()];
    let (code, _, err) = finish(&mut bench(&args));
    assert!(code == Some(1) && err.contains("answered no round"), "{err}");
}

/// A server of the Model Context Protocol that finds everything in Rome.
const MCP_SERVER: &str = r#"
import base64, json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result, method = None, message["method"]
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "rome", "version": "1"}}
    elif method == "tools/call":
        images = message["params"]["arguments"]["images"]
        assert base64.b64decode(images[0]["base64"])[:2] == b"\xff\xd8" and message["params"]["name"] == "locate"
        answer = {"lat": 41.9, "lng": 12.5, "confidence": 0.5}
        result = {"content": [{"type": "text", "text": "Rome"}], "structuredContent": answer}
    error = {"code": -32601, "message": "no such method"}
    reply = {"jsonrpc": "2.0", "id": message["id"], **({"result": result} if result else {"error": error})}
    print(json.dumps(reply), flush=True)
"#;

#[test]
fn a_server_of_the_model_context_protocol_plays() {
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("rome.py"), dir.path().join("out"));
    std::fs::write(&script, MCP_SERVER).unwrap();
    let player = format!("mcp:python3 '{}'", script.display());
    let args = ["--player", &player, "--rounds", "3", "--out", out.to_str().unwrap()];
    let (code, _, err) = finish(&mut bench(&args));
    assert_eq!(code, Some(0), "{err}");
    let result = result(&out);
    assert_eq!((&result["answered"], &result["confidence"]["rounds"]), (&json!(3), &json!(3)));
    assert_eq!(result["per_round"][0]["guess"], json!({ "lat": 41.9, "lng": 12.5 }));
    // A program that is none.
    let out = dir.path().join("none");
    let args = [
        "--player",
        "mcp:cat",
        "--rounds",
        "1",
        "--retries",
        "0",
        "--out",
        out.to_str().unwrap(),
        "--time-limit",
        "5s",
    ];
    let (code, _, err) = finish(&mut bench(&args));
    assert_eq!(code, Some(1), "{err}");
}

/// Sends a picture, and of a request for all of it the first half only.
async fn half(headers: HeaderMap, picture: Vec<u8>) -> Response {
    let Some(range) = headers.get(header::RANGE) else {
        let length = picture.len();
        let first = futures_util::stream::once({
            let part = picture[..length / 2].to_vec();
            async { Ok(part) }
        });
        let lost = futures_util::stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await; // until the first part was sent
            Err(std::io::Error::other("the connection is lost"))
        });
        let part = futures_util::StreamExt::chain(first, lost);
        return ([(header::CONTENT_LENGTH, length)], axum::body::Body::from_stream(part)).into_response();
    };
    let from: usize = range.to_str().unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    let range = format!("bytes {from}-{}/{}", picture.len() - 1, picture.len());
    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], picture[from..].to_vec()).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_a_manifest_are_fetched_when_asked_for() {
    let pictures = ["rome-colosseum", "machu-picchu"]
        .map(|name| std::fs::read(fixtures().join("rounds").join(name).join("view_000.jpg")).unwrap());
    let [rome, machu] = pictures.clone();
    let app = Router::new()
        .route("/a.jpg", get(move |headers: HeaderMap| half(headers, rome)))
        .route("/b.jpg", get(async move || machu.clone()));
    let base = listen(app).await;
    let line = |id: &str, (lat, lng): (f64, f64), file: &str, picture: &[u8]| {
        let sha256: String = Sha256::digest(picture).iter().map(|byte| format!("{byte:02x}")).collect();
        let view = json!({ "url": format!("{base}/{file}"), "sha256": sha256, "bytes": picture.len() });
        json!({ "id": id, "lat": lat, "lng": lng, "licence": "CC0-1.0", "author": "A", "source": "https://example.org",
            "views": [view] })
        .to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("two.jsonl");
    let cache = dir.path().join("cache");
    let lines = [
        line("rome", (41.89, 12.49), "a.jpg", &pictures[0]),
        line("machu-picchu", (-13.16, -72.54), "b.jpg", &pictures[1]),
    ];
    std::fs::write(&manifest, lines.join("\n")).unwrap();
    let out = dir.path().join("out");
    let run = async |args: &[&str]| {
        let mut command = bench(args);
        command.args(["--rounds-set", manifest.to_str().unwrap()]).env("LANDFALL_CACHE", &cache);
        tokio::task::spawn_blocking(move || finish(&mut command)).await.unwrap()
    };
    let play = ["--player", "constant:41.89,12.49", "--out", out.to_str().unwrap()];
    let (code, _, err) = run(&play).await;
    assert!(code == Some(2) && err.contains("2 of 2 pictures of the set were not fetched"), "{err}");
    let (code, plan, err) = run(&["fetch", "--dry-run"]).await;
    assert!(code == Some(0) && plan.contains("2 of 2 pictures are missing") && !cache.exists(), "{plan}{err}");
    let (code, _, err) = run(&["fetch"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(std::fs::read_dir(cache.join("bench")).unwrap().count(), 2);
    let (code, _, err) = run(&play).await;
    assert_eq!(code, Some(0), "{err}");
    let played = result(&out);
    let points: Vec<_> = played["per_round"].as_array().unwrap().iter().map(|round| round["points"].clone()).collect();
    assert!(points.contains(&json!(5000)) && played["set"] == "two", "{played}");
    // A picture that is not what the manifest says is not used.
    let mut other = pictures[1].clone();
    other.reverse();
    std::fs::write(&manifest, line("machu-picchu", (-13.16, -72.54), "b.jpg", &other)).unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    let (code, _, err) = run(&["fetch"]).await;
    assert!(code == Some(3) && err.contains("also after a second download"), "{err}");
}

#[test]
fn a_bundle_plays_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = ["--player", "pocket", "--arena", "--rounds", "2", "--out", out.to_str().unwrap()];
    let (code, _, err) = finish(&mut bench(&args));
    assert_eq!(code, Some(0), "{err}");
    let in_browser = result(&out);
    assert_eq!((&in_browser["answered"], &in_browser["through"]), (&json!(2), &json!("browser")));
    assert!(in_browser["confidence"]["rounds"] == 2, "{in_browser}");
    // Nothing is left to play.
    let (code, _, err) = finish(&mut bench(&args));
    assert!(code == Some(0) && !err.contains("round   1"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_plays_in_the_arena_and_only_first_guesses_count() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut command = bench(&["--player", "person", "--rounds", "2", "--out", out.to_str().unwrap()]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let games = format!("{}api/v3/games", url.trim());
    let start = async || {
        http().post(&games).json(&json!({ "map": "arena" })).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let guess = async |game: &Value, lat: f64| {
        let game = format!("{games}/{}", game["token"].as_str().unwrap());
        let answer = http().post(&game).json(&json!({ "lat": lat, "lng": 2.0 })).send().await.unwrap();
        assert!(answer.status().is_success());
        http().get(format!("{game}?client=web")).send().await.unwrap().json::<Value>().await.unwrap()
    };
    guess(&start().await, 10.0).await;
    // The page is loaded again: the first round has its guess already.
    let second = start().await;
    guess(&second, 20.0).await;
    guess(&second, 30.0).await;
    let status = tokio::task::spawn_blocking(move || running.wait().unwrap()).await.unwrap();
    assert!(status.success());
    let result = result(&out);
    let guesses: Vec<_> = (0..2).map(|i| result["per_round"][i]["guess"]["lat"].clone()).collect();
    assert_eq!(guesses, [10.0, 30.0]);
    assert_eq!((&result["player"]["kind"], &result["through"]), (&json!("person"), &json!("browser")));
}
