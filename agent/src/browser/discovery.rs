//! Finding the browser and its driver: on PATH, and where macOS and Windows install them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::text::sanitize_line;

/// Browsers that are driven alike, except for the name of the driver and of their options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrowserKind {
    /// Chromium and Chrome.
    Chrome,
    /// Microsoft Edge.
    Edge,
}

/// A browser with a driver for its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) kind: BrowserKind,
    pub(super) browser: PathBuf,
    pub(super) driver: PathBuf,
}

impl BrowserKind {
    const ALL: [Self; 2] = [Self::Chrome, Self::Edge];

    fn browser_names(self) -> &'static [&'static str] {
        match self {
            Self::Chrome => &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"],
            Self::Edge => &["microsoft-edge", "microsoft-edge-stable", "msedge"],
        }
    }

    fn driver_names(self) -> &'static [&'static str] {
        match self {
            // The second is the one of the snap, which drives only the snap's Chromium.
            Self::Chrome => &["chromedriver", "chromium.chromedriver"],
            Self::Edge => &["msedgedriver"],
        }
    }

    fn browsers(self) -> Vec<PathBuf> {
        let elsewhere = locations(std::env::consts::OS, self, |name| std::env::var_os(name));
        on_path(self.browser_names()).into_iter().chain(elsewhere.into_iter().filter(|file| file.is_file())).collect()
    }

    fn driver(self) -> Option<PathBuf> {
        let beside_us = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let beside_us = beside_us.into_iter().flat_map(|folder| {
            self.driver_names().iter().map(move |name| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        });
        let beside_us = beside_us.filter(|file| file.is_file());
        on_path(self.driver_names()).into_iter().chain(beside_us).next()
    }
}

/// The executable of Chromium, Chrome or Edge that is tried first.
pub fn chromium() -> Option<PathBuf> {
    let first = installed().ok().map(|all| all[0].browser.clone());
    first.or_else(|| BrowserKind::ALL.into_iter().find_map(|kind| kind.browsers().into_iter().next()))
}

/// The executable of the driver of that browser.
pub fn chromedriver() -> Option<PathBuf> {
    let first = installed().ok().map(|all| all[0].driver.clone());
    first.or_else(|| BrowserKind::ALL.into_iter().find_map(BrowserKind::driver))
}

/// Browsers with a driver, in the order in which they are tried; at least one.
///
/// # Errors
/// When there is none; the message says what is missing.
pub(super) fn installed() -> Result<Vec<Installed>> {
    let mut found = Vec::new();
    for kind in BrowserKind::ALL {
        let Some(driver) = kind.driver() else { continue };
        found.extend(kind.browsers().into_iter().map(|browser| Installed { kind, browser, driver: driver.clone() }));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let browser = BrowserKind::ALL.into_iter().find_map(|kind| kind.browsers().into_iter().next());
    Err(match browser {
        Some(browser) => missing(&format!("the driver of {} (chromedriver; msedgedriver for Edge)", browser.display())),
        None => missing("chromium, google-chrome or microsoft-edge"),
    })
}

/// The browser with this name on PATH or at this path (with a separator), and its driver.
///
/// # Errors
/// When either is missing.
pub(super) fn named(browser: &Path) -> Result<Installed> {
    let is_path = browser.parent().is_some_and(|parent| parent != Path::new(""));
    let name = browser.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let found = match is_path {
        true => std::path::absolute(browser).ok().filter(|file| file.is_file()),
        false => on_path(&[&browser.to_string_lossy()]).into_iter().next(),
    };
    let Some(found) = found else {
        let place = if is_path { "there is no such file" } else { "it is not on PATH; name a file as a path (./NAME)" };
        return Err(usage_error(format!("--browser {}: {place}", sanitize_line(browser.display()))));
    };
    let kind = if name.contains("edge") { BrowserKind::Edge } else { BrowserKind::Chrome };
    Ok(Installed { kind, browser: found, driver: driver_for(kind)? })
}

/// The driver alone, to attach to a running browser of this kind.
///
/// # Errors
/// When it is missing.
pub(super) fn driver_for(kind: BrowserKind) -> Result<PathBuf> {
    kind.driver().ok_or_else(|| missing(kind.driver_names()[0]))
}

/// How a browser and its driver are installed.
pub(crate) const HOW_TO_INSTALL: &str = "install Chromium or Chrome with the chromedriver of its version (Debian: apt-get install \
                                         chromium chromium-driver, in a checkout also `cargo xtask setup`; macOS: brew install \
                                         --cask google-chrome chromedriver; Windows: https://googlechromelabs.github.io/chrome-for-testing)";

fn missing(what: &str) -> anyhow::Error {
    environment_error(format!("{what} is not on PATH; {HOW_TO_INSTALL}, or name a running server with --webdriver"))
}

/// The programs with these names in the absolute directories of PATH, in the order of the names. Relative entries such as
/// `.` are left out: nothing is run from the working directory.
pub(crate) fn on_path(names: &[&str]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let absolute = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let Ok(path) = std::env::join_paths(absolute) else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    for name in names {
        let programs = which::which_in_global(name, Some(&path)).into_iter().flatten();
        for program in programs.filter(|program| program.is_absolute()) {
            if !found.contains(&program) {
                found.push(program);
            }
        }
    }
    found
}

/// Where macOS and Windows install browsers, which is not on PATH. `environment` returns a variable of the environment.
fn locations(os: &str, kind: BrowserKind, environment: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folders = |names: &[&str]| -> Vec<PathBuf> {
        let set = names.iter().filter_map(|name| environment(name)).map(PathBuf::from);
        set.filter(|folder| folder.is_absolute() || os == "windows").collect()
    };
    match os {
        "macos" => {
            let bundles: &[&str] = match kind {
                BrowserKind::Chrome => &["Chromium", "Google Chrome", "Google Chrome for Testing"],
                BrowserKind::Edge => &["Microsoft Edge"],
            };
            let homes = folders(&["HOME"]).into_iter().map(|home| home.join("Applications"));
            let roots: Vec<PathBuf> = std::iter::once(PathBuf::from("/Applications")).chain(homes).collect();
            let inside = |root: &Path, name: &str| root.join(format!("{name}.app/Contents/MacOS/{name}"));
            bundles.iter().flat_map(|name| roots.iter().map(move |root| inside(root, name))).collect()
        }
        "windows" => {
            let programs: &[&str] = match kind {
                BrowserKind::Chrome => &["Chromium/Application/chrome.exe", "Google/Chrome/Application/chrome.exe"],
                BrowserKind::Edge => &["Microsoft/Edge/Application/msedge.exe"],
            };
            let roots = folders(&["ProgramFiles", "ProgramFiles(x86)", "LocalAppData"]);
            programs.iter().flat_map(|program| roots.iter().map(move |root| root.join(program))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_bundles_and_windows_folders_are_searched() {
        let environment = |name: &str| {
            let value = match name {
                "HOME" => "/Users/ada",
                "ProgramFiles" => "/c/Program Files",
                "LocalAppData" => "/c/Users/ada/AppData/Local",
                _ => return None,
            };
            Some(OsString::from(value))
        };
        let mac = locations("macos", BrowserKind::Chrome, environment);
        for file in [
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
            "/Users/ada/Applications/Chromium.app/Contents/MacOS/Chromium",
        ] {
            assert!(mac.contains(&file.into()), "{mac:?}");
        }
        let edge = locations("macos", BrowserKind::Edge, environment);
        assert_eq!(edge[0], Path::new("/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"));
        let windows = locations("windows", BrowserKind::Chrome, environment);
        assert!(windows.contains(&"/c/Program Files/Google/Chrome/Application/chrome.exe".into()), "{windows:?}");
        assert!(windows.contains(&"/c/Users/ada/AppData/Local/Chromium/Application/chrome.exe".into()));
        let edge = locations("windows", BrowserKind::Edge, environment);
        assert_eq!(edge[0], Path::new("/c/Program Files/Microsoft/Edge/Application/msedge.exe"));
        assert!(locations("linux", BrowserKind::Chrome, environment).is_empty());
    }
}
