//! Tests of `watch` on a virtual display: Xvfb, a window manager, and a browser that shows one place and then another.
//!
//! Compiled only with the feature `screen`; CONTRIBUTING.md lists the requirements.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use landfall_agent::testing::browser;
use serde_json::Value;

/// Processes that are killed when the test ends.
struct ChildProcesses(Vec<Child>);

impl ChildProcesses {
    fn start(&mut self, command: &mut Command) -> &mut Child {
        let child = command.stderr(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.push(child)
    }

    fn push(&mut self, child: Child) -> &mut Child {
        self.0.push(child);
        self.0.last_mut().unwrap()
    }
}

impl Drop for ChildProcesses {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds").join(name).join("view_000.jpg")
}

fn landfall(display: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.env("DISPLAY", display).env_remove("WAYLAND_DISPLAY").env_remove("XDG_SESSION_TYPE");
    command
}

/// The country that `locate` predicts for this image.
fn predicted_country(picture: &Path) -> Value {
    let output = landfall("").args(["locate", "--json", "--bundle", "pocket"]).arg(picture).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["country"].take()
}

/// Parses each line that a process prints. The channel closes when the process ends.
fn predictions(process: &mut Child) -> mpsc::Receiver<Value> {
    let (send, predictions) = mpsc::channel();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        lines.map_while(Result::ok).try_for_each(|line| send.send(serde_json::from_str(&line).unwrap()))
    });
    predictions
}

#[test]
fn watch_prints_one_prediction_per_view() {
    let mut running = ChildProcesses(Vec::new());
    let screen = ["-displayfd", "1", "-screen", "0", "1000x800x24", "-nolisten", "tcp"];
    let server = running.start(Command::new("Xvfb").args(screen).stdout(Stdio::piped()));
    let mut number = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
    let display = format!(":{}", number.trim());
    running.start(Command::new("openbox").env("DISPLAY", &display));

    // The page shows the next image as soon as the file exists.
    let (rome, sydney) = (fixture("rome-colosseum"), fixture("sydney-opera-house"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&rome, folder.path().join("now.jpg")).unwrap();
    let page = "<title>A view to watch</title><body style='margin:0'><img src=now.jpg style='width:100vw'><script>\
        setInterval(() => { const next = new Image(); next.onload = () => document.images[0].src = next.src; \
        next.src = 'next.jpg?' + Date.now() }, 1000)</script>";
    let file = folder.path().join("page.html");
    std::fs::write(&file, page).unwrap();
    let mut browser = Command::new(browser::chromium().unwrap());
    browser.env("DISPLAY", &display).args(["--no-sandbox", "--disable-gpu", "--no-first-run", "--kiosk"]);
    browser.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    running.start(browser.arg(format!("--app=file://{}", file.display())));

    // The window takes a while to appear.
    let args = ["watch", "--json", "--bundle", "pocket", "--window", "a VIEW to"];
    let watch = (0..60).find_map(|_| {
        let mut watch = landfall(&display).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut message = String::new();
        BufReader::new(watch.stderr.take().unwrap()).read_line(&mut message).unwrap();
        if message.starts_with("Watching A view to watch") {
            return Some(watch);
        }
        assert!(message.contains("no window title contains") || message.contains("cannot be captured"), "{message}");
        watch.wait().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        None
    });
    let predictions = predictions(running.push(watch.unwrap()));
    let next = || predictions.recv_timeout(Duration::from_secs(120)).unwrap();
    let (first, second) = (predicted_country(&rome), predicted_country(&sydney));
    assert_ne!(first, second);
    // `watch` may also print predictions for a partly rendered page.
    let seen = std::iter::repeat_with(next).find(|prediction| prediction["country"] == first).unwrap();
    assert_eq!(seen["image"], "A view to watch");
    assert!(seen["place"].is_string() && seen["radius_km"]["p50"].is_number() && seen["time"].is_string(), "{seen}");
    std::fs::copy(&sydney, folder.path().join("part.jpg")).unwrap();
    std::fs::rename(folder.path().join("part.jpg"), folder.path().join("next.jpg")).unwrap();
    assert!(std::iter::repeat_with(next).any(|prediction| prediction["country"] == second));
    // No second prediction for an unchanged view.
    assert_eq!(predictions.recv_timeout(Duration::from_secs(4)).ok(), None);

    // A screen region instead of a window.
    let region = ["watch", "--json", "--bundle", "pocket", "--region", "0,0,1000,500"];
    let watch = running.start(landfall(&display).args(region).stdout(Stdio::piped()));
    assert_eq!(self::predictions(watch).recv().unwrap()["country"], second);

    let outside = landfall(&display).args(["watch", "--region", "900,0,200,100"]).output().unwrap();
    assert_eq!(outside.status.code(), Some(2), "{}", String::from_utf8_lossy(&outside.stderr));
}

#[test]
fn watch_without_a_display_is_an_environment_error() {
    for source in [["--window", "x"], ["--region", "0,0,10,10"]] {
        let output = landfall("").env_remove("DISPLAY").arg("watch").args(source).output().unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{problem}");
        assert!(problem.contains("is DISPLAY set?") && !problem.contains("panicked"), "{problem}");
    }
}
