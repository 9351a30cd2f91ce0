//! Processes of browsers, and the directories that they leave behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thirtyfour::prelude::*;

/// Attempts to remove what a browser leaves on disk, and the delay between them: its processes end one after the other.
pub(super) const CLEANUP_RETRIES: u32 = 30;
pub(super) const CLEANUP_DELAY: Duration = Duration::from_millis(50);
/// After this many attempts in a row that found nothing, cleaning up is finished.
const CLEANUP_QUIET_RETRIES: u32 = 8;
/// The user data directory of a session's browser, if the driver states it.
pub(super) fn profile(driver: &WebDriver) -> Option<PathBuf> {
    driver.handle().capabilities().get("chrome")?.get("userDataDir")?.as_str().map(PathBuf::from)
}

/// Directories that a browser leaves behind: its user data directory and the directory of its singleton socket.
/// Chromedriver would remove the first shortly after the session ends, but it is stopped before that.
pub(super) fn leftover_dirs(profile: &Path) -> Vec<PathBuf> {
    let socket = std::fs::read_link(profile.join("SingletonSocket")).ok();
    let beside_it = socket.and_then(|socket| Some(socket.parent()?.to_owned()));
    std::iter::once(profile.to_owned()).chain(beside_it).collect()
}

/// Removes directories. Returns whether none is left.
pub(super) fn removed(folders: &[PathBuf]) -> bool {
    folders.iter().for_each(|folder| _ = std::fs::remove_dir_all(folder)); // chromedriver may be removing it at the same time
    !folders.iter().any(|folder| folder.exists())
}

/// Descendant processes of this program and the directories they leave behind. A driver that is killed leaves its browser
/// running.
#[derive(Debug, Default)]
pub(crate) struct ChildProcesses {
    processes: Vec<u32>,
    leftover_dirs: Vec<PathBuf>,
}

impl ChildProcesses {
    /// The current descendants.
    pub(crate) fn now() -> Self {
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

    /// Kills the processes and removes their directories.
    pub(crate) fn end(self) {
        self.processes.into_iter().for_each(kill);
        // A process that was started after the list was made may still write a log line to its directory.
        let mut in_a_row = 0;
        for _ in 0..CLEANUP_RETRIES {
            in_a_row = if removed(&self.leftover_dirs) { in_a_row + 1 } else { 0 };
            if in_a_row > CLEANUP_QUIET_RETRIES || self.leftover_dirs.is_empty() {
                break;
            }
            std::thread::sleep(CLEANUP_DELAY);
        }
    }
}

/// Process id of the browser, if the driver states it.
pub fn process(driver: &WebDriver) -> Option<u32> {
    let id = driver.handle().capabilities().get("goog:processID").and_then(serde_json::Value::as_u64);
    id.and_then(|id| u32::try_from(id).ok())
}

/// Kills the process of a browser. Does nothing if the id now belongs to another program.
pub(crate) fn kill(id: u32) {
    let (id, mut system) = (sysinfo::Pid::from_u32(id), sysinfo::System::new());
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
    if let Some(process) = system.process(id).filter(|process| process.name().to_string_lossy().contains("chrom")) {
        process.kill();
    }
}
