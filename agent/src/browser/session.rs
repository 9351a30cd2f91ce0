//! WebDriver sessions: with a browser of our own, one that a running server starts, or one that a person has open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::text::{redact_url, sanitize_line};
use serde_json::Value;
use thirtyfour::prelude::*;
use thirtyfour::{Capabilities, ChromeCapabilities};
use url::Url;

use crate::browser::client::SessionClient;
use crate::browser::discovery::{self, BrowserKind, Installed, driver_for, installed};
use crate::browser::flags::flags_of_this_computer;
use crate::browser::http::http_client;
use crate::browser::process::BrowserHome;
use crate::browser::version::Version;
use crate::browser::{driver, explain, version};

/// The kind of session to open.
#[derive(Clone, Debug)]
pub struct BrowserOptions {
    /// URL of a running WebDriver server (chromedriver, Selenium); `None` starts chromedriver.
    pub webdriver: Option<Url>,
    /// Host and port of the debugging port of a running browser (`--remote-debugging-port`). The session uses a new window
    /// there and does not end the browser.
    pub attach: Option<String>,
    /// The browser to start, by name or path; `None` starts the first that has a driver.
    pub executable: Option<PathBuf>,
    /// Further flags of a browser that is started.
    pub flags: Vec<String>,
    /// Whether to show the window.
    pub headed: bool,
    /// Width and height of the page in CSS pixels.
    pub viewport: (u32, u32),
    /// Device pixel ratio.
    pub pixel_ratio: f64,
}

/// A square, because the encoder takes a central square of the view.
pub(crate) const VIEWPORT: (u32, u32) = (800, 800);

impl Default for BrowserOptions {
    fn default() -> Self {
        Self {
            webdriver: None,
            attach: None,
            executable: None,
            flags: Vec::new(),
            headed: false,
            viewport: VIEWPORT,
            pixel_ratio: 1.0,
        }
    }
}

/// Time limit for the first answer of a running browser or server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a WebDriver server to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for a browser to close.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a session with the requested viewport.
///
/// # Errors
/// When the driver or browser is missing or the server does not respond; the message says what to do.
pub async fn open(options: &BrowserOptions) -> Result<WebDriver> {
    let driver = match (&options.attach, &options.webdriver) {
        (Some(address), _) => attached(address).await?,
        (None, Some(server)) => served(server, options).await?,
        (None, None) => own(options).await?,
    };
    match fit_viewport(&driver, options.viewport).await {
        Ok(()) => Ok(driver),
        Err(error) => {
            shutdown(driver, options).await; // otherwise the session on a remote server would stay open
            Err(error.context(environment_error("the browser was opened but does not respond")))
        }
    }
}

/// Capabilities of every session.
fn capabilities() -> Result<ChromeCapabilities> {
    let mut caps = DesiredCapabilities::chrome();
    // Dialogs of the browser (alert, confirm, prompt) would block every command.
    caps.set("unhandledPromptBehavior", "accept")?;
    // Do not wait for all images of a page; what a round needs is waited for explicitly.
    caps.set("pageLoadStrategy", "eager")?;
    Ok(caps)
}

/// Capabilities of a browser that is started for the session.
fn own_browser_capabilities(options: &BrowserOptions) -> Result<ChromeCapabilities> {
    let mut caps = capabilities()?;
    for flag in ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"] {
        caps.add_arg(flag)?;
    }
    caps.add_arg("--disable-sync")?;
    caps.add_arg("--hide-scrollbars")?;
    // Views and maps need WebGL, even in a window on a computer without a graphics card.
    caps.add_arg("--enable-unsafe-swiftshader")?;
    caps.add_arg(&format!("--force-device-scale-factor={}", options.pixel_ratio))?;
    if !options.headed {
        caps.add_arg("--headless=new")?;
        // Nobody watches: pages that respect this preference do not animate what the agent then waits for.
        caps.add_arg("--force-prefers-reduced-motion")?;
    }
    for flag in flags_of_this_computer() {
        caps.add_arg(flag)?;
    }
    let (width, height) = options.viewport;
    caps.add_arg(&format!("--window-size={width},{}", height + 150))?;
    for flag in &options.flags {
        caps.add_arg(flag)?;
    }
    Ok(caps)
}

/// As a `goog:chromeOptions` or, for Edge, under its names.
fn for_kind(caps: ChromeCapabilities, kind: BrowserKind) -> Result<Capabilities> {
    let mut caps = Capabilities::from(caps);
    if kind == BrowserKind::Edge {
        caps.set("browserName", "MicrosoftEdge")?;
        if let Some(options) = caps.remove("goog:chromeOptions") {
            caps.set("ms:edgeOptions", options)?;
        }
    }
    Ok(caps)
}

/// A session with a driver and a browser that are started for it and end with it.
async fn own(options: &BrowserOptions) -> Result<WebDriver> {
    let mut unusable = Vec::new();
    let all = match &options.executable {
        Some(name) => vec![discovery::named(name)?],
        None => installed()?,
    };
    for found in &all {
        let error = match start(found, options).await {
            Ok(driver) => return Ok(driver),
            Err(error) => error,
        };
        // Such as the stub of a package that is not installed: there may be another browser.
        if explain::is_refusal(&error)
            && let Err(why) = version::of_program(&found.browser).await
        {
            unusable.push(why);
            continue;
        }
        return Err(explain::start_failure(error, found, options.headed).await);
    }
    Err(environment_error(format!("{}; install Chromium or Chrome", unusable.join("; "))))
}

async fn start(found: &Installed, options: &BrowserOptions) -> Result<WebDriver> {
    let home = BrowserHome::create(Some(&found.browser))?;
    let mut caps = own_browser_capabilities(options)?;
    caps.set_binary(&found.browser.to_string_lossy())?;
    caps.add_arg(&format!("--user-data-dir={}", home.profile().display()))?;
    managed(&found.driver, home, for_kind(caps, found.kind)?).await
}

/// A session with a driver that is started for it and ends with it.
async fn managed(program: &Path, home: BrowserHome, caps: Capabilities) -> Result<WebDriver> {
    let (url, guard) = driver::start(program, home).await?;
    let client = SessionClient::new(&url, Some(guard))?;
    Ok(WebDriver::builder(url.as_str(), caps).client(client).await?)
}

/// A session in a new window of a running browser. Its other windows are not touched.
async fn attached(address: &str) -> Result<WebDriver> {
    let (kind, version) = running_browser(address).await?;
    let mut caps = capabilities()?;
    caps.set_debugger_address(address)?;
    let program = driver_for(kind)?;
    let driver = match managed(&program, BrowserHome::create(None)?, for_kind(caps, kind)?).await {
        Ok(driver) => driver,
        Err(error) => {
            let of_driver = version::of_program(&program).await.ok().flatten();
            let why = version.zip(of_driver).and_then(|(browser, driver)| explain::difference(&browser, &driver));
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            return Err(error.context(environment_error(format!("cannot attach to the browser at {address}{why}"))));
        }
    };
    let window = driver.new_window().await?;
    driver.switch_to_window(window).await?;
    Ok(driver)
}

/// The kind and version of the browser with this debugging port.
async fn running_browser(address: &str) -> Result<(BrowserKind, Option<Version>)> {
    let url = Url::parse(&format!("http://{address}/json/version"))?;
    let answer = http_client(&url)?.get(url).timeout(ANSWER_TIMEOUT).send().await.map_err(|error| {
        let why = if error.is_timeout() { "answers" } else { "listens" };
        environment_error(format!(
            "no browser {why} at {address}; start it with --remote-debugging-port=PORT and --user-data-dir=DIR, a \
             directory for this purpose: without it, Chrome 136 and newer ignore the port"
        ))
    })?;
    let text = answer.text().await.unwrap_or_default();
    let about: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(name) = about["Browser"].as_str() else {
        let said: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
        return Err(environment_error(format!(
            "what listens at {address} is not the debugging port of Chromium or Chrome; it answers `{}`",
            sanitize_line(said)
        )));
    };
    let kind = if name.starts_with("Edg") { BrowserKind::Edge } else { BrowserKind::Chrome };
    Ok((kind, version::parse(name)))
}

/// A session with a browser that a running WebDriver server starts.
async fn served(server: &Url, options: &BrowserOptions) -> Result<WebDriver> {
    let mut server = server.clone();
    if !server.path().ends_with('/') {
        server.set_path(&format!("{}/", server.path())); // commands are relative to it
    }
    let shown = redact_url(&server);
    await_ready(&server, &shown).await?;
    let client = SessionClient::new(&server, None)?;
    let caps = own_browser_capabilities(options)?;
    let driver = WebDriver::builder(server.as_str(), caps).client(client).await.with_context(|| {
        environment_error(format!(
            "{shown} did not open a session with Chrome; it needs a free place, Chrome or Chromium, and their driver"
        ))
    })?;
    let name = driver.handle().capabilities().get("browserName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !name.is_empty() && !["chrom", "edge"].iter().any(|kind| name.to_ascii_lowercase().contains(kind)) {
        shutdown(driver, options).await;
        let name = sanitize_line(name.chars().take(40).collect::<String>());
        return Err(environment_error(format!("{shown} opened {name} instead of Chrome or Chromium")));
    }
    Ok(driver)
}

/// Waits until a WebDriver server says that it is ready. Servers that say nothing about it are tried.
async fn await_ready(server: &Url, shown: &Url) -> Result<()> {
    let (client, url, start) = (http_client(server)?, server.join("status")?, std::time::Instant::now());
    loop {
        let answer = client.get(url.clone()).timeout(READY_TIMEOUT).send().await.map_err(|error| {
            let why = if error.is_timeout() {
                format!("{shown} does not answer within {} s", READY_TIMEOUT.as_secs())
            } else {
                format!("no WebDriver server answers at {shown} ({})", root_cause(&error))
            };
            environment_error(format!("{why}; check that the server is running and that its address is right"))
        })?;
        let status = answer.status();
        if status.is_server_error() {
            return Err(environment_error(format!(
                "{shown} answers {status} and not as a WebDriver server does; a proxy before it may, or the server is starting"
            )));
        }
        let text = answer.text().await.unwrap_or_default();
        let about: Value = serde_json::from_str(&text).unwrap_or_default();
        if about["value"]["ready"] != Value::Bool(false) {
            return Ok(());
        }
        if start.elapsed() > READY_TIMEOUT {
            let said = about["value"]["message"].as_str().unwrap_or_default();
            let said = sanitize_line(said.chars().take(200).collect::<String>());
            return Err(environment_error(format!(
                "{shown} is not ready for a session; its message is `{said}`. Start a browser node, or wait for a free one"
            )));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The innermost cause, such as `Connection refused`.
fn root_cause(error: &reqwest::Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let last = std::iter::successors(Some(first), |error| error.source()).last();
    sanitize_line(last.unwrap_or(first))
}

/// Closes the session. A browser of our own is ended and its files are removed; of a running browser only our window is
/// closed. Returns whether the browser responded.
pub async fn shutdown(driver: WebDriver, options: &BrowserOptions) -> bool {
    let own = driver::of_session(&driver);
    let quit = async {
        // Closing the last window would end the browser.
        if options.attach.is_some() && driver.windows().await?.len() > 1 {
            _ = driver.close_window().await; // the person may have closed it
        }
        driver.clone().quit().await
    };
    let answered = match tokio::time::timeout(SHUTDOWN_TIMEOUT, quit).await {
        Ok(result) => result.inspect_err(|error| tracing::debug!(%error, "quit")).is_ok(),
        Err(_) => false,
    };
    if let Some(id) = own {
        _ = tokio::task::spawn_blocking(move || driver::end(id)).await;
    }
    answered
}

/// Resizes the window until the page has the requested size: window decorations differ between platforms and modes.
async fn fit_viewport(driver: &WebDriver, (width, height): (u32, u32)) -> Result<()> {
    let inner = driver.execute("return [innerWidth, innerHeight]", vec![]).await?;
    let (inner_width, inner_height): (i64, i64) = inner.convert()?;
    let window = driver.get_window_rect().await?;
    let (wider, higher) = (i64::from(width) - inner_width, i64::from(height) - inner_height);
    if (wider, higher) != (0, 0) {
        let grown = |size: i64, more: i64| u32::try_from(size + more).unwrap_or(height);
        driver.set_window_rect(0, 0, grown(window.width, wider), grown(window.height, higher)).await?;
    }
    Ok(())
}
