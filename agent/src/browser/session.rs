//! WebDriver sessions: a browser we start ourselves, one that a running driver starts, or one that a person has open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::text::redact_url;
use thirtyfour::ChromeCapabilities;
use thirtyfour::common::config::WebDriverConfig;
use thirtyfour::manager::{BrowserKind, StdioMode};
use thirtyfour::prelude::*;
use url::Url;

/// What kind of session to open.
#[derive(Clone, Debug)]
pub struct BrowserOptions {
    /// A running WebDriver server (chromedriver, Selenium); `None` starts chromedriver.
    pub webdriver: Option<Url>,
    /// Host and port where an open browser takes commands (`--remote-debugging-port`): we play in a window of our own
    /// there, and neither start nor end it.
    pub attach: Option<String>,
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
        Self { webdriver: None, attach: None, headed: false, viewport: VIEWPORT, pixel_ratio: 1.0 }
    }
}

/// A browser that is open answers within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A browser may take so long to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// So often it is tried to remove what a browser leaves on disk, and how long is waited in between: its processes go one
/// after the other.
const CLEANUP_RETRIES: (u32, Duration) = (30, Duration::from_millis(50));
/// Nothing has come back so often: nothing will.
const CLEANUP_QUIET_RETRIES: u32 = 8;
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
    let driver = match (&options.attach, &options.webdriver) {
        (Some(address), _) => attached(address).await?,
        (None, Some(server)) => WebDriver::new(server.as_str(), of_our_own(options)?).await.with_context(|| {
            environment_error(format!("no WebDriver session from {}: is the server running?", redact_url(server)))
        })?,
        (None, None) => {
            let mut caps = of_our_own(options)?;
            caps.set_binary(&chromium().ok_or_else(|| missing("chromium"))?.to_string_lossy())?;
            managed(caps)
                .await
                .context(environment_error("the browser did not start; `landfall doctor` shows what is missing"))?
        }
    };
    match fit_viewport(&driver, options.viewport).await {
        Ok(()) => Ok(driver),
        Err(error) => {
            shutdown(driver, options).await; // a session on another's server would stay open
            Err(error)
        }
    }
}

/// What is asked of every browser.
fn capabilities() -> Result<ChromeCapabilities> {
    let mut caps = DesiredCapabilities::chrome();
    // Messages of the browser's own (alert, confirm, prompt) would stop everything: they are put away whenever they come.
    caps.set("unhandledPromptBehavior", "accept")?;
    // A page is there before its last picture is; what a round needs is waited for.
    caps.set("pageLoadStrategy", "eager")?;
    Ok(caps)
}

/// What is asked of a browser that is started for us.
fn of_our_own(options: &BrowserOptions) -> Result<ChromeCapabilities> {
    let mut caps = capabilities()?;
    for flag in ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"] {
        caps.add_arg(flag)?;
    }
    caps.add_arg("--disable-sync")?;
    caps.add_arg("--hide-scrollbars")?;
    // Drawn views and maps need WebGL, also in a window on a computer without a graphics card.
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

/// A session of a chromedriver that is started for it and ends with it.
async fn managed(caps: ChromeCapabilities) -> Result<WebDriver> {
    let driver = chromedriver().ok_or_else(|| missing("chromedriver"))?;
    let patience = WebDriverConfig::builder().request_timeout(Duration::from_secs(60)).build()?;
    Ok(WebDriver::managed(caps)
        .driver_binary(BrowserKind::Chrome, driver)
        .stdio(StdioMode::Null)
        .config(patience)
        .await?)
}

/// A session in a browser that is open, with a new window: the person's own stay as they are.
async fn attached(address: &str) -> Result<WebDriver> {
    let greeted = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address)).await;
    if !greeted.is_ok_and(|greeted| greeted.is_ok()) {
        return Err(environment_error(format!(
            "no browser takes commands at {address}: start Chromium with --remote-debugging-port=PORT and --user-data-dir=FOLDER"
        )));
    }
    let mut caps = capabilities()?;
    caps.set_debugger_address(address)?;
    let driver = managed(caps).await.with_context(|| {
        environment_error(format!("cannot attach to the browser at {address}; is its version chromedriver's?"))
    })?;
    let window = driver.new_window().await?;
    driver.switch_to_window(window).await?;
    Ok(driver)
}

fn missing(what: &str) -> anyhow::Error {
    environment_error(format!(
        "{what} is not in the PATH; run `cargo xtask setup`, or install Chromium with its driver, or name a running one with --webdriver"
    ))
}

/// Ends a browser, with all that is left of it where it is our own, on disk too. Whether it answered.
/// Of a browser that a person has open, our window goes alone.
pub async fn shutdown(driver: WebDriver, options: &BrowserOptions) -> bool {
    let is_our_own = options.webdriver.is_none() && options.attach.is_none();
    let id = process(&driver).filter(|_| is_our_own);
    let profile = profile(&driver).filter(|_| is_our_own);
    let left = profile.as_deref().map(leftover_dirs).unwrap_or_default();
    let goodbye = async {
        // With its last window the browser would go.
        if options.attach.is_some() && driver.windows().await?.len() > 1 {
            _ = driver.close_window().await; // unless the person has
        }
        driver.clone().quit().await
    };
    let answered = tokio::time::timeout(SHUTDOWN_TIMEOUT, goodbye).await.is_ok_and(|quit| quit.is_ok());
    if !answered {
        id.into_iter().for_each(kill);
    }
    for _ in 0..CLEANUP_RETRIES.0 {
        if removed(&left) {
            break;
        }
        tokio::time::sleep(CLEANUP_RETRIES.1).await;
    }
    answered
}

/// The profile of a session's browser, where the driver tells it.
fn profile(driver: &WebDriver) -> Option<PathBuf> {
    driver.handle().capabilities().get("chrome")?.get("userDataDir")?.as_str().map(PathBuf::from)
}

/// What a browser of our own leaves on disk: the profile that chromedriver made for it, and the folder of the socket by
/// which others would find that it is in use. The first chromedriver would remove a moment after it says that the browser
/// has ended, and is stopped by then.
fn leftover_dirs(profile: &Path) -> Vec<PathBuf> {
    let socket = std::fs::read_link(profile.join("SingletonSocket")).ok();
    let beside_it = socket.and_then(|socket| Some(socket.parent()?.to_owned()));
    std::iter::once(profile.to_owned()).chain(beside_it).collect()
}

/// Removes folders; whether none is left.
fn removed(folders: &[PathBuf]) -> bool {
    folders.iter().for_each(|folder| _ = std::fs::remove_dir_all(folder)); // chromedriver may be at it, too
    !folders.iter().any(|folder| folder.exists())
}

/// The processes below this program, browsers among them, and what these leave on disk: a driver that is stopped leaves its
/// browser behind.
#[derive(Debug, Default)]
pub struct ChildProcesses {
    processes: Vec<u32>,
    leftover_dirs: Vec<PathBuf>,
}

impl ChildProcesses {
    /// Those that there are now.
    pub fn now() -> Self {
        let (ours, mut system) = (sysinfo::Pid::from_u32(std::process::id()), sysinfo::System::new());
        let with_arguments = sysinfo::ProcessRefreshKind::nothing().with_cmd(sysinfo::UpdateKind::Always);
        system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::All, true, with_arguments);
        let parent = |process: &sysinfo::Process| process.parent().and_then(|id| system.process(id));
        let is_below = |process: &&sysinfo::Process| {
            std::iter::successors(parent(process), |above| parent(above)).any(|above| above.pid() == ours)
        };
        let below: Vec<&sysinfo::Process> = system.processes().values().filter(is_below).collect();
        let profile =
            |argument: &std::ffi::OsString| argument.to_str()?.strip_prefix("--user-data-dir=").map(PathBuf::from);
        let profiles: BTreeSet<PathBuf> = below.iter().flat_map(|process| process.cmd()).filter_map(profile).collect();
        Self {
            processes: below.iter().map(|process| process.pid().as_u32()).collect(),
            leftover_dirs: profiles.iter().flat_map(|profile| leftover_dirs(profile)).collect(),
        }
    }

    /// Ends them at once, and removes what they leave.
    pub fn end(self) {
        self.processes.into_iter().for_each(kill);
        // One that was just started, and so is not among them, writes a last line to a log when it finds the others gone.
        let mut in_a_row = 0;
        for _ in 0..CLEANUP_RETRIES.0 {
            in_a_row = if removed(&self.leftover_dirs) { in_a_row + 1 } else { 0 };
            if in_a_row > CLEANUP_QUIET_RETRIES || self.leftover_dirs.is_empty() {
                break;
            }
            std::thread::sleep(CLEANUP_RETRIES.1);
        }
    }
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
    names.iter().find_map(|name| which::which(name).ok())
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
