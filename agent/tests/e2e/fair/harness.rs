//! Test harness for fair play: one proxy in front of the arena adds bait to its page, another in front of chromedriver
//! records every command, and everything that the agent writes goes to a temporary directory.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use landfall_agent::testing::{Arena, ArenaOptions, RoundSource};
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::chromedriver::ChromeDriver;

/// A secret of the player, set in cookies, in web storage and in the URL.
const SECRET: &str = "ncfa-9f41c7d2-for-nobody";
/// Coordinates and panorama id that the bait reveals; keep in sync with `bait.js`.
const BAIT: [&str; 3] = ["48.858371", "2.294481", "CAoSLEFGMVFpcE1iYWl0"];

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A WebDriver command of the agent, such as `POST element/{}/click`, with its element id, request body and
    /// response.
    Command { kind: String, element: String, body: String, answer: Value },
    /// A report of the page or of its proxy.
    Page(String),
}

/// A reverse proxy that records events.
#[derive(Clone)]
struct Proxy {
    to: String,
    trace: Arc<Mutex<Vec<Event>>>,
    client: reqwest::Client,
    /// How the page navigates by itself: `{by, on, to}`, or null.
    forward: Value,
}

impl Proxy {
    async fn send(&self, method: Method, uri: &str, body: Bytes) -> (reqwest::StatusCode, HeaderValue, Bytes) {
        let request = self.client.request(method, format!("{}{uri}", self.to)).header(CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await.unwrap();
        let kind = answer.headers().get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("text/plain"));
        (answer.status(), kind, answer.bytes().await.unwrap())
    }

    fn record(&self, event: Event) -> usize {
        let mut trace = self.trace.lock().unwrap();
        trace.push(event);
        trace.len() - 1
    }
}

/// Handler of the proxy in front of chromedriver.
async fn command(State(proxy): State<Proxy>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    if path.len() > 1 && path[0] == "session" {
        path.drain(..2);
    }
    let element = if path.len() > 1 && path[0] == "element" { std::mem::replace(&mut path[1], "{}") } else { "" };
    let (kind, element) = (format!("{method} {}", path.join("/")), element.to_owned());
    let is_script = kind.ends_with("execute/sync");
    let text = String::from_utf8_lossy(&body).into_owned();
    let index = proxy.record(Event::Command { kind, element, body: text, answer: Value::Null });
    let (status, kind, bytes) = proxy.send(method, uri.path(), body).await;
    if is_script && let Event::Command { answer, .. } = &mut proxy.trace.lock().unwrap()[index] {
        *answer = serde_json::from_slice(&bytes).unwrap();
    }
    (status, [(CONTENT_TYPE, kind)], bytes).into_response()
}

/// Handler of the proxy in front of the arena.
async fn page(State(proxy): State<Proxy>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match uri.path() {
        "/report" => {
            proxy.record(Event::Page(String::from_utf8_lossy(&body).into_owned()));
            return ().into_response();
        }
        "/bait.js" => {
            let bait = include_str!("bait.js");
            let script = format!("const SECRET = '{SECRET}', FORWARD = {};\n{bait}", proxy.forward);
            return ([(CONTENT_TYPE, "text/javascript")], script).into_response();
        }
        _ => {}
    }
    if !headers.get(USER_AGENT).is_some_and(|agent| agent.to_str().unwrap().contains("Chrome/")) {
        proxy.record(Event::Page(format!("stranger {uri} {headers:?}")));
    }
    if method != Method::GET {
        proxy.record(Event::Page(format!("{method} {uri}")));
    }
    // Serve a playable game under the refused path too, so that a violation is possible.
    let path_and_query = uri.path_and_query().unwrap().as_str();
    let path = if proxy.forward["to"] == uri.path() { "/" } else { path_and_query };
    let (status, kind, bytes) = proxy.send(method, path, body).await;
    if !kind.to_str().unwrap().starts_with("text/html") {
        return (status, [(CONTENT_TYPE, kind)], bytes).into_response();
    }
    let html = String::from_utf8_lossy(&bytes).replacen("<head>", "<head><script src='/bait.js'></script>", 1);
    let mut response = (status, [(CONTENT_TYPE, kind)], html).into_response();
    for cookie in [format!("_ncfa={SECRET}; Path=/; HttpOnly"), format!("session={SECRET}; Path=/")] {
        response.headers_mut().append(SET_COOKIE, cookie.parse().unwrap());
    }
    response
}

/// The arena, chromedriver and both proxies.
pub(crate) struct Harness {
    _arena: Arena,
    _panoramas: TempDir,
    /// Base URLs of the two proxies.
    pub(crate) page: String,
    pub(crate) webdriver: String,
    trace: Arc<Mutex<Vec<Event>>>,
    _driver: ChromeDriver,
    dir: TempDir,
}

impl Harness {
    pub(crate) async fn new(forward: Value) -> Self {
        // In panoramas keys are pressed.
        let panoramas = crate::panoramas();
        let rounds = RoundSource::Fixtures(panoramas.path().to_owned());
        let options = ArenaOptions { seed: Some(3), rounds_per_game: 2, ..ArenaOptions::new(rounds) };
        let arena = Arena::start(options).await.unwrap();
        let driver = ChromeDriver::start();
        let (trace, client) = (Arc::default(), crate::http());
        let to = |to: String| Proxy { to, trace: Arc::clone(&trace), client: client.clone(), forward: forward.clone() };
        let base = arena.url().trim_end_matches('/').to_owned();
        let page = crate::listen(Router::new().fallback(page).with_state(to(base))).await;
        let driver_proxy = to(driver.url.clone());
        let webdriver = crate::listen(Router::new().fallback(command).with_state(driver_proxy)).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("baited.toml"), toml::to_string(&profile()).unwrap()).unwrap();
        Self { _arena: arena, _panoramas: panoramas, page, webdriver, trace, _driver: driver, dir }
    }

    /// Plays a game of two rounds that starts at this path.
    pub(crate) async fn play(&self, path: &str) -> Output {
        let (site, runs) = (self.dir.path().join("baited.toml"), self.dir.path().join("kept"));
        let args = ["play", "--bundle", "pocket", "--rounds", "2", "--site"].map(Into::into);
        self.landfall(args.into_iter().chain([site.into(), "--runs".into(), runs.into()]).collect(), path).await
    }

    /// Probes the page and returns the written profile too.
    pub(crate) async fn probe(&self) -> (Output, String) {
        let out = self.dir.path().join("kept/found.toml");
        let output = self.landfall(vec!["probe".into(), "--out".into(), out.clone().into()], "/").await;
        (output, std::fs::read_to_string(out).unwrap_or_default())
    }

    async fn landfall(&self, args: Vec<OsString>, path: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(args).args(["--json", "--webdriver", &self.webdriver]);
        command.arg(format!("{}{path}?session={SECRET}", self.page));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        // In all cases neither secrets of the player nor the bait may be written or printed.
        let mut texts = vec![output.stdout.clone(), output.stderr.clone()];
        read_all(&self.dir.path().join("kept"), &mut texts);
        for secret in BAIT.iter().chain([&SECRET]) {
            let holds = |text: &Vec<u8>| text.windows(secret.len()).any(|part| part == secret.as_bytes());
            let text = texts.iter().find(|text| holds(text)).map(|text| String::from_utf8_lossy(text));
            assert_eq!(text, None, "`{secret}` was written or printed");
        }
        output
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.trace.lock().unwrap().clone()
    }

    pub(crate) fn reports(&self, prefix: &str) -> Vec<String> {
        let page_line = |event| if let Event::Page(line) = event { Some(line) } else { None };
        self.events().into_iter().filter_map(page_line).filter(|line| line.starts_with(prefix)).collect()
    }
}

/// Collects the contents and paths of all files in a directory.
fn read_all(dir: &Path, texts: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        texts.push(path.to_string_lossy().into_owned().into_bytes());
        if path.is_dir() { read_all(&path, texts) } else { texts.push(std::fs::read(&path).unwrap()) }
    }
}

/// The arena's profile with the refused paths of the live game only, and with text-based locators for dialogs.
pub(crate) fn profile() -> Table {
    let mut profile: Table = toml::from_str(include_str!("../../../profiles/arena.toml")).unwrap();
    let geoguessr: Table = toml::from_str(include_str!("../../../profiles/geoguessr.toml")).unwrap();
    profile["name"] = "baited".into();
    profile["paths"]["play"] = vec![".*"].into();
    profile["paths"]["refuse"] = geoguessr["paths"]["refuse"].clone();
    let text_locators: Table =
        toml::from_str("locators = [{ text = 'accept all' }, { role = 'button', text = 'no,? thanks' }]").unwrap();
    profile["page"]["dismiss"]
        .as_array_mut()
        .unwrap()
        .extend(text_locators["locators"].as_array().unwrap().iter().cloned());
    profile
}
