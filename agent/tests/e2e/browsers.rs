//! Attaching to the browser of a user, and several browsers in parallel.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use landfall_agent::testing::browser;
use serde_json::Value;

/// A browser that was started by a user and has one tab open.
struct UserBrowser {
    process: Child,
    port: String,
}

impl UserBrowser {
    fn open(folder: &Path) -> Self {
        let mut command = Command::new(browser::chromium().unwrap());
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-port=0",
        ]);
        command.arg(format!("--user-data-dir={}", folder.display())).arg("data:text/html,<title>Theirs</title>");
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut user_browser = Self { process, port: String::new() }; // kills the process on panic
        let start = Instant::now();
        loop {
            let contents = std::fs::read_to_string(folder.join("DevToolsActivePort")).unwrap_or_default();
            if let Some((port, _)) = contents.split_once('\n') {
                user_browser.port = port.to_owned();
                return user_browser;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the browser did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Titles of the tabs.
    async fn tabs(&self) -> Vec<String> {
        let list = reqwest::get(format!("http://127.0.0.1:{}/json/list", self.port)).await.unwrap();
        let list: Vec<Value> = list.json().await.unwrap();
        let pages = list.iter().filter(|target| target["type"] == "page");
        pages.map(|page| page["title"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for UserBrowser {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn play(args: &[&str], runs: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command
        .args(["play", "--json", "--bundle", "pocket", "--rounds", "1", "--min-gain", "5000", "--runs"])
        .arg(runs)
        .args(args);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_browser_keeps_its_tabs() {
    let (folder, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut user_browser = UserBrowser::open(folder.path());
    while user_browser.tabs().await != ["Theirs"] {
        tokio::time::sleep(Duration::from_millis(100)).await; // until it has loaded
    }
    for (extra_args, code) in [(&[][..], 0), (&["--max-pin-error", "0.000001"][..], 3)] {
        let output = play(&[&["--attach", &user_browser.port], extra_args].concat(), runs.path());
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{problem}");
        if code == 0 {
            let game: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(game["score"].is_u64() && game["score"] == game["page_score"], "{game}");
        }
        assert!(user_browser.process.try_wait().unwrap().is_none(), "the browser was closed");
        assert_eq!(user_browser.tabs().await, ["Theirs"], "after {extra_args:?}");
    }
}

#[test]
fn parallel_games_have_separate_records() {
    let runs = tempfile::tempdir().unwrap();
    let output = play(&["--parallel", "2", "--games", "3", "--pause", "0", "--seed", "1"], runs.path());
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    assert!(problem.contains("game 1, round 1 ") && problem.contains("game 3, round 1 "), "{problem}");
    let output_json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let games = output_json["games"].as_array().unwrap();
    let mut records: Vec<&str> = games.iter().map(|game| game["record"].as_str().unwrap()).collect();
    records.sort_unstable();
    records.dedup();
    assert_eq!((records.len(), &output_json["summary"]["games"]), (3, &3.into()));
    for record in records {
        assert!(Path::new(record).join("round_1/round.json").is_file(), "{record}");
    }
    let sum: u64 = games.iter().map(|game| game["score"].as_u64().unwrap()).sum();
    assert_eq!(output_json["summary"]["score"], sum);
    assert_eq!(output_json["summary"]["page_score"], sum);
    assert_eq!(output_json["summary"]["points_a_round"], sum as f64 / 3.0);
}
