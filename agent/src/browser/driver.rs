//! The driver (chromedriver): started for one session, and ended with its browser and their files, however the session
//! ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::text::sanitize_line;
use serde_json::Value;
use thirtyfour::prelude::*;
use url::Url;

use crate::browser::http::http_client;
use crate::browser::process::{BrowserHome, descendants};

/// A driver that does not answer within this time has failed. Slow computers take half a minute.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Another program may take the port between choosing and using it.
const PORT_ATTEMPTS: u32 = 3;

/// All drivers that run.
static RUNNING: Mutex<Registry> = Mutex::new(Registry { is_closed: false, last_id: 0, drivers: Vec::new() });
/// Read-locked while drivers are being ended, so that the program does not exit meanwhile.
static ENDING: RwLock<()> = RwLock::new(());

struct Registry {
    /// Whether the program is ending and no driver may be started.
    is_closed: bool,
    last_id: u64,
    drivers: Vec<Driver>,
}

#[derive(Debug)]
struct Driver {
    id: u64,
    port: u16,
    process: Child,
    home: BrowserHome,
}

/// Ends a driver when it is dropped.
#[derive(Debug)]
pub(super) struct DriverGuard(u64);

impl Drop for DriverGuard {
    fn drop(&mut self) {
        end(self.0);
    }
}

fn running() -> MutexGuard<'static, Registry> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a driver and waits until it answers. Returns its URL.
///
/// # Errors
/// When it does not run, ends, or does not answer.
pub(super) async fn start(program: &Path, home: BrowserHome) -> Result<(Url, DriverGuard)> {
    let log = home.log();
    let guard = register(program, home)?;
    let start = Instant::now();
    let mut attempts = 1;
    loop {
        let (port, ended) = state(guard.0)?;
        let url = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        if let Some(status) = ended {
            let said = last_line(&log);
            let is_taken = said.contains("port not available") || said.contains("already in use");
            if is_taken && attempts < PORT_ATTEMPTS {
                attempts += 1;
                restart(guard.0, program)?;
                continue;
            }
            let said = if said.is_empty() { said } else { format!(": {said}") };
            return Err(environment_error(format!("{} ended with {status}{said}", program.display())));
        }
        if is_ready(&url).await {
            return Ok((url, guard));
        }
        if start.elapsed() > START_TIMEOUT {
            return Err(environment_error(format!(
                "{} did not answer on 127.0.0.1:{port} within {} s; `landfall doctor` checks the installation",
                program.display(),
                START_TIMEOUT.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(if start.elapsed().as_secs() < 2 { 15 } else { 100 })).await;
    }
}

async fn is_ready(url: &Url) -> bool {
    let ask = async || -> Result<bool> {
        let answer = http_client(url)?.get(url.join("status")?).timeout(Duration::from_secs(2)).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        Ok(answer["value"]["ready"].as_bool().unwrap_or(true))
    };
    ask().await.unwrap_or(false)
}

fn register(program: &Path, home: BrowserHome) -> Result<DriverGuard> {
    // Locked until the process is listed: a signal that arrives meanwhile must find it.
    let mut running = running();
    if running.is_closed {
        return Err(environment_error("the program is ending"));
    }
    let (process, port) = spawn(program, &home)?;
    running.last_id += 1;
    let id = running.last_id;
    running.drivers.push(Driver { id, port, process, home });
    Ok(DriverGuard(id))
}

fn restart(id: u64, program: &Path) -> Result<()> {
    let mut running = running();
    let driver = running.drivers.iter_mut().find(|driver| driver.id == id);
    let driver = driver.ok_or_else(|| environment_error("the program is ending"))?;
    (driver.process, driver.port) = spawn(program, &driver.home)?;
    Ok(())
}

/// The port of a driver, and how it ended if it has.
fn state(id: u64) -> Result<(u16, Option<ExitStatus>)> {
    let mut running = running();
    let driver = running.drivers.iter_mut().find(|driver| driver.id == id);
    let driver = driver.ok_or_else(|| environment_error("the program is ending"))?;
    Ok((driver.port, driver.process.try_wait()?))
}

fn spawn(program: &Path, home: &BrowserHome) -> Result<(Child, u16)> {
    let cannot = || environment_error(format!("cannot start {}", program.display()));
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).with_context(cannot)?;
    let port = free.local_addr().with_context(cannot)?.port();
    drop(free);
    let log = std::fs::File::create(home.log()).with_context(cannot)?;
    let mut command = Command::new(program);
    command.arg(format!("--port={port}")).stdin(Stdio::null());
    command.stdout(log.try_clone().with_context(cannot)?).stderr(log);
    // Signals of the terminal, as for Ctrl-C, reach this program only, which then ends the driver in order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    environment(&mut command, home.path());
    Ok((command.spawn().with_context(cannot)?, port))
}

/// Maximum length in bytes of a directory for temporary files. Browsers put sockets there, whose paths are limited to about
/// 100 bytes, and their names take up to 45.
const MAX_TEMPORARY_PATH: usize = 55;

/// The environment of a driver or browser: no proxy for this computer, temporary files in its own directory, so that none
/// is left, and a home directory in which it can write.
pub(super) fn environment(command: &mut Command, home: &Path) {
    let without = std::env::var("no_proxy").or_else(|_| std::env::var("NO_PROXY")).unwrap_or_default();
    let separator = if without.is_empty() { "" } else { "," };
    let without = format!("{without}{separator}localhost,127.0.0.1,::1");
    command.env("no_proxy", &without).env("NO_PROXY", &without);
    if home.as_os_str().len() <= MAX_TEMPORARY_PATH {
        command.env("TMPDIR", home);
    }
    #[cfg(unix)]
    {
        let can_write = |dir: &Path| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
        let own = std::env::var_os("HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        if !own.is_some_and(|dir| can_write(&dir)) {
            command.env("HOME", home); // as for users without an entry in a container: the crash handler would fail
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    sanitize_line(last.chars().take(300).collect::<String>())
}

/// The driver of our own that a session uses, if it is one.
pub(super) fn of_session(session: &WebDriver) -> Option<u64> {
    let server = session.handle().server_url();
    let port = server.port().filter(|_| server.host_str() == Some("127.0.0.1"))?;
    running().drivers.iter().rev().find(|driver| driver.port == port).map(|driver| driver.id)
}

/// Ends a driver with its browser and removes their files. Does nothing if it has been ended.
pub(super) fn end(id: u64) {
    let _ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    let driver = {
        let mut running = running();
        let index = running.drivers.iter().position(|driver| driver.id == id);
        index.map(|index| running.drivers.swap_remove(index))
    };
    if let Some(driver) = driver {
        driver.end();
    }
}

/// Ends all drivers with their browsers and removes their files, when the program ends. None can be started afterwards.
pub(crate) fn end_all() {
    let ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    let drivers = {
        let mut running = running();
        running.is_closed = true;
        std::mem::take(&mut running.drivers)
    };
    std::thread::scope(|scope| {
        for driver in drivers {
            scope.spawn(move || driver.end());
        }
    });
    drop(ending);
    // Those that are being ended by others.
    drop(ENDING.write().unwrap_or_else(PoisonError::into_inner));
}

impl Driver {
    fn end(mut self) {
        let mut below = Vec::new();
        if matches!(self.process.try_wait(), Ok(None)) {
            below = descendants(self.process.id());
            #[cfg(unix)]
            if let Ok(id) = i32::try_from(self.process.id()) {
                // The process has not been waited for, so the id is not used again.
                let group = rustix::process::Pid::from_raw(id);
                _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
            }
            _ = self.process.kill();
        }
        _ = self.process.wait();
        self.home.end(below);
    }
}
