//! WebDriver sessions: with a browser of our own, one that a running server starts, or one that a person has open.

use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::text::redact_url;
use thirtyfour::ChromeCapabilities;
use thirtyfour::common::config::WebDriverConfig;
use thirtyfour::manager::{BrowserKind, StdioMode};
use thirtyfour::prelude::*;
use url::Url;

use crate::browser::discovery::{chromedriver, chromium, missing};
use crate::browser::process::{CLEANUP_DELAY, CLEANUP_RETRIES, kill, leftover_dirs, process, profile, removed};

/// The kind of session to open.
#[derive(Clone, Debug)]
pub struct BrowserOptions {
    /// URL of a running WebDriver server (chromedriver, Selenium); `None` starts chromedriver.
    pub webdriver: Option<Url>,
    /// Host and port of the debugging port of a running browser (`--remote-debugging-port`). The session uses a new window
    /// there and does not end the browser.
    pub attach: Option<String>,
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
        Self { webdriver: None, attach: None, headed: false, viewport: VIEWPORT, pixel_ratio: 1.0 }
    }
}

/// Time limit for connecting to a running browser.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a browser to close.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Opens a session with the requested viewport.
///
/// # Errors
/// When the driver or browser is missing or the server does not respond; the message says what to do.
pub async fn open(options: &BrowserOptions) -> Result<WebDriver> {
    let driver = match (&options.attach, &options.webdriver) {
        (Some(address), _) => attached(address).await?,
        (None, Some(server)) => {
            WebDriver::new(server.as_str(), own_browser_capabilities(options)?).await.with_context(|| {
                environment_error(format!(
                    "{} did not open a WebDriver session; check that the server is running",
                    redact_url(server)
                ))
            })?
        }
        (None, None) => {
            let mut caps = own_browser_capabilities(options)?;
            caps.set_binary(&chromium().ok_or_else(|| missing("chromium"))?.to_string_lossy())?;
            managed(caps)
                .await
                .context(environment_error("the browser did not start; `landfall doctor` checks the installation"))?
        }
    };
    match fit_viewport(&driver, options.viewport).await {
        Ok(()) => Ok(driver),
        Err(error) => {
            shutdown(driver, options).await; // otherwise the session on a remote server would stay open
            Err(error)
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
    }
    if is_superuser() {
        caps.add_arg("--no-sandbox")?; // Chromium refuses to start as root with its sandbox
    }
    let (width, height) = options.viewport;
    caps.add_arg(&format!("--window-size={width},{}", height + 150))?;
    Ok(caps)
}

/// A session with a chromedriver that is started for it and ends with it.
async fn managed(caps: ChromeCapabilities) -> Result<WebDriver> {
    let driver = chromedriver().ok_or_else(|| missing("chromedriver"))?;
    let patience = WebDriverConfig::builder().request_timeout(Duration::from_secs(60)).build()?;
    Ok(WebDriver::managed(caps)
        .driver_binary(BrowserKind::Chrome, driver)
        .stdio(StdioMode::Null)
        .config(patience)
        .await?)
}

/// A session in a new window of a running browser. Its other windows are not touched.
async fn attached(address: &str) -> Result<WebDriver> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address)).await;
    if !connected.is_ok_and(|stream| stream.is_ok()) {
        return Err(environment_error(format!(
            "no browser listens at {address}; start Chromium with --remote-debugging-port=PORT and --user-data-dir=DIR"
        )));
    }
    let mut caps = capabilities()?;
    caps.set_debugger_address(address)?;
    let driver = managed(caps).await.with_context(|| {
        environment_error(format!(
            "cannot attach to the browser at {address}; its version must match that of chromedriver"
        ))
    })?;
    let window = driver.new_window().await?;
    driver.switch_to_window(window).await?;
    Ok(driver)
}

/// Closes the session. A browser of our own is ended and its files are removed; of a running browser only our window is
/// closed. Returns whether the browser responded.
pub async fn shutdown(driver: WebDriver, options: &BrowserOptions) -> bool {
    let is_our_own = options.webdriver.is_none() && options.attach.is_none();
    let id = process(&driver).filter(|_| is_our_own);
    let profile = profile(&driver).filter(|_| is_our_own);
    let left = profile.as_deref().map(leftover_dirs).unwrap_or_default();
    let quit = async {
        // Closing the last window would end the browser.
        if options.attach.is_some() && driver.windows().await?.len() > 1 {
            _ = driver.close_window().await; // the person may have closed it
        }
        driver.clone().quit().await
    };
    let answered = tokio::time::timeout(SHUTDOWN_TIMEOUT, quit).await.is_ok_and(|result| result.is_ok());
    if !answered {
        id.into_iter().for_each(kill);
    }
    for _ in 0..CLEANUP_RETRIES {
        if removed(&left) {
            break;
        }
        tokio::time::sleep(CLEANUP_DELAY).await;
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

#[cfg(unix)]
fn is_superuser() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(not(unix))]
fn is_superuser() -> bool {
    false
}
