//! Fair play, by tracing a real game: what the agent asks the browser for, what it touches on a page full of bait, where it
//! stops, and what it keeps.
//!
//! The agent plays through two proxies. One stands before the arena and adds `fair/bait.js` to its page; the other stands
//! before chromedriver and writes down every command. Both write into one trace, so that it tells what came first.

#[path = "fair/ground.rs"]
mod ground;

use std::collections::HashMap;
use std::process::Output;
use std::time::Duration;

use ground::{Event, Ground, profile};
use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use serde_json::{Value, json};
use thirtyfour::By;
use toml::Table;
use url::Url;

/// The selectors of parts of the profile.
fn selectors(profile: &Table, part: &str, names: &[&str]) -> Vec<String> {
    fn texts(value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::String(way) => into.push(way.split(" @").next().unwrap().to_owned()),
            toml::Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    names.iter().for_each(|name| texts(&profile[part][name], &mut found));
    assert!(!found.is_empty());
    found
}

/// Ids of the elements in an answer.
fn elements(answer: &Value) -> Vec<String> {
    match answer {
        Value::Array(list) => list.iter().flat_map(elements).collect(),
        Value::Object(map) => {
            let own = map.iter().filter(|(key, _)| key.starts_with("element-")).filter_map(|(_, id)| id.as_str());
            own.map(str::to_owned).chain(map.values().flat_map(elements)).collect()
        }
        _ => Vec::new(),
    }
}

/// All that a game takes to be played.
const COMMANDS: &[&str] = &[
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
/// What acts on the page.
const INPUT: &[&str] = &["POST actions", "POST element/{}/click", "POST element/{}/value"];
/// In no script, and in no wish for a session: page state, the player's own, traffic.
const WORDS: &[&str] = &[
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

/// Where a game is: what may be looked for depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    /// No page is open: the browser only says whether all selectors are sound.
    NoPage,
    /// From the first look for the round's view to the click that sends the guess.
    BeforeGuess,
    AfterGuess,
    /// The way to the next round was clicked: what is asked now is whether the game is over.
    Between,
}

/// What was not fair in a trace, and how many guesses were sent in it.
fn breaches(events: &[Event]) -> (Vec<String>, usize) {
    let profile = profile();
    let of_result = |names| selectors(&profile, "result", names);
    // That a result shows tells nothing of it.
    let (answer, all) =
        (of_result(&["points", "truth", "guess"]), of_result(&["points", "truth", "guess", "total", "next"]));
    let (view, next) = (selectors(&profile, "look", &["view"]), of_result(&["next"]));
    let send = selectors(&profile, "map", &["guess"]);
    let names = |body: &str, selectors: &[String]| selectors.iter().any(|css| body.contains(css.as_str()));
    let (mut time, mut roles, mut bad, mut guesses) = (Time::NoPage, HashMap::new(), Vec::new(), 0);
    for event in events {
        let (kind, element, body, value) = match event {
            Event::Command { kind, element, body, answer } => (kind.as_str(), element, body.as_str(), answer),
            Event::Page(line) => {
                bad.extend(["trap ", "stranger "].iter().any(|of| line.starts_with(of)).then(|| line.clone()));
                continue;
            }
        };
        if kind == "POST url" || time == Time::Between && names(body, &view) {
            time = Time::BeforeGuess;
        }
        let forbidden = match time {
            Time::NoPage | Time::AfterGuess => false,
            Time::BeforeGuess => names(body, &all),
            Time::Between => names(body, &answer),
        };
        if forbidden || !COMMANDS.contains(&kind) || WORDS.iter().any(|word| body.contains(word)) {
            bad.push(format!("{time:?}: {kind} {body}"));
        }
        let role = [("send", &send), ("next", &next)].into_iter().find(|(_, css)| names(body, css));
        roles.extend(elements(value).into_iter().map(|id| (id, role.map(|(role, _)| role))));
        match (kind == "POST element/{}/click").then(|| roles.get(element).copied().flatten()).flatten() {
            Some("send") => (time, guesses) = (Time::AfterGuess, guesses + 1),
            Some(_) => time = Time::Between,
            None => {}
        }
    }
    (bad, guesses)
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_has_guessed_it_reads_the_picture_and_nothing_else() {
    let ground = Ground::new(Value::Null).await;
    let output = ground.play("/").await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let game: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(game["rounds"][1]["truth"]["lat"].is_number() && game["score"] == game["page_score"], "{game}");
    assert!(!ground.reports("traps ").is_empty() && ground.reports("POST /api/").len() >= 3);

    let events = ground.events();
    assert_eq!(breaches(&events), (Vec::new(), 2));
    // It would be seen: each of these, in the place of the last thing done before the first guess.
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
    for unfair in [
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
        events.insert(sent.unwrap(), unfair.clone());
        assert_eq!(breaches(&events).0.len(), 1, "{unfair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_takes_no_bait_either() {
    let ground = Ground::new(Value::Null).await;
    let (output, profile) = ground.probe().await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((found["rounds"].as_array().unwrap().len(), &found["missing"]), (2, &json!([])), "{found}");
    assert!(profile.contains("perform-guess"), "{profile}");

    // What shows of a result is not known to a probe before there was one: its first round is looked at like the game's.
    assert_eq!((ground.reports("trap "), ground.reports("stranger ")), (Vec::new(), Vec::new()));
    assert!(!ground.reports("traps ").is_empty() && ground.reports("POST /api/").len() >= 3);
    let of_result = selectors(&self::profile(), "result", &["points", "truth", "guess", "total"]);
    let mut guessed = false;
    for event in ground.events() {
        let (kind, body) = match event {
            Event::Command { kind, body, .. } => (kind, body),
            Event::Page(line) => {
                guessed |= line.starts_with("POST /api/v3/games/");
                continue;
            }
        };
        // Selectors may name cookies: dialogs about them are put away.
        let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        let script = parsed["script"].as_str().unwrap_or(&body);
        let known = COMMANDS.contains(&kind.as_str()) && !WORDS.iter().any(|word| script.contains(word));
        let plain = body.replace(r#"\""#, "");
        let early = !guessed && of_result.iter().any(|css| plain.contains(&css.replace('"', "")));
        assert!(known && !early, "{kind} {body}");
    }
    assert!(guessed);
}

/// What springs each trap of `bait.js`; `bait` is the hidden element with a script, a paragraph, a link, points, an input and
/// a frame in it.
const SPRINGS: &[(&str, &str)] = &[
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
async fn every_trap_reports_who_touches_it_and_not_the_page_itself() {
    let ground = Ground::new(Value::Null).await;
    let options =
        BrowserOptions { webdriver: Some(Url::parse(&ground.webdriver).unwrap()), ..BrowserOptions::default() };
    let driver = browser::open(&options).await.unwrap();
    driver.goto(&ground.page).await.unwrap();
    // A person's click, so that the page's own calls come from the page.
    let plays = "return document.querySelector('[data-qa=guess-map-canvas] img') !== null";
    while !driver.execute(plays, vec![]).await.unwrap().convert::<bool>().unwrap() {
        if let Ok(start) = driver.find(By::Css("[data-qa=play-button], [data-qa=start-game-button]")).await {
            _ = start.click().await; // it may be gone
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // By now the page has fetched a round and drawn it.
    let traps = ground.reports("traps ").pop().unwrap();
    assert_eq!(ground.reports("trap "), Vec::<String>::new());
    let mut left: Vec<&str> = traps.split(' ').skip(1).collect();
    for (name, script) in SPRINGS {
        let before = ground.reports("trap ").len();
        let script = format!("const bait = [...document.body.children].find(e => e.hidden); void ({script})");
        driver.execute(&script, vec![]).await.unwrap();
        let reports = ground.reports("trap ").split_off(before);
        assert!(reports.iter().any(|report| report.starts_with(&format!("trap {name} "))), "{name}: {reports:?}");
        left.retain(|trap| trap != name);
    }
    assert_eq!(left, Vec::<&str>::new(), "not tried");
    browser::shutdown(driver, &BrowserOptions::default()).await;
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_go_where_others_play_and_stops_when_it_is_taken_there() {
    let ground = Ground::new(Value::Null).await;
    for path in ["/duels/x", "/ranked", "/multiplayer", "/tournaments/x", "/daily-challenges", "/live-challenge/x"] {
        let output = ground.play(path).await;
        assert!(output.status.code() == Some(2) && said(&output).contains("affect other people"), "{}", said(&output));
    }
    assert!(ground.events().is_empty(), "{:?}", ground.events());

    for (by, on, to) in [
        ("assign", "load", "/duels/x"),
        ("pushState", "load", "/daily-challenges"),
        ("pushState", "keydown", "/battle-royale/x"),
        ("pushState", "wheel", "/tournaments/x"),
    ] {
        let ground = Ground::new(json!({ "by": by, "on": on, "to": to })).await;
        let output = ground.play("/").await;
        let (events, said) = (ground.events(), said(&output));
        assert_eq!(output.status.code(), Some(2), "{by} on {on}: {said}");
        assert!(said.contains(to) && said.contains("affect other people"), "{said}");
        let left = events.iter().position(|event| matches!(event, Event::Page(line) if line == "forward"));
        let after = &events[left.expect("the page has gone on")..];
        let acts = |event: &&Event| match event {
            Event::Command { kind, .. } => INPUT.contains(&kind.as_str()),
            Event::Page(line) => line.starts_with("POST "), // a guess, however it came to be
        };
        assert_eq!(after.iter().filter(acts).count(), 0, "{by} on {on}: {after:?}");
        assert_eq!(breaches(&events), (Vec::new(), 0));
        let acted = events.iter().any(|event| acts(&event));
        assert_eq!(acted, on != "load", "{by} on {on}");
    }
}
