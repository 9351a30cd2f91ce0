//! Browsers and drivers never outlive the program that started them, however it ends, and leave no files on disk.

use std::io::BufRead;
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

/// Plays a game in a process with its own directory for temporary files. The mark identifies its descendants.
fn play(mark: &str, extra_args: &[&str], runs: &str, temporary: &Path) -> Child {
    play_in(&mut Command::new(env!("CARGO_BIN_EXE_landfall")), mark, extra_args, runs, temporary)
}

/// As [`play`], with a command to which the arguments are added.
fn play_in(command: &mut Command, mark: &str, extra_args: &[&str], runs: &str, temporary: &Path) -> Child {
    let (name, value) = mark.split_once('=').unwrap();
    command
        .env(name, value)
        .env("TMPDIR", temporary)
        .args(["play", "--bundle", "pocket", "--min-gain", "5000", "--runs", runs])
        .args(extra_args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn send(signal: Signal, id: u32) {
    let (id, mut system) = (Pid::from_u32(id), System::new());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    assert_eq!(system.process(id).unwrap().kill_with(signal), Some(true));
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whether a browser of our own has started.
fn has_started(temporary: &Path) -> bool {
    entries(temporary).iter().any(|home| home.join("profile/DevToolsActivePort").exists())
}

/// Waits up to half a minute until the condition is false.
fn becomes_false(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while condition() {
        if start.elapsed() > Duration::from_secs(30) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

#[test]
fn no_process_is_left_after_success_or_failure() {
    let (runs, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (runs, temporary) = (runs.path().to_str().unwrap(), temporary.path());
    for (n, extra_args, code) in
        [(0, &["--rounds", "1"][..], 0), (1, &["--rounds", "1", "--max-pin-error", "0.000001"][..], 3)]
    {
        let mark = format!("LANDFALL_TEST_MARK={}-{n}", std::process::id());
        let mut child = play(&mark, extra_args, runs, temporary);
        assert!(becomes_false(|| processes_with(&mark).len() < 3), "no browser was started");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{extra_args:?}");
        assert!(
            becomes_false(|| !processes_with(&mark).is_empty()),
            "{extra_args:?}: {:?} are left",
            processes_with(&mark)
        );
        assert!(entries(temporary).is_empty(), "{extra_args:?}: {:?}", entries(temporary));
    }
}

#[test]
fn no_process_is_left_after_a_signal() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Term, 143), (Signal::Hangup, 129)] {
        let (runs, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (runs, temporary) = (runs.path().to_str().unwrap(), temporary.path());
        let mark = format!("LANDFALL_TEST_MARK={}-{signal}", std::process::id());
        let mut child = play(&mark, &[], runs, temporary);
        assert!(becomes_false(|| !has_started(temporary)), "no browser was started");
        send(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert!(becomes_false(|| !processes_with(&mark).is_empty()), "{signal}: {:?} are left", processes_with(&mark));
        assert!(entries(temporary).is_empty(), "{signal}: {:?}", entries(temporary));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_process_is_left_by_process_1_of_a_container() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]);
    let can_unshare = Command::new("unshare").args(unshare.get_args()).arg("true").output();
    if !can_unshare.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system permits no namespaces");
        return;
    }
    let (runs, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (runs, temporary) = (runs.path().to_str().unwrap(), temporary.path());
    let mark = format!("LANDFALL_TEST_MARK={}-container", std::process::id());
    unshare.arg(env!("CARGO_BIN_EXE_landfall"));
    let mut child = play_in(&mut unshare, &mark, &[], runs, temporary);
    assert!(becomes_false(|| !has_started(temporary)), "no browser was started");
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::All, true);
    let parent = Some(Pid::from_u32(child.id()));
    let first = system.processes().values().find(|process| process.parent() == parent && process.name() == "landfall");
    send(Signal::Term, first.unwrap().pid().as_u32());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(becomes_false(|| !processes_with(&mark).is_empty()), "{:?} are left", processes_with(&mark));
    assert!(entries(temporary).is_empty(), "{:?}", entries(temporary));
}

#[cfg(target_os = "linux")]
#[test]
fn hangups_stay_ignored_as_under_nohup() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_landfall"), "arena", "--port", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://"), "{line}");
    send(Signal::Hangup, child.id());
    send(Signal::Term, child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[cfg(unix)]
#[test]
fn a_profile_of_the_user_is_never_deleted() {
    let (runs, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wrappers, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(own.path().join("KEEP"), "keep").unwrap();
    // As in a wrapper of the user, whose flag comes last and wins.
    let chromium = browser::chromium().unwrap();
    let script = format!("exec '{}' \"$@\" '--user-data-dir={}'", chromium.display(), own.path().display());
    crate::browsers::write_script(&wrappers.path().join("chromium"), &script);
    let path = std::env::join_paths(
        std::iter::once(wrappers.path().to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.env("PATH", path.unwrap());
    let mark = format!("LANDFALL_TEST_MARK={}-own", std::process::id());
    let mut child = play_in(&mut command, &mark, &[], runs.path().to_str().unwrap(), temporary.path());
    let has_started = || own.path().join("DevToolsActivePort").exists();
    assert!(becomes_false(|| !has_started()), "no browser was started");
    send(Signal::Interrupt, child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(becomes_false(|| !processes_with(&mark).is_empty()), "{:?} are left", processes_with(&mark));
    assert!(own.path().join("KEEP").exists() && has_started(), "the profile of the user was deleted");
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
