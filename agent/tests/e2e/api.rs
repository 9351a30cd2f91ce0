//! `serve --api` answers as `locate`, as its document describes, under load and when it is stopped.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use boon::{Compiler, Schemas};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// A running `landfall serve --api`, killed on drop.
struct Api {
    process: Child,
    url: String,
}

impl Api {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["serve", "--api", "--json", "--bundle", "pocket", "--listen", "127.0.0.1:0"]).args(args);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            text.push_str(&line.unwrap());
            if let Ok(info) = serde_json::from_str::<Value>(&text) {
                return Self { process, url: info["url"].as_str().unwrap().to_owned() };
            }
        }
        panic!("the service ended with {:?} and said {text}", process.wait());
    }

    async fn get(&self, path: &str) -> Response {
        crate::http().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn post(&self, kind: &str, body: Vec<u8>) -> Response {
        let request = crate::http().post(format!("{}v1/locate", self.url)).header(CONTENT_TYPE, kind);
        request.body(body).send().await.unwrap()
    }

    async fn locate(&self, request: &Value) -> (StatusCode, Value) {
        let response = self.post("application/json", request.to_string().into_bytes()).await;
        (response.status(), response.json().await.unwrap())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

fn photo() -> Vec<u8> {
    std::fs::read(crate::fixtures().join("rounds/rome-colosseum/view_000.jpg")).unwrap()
}

fn image(bytes: &[u8]) -> Value {
    json!({ "data": STANDARD.encode(bytes) })
}

/// What `locate --json` prints for the photo.
fn located(args: &[&str]) -> Value {
    let mut landfall = Command::new(env!("CARGO_BIN_EXE_landfall"));
    landfall.args(["locate", "--json", "--bundle", "pocket"]).args(args);
    let output = landfall.arg(crate::fixtures().join("rounds/rome-colosseum/view_000.jpg")).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The body of a form with these parts: name, file name, contents.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, contents) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        write!(body, "--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
        body.extend_from_slice(contents);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

const FORM: &str = "multipart/form-data; boundary=edge";

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_as_locate_and_as_its_document_says() {
    let api = Api::start(&[]);
    let photo = photo();
    let known = json!({ "country": ["IT", "FR"], "exclude": [{ "near": { "lat": 48.9, "lng": 2.3, "km": 100 } }] });
    let options = json!({ "top": 3, "known": known });
    let (status, answer) =
        api.locate(&json!({ "images": [image(&photo), image(b"no image")], "options": options })).await;
    assert_eq!(status, 200, "{answer}");
    let expected = located(&["--top", "3", "--country", "IT,FR", "--exclude", "48.9,2.3,100"]);
    let found = &answer["results"][0];
    for key in ["lat", "lng", "place", "country", "expected_score", "radius_km", "top", "candidates", "given"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
    assert_eq!(answer["bundle"], expected["bundle"]);
    assert!(answer["results"][1]["error"].as_str().unwrap().contains("not a picture"), "{answer}");

    let options = options.to_string();
    let parts = [("image", Some("a.jpg"), &photo[..]), ("options", None, options.as_bytes())];
    let response = api.post(FORM, form(&parts)).await;
    let mut by_form: Value = response.json().await.unwrap();
    assert_eq!(by_form["results"][0]["image"].take(), "a.jpg");
    let mut by_json = found.clone();
    assert_eq!(by_json["image"].take(), "1");
    assert_eq!(by_form["results"][0], by_json);

    let document: Value = api.get("openapi.json").await.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("http://document/", document.clone()).unwrap();
    let mut check = |schema: &str, value: &Value| {
        let schema = compiler.compile(&format!("http://document/#/components/schemas/{schema}"), &mut schemas).unwrap();
        schemas.validate(value, schema).unwrap_or_else(|why| panic!("{why}: {value}"));
    };
    check("LocateResponse", &answer);
    check("Health", &api.get("healthz").await.json().await.unwrap());
    let statuses = document["paths"]["/v1/locate"]["post"]["responses"].as_object().unwrap();
    for (request, expected) in [
        (json!({ "images": [] }), 422),
        (json!({ "pictures": [] }), 400),
        (json!({ "images": [{ "data": "?" }] }), 400),
        (json!({ "images": [image(&photo)], "options": { "bundle": "none" } }), 422),
        (json!({ "images": [image(&photo)], "options": { "top": 0 } }), 422),
        (json!({ "images": [image(&photo)], "options": { "known": { "country": ["XX"] } } }), 422),
        (
            json!({ "images": [image(&photo)], "options": { "known": { "near": { "lat": 0, "lng": 181, "km": 1 } } } }),
            422,
        ),
        (json!({ "images": vec![image(b""); 65] }), 422),
    ] {
        let (status, problem) = api.locate(&request).await;
        assert_eq!(status, expected, "{problem}");
        assert!(statuses.contains_key(&expected.to_string()));
        check("Problem", &problem);
    }
    assert_eq!(api.post("text/plain", b"hello".to_vec()).await.status(), 415);
    assert_eq!(api.post(FORM, b"--edge\r\n".to_vec()).await.status(), 400);
    assert_eq!(api.post("application/json", vec![b' '; 33 << 20]).await.status(), 413);
    assert_eq!(api.get("v1/locate").await.status(), 405);
    assert_eq!(api.get("etc/passwd").await.status(), 404);

    let metrics = api.get("metrics").await.text().await.unwrap();
    for line in [
        "landfall_images_total{outcome=\"Located\"} 2",
        "landfall_images_total{outcome=\"Unreadable\"} 1",
        "landfall_requests_total{path=\"/v1/locate\",status=\"200\"} 2",
        "landfall_requests_total{path=\"other\",status=\"404\"} 1",
        "landfall_requests_in_flight 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    for (name, value, expected) in [(HOST, "evil.example", 421), (ORIGIN, "http://evil.example", 403)] {
        let request = crate::http().get(format!("{}healthz", api.url)).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_one_place_are_one_answer() {
    let api = Api::start(&[]);
    let request = json!({ "images": [image(&photo()), image(&photo())], "options": { "one_place": true } });
    let (_, answer) = api.locate(&request).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer["results"][0]["country"], "IT");
    let request = json!({ "images": [image(&photo()), image(b"?")], "options": { "one_place": true } });
    let (_, answer) = api.locate(&request).await;
    assert!(answer["results"][0]["error"].is_string() && answer["results"].as_array().unwrap().len() == 1, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_required_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "correct-horse\n").unwrap();
    let api = Api::start(&["--token-file", file.to_str().unwrap()]);
    for (token, expected) in [("Bearer correct-horse", 200), ("Bearer wrong", 401), ("correct-horse", 401)] {
        let request = crate::http().get(format!("{}metrics", api.url)).header(AUTHORIZATION, token);
        assert_eq!(request.send().await.unwrap().status(), expected, "{token}");
    }
    assert_eq!(api.post(FORM, form(&[("image", None, &photo())])).await.status(), 401);
    assert_eq!(api.get("healthz").await.status(), 200);

    let mut open = Command::new(env!("CARGO_BIN_EXE_landfall"));
    let output = open.args(["serve", "--api", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--token-file"));
}

/// A request whose body has begun and does not end until the connection is closed.
fn begin(api: &Api, length: usize) -> TcpStream {
    let address = api.url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/locate HTTP/1.1\r\nHost: {address}\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_refused_until_one_has_ended() {
    let api = Api::start(&["--max-requests", "1"]);
    let body = form(&[("image", None, &photo())]);
    let slow = begin(&api, body.len());
    let mut refused = api.post(FORM, body.clone()).await;
    while refused.status() == 200 {
        refused = api.post(FORM, body.clone()).await; // the slow one was not yet there
    }
    assert_eq!((refused.status().as_u16(), &refused.headers()[RETRY_AFTER]), (503, &"1".parse().unwrap()));
    drop(slow);
    while api.post(FORM, body.clone()).await.status() == 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(api.post(FORM, body).await.status(), 200);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_is_answered_when_the_service_is_stopped() {
    let mut api = Api::start(&[]);
    let body = form(&[("image", None, &photo())]);
    let mut slow = begin(&api, body.len());
    while !api.get("metrics").await.text().await.unwrap().contains("landfall_requests_in_flight 1") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Command::new("kill").args(["-TERM", &api.process.id().to_string()]).status().unwrap().success());
    let address = api.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    while TcpStream::connect(&address).is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.write_all(&body).unwrap();
    let mut line = String::new();
    BufReader::new(&slow).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    assert_eq!(api.process.wait().unwrap().code(), Some(143));
}
