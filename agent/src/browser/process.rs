//! Processes of browsers, and the directory that each browser of our own gets. Only what is in such a directory is ever
//! deleted, and the directory of the browser's socket, after checking that it is nothing else.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
use tempfile::TempDir;
use thirtyfour::prelude::*;

/// Attempts to end a browser's processes and to remove its files, and the delay between them: the processes end one after
/// the other and may write until then.
const CLEANUP_RETRIES: u32 = 40;
const CLEANUP_DELAY: Duration = Duration::from_millis(50);

/// Files in the directory of Chromium's singleton socket.
const SOCKET_FILES: [&str; 2] = ["SingletonSocket", "SingletonCookie"];
/// How the names of those directories begin.
const SOCKET_DIR_PREFIXES: [&str; 3] = ["org.chromium.", "com.google.Chrome", "com.microsoft."];

/// The directory of a browser: its profile, and the log of its driver.
#[derive(Debug)]
pub(super) struct BrowserHome(TempDir);

impl BrowserHome {
    /// Creates the directory, where the browser at this path can write.
    ///
    /// # Errors
    /// When the directory for temporary files is not writable.
    pub(super) fn create(browser: Option<&Path>) -> Result<Self> {
        let parent = browser.and_then(snap_data).unwrap_or_else(std::env::temp_dir);
        let created = tempfile::Builder::new().prefix("landfall-browser-").tempdir_in(&parent);
        created.map(Self).with_context(|| {
            environment_error(format!("cannot create the profile of the browser in {}", parent.display()))
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The browser's user data directory.
    pub(super) fn profile(&self) -> PathBuf {
        self.path().join("profile")
    }

    /// The log of the driver.
    pub(super) fn log(&self) -> PathBuf {
        self.path().join("driver.log")
    }

    /// Ends these processes and all that were started with this directory, and removes it.
    pub(super) fn end(self, mut processes: Vec<Process>) {
        for _ in 0..CLEANUP_RETRIES {
            let left = processes_of(self.path(), &processes);
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|process| kill(process.id));
            processes = left;
            std::thread::sleep(CLEANUP_DELAY);
        }
        let socket_dir = socket_dir(&self.profile(), &std::env::temp_dir());
        for _ in 0..CLEANUP_RETRIES {
            _ = std::fs::remove_dir_all(self.path());
            if !self.path().exists() {
                break;
            }
            std::thread::sleep(CLEANUP_DELAY);
        }
        if let Some(dir) = socket_dir {
            SOCKET_FILES.iter().for_each(|file| _ = std::fs::remove_file(dir.join(file)));
            _ = std::fs::remove_dir(dir); // not if it holds anything else
        }
    }
}

/// A process and its start time: ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    id: u32,
    started: u64,
}

impl Process {
    fn of(process: &sysinfo::Process) -> Self {
        Self { id: process.pid().as_u32(), started: process.start_time() }
    }
}

/// The descendants of a process.
pub(super) fn descendants(ancestor: u32) -> Vec<Process> {
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
    let parent = |process: &sysinfo::Process| process.parent().and_then(|id| system.process(id));
    let is_below = |process: &&sysinfo::Process| {
        std::iter::successors(parent(process), |above| parent(above)).any(|above| above.pid().as_u32() == ancestor)
    };
    system.processes().values().filter(is_below).map(Process::of).collect()
}

/// Those of the known processes that still run, and every process whose command line names this directory: a browser that
/// lost its driver is nobody's descendant.
fn processes_of(dir: &Path, known: &[Process]) -> Vec<Process> {
    let mut system = System::new();
    let with_arguments = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, with_arguments);
    let name = dir.to_string_lossy();
    let names_it = |argument: &std::ffi::OsString| argument.to_string_lossy().contains(&*name);
    let (ours, dead) =
        (Pid::from_u32(std::process::id()), [sysinfo::ProcessStatus::Zombie, sysinfo::ProcessStatus::Dead]);
    let found = system.processes().values().filter(|process| {
        process.pid() != ours
            && !dead.contains(&process.status())
            && (known.contains(&Process::of(process)) || process.cmd().iter().any(names_it))
    });
    found.map(Process::of).collect()
}

fn kill(id: u32) {
    let (id, mut system) = (Pid::from_u32(id), System::new());
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    if let Some(process) = system.process(id) {
        process.kill();
    }
}

/// The directory of the singleton socket that the profile points to, if it is one: a directory of ours directly in the
/// directory for temporary files, with a name that Chromium gives.
fn socket_dir(profile: &Path, temporary: &Path) -> Option<PathBuf> {
    let dir = std::fs::read_link(profile.join("SingletonSocket")).ok()?.parent()?.to_owned();
    let name = dir.file_name()?.to_str()?.trim_start_matches('.');
    let is_named_so = SOCKET_DIR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let is_temporary = dir.parent()?.canonicalize().ok()? == temporary.canonicalize().ok()?;
    let about = std::fs::symlink_metadata(&dir).ok()?;
    (is_named_so && is_temporary && about.is_dir() && is_ours(&about)).then_some(dir)
}

#[cfg(unix)]
fn is_ours(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    about.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_ours(_: &std::fs::Metadata) -> bool {
    true
}

/// The directory that Chromium's snap shares with other programs, if the browser is the snap: it has a /tmp of its own.
fn snap_data(browser: &Path) -> Option<PathBuf> {
    let is_wrapper = || {
        let mut start = Vec::new();
        std::fs::File::open(browser)?.take(4096).read_to_end(&mut start)?;
        let start = String::from_utf8_lossy(&start);
        std::io::Result::Ok(start.starts_with("#!") && start.contains("/snap/bin/chromium"))
    };
    let is_snap = browser.starts_with("/snap") || is_wrapper().unwrap_or(false);
    let shared = directories::BaseDirs::new()?.home_dir().join("snap/chromium/common");
    (is_snap && shared.is_dir()).then_some(shared)
}

/// Process id of the browser, if the driver states it.
pub fn process(driver: &WebDriver) -> Option<u32> {
    let id = driver.handle().capabilities().get("goog:processID").and_then(serde_json::Value::as_u64);
    id.and_then(|id| u32::try_from(id).ok())
}

/// Reaps orphans that became children of this process and ended. For process 1 of a container, to which every orphan is
/// given: nobody else would wait for them.
#[cfg(target_os = "linux")]
pub(crate) fn reap_orphans() {
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
    let ours = Pid::from_u32(std::process::id());
    for process in system.processes().values() {
        if process.parent() == Some(ours) && process.status() == sysinfo::ProcessStatus::Zombie {
            let id = rustix::process::Pid::from_raw(process.pid().as_u32().cast_signed());
            _ = rustix::process::waitpid(id, rustix::process::WaitOptions::NOHANG);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_directory_of_a_socket_is_taken_for_one() {
        let (temporary, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let make = |dir: PathBuf| {
            std::fs::create_dir(&dir).unwrap();
            dir
        };
        let socket = make(temporary.path().join("org.chromium.Chromium.a1B2c3"));
        let hidden = make(temporary.path().join(".com.google.Chrome.a1B2c3"));
        let named_otherwise = make(temporary.path().join("photos"));
        let in_another_place = make(elsewhere.path().join("org.chromium.Chromium.a1B2c3"));
        let link = temporary.path().join("org.chromium.Chromium.link");
        symlink(elsewhere.path(), &link).unwrap();
        for (dir, expected) in [
            (&socket, true),
            (&hidden, true),
            (&named_otherwise, false),
            (&in_another_place, false),
            (&link, false),
            (&temporary.path().join("org.chromium.gone"), false),
        ] {
            let profile = tempfile::tempdir().unwrap();
            symlink(dir.join("SingletonSocket"), profile.path().join("SingletonSocket")).unwrap();
            let found = socket_dir(profile.path(), temporary.path());
            assert_eq!(found, expected.then(|| dir.clone()), "{}", dir.display());
        }
    }

    #[test]
    fn the_directory_of_a_browser_goes_with_its_processes_and_nothing_else() {
        let home = BrowserHome::create(None).unwrap();
        std::fs::create_dir_all(home.profile()).unwrap();
        let mine = std::env::temp_dir().join(format!("org.chromium.Chromium.test-{}", std::process::id()));
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(mine.join("SingletonSocket"), "").unwrap();
        std::fs::write(mine.join("notes.txt"), "kept").unwrap();
        symlink(mine.join("SingletonSocket"), home.profile().join("SingletonSocket")).unwrap();
        // As a browser whose wrapper adds a profile of the user's own.
        let own = tempfile::tempdir().unwrap();
        let mut browser = std::process::Command::new("sh");
        browser.args(["-c", "read line"]).arg(format!("--user-data-dir={}", home.profile().display()));
        browser.arg(format!("--user-data-dir={}", own.path().display())).stdin(std::process::Stdio::piped());
        let mut browser = browser.spawn().unwrap();
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let path = home.path().to_owned();
        home.end(Vec::new());
        assert!(!path.exists() && own.path().exists());
        assert!(!browser.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a process of somebody else was ended");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!mine.join("SingletonSocket").exists() && mine.join("notes.txt").exists());
        std::fs::remove_dir_all(mine).unwrap();
    }
}
