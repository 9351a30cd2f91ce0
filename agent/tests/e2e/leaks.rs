//! No browser and no driver outlives the program that started it, however that ends, and nothing of them stays on disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use landfall_agent::browser;
use landfall_agent::browser::BrowserOptions;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, Signal, System, UpdateKind};

use crate::faults::is_alive;

/// Processes that have inherited this mark.
fn marked(mark: &str) -> Vec<String> {
    let mut system = System::new();
    let environment = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, environment);
    let has_mark = |process: &&sysinfo::Process| process.environ().iter().any(|set| set.to_string_lossy() == mark);
    let names =
        system.processes().values().filter(has_mark).map(|process| process.name().to_string_lossy().into_owned());
    names.collect()
}

/// Plays a round in a process whose descendants can be told by the mark, and that has a folder for temporary files.
fn play(mark: &str, more: &[&str], runs: &str, temporary: &Path) -> Child {
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command
        .env(name, value)
        .env("TMPDIR", temporary)
        .args(["play", "--bundle", "pocket", "--rounds", "1", "--min-gain", "5000", "--runs", runs])
        .args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits a moment for what is on its way out.
fn gone(is_left: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while is_left() {
        if start.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

#[test]
fn no_process_is_left_after_success_failure_or_ctrl_c() {
    let (runs, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (runs, temporary) = (runs.path().to_str().unwrap(), temporary.path());
    // Chromium keeps a small file there, always the same, and chromedriver an empty folder when it is stopped.
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_left = |path: &PathBuf| !path.ends_with(".ses") && (path.is_file() || entries(path).next().is_some());
    let left = || entries(temporary).filter(is_left).collect::<Vec<_>>();
    for (n, more, code) in [(0, &[][..], 0), (1, &["--max-pin-error", "0.000001"][..], 3)] {
        let mark = format!("LANDFALL_TEST_MARK={}-{n}", std::process::id());
        let mut child = play(&mark, more, runs, temporary);
        assert!(gone(|| marked(&mark).len() < 3), "no browser was started");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{more:?}");
        assert!(gone(|| !marked(&mark).is_empty()), "{more:?}: {:?} are left", marked(&mark));
        assert!(left().is_empty(), "{more:?}: {:?}", left());
    }
    let mark = format!("LANDFALL_TEST_MARK={}-2", std::process::id());
    let mut child = play(&mark, &[], runs, temporary);
    let begun = || entries(temporary).any(|profile| profile.join("DevToolsActivePort").exists());
    assert!(gone(|| !begun()), "no browser was started");
    let mut system = System::new();
    let id = Pid::from_u32(child.id());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    assert_eq!(system.process(id).unwrap().kill_with(Signal::Interrupt), Some(true));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(gone(|| !marked(&mark).is_empty()), "Ctrl-C: {:?} are left", marked(&mark));
    assert!(left().is_empty(), "Ctrl-C: {:?}", left());
}

#[test]
fn no_browser_is_left_after_a_panic() {
    let (send, receive) = mpsc::channel();
    let panics = std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let driver = browser::open(&BrowserOptions::default()).await.unwrap();
            send.send(browser::process(&driver).unwrap()).unwrap();
            panic!("on purpose");
        });
    });
    let id = receive.recv().unwrap();
    assert!(panics.join().is_err());
    assert!(gone(|| is_alive(id)), "the browser is left");
}
