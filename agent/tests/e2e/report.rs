//! `report`: a page that stands alone, whatever a record calls its places and files.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use serde_json::{Value, json};

use crate::fixtures;

const HOSTILE: &str = "<script>document.title='fallen'</script>\"'><img src=http:x onerror=document.title='fallen'>";

/// A recorded game of two of the fixtures' rounds, under names that mean harm.
fn game(runs: &Path) -> std::path::PathBuf {
    let dir = runs.join(format!("2026-11-23T20-15-00_{}", HOSTILE.replace('/', "|")));
    let mut rounds = Vec::new();
    for (i, name) in ["brooklyn-elevated-railway", "rome-colosseum"].into_iter().enumerate() {
        let (from, to) = (fixtures().join("rounds").join(name), dir.join(format!("round_{}", i + 1)));
        std::fs::create_dir_all(&to).unwrap();
        let mut round: Value =
            serde_json::from_str(&std::fs::read_to_string(from.join("round.json")).unwrap()).unwrap();
        for (v, view) in round["views"].as_array_mut().unwrap().iter_mut().enumerate() {
            for (of, ends) in [("file", "jpg"), ("logits", "f32")] {
                let called = format!("{}{v}.{ends}", HOSTILE.replace('/', "|"));
                std::fs::copy(from.join(view[of].as_str().unwrap()), to.join(&called)).unwrap();
                view[of] = called.into();
            }
        }
        round["n"] = (i + 1).into();
        round["url"] = "https://elsewhere.invalid/game?token=1".into();
        for text in ["name", "place"] {
            round[text] = HOSTILE.into();
        }
        round["map"]["name"] = HOSTILE.into();
        std::fs::write(to.join("round.json"), round.to_string()).unwrap();
        rounds.push(round);
    }
    let failed = json!([{"n": 2, "why": format!("{HOSTILE} /home/ada/cookies"), "sent": false}]);
    let game = json!({"site": HOSTILE, "map": rounds[0]["map"], "bundle": HOSTILE, "rounds": rounds, "failed": failed,
        "score": 9958, "page_score": null, "record": "/home/ada/runs"});
    std::fs::write(dir.join("game.json"), game.to_string()).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_stands_alone_whatever_its_rounds_are_called() {
    let runs = tempfile::tempdir().unwrap();
    let dir = game(runs.path());
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(["report", "--json"]).arg(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (said["rounds"].as_u64(), Path::new(said["report"].as_str().unwrap())),
        (Some(2), &*dir.join("report.html"))
    );
    // Where nothing else lies that it could need.
    let page = runs.path().join("alone.html");
    std::fs::rename(dir.join("report.html"), &page).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.len() as u64, said["bytes"].as_u64().unwrap());
    for never in ["elsewhere.invalid", "token", "/home/ada"] {
        assert!(!html.contains(never), "{never}");
    }

    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    driver.goto(format!("file://{}", page.display())).await.unwrap();
    let look = "const pictures = [...document.images];
        return {
          title: document.title,
          loaded: pictures.filter((picture) => picture.complete && picture.naturalWidth > 0).length,
          pictures: pictures.length,
          active: document.querySelectorAll('script, iframe, object, embed, link, base, form').length,
          fetched: performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith('data:')),
          text: document.body.innerText,
        };";
    let start = Instant::now();
    let seen = loop {
        let seen: Value = driver.execute(look, Vec::new()).await.unwrap().json().clone();
        if seen["loaded"] == seen["pictures"] || start.elapsed() > Duration::from_secs(20) {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    browser::shutdown(driver, &BrowserOptions::default()).await;
    // Five views, and the first of each round again.
    assert_eq!((seen["loaded"].as_u64(), seen["pictures"].as_u64()), (Some(7), Some(7)), "{seen}");
    assert_eq!((&seen["active"], &seen["fetched"]), (&json!(0), &json!([])));
    assert!(seen["title"].as_str().unwrap().contains("<script>"), "{}", seen["title"]);
    let text = seen["text"].as_str().unwrap();
    assert!(text.contains("What each view brought") && text.contains("onerror=document.title='fallen'>"), "{text}");
}

#[test]
fn wrong_folders_are_said() {
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).arg("report").arg(nothing.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no round.json"));
}
