//! Chromium and chromedriver: from PATH, or installed from Debian's packages when running as root.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{find_program, print_status, run_quietly};

const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const DRIVERS: [&str; 1] = ["chromedriver"];
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Finds the browser and its driver. If they are missing, installs them (if `install` is set, as root, where apt-get
/// exists), or fails with instructions.
pub(crate) fn set_up(install: bool) -> Result<()> {
    if let Some(what) = missing()
        && install
        && find_program(&["apt-get"]).is_some()
        && is_root()
    {
        print_status("chromium", format_args!("{what} is not on PATH; games are played in a browser"));
        print_status(
            "chromium",
            format_args!("apt-get installs the packages {} (--no-install leaves this out)", PACKAGES.join(" and ")),
        );
        run_quietly(&mut apt_get("update"))?;
        run_quietly(apt_get("install").args(["-y", "--no-install-recommends"]).args(PACKAGES))?;
    }
    if let Some(what) = missing() {
        let instructions = format!(
            "{what} is not on PATH: install Chromium or Chrome and its chromedriver (Debian: apt-get install {})",
            PACKAGES.join(" ")
        );
        print_status("chromium", &instructions); // also if something else is reported as the error
        bail!(instructions);
    }
    for (what, names) in [("chromium", &BROWSERS[..]), ("chromedriver", &DRIVERS[..])] {
        if let Some(file) = find_program(names) {
            print_status(what, file.display());
        }
    }
    Ok(())
}

fn missing() -> Option<&'static str> {
    let absent = |names: &[&str]| find_program(names).is_none();
    if absent(&BROWSERS) { Some("Chromium") } else { absent(&DRIVERS).then_some("chromedriver") }
}

fn apt_get(action: &str) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg(action);
    command
}

fn is_root() -> bool {
    run_quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
