//! Why a browser did not start or a page did not load, and what to do about it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Error;
use landfall_common::exit::environment_error;
use landfall_common::text::{redact_url, sanitize_line};
use thirtyfour::error::{WebDriverError, WebDriverErrorInner};
use thirtyfour::prelude::*;
use url::Url;

use crate::browser::discovery::Installed;
use crate::browser::flags::flags_of_this_computer;
use crate::browser::http::is_loopback;
use crate::browser::process::BrowserHome;
use crate::browser::{driver, version};
use crate::error::server_words;

/// Time limit for a browser that is run only to see what it prints.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the server refused to open a session, as for a browser that does not start.
pub(super) fn is_refusal(error: &Error) -> bool {
    let refused = |error: &WebDriverError| {
        matches!(error.as_inner(), WebDriverErrorInner::SessionNotCreated(_) | WebDriverErrorInner::UnknownError(_))
    };
    error.chain().any(|cause| cause.downcast_ref().is_some_and(refused))
}

/// Adds to the error of a session that did not open what is wrong with the browser or its driver.
pub(super) async fn start_failure(error: Error, found: &Installed, headed: bool) -> Error {
    let (browser, driver) = (found.browser.display(), found.driver.display());
    let of_driver = match version::of_program(&found.driver).await {
        Err(why) => return error.context(environment_error(why)),
        Ok(version) => version,
    };
    if let (Ok(Some(of_browser)), Some(of_driver)) = (version::of_program(&found.browser).await, of_driver)
        && let Some(why) = difference(&of_browser, &of_driver)
    {
        return error.context(environment_error(format!("{browser} and {driver} do not fit: {why}")));
    }
    if tokio::net::lookup_host(("localhost", 0)).await.is_err() {
        let why =
            "the name `localhost` does not resolve; add the line `127.0.0.1 localhost` to the hosts file, /etc/hosts";
        return error.context(environment_error(format!("{driver} cannot reach {browser}: {why}")));
    }
    let printed = if is_refusal(&error) { trial(&found.browser, headed).await } else { String::new() };
    let why = reason(&printed).unwrap_or_else(|| "`landfall doctor` checks the installation".to_owned());
    error.context(environment_error(format!("{browser} did not start: {why}")))
}

/// What to do about versions of a browser and a driver that do not fit.
pub(super) fn difference(browser: &version::Version, driver: &version::Version) -> Option<String> {
    (browser.major != driver.major).then(|| {
        format!(
            "the browser is version {} and the driver is version {}; install the driver of version {}",
            browser.text, driver.text, browser.major
        )
    })
}

/// What the browser prints when it fails without a driver, which would hide it.
async fn trial(browser: &Path, headed: bool) -> String {
    if cfg!(windows) {
        return String::new();
    }
    let Ok(home) = BrowserHome::create(Some(browser)) else { return String::new() };
    let mut command = Command::new(browser);
    command.args(["--disable-gpu", "--no-first-run", "--dump-dom"]);
    command.args((!headed).then_some("--headless=new")).args(flags_of_this_computer());
    command.arg(format!("--user-data-dir={}", home.profile().display())).arg("about:blank");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    driver::environment(&mut command, home.path());
    let log = home.log();
    let Ok(file) = std::fs::File::create(&log) else { return String::new() };
    let Ok(child) = command.stderr(file).spawn() else { return String::new() };
    let mut trial = Trial { child, home: Some(home) };
    let start = std::time::Instant::now();
    while start.elapsed() < TRIAL_TIMEOUT && matches!(trial.child.try_wait(), Ok(None)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if matches!(trial.child.try_wait(), Ok(Some(status)) if status.success()) {
        return String::new(); // it runs: what it printed is not the reason
    }
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// A browser that is ended when this is dropped, also when a signal ends the program.
struct Trial {
    child: Child,
    home: Option<BrowserHome>,
}

impl Drop for Trial {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if let Some(home) = self.home.take() {
            home.end(Vec::new());
        }
    }
}

/// The reason in what a browser printed, with what to do, or its last words.
fn reason(printed: &str) -> Option<String> {
    let has = |words: &[&str]| words.iter().any(|words| printed.contains(words));
    if has(&["No usable sandbox", "new namespace", "setuid sandbox", "sandbox helper", "credentials.cc"]) {
        return Some(
            "its sandbox cannot start, because this system does not let programs create user namespaces. Install the \
             sandbox helper (Debian: `apt-get install chromium-sandbox`), or permit user namespaces \
             (`sysctl -w kernel.unprivileged_userns_clone=1`; Ubuntu 23.10 or newer: \
             `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; Docker: `--security-opt seccomp=unconfined`)"
                .to_owned(),
        );
    }
    if has(&["Missing X server", "cannot open display", "Failed to connect to Wayland", "ozone_platform"]) {
        return Some("there is no screen to show it on; leave out --headed and --assist, or use `xvfb-run`".to_owned());
    }
    let line_with = |words: &str| printed.lines().find(|line| line.contains(words));
    if let Some(line) = line_with("error while loading shared libraries") {
        let library = line.split("libraries:").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        return Some(format!("the library{} is missing; install it", sanitize_line(library)));
    }
    if has(&["No space left on device"]) {
        return Some("the disk or /dev/shm is full".to_owned());
    }
    let fatal = printed.lines().rev().find(|line| line.contains("FATAL:"));
    // A missing message bus is no reason.
    let mut others = printed.lines().rev().filter(|line| !line.trim().is_empty() && !line.contains(":dbus/"));
    let last = fatal.or_else(|| others.next())?;
    Some(format!("it printed `{}`", sanitize_line(last.trim().chars().take(300).collect::<String>())))
}

/// Adds to the error of a page that did not load why.
pub(crate) fn page_failure(error: Error, driver: &WebDriver, address: &Url) -> Error {
    let shown = redact_url(address);
    let words = error.chain().find_map(|cause| server_words(cause.downcast_ref()?)).unwrap_or_default();
    let why = if words.contains("net::ERR_") && is_loopback(address) && driver::of_session(driver).is_none() {
        format!(
            "{shown} does not load: the browser of the WebDriver server cannot reach this computer's {}; use a server \
             on this computer, or let its container share the network (`docker run --network host`)",
            address.host_str().unwrap_or_default()
        )
    } else if words.contains("ERR_PROXY_CONNECTION_FAILED") {
        format!("{shown} does not load: the proxy in the environment (http_proxy, https_proxy) does not answer")
    } else {
        format!("{shown} does not load")
    };
    error.context(environment_error(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browser::version::parse;

    #[test]
    fn the_reason_is_found_in_what_the_browser_printed() {
        let sandbox = "[7:7:1129/FATAL:zygote_host_impl_linux.cc(128)] No usable sandbox! If you are running on Ubuntu";
        for (printed, expected) in [
            (sandbox, "user namespaces"),
            (
                "chrome: error while loading shared libraries: libnss3.so: cannot open shared object file",
                "libnss3.so is",
            ),
            ("[1:1:ERROR:ozone_platform_x11.cc(259)] Missing X server or $DISPLAY", "no screen"),
            ("bad flag\n[1:1:1201/1.2:ERROR:dbus/bus.cc:405] Failed to connect to the bus\n", "it printed `bad flag`"),
            ("one\n[1:1:FATAL:x.cc(1)] Check failed: x.\ntwo\n", "it printed `[1:1:FATAL:x.cc(1)] Check failed: x.`"),
        ] {
            assert!(reason(printed).unwrap().contains(expected), "{printed}");
        }
        assert_eq!(reason(""), None);
    }

    #[test]
    fn different_major_versions_do_not_fit() {
        let [old, new, newer] = ["120.0.6099.109", "131.0.6778.85", "131.0.6778.100"].map(|text| parse(text).unwrap());
        let why = difference(&new, &old).unwrap();
        assert!(why.contains("131.0.6778.85") && why.contains("120.0.6099.109"), "{why}");
        assert_eq!(difference(&new, &newer), None);
    }
}
