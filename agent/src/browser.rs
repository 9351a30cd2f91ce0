//! WebDriver sessions: a driver we start ourselves, or one that is running already.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use thirtyfour::common::config::WebDriverConfig;
use thirtyfour::manager::{BrowserKind, StdioMode};
use thirtyfour::prelude::*;
use url::Url;

use crate::failure::surroundings;
use crate::site::guard;

/// What kind of session to open.
#[derive(Clone, Debug)]
pub struct BrowserOptions {
    /// A running WebDriver server (chromedriver, Selenium); `None` starts chromedriver.
    pub webdriver: Option<Url>,
    /// Show the window.
    pub headed: bool,
    /// Width and height of the page in CSS pixels.
    pub viewport: (u32, u32),
    /// Pixels of the screen for each of those.
    pub pixel_ratio: f64,
}

/// Square, so that the encoder, which takes a central square, sees all of the view.
pub const VIEWPORT: (u32, u32) = (800, 800);

impl Default for BrowserOptions {
    fn default() -> Self {
        Self { webdriver: None, headed: false, viewport: VIEWPORT, pixel_ratio: 1.0 }
    }
}

/// A browser may take so long to end.
const GOODBYE: Duration = Duration::from_secs(10);
const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const DRIVER: &[&str] = &["chromedriver"];

/// Chromium's executable, if one is in the PATH.
pub fn chromium() -> Option<PathBuf> {
    in_path(CHROMIUM)
}

/// Chromedriver's executable, if it is in the PATH.
pub fn chromedriver() -> Option<PathBuf> {
    in_path(DRIVER)
}

/// Opens a session with a page of the asked size.
///
/// # Errors
/// When there is no driver or browser, or the server does not answer; the message says what to do.
pub async fn open(options: &BrowserOptions) -> Result<WebDriver> {
    let mut caps = DesiredCapabilities::chrome();
    for flag in ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"] {
        caps.add_arg(flag)?;
    }
    caps.add_arg("--disable-sync")?;
    caps.add_arg("--hide-scrollbars")?;
    caps.add_arg(&format!("--force-device-scale-factor={}", options.pixel_ratio))?;
    if !options.headed {
        caps.add_arg("--headless=new")?;
    }
    if is_superuser() {
        caps.add_arg("--no-sandbox")?; // Chromium refuses to start as root with its sandbox
    }
    // Messages of the browser's own (alert, confirm, prompt) would stop everything: they are put away whenever they come.
    caps.set("unhandledPromptBehavior", "accept")?;
    // A page is there before its last picture is; what a round needs is waited for.
    caps.set("pageLoadStrategy", "eager")?;
    let (width, height) = options.viewport;
    caps.add_arg(&format!("--window-size={width},{}", height + 150))?;
    let driver = match &options.webdriver {
        Some(server) => WebDriver::new(server.as_str(), caps).await.with_context(|| {
            surroundings(format!("no WebDriver session from {}: is the server running?", guard::bare(server)))
        })?,
        None => {
            let chromium = chromium().ok_or_else(|| missing("chromium"))?;
            let driver = chromedriver().ok_or_else(|| missing("chromedriver"))?;
            caps.set_binary(&chromium.to_string_lossy())?;
            WebDriver::managed(caps)
                .driver_binary(BrowserKind::Chrome, driver)
                .stdio(StdioMode::Null)
                .config(WebDriverConfig::builder().request_timeout(Duration::from_secs(60)).build()?)
                .await
                .context(surroundings("the browser did not start; `landfall doctor` shows what is missing"))?
        }
    };
    match fit_viewport(&driver, options.viewport).await {
        Ok(()) => Ok(driver),
        Err(error) => {
            bury(driver, options).await; // a session on another's server would stay open
            Err(error)
        }
    }
}

fn missing(what: &str) -> anyhow::Error {
    surroundings(format!(
        "{what} is not in the PATH; run `cargo xtask setup`, or install Chromium with its driver, or name a running one with --webdriver"
    ))
}

/// Ends a browser, with all that is left of it where it is our own and does not answer any more. Whether it answered.
pub async fn bury(driver: WebDriver, options: &BrowserOptions) -> bool {
    let id = process(&driver).filter(|_| options.webdriver.is_none());
    let answered = tokio::time::timeout(GOODBYE, driver.quit()).await.is_ok_and(|quit| quit.is_ok());
    if !answered {
        id.into_iter().for_each(kill);
    }
    answered
}

/// The processes below this program, browsers among them: a driver that is stopped leaves its browser behind.
pub fn running() -> Vec<u32> {
    let (ours, mut system) = (sysinfo::Pid::from_u32(std::process::id()), sysinfo::System::new());
    system.refresh_processes(sysinfo::ProcessesToUpdate::All, true);
    let parent = |process: &sysinfo::Process| process.parent().and_then(|id| system.process(id));
    let is_below = |process: &sysinfo::Process| {
        std::iter::successors(parent(process), |above| parent(above)).any(|above| above.pid() == ours)
    };
    system.processes().values().filter(|process| is_below(process)).map(|process| process.pid().as_u32()).collect()
}

/// The browser's process, where the driver tells it.
pub fn process(driver: &WebDriver) -> Option<u32> {
    let id = driver.handle().capabilities().get("goog:processID").and_then(serde_json::Value::as_u64);
    id.and_then(|id| u32::try_from(id).ok())
}

/// Ends a browser's process at once; does nothing when it is another's by now.
pub fn kill(id: u32) {
    let (id, mut system) = (sysinfo::Pid::from_u32(id), sysinfo::System::new());
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
    if let Some(process) = system.process(id).filter(|process| process.name().to_string_lossy().contains("chrom")) {
        process.kill();
    }
}

/// Window decorations differ between platforms and modes, so the size is corrected by what the page measures.
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

fn in_path(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.map(|file| if cfg!(windows) { file.with_extension("exe") } else { file }).find(|file| file.is_file())
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
