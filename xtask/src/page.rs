//! The arena's page: its npm packages and its build.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::command::{npm, quiet, say};

/// The least (major, minor) version of Node.js that the page's tools run on.
const OLDEST_NODE: (u32, u32) = (20, 19);
/// Folders in web-demo that are made, not written.
const MADE: [&str; 3] = ["node_modules", "dist", "coverage"];

/// Install the packages and build the page unless both are newer than what they are made from.
pub(crate) fn set_up(root: &Path) -> Result<()> {
    let folder = root.join("web-demo");
    let lock = folder.join("package-lock.json");
    if !lock.is_file() {
        bail!("{} is missing: the checkout is not whole", lock.display());
    }
    let mut checked = false;
    if !is_current(modified(&folder.join("node_modules/.package-lock.json")), modified(&lock)) {
        check_tools()?;
        checked = true;
        say("page", "npm ci");
        quiet(npm().args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    }
    let dist = folder.join("dist");
    // An interrupted build leaves a folder that is new but not whole.
    let whole = dist.join("arena.html").is_file();
    let bundle = root.join("model/bundles/pocket"); // the build has a copy of it
    let sources = newest(&folder, &MADE)?.max(newest(&bundle, &[])?);
    if !whole || !is_current(newest(&dist, &[])?, sources) {
        if !checked {
            check_tools()?;
        }
        say("page", "npm run build");
        quiet(npm().args(["run", "build"]).current_dir(&folder))?;
    }
    say("page", dist.display());
    Ok(())
}

/// Is there a Node.js that is new enough, and npm?
fn check_tools() -> Result<()> {
    let hint = "the arena's page needs Node.js 20.19 or newer with npm: install them";
    let version = quiet(std::process::Command::new("node").arg("--version")).context(hint)?;
    if node_version(&version).is_none_or(|version| version < OLDEST_NODE) {
        bail!("{hint} (this is Node.js {})", version.trim());
    }
    quiet(npm().arg("--version")).context(hint)?;
    Ok(())
}

/// The major and minor version in `v20.20.2`.
fn node_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Is what was made at least as new as what it is made from? Something not made yet never is.
fn is_current(made: Option<SystemTime>, source: Option<SystemTime>) -> bool {
    made.is_some() && made >= source
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

/// The newest modification time among the files below `folder`, leaving out its own subfolders called `without`.
fn newest(folder: &Path, without: &[&str]) -> Result<Option<SystemTime>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut newest_yet = None;
    for entry in folder.read_dir().with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let time = if !entry.file_type()?.is_dir() {
            modified(&entry.path())
        } else if without.iter().any(|name| entry.file_name() == *name) {
            None
        } else {
            newest(&entry.path(), &[])?
        };
        newest_yet = newest_yet.max(time);
    }
    Ok(newest_yet)
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
    fn a_newer_source_makes_the_build_stale() {
        let folder = tempfile::tempdir().unwrap();
        let (root, dist) = (folder.path(), folder.path().join("dist"));
        write(&root.join("arena.html"), 100);
        write(&root.join("node_modules/deep/file"), 900);
        assert!(!is_current(newest(&dist, &[]).unwrap(), newest(root, &MADE).unwrap()));
        write(&dist.join("arena.html"), 200);
        assert!(is_current(newest(&dist, &[]).unwrap(), newest(root, &MADE).unwrap()));
        write(&root.join("src/deep/map.ts"), 300);
        assert!(!is_current(newest(&dist, &[]).unwrap(), newest(root, &MADE).unwrap()));
    }

    #[test]
    fn node_versions() {
        assert_eq!(node_version("v20.20.2\n"), Some((20, 20)));
        assert!(node_version("v20.9.0") < Some(OLDEST_NODE) && node_version("v22.0.0") > Some(OLDEST_NODE));
        assert_eq!(node_version("nonsense"), None);
    }
}
