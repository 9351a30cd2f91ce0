//! Finding the browser and its driver.

use std::path::PathBuf;

use landfall_common::exit::environment_error;

const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const DRIVER: &[&str] = &["chromedriver"];

/// The executable of Chromium or Chrome, if it is on PATH.
pub fn chromium() -> Option<PathBuf> {
    in_path(CHROMIUM)
}

/// The executable of chromedriver, if it is on PATH.
pub fn chromedriver() -> Option<PathBuf> {
    in_path(DRIVER)
}

pub(super) fn missing(what: &str) -> anyhow::Error {
    environment_error(format!(
        "{what} is not on PATH; run `cargo xtask setup`, install Chromium with its driver, or name a running server with --webdriver"
    ))
}

fn in_path(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| which::which(name).ok())
}
