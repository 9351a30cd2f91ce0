//! The web pages: npm packages and build.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::command::{npm, print_status, run_quietly};

/// Minimum (major, minor) version of Node.js for the build.
const MIN_NODE: (u32, u32) = (20, 19);
/// Generated folders in web-demo.
const GENERATED: [&str; 3] = ["node_modules", "dist", "coverage"];

/// Installs the packages and builds the pages, unless both are newer than their sources. `newest_computed`: modification
/// time of the newest encoder that was computed; the pages contain one.
pub(crate) fn set_up(root: &Path, newest_computed: Option<SystemTime>) -> Result<()> {
    install(root)?;
    let folder = root.join("web-demo");
    let dist = folder.join("dist");
    // An interrupted build leaves a folder that is new but incomplete.
    let complete = dist.join("arena.html").is_file();
    // The build contains copies of bundles, one of which may have been derived since.
    let bundles = newest(&root.join("model/bundles"), &[])?.max(newest_computed);
    let sources = newest(&folder, &GENERATED)?.max(bundles);
    if !complete || !is_current(newest(&dist, &[])?, sources) {
        check_tools()?;
        print_status("page", "npm run build");
        run_quietly(npm().args(["run", "build"]).current_dir(&folder))?;
    }
    print_status("page", dist.display());
    Ok(())
}

/// Installs the packages, unless they are newer than the list of them.
pub(crate) fn install(root: &Path) -> Result<()> {
    let folder = root.join("web-demo");
    let lock = folder.join("package-lock.json");
    if !lock.is_file() {
        bail!("{} is missing: the checkout is incomplete", lock.display());
    }
    if !is_current(modified(&folder.join("node_modules/.package-lock.json")), modified(&lock)) {
        check_tools()?;
        print_status("page", "npm ci");
        run_quietly(npm().args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    }
    Ok(())
}

/// Checks that npm and a recent Node.js are installed.
fn check_tools() -> Result<()> {
    let hint = "building the web pages needs Node.js 20.19 or newer with npm: install them";
    let version = run_quietly(std::process::Command::new("node").arg("--version")).context(hint)?;
    if node_version(&version).is_none_or(|version| version < MIN_NODE) {
        bail!("{hint} (found Node.js {})", version.trim());
    }
    run_quietly(npm().arg("--version")).context(hint)?;
    Ok(())
}

/// Parses the major and minor version from `v20.20.2`.
fn node_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether the output exists and is at least as new as its sources.
fn is_current(output: Option<SystemTime>, source: Option<SystemTime>) -> bool {
    output.is_some() && output >= source
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

/// The newest modification time of the files below `folder`, except in its direct subfolders named in `excluded`.
fn newest(folder: &Path, excluded: &[&str]) -> Result<Option<SystemTime>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut newest_time = None;
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let time = if !entry.file_type()?.is_dir() {
            modified(&entry.path())
        } else if excluded.iter().any(|name| entry.file_name() == *name) {
            None
        } else {
            newest(&entry.path(), &[])?
        };
        newest_time = newest_time.max(time);
    }
    Ok(newest_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(file: &Path, seconds: u64) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::create(file).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn newer_sources_make_the_build_stale() {
        let folder = tempfile::tempdir().unwrap();
        let (root, dist) = (folder.path(), folder.path().join("dist"));
        write(&root.join("arena.html"), 100);
        write(&root.join("node_modules/deep/file"), 900);
        assert!(!is_current(newest(&dist, &[]).unwrap(), newest(root, &GENERATED).unwrap()));
        write(&dist.join("arena.html"), 200);
        assert!(is_current(newest(&dist, &[]).unwrap(), newest(root, &GENERATED).unwrap()));
        write(&root.join("src/deep/map.ts"), 300);
        assert!(!is_current(newest(&dist, &[]).unwrap(), newest(root, &GENERATED).unwrap()));
    }

    #[test]
    fn node_version_is_parsed() {
        assert_eq!(node_version("v20.20.2\n"), Some((20, 20)));
        assert!(node_version("v20.9.0") < Some(MIN_NODE) && node_version("v22.0.0") > Some(MIN_NODE));
        assert_eq!(node_version("nonsense"), None);
    }
}
