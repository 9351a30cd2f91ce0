//! `report` writes a self-contained page, also for records with hostile names of places and files.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_agent::testing::{BrowserOptions, browser};
use serde_json::{Value, json};

use crate::fixtures;

const HOSTILE: &str = "<script>document.title='fallen'</script>\"'><img src=http:x onerror=document.title='fallen'>";

/// Writes a recorded game of two fixture rounds with hostile names.
fn game(runs: &Path) -> std::path::PathBuf {
    let dir = runs.join(format!("2026-11-23T20-15-00_{}", HOSTILE.replace('/', "|")));
    let mut rounds = Vec::new();
    for (i, name) in ["brooklyn-elevated-railway", "rome-colosseum"].into_iter().enumerate() {
        let (from, to) = (fixtures().join("rounds").join(name), dir.join(format!("round_{}", i + 1)));
        std::fs::create_dir_all(&to).unwrap();
        let mut round: Value =
            serde_json::from_str(&std::fs::read_to_string(from.join("round.json")).unwrap()).unwrap();
        for (v, view) in round["views"].as_array_mut().unwrap().iter_mut().enumerate() {
            for (of, extension) in [("file", "jpg"), ("logits", "f32")] {
                let file_name = format!("{}{v}.{extension}", HOSTILE.replace('/', "|"));
                std::fs::copy(from.join(view[of].as_str().unwrap()), to.join(&file_name)).unwrap();
                view[of] = file_name.into();
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
async fn report_is_self_contained_with_hostile_names() {
    let runs = tempfile::tempdir().unwrap();
    let dir = game(runs.path());
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(["report", "--json"]).arg(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (summary["rounds"].as_u64(), Path::new(summary["report"].as_str().unwrap())),
        (Some(2), &*dir.join("report.html"))
    );
    // Move the page away from all files that it could load.
    let page = runs.path().join("alone.html");
    std::fs::rename(dir.join("report.html"), &page).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.len() as u64, summary["bytes"].as_u64().unwrap());
    for forbidden in ["elsewhere.invalid", "token", "/home/ada"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }

    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    driver.goto(format!("file://{}", page.display())).await.unwrap();
    let script = "const pictures = [...document.images];
        return {
          title: document.title,
          loaded: pictures.filter((picture) => picture.complete && picture.naturalWidth > 0).length,
          pictures: pictures.length,
          active: document.querySelectorAll('script, iframe, object, embed, link, base, form').length,
          fetched: performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith('data:')),
          text: document.body.innerText,
        };";
    let start = Instant::now();
    let state = loop {
        let state: Value = driver.execute(script, Vec::new()).await.unwrap().json().clone();
        if state["loaded"] == state["pictures"] || start.elapsed() > Duration::from_secs(20) {
            break state;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    browser::shutdown(driver, &BrowserOptions::default()).await;
    // Five views, plus the first view of each round a second time.
    assert_eq!((state["loaded"].as_u64(), state["pictures"].as_u64()), (Some(7), Some(7)), "{state}");
    assert_eq!((&state["active"], &state["fetched"]), (&json!(0), &json!([])));
    assert!(state["title"].as_str().unwrap().contains("<script>"), "{}", state["title"]);
    let text = state["text"].as_str().unwrap();
    assert!(text.contains("Prediction after each view") && text.contains("onerror=document.title='fallen'>"), "{text}");
}

#[test]
fn report_of_an_empty_directory_is_a_usage_error() {
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).arg("report").arg(nothing.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no round.json"));
}
