//! Browsers and drivers never outlive the program that started them, however it ends, and leave no files on disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use landfall_agent::testing::{BrowserOptions, browser};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, Signal, System, UpdateKind};

use crate::faults::is_alive;

/// Names of the processes that inherited this environment variable, given as `NAME=value`.
fn processes_with(mark: &str) -> Vec<String> {
    let mut system = System::new();
    let environment = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, environment);
    let is_marked = |process: &&sysinfo::Process| process.environ().iter().any(|set| set.to_string_lossy() == mark);
    let names =
        system.processes().values().filter(is_marked).map(|process| process.name().to_string_lossy().into_owned());
    names.collect()
}

/// Plays one round in a process with its own directory for temporary files. The mark identifies its descendants.
fn play(mark: &str, extra_args: &[&str], runs: &str, temporary: &Path) -> Child {
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command
        .env(name, value)
        .env("TMPDIR", temporary)
        .args(["play", "--bundle", "pocket", "--rounds", "1", "--min-gain", "5000", "--runs", runs])
        .args(extra_args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits up to ten seconds until the condition is false.
fn becomes_false(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while condition() {
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
    // Chromium leaves the file `.ses` there, and an interrupted chromedriver an empty directory.
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_left = |path: &PathBuf| !path.ends_with(".ses") && (path.is_file() || entries(path).next().is_some());
    let leftovers = || entries(temporary).filter(is_left).collect::<Vec<_>>();
    for (n, extra_args, code) in [(0, &[][..], 0), (1, &["--max-pin-error", "0.000001"][..], 3)] {
        let mark = format!("LANDFALL_TEST_MARK={}-{n}", std::process::id());
        let mut child = play(&mark, extra_args, runs, temporary);
        assert!(becomes_false(|| processes_with(&mark).len() < 3), "no browser was started");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{extra_args:?}");
        assert!(
            becomes_false(|| !processes_with(&mark).is_empty()),
            "{extra_args:?}: {:?} are left",
            processes_with(&mark)
        );
        assert!(leftovers().is_empty(), "{extra_args:?}: {:?}", leftovers());
    }
    let mark = format!("LANDFALL_TEST_MARK={}-2", std::process::id());
    let mut child = play(&mark, &[], runs, temporary);
    let has_started = || entries(temporary).any(|profile| profile.join("DevToolsActivePort").exists());
    assert!(becomes_false(|| !has_started()), "no browser was started");
    let mut system = System::new();
    let id = Pid::from_u32(child.id());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    assert_eq!(system.process(id).unwrap().kill_with(Signal::Interrupt), Some(true));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(becomes_false(|| !processes_with(&mark).is_empty()), "Ctrl-C: {:?} are left", processes_with(&mark));
    assert!(leftovers().is_empty(), "Ctrl-C: {:?}", leftovers());
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
    assert!(becomes_false(|| is_alive(id)), "the browser is left");
}
