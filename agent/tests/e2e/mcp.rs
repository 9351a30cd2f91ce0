//! `mcp`, with the client of the official SDK: a game is played fairly and recorded, pictures are located, and nothing that a
//! client sends makes the server fail or tell what it must not.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, ReadResourceRequestParams, ResourceContents};
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

type Client = RunningService<RoleClient, ()>;

fn landfall(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.arg("mcp").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// A server on standard input and output, and the file of its standard error.
async fn start(args: &[&str]) -> (Child, Client, NamedTempFile) {
    let log = NamedTempFile::new().unwrap();
    let mut child = landfall(args).stderr(log.reopen().unwrap()).spawn().unwrap();
    let client = ().serve((child.stdout.take().unwrap(), child.stdin.take().unwrap())).await.unwrap();
    (child, client, log)
}

/// Ends the client, and with it the server's input. Returns what the server logged.
async fn finish(mut child: Child, client: Client, log: NamedTempFile) -> String {
    client.cancel().await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    std::fs::read_to_string(log.path()).unwrap()
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> CallToolResult {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
}

/// The structured result of a call that succeeds.
async fn done(client: &Client, tool: &'static str, arguments: Value) -> Value {
    let result = call(client, tool, arguments).await;
    assert_ne!(result.is_error, Some(true), "{tool}: {}", text(&result));
    result.structured_content.unwrap()
}

/// The message of a call that fails.
async fn refused(client: &Client, tool: &'static str, arguments: Value) -> String {
    let result = call(client, tool, arguments).await;
    assert_eq!(result.is_error, Some(true), "{tool}: {}", text(&result));
    text(&result)
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str()).collect()
}

/// A view: what is said of it, and its JPEG file.
async fn look(client: &Client, arguments: Value) -> (Value, Vec<u8>) {
    let result = call(client, "arena_look", arguments).await;
    let image = result.content.iter().find_map(ContentBlock::as_image).unwrap_or_else(|| panic!("{}", text(&result)));
    assert_eq!(image.mime_type, "image/jpeg");
    (result.structured_content.unwrap(), STANDARD.decode(&image.data).unwrap())
}

fn photo() -> std::path::PathBuf {
    crate::fixtures().join("rounds/rome-colosseum/view_000.jpg")
}

/// Two panoramas and two photos of the fixtures.
fn two_of_each_kind() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut found = HashMap::from([(true, 0), (false, 0)]);
    for round in std::fs::read_dir(crate::fixtures().join("rounds")).unwrap().map(Result::unwrap) {
        let count = found.get_mut(&round.path().join("pano.jpg").exists()).unwrap();
        *count += 1;
        if *count > 2 {
            continue;
        }
        let to = dir.path().join("rounds").join(round.file_name());
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(round.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    dir
}

/// What a player must not see before the guess: the truth, the names of the rounds, and their files.
fn secrets(truth: &Value) -> Vec<String> {
    let rounds = std::fs::read_dir(crate::fixtures().join("rounds")).unwrap();
    let names = rounds.map(|round| round.unwrap().file_name().into_string().unwrap());
    let numbers = [&truth["lat"], &truth["lng"]].map(|number| number.to_string()[..5].to_owned());
    names.chain(numbers).chain(["pano.jpg", "view_", "Author", "Licence"].map(str::to_owned)).collect()
}

async fn read(client: &Client, uri: &str) -> Result<ResourceContents, ServiceError> {
    client.read_resource(ReadResourceRequestParams::new(uri)).await.map(|mut read| read.contents.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_is_fair_and_recorded() {
    let (rounds, runs) = (two_of_each_kind(), tempfile::tempdir().unwrap());
    let dirs = [rounds.path(), runs.path()].map(|dir| dir.to_str().unwrap());
    let (child, client, log) = start(&["--fixtures", dirs[0], "--runs", dirs[1]]).await;
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["locate", "verify", "arena_new_game", "arena_look", "arena_pin", "arena_guess"]);

    let game = done(&client, "arena_new_game", json!({ "rounds": 4, "seed": 2 })).await;
    let id = game["game"].as_str().unwrap().to_owned();
    let with = |more: Value| {
        let mut arguments = json!({ "game": id });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let mut kinds = HashMap::new();
    let mut total = 0;
    for round in 1..=4 {
        let mut said = game.to_string();
        assert!(refused(&client, "arena_guess", with(json!({}))).await.contains(if round == 1 {
            "arena_pin"
        } else {
            "arena_look"
        }));
        let (seen, first) = look(&client, with(json!({}))).await;
        assert_eq!((&seen["round"], &seen["zoom"], &seen["pitch_deg"]), (&json!(round), &json!(1.0), &json!(0.0)));
        said += &seen.to_string();
        *kinds.entry(seen["kind"].to_string()).or_insert(0) += 1;
        let (seen, other) = look(&client, with(json!({ "heading_deg": -90, "pitch_deg": 10, "zoom": 2.5 }))).await;
        assert_eq!((&seen["heading_deg"], &seen["zoom"]), (&json!(270.0), &json!(2.5)));
        for jpeg in [&first, &other] {
            let picture = image::load_from_memory(jpeg).unwrap();
            assert!(picture.width() <= 1024 && picture.height() <= 768);
            // Nothing but the picture: no EXIF, no XMP, no comment.
            assert!(
                [&b"Exif"[..], b"http://ns.adobe"].iter().all(|tag| !jpeg.windows(tag.len()).any(|part| part == *tag))
            );
        }
        assert_ne!(first, other);
        said += &refused(&client, "arena_pin", with(json!({ "lat": 91, "lng": 0 }))).await;
        said += &refused(&client, "arena_look", with(json!({ "zoom": 99 }))).await;
        said += &done(&client, "arena_pin", with(json!({ "lat": 10, "lng": 20 }))).await.to_string();
        said += &done(&client, "arena_pin", with(json!({ "lat": 41.9, "lng": 12.5 }))).await.to_string();
        let listed = client.list_all_resources().await.unwrap();
        assert!(listed.is_empty(), "an unfinished game is no record: {listed:?}");
        let outcome = done(&client, "arena_guess", with(json!({}))).await;
        for secret in secrets(&outcome["truth"]) {
            assert!(!said.contains(&secret), "{secret} in {said}");
        }
        assert_eq!(outcome["guess"], json!({ "lat": 41.9, "lng": 12.5 }));
        assert!(outcome["credits"].as_str().unwrap().contains("Licence:"), "{outcome}");
        total += outcome["points"].as_u64().unwrap();
        assert_eq!(outcome["total_points"], total);
        assert_eq!(outcome["next_round"], if round < 4 { json!(round + 1) } else { Value::Null });
        assert_eq!(outcome["record"].is_string(), round == 4, "{outcome}");
    }
    assert_eq!(kinds, HashMap::from([("\"panorama\"".to_owned(), 2), ("\"photo\"".to_owned(), 2)]));
    for tool in ["arena_look", "arena_guess"] {
        assert!(refused(&client, tool, with(json!({}))).await.contains("arena_new_game"));
    }
    assert!(refused(&client, "arena_look", json!({ "game": "x" })).await.contains("arena_new_game"));
    assert!(refused(&client, "arena_new_game", json!({ "rounds": 0 })).await.contains("`rounds` must be from 1 to"));
    assert!(refused(&client, "arena_new_game", json!({ "photos": "/" })).await.contains("unknown field `photos`"));

    check_records(&client, total).await;
    // Without panics and paths of rounds.
    let log = finish(child, client, log).await;
    assert_eq!(log, "");

    let report = runs.path().join("report.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    let made = command.arg("report").arg(runs.path()).arg("--out").arg(&report).output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("data:image/jpeg;base64,") && report.contains("mcp:"), "{}", &report[..2000]);
}

async fn check_records(client: &Client, total: u64) {
    let listed = client.list_all_resources().await.unwrap();
    let files: Vec<&str> = listed.iter().map(|it| it.uri.rsplit_once("_landfall-arena/").unwrap().1).collect();
    let rounds: Vec<String> = (1..=4).map(|n| format!("round_{n}/round.json")).collect();
    assert_eq!(files[0], "game.json");
    assert_eq!(files[1..], rounds);
    let game = &listed[0].uri;
    let ResourceContents::TextResourceContents { text, .. } = read(client, game).await.unwrap() else { panic!() };
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&record["score"], &record["record"]), (&json!(total), &json!("")));
    assert!(record["bundle"].as_str().unwrap().starts_with("mcp:"), "{text}");
    let image = game.replace("game.json", "round_1/view_000.jpg");
    let ResourceContents::BlobResourceContents { blob, .. } = read(client, &image).await.unwrap() else { panic!() };
    image::load_from_memory(&STANDARD.decode(blob).unwrap()).unwrap();
    for uri in [
        game.replace("game.json", "round_1/CREDITS"),
        game.replace("game.json", "round_1/..%2Fgame.json"),
        game.replace("game.json", "../game.json"),
        game.replace("game.json", "round_9/round.json"),
        game.replace("game.json", "%2e%2e/round.json"),
        "landfall://records/../../etc/passwd".to_owned(),
        "landfall://records/..%2F..%2Fetc/passwd".to_owned(),
        "landfall://records//etc/passwd".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        let error = read(client, &uri).await.unwrap_err().to_string();
        assert!(error.contains("there is no such record"), "{uri}: {error}");
    }
}

/// What a command prints for the photo.
fn printed(args: &[&str]) -> Value {
    let mut landfall = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
    let output = landfall.args(args).args(["--json", "--bundle", "pocket"]).arg(photo()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_located_and_verified_and_not_logged() {
    let allowed = photo().parent().unwrap().to_owned();
    let (child, client, log) = start(&["-v", "--bundle", "pocket", "--allow-dir", allowed.to_str().unwrap()]).await;
    let data = STANDARD.encode(std::fs::read(photo()).unwrap());
    let hints = json!({ "country": ["IT", "FR"], "exclude": [{ "near": { "lat": 48.9, "lng": 2.3, "km": 100 } }] });
    let images = json!([{ "base64": data }, { "path": "view_000.jpg" }, { "base64": "AAEC", "name": "none" }]);
    let located = done(&client, "locate", json!({ "images": images, "hints": hints, "top": 3 })).await;
    let expected = printed(&["locate", "--top", "3", "--country", "IT,FR", "--exclude", "48.9,2.3,100"]);
    for (i, name) in ["1", "view_000.jpg"].into_iter().enumerate() {
        let found = &located["results"][i];
        assert_eq!(found["image"], name);
        for key in ["lat", "lng", "place", "country", "radius_km", "candidates", "given"] {
            assert_eq!(found[key], expected[key], "{key}");
        }
    }
    assert_eq!(located["bundle"], expected["bundle"]);
    assert!(located["results"][2]["error"].as_str().unwrap().contains("no known picture format"), "{located}");
    let views = json!([{ "base64": data }, { "path": photo() }]);
    let located = done(&client, "locate", json!({ "images": views, "one_place": true })).await;
    assert_eq!(located["results"].as_array().unwrap().len(), 1);

    let claim = json!({ "image": { "base64": data, "name": "a" }, "lat": 41.89, "lng": 12.49, "km": 100 });
    let mut verified = done(&client, "verify", claim).await;
    let mut expected = printed(&["verify", "--at", "41.89,12.49,100"]);
    assert_eq!(verified["image"].take(), "a");
    (verified["warnings"], expected["warnings"]) = (json!([]), json!([]));
    expected["image"].take();
    assert_eq!(verified, expected);

    for (arguments, why) in [
        (json!({ "images": [] }), "no image"),
        (json!({ "images": [{ "path": "../venice-piazzetta/view_000.jpg" }] }), "no such file below"),
        (json!({ "images": [{ "path": "/etc/passwd" }] }), "no such file below"),
        (json!({ "images": [{ "base64": "%" }] }), "not Base64"),
        (json!({ "images": [{ "base64": data, "path": "a" }] }), "either `path` or `base64`"),
        (json!({ "images": vec![json!({ "base64": "" }); 65] }), "at most 64 images"),
        (json!({ "images": data }), "not as described"),
        (json!({ "images": [{ "base64": data }], "top": 0 }), "`top` must be"),
        (json!({ "images": [{ "base64": data }], "hints": { "country": ["XX"] } }), "XX"),
        (json!({}), "missing field `images`"),
    ] {
        let message = refused(&client, "locate", arguments).await;
        assert!(message.contains(why) && message.len() < 1000, "{why}: {message}");
    }
    assert!(
        refused(&client, "verify", json!({ "image": { "base64": data }, "lat": 100, "lng": 0 })).await.contains("100")
    );
    let unknown = client.call_tool(CallToolRequestParams::new("rm")).await;
    assert!(unknown.unwrap_err().to_string().contains("there is no tool"));

    let log = finish(child, client, log).await;
    for secret in [&data[..40], "41.89", "passwd", "view_000", "colosseum", "panicked"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_survived_and_only_messages_are_printed() {
    let mut child = landfall(&[]).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = tokio::io::BufReader::new(output).lines();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let deep = "[".repeat(100_000);
    let huge = "x".repeat((32 << 20) + 1);
    for line in ["", "garbage", "{", "\0\u{7f}", &deep, &huge, &initialize.to_string(), &initialized.to_string()] {
        input.write_all(line.as_bytes()).await.unwrap();
        input.write_all(b"\n").await.unwrap();
    }
    input.write_all(b"\xff\xfe\n{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":7}\n").await.unwrap();
    let list = json!({ "jsonrpc": "2.0", "id": "last", "method": "tools/list" });
    input.write_all(format!("{list}\n").as_bytes()).await.unwrap();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
        if message["id"] == "last" {
            assert_eq!(message["result"]["tools"].as_array().unwrap().len(), 6, "{line}");
            break;
        }
    }
    drop(input);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_server() {
    let (mut child, client, _log) = start(&[]).await;
    client.list_all_tools().await.unwrap();
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// The server over HTTP, and its URL.
async fn start_http(token: &Path) -> (Child, String) {
    let mut child = landfall(&["--http", "0", "--json", "--token-file", token.to_str().unwrap()]).spawn().unwrap();
    let mut text = String::new();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let url = loop {
        text += &lines.next_line().await.unwrap().unwrap();
        if let Ok(info) = serde_json::from_str::<Value>(&text) {
            break info["url"].as_str().unwrap().to_owned();
        }
    };
    (child, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_is_played_over_http_by_those_who_may() {
    let mut token = NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut token, b"sesame\n").unwrap();
    let (_child, url) = start_http(token.path()).await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let post = || {
        let request = crate::http().post(&url).header("content-type", "application/json").body(list.clone());
        request.header("accept", "application/json, text/event-stream")
    };
    let port = url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0;
    for (request, status) in [
        (post(), StatusCode::UNAUTHORIZED),
        (post().bearer_auth("open"), StatusCode::UNAUTHORIZED),
        (post().bearer_auth("sesame"), StatusCode::OK),
        (post().bearer_auth("sesame").header(HOST, format!("evil.example:{port}")), StatusCode::MISDIRECTED_REQUEST),
        (post().bearer_auth("sesame").header(ORIGIN, "http://evil.example"), StatusCode::FORBIDDEN),
        (post().bearer_auth("sesame").header(ORIGIN, "null"), StatusCode::FORBIDDEN),
        (post().bearer_auth("sesame").body("{"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post().bearer_auth("sesame").body(vec![b' '; (32 << 20) + 1]), StatusCode::PAYLOAD_TOO_LARGE),
        (crate::http().get(&url).bearer_auth("sesame"), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.text().await.unwrap());
    }

    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header("sesame");
    let client = ().serve(StreamableHttpClientTransport::with_client(crate::http(), config)).await.unwrap();
    let game = done(&client, "arena_new_game", json!({ "rounds": 1, "time_limit_s": 600 })).await;
    let game = json!({ "game": game["game"] });
    look(&client, game.clone()).await;
    done(&client, "arena_pin", json!({ "game": game["game"], "lat": 0, "lng": 0 })).await;
    let outcome = done(&client, "arena_guess", game).await;
    assert!(outcome["distance_km"].as_f64().unwrap() > 0.0 && outcome["record"].is_null(), "{outcome}");
    // Without --runs there are no resources.
    assert!(client.list_all_resources().await.unwrap().is_empty());
    client.cancel().await.unwrap();
}
