//! Installing system packages: what set-up says before, and `--no-install`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs xtask as root on a system that has `apt-get` but neither a browser nor cargo. Returns its exit code, its messages
/// and the calls of apt-get.
fn xtask(arguments: &[&str]) -> (Option<i32>, String, String) {
    let system = tempfile::tempdir().unwrap();
    let calls = system.path().join("calls");
    for (program, script) in [("apt-get", format!("echo \"$@\" >> '{}'", calls.display())), ("id", "echo 0".into())] {
        let file = system.path().join(program);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).env("PATH", system.path()).env("LANDFALL_CACHE", system.path().join("cache"));
    // The agent, which comes next, cannot be built.
    command.env("CARGO", "no-such-cargo");
    let output = command.output().unwrap();
    let calls = std::fs::read_to_string(calls).unwrap_or_default();
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), calls)
}

#[test]
fn system_packages_are_announced_and_no_install_leaves_them_out() {
    let (code, messages, calls) = xtask(&["setup"]);
    assert_eq!((code, &*calls), (Some(3), "update\ninstall -y --no-install-recommends chromium chromium-driver\n"));
    assert!(messages.contains("is not on PATH; games are played in a browser"), "{messages}");
    let announced = "apt-get installs chromium chromium-driver (--no-install leaves this out)";
    assert!(messages.contains(announced), "{messages}");
    for command in ["setup", "play", "test", "bench", "fixtures"] {
        let (code, messages, calls) = xtask(&[command, "--no-install"]);
        assert_eq!((code, &*calls), (Some(3), ""), "{command}");
        assert!(!messages.contains(announced), "{command}: {messages}");
        let instructions =
            "not on PATH: chromium, chromedriver; install them (Debian: apt-get install chromium chromium-driver)";
        assert!(messages.contains(instructions), "{command}: {messages}");
    }
    // It is an option of xtask only before the arguments of `landfall play`.
    let (_, _, calls) = xtask(&["play", "--", "--no-install"]);
    assert!(calls.contains("install"), "{calls}");
}
