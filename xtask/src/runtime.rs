//! Installs ONNX Runtime's shared library in `.runtime/`, from the Python or the npm package.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::{npm, print_status, python, run_quietly};
use crate::wheel;

const PIP: &str = "onnxruntime==1.32.0";
const NPM: &str = "onnxruntime-node@1.30.0";
/// Minimum (major, minor) version whose API the agent can use (`ort`'s feature `api-24`).
const MIN_VERSION: (u32, u32) = (1, 24);

/// Installs the library, unless it is installed or `ORT_DYLIB_PATH` names one.
pub(crate) fn set_up(root: &Path) -> Result<()> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|file| file.is_file()) {
        print_status("onnxruntime", format_args!("{} (ORT_DYLIB_PATH)", named.display()));
        return Ok(());
    }
    let library = root.join(".runtime").join(file_name());
    let stamp = root.join(".runtime/source");
    if let Some(source) = installed_source(&library, &stamp) {
        print_status("onnxruntime", format_args!("{} ({source})", library.display()));
        return Ok(());
    }
    print_status("onnxruntime", format_args!("downloading {PIP}"));
    let (source, bytes) = from_pip(&library)
        .map(|bytes| (PIP.to_owned(), bytes))
        .or_else(|pip| {
            print_status("onnxruntime", format_args!("pip failed: {pip:#}; looking for an installed package"));
            from_installed(&library)
        })
        .or_else(|installed| {
            print_status("onnxruntime", format_args!("{installed:#}; downloading {NPM}"));
            from_npm(&library).map(|bytes| (NPM.to_owned(), bytes))
        })
        .with_context(|| {
            format!(
                "cannot install ONNX Runtime: install Python's pip or npm, or set ORT_DYLIB_PATH to the path of {}",
                file_name()
            )
        })?;
    wheel::save(&mut format!("{bytes} {source}\n").as_bytes(), &stamp, |_| Ok(()))?;
    print_status("onnxruntime", format_args!("{} ({source})", library.display()));
    Ok(())
}

/// The library's file name on this platform.
fn file_name() -> &'static str {
    match std::env::consts::OS {
        "windows" => "onnxruntime.dll",
        "macos" => "libonnxruntime.dylib",
        _ => "libonnxruntime.so",
    }
}

/// The source of the installed library, if it is complete: the stamp file contains its size and source (`BYTES SOURCE`).
fn installed_source(library: &Path, stamp: &Path) -> Option<String> {
    let stamp = std::fs::read_to_string(stamp).ok()?;
    let (bytes, source) = stamp.trim().split_once(' ')?;
    (library.metadata().ok()?.len() == bytes.parse::<u64>().ok()?).then(|| source.to_owned())
}

/// Whether this file of a package is the library, with or without a version in its name, and not one of its providers.
fn is_library(path: &str, os: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match os {
        "windows" => name == "onnxruntime.dll",
        "macos" => name.starts_with("libonnxruntime.") && name.ends_with(".dylib"),
        _ => name.starts_with("libonnxruntime.so"),
    }
}

fn from_pip(library: &Path) -> Result<u64> {
    let (_folder, mut archive) = wheel::download(PIP)?;
    let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let member = names.find(|name| is_library(name, std::env::consts::OS));
    drop(names);
    let member = member.ok_or_else(|| anyhow!("the wheel of {PIP} does not contain {}", file_name()))?;
    wheel::save(&mut archive.by_name(&member)?, library, |_| Ok(()))
}

/// Copies the library of an onnxruntime package that Python can import. Returns its source and size in bytes.
fn from_installed(library: &Path) -> Result<(String, u64)> {
    let script =
        "import onnxruntime as o, os; print(o.__version__); print(os.path.join(os.path.dirname(o.__file__), 'capi'))";
    let output = python().args(["-c", script]).output().context("cannot start Python")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let mut lines = answer.lines();
    let (Some(version), Some(folder), true) = (lines.next(), lines.next(), output.status.success()) else {
        bail!("Python cannot import onnxruntime")
    };
    if !is_recent(version) {
        bail!("Python's onnxruntime {version} is older than {}.{}", MIN_VERSION.0, MIN_VERSION.1);
    }
    let found = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_str().is_some_and(|path| is_library(path, std::env::consts::OS)))
        .ok_or_else(|| anyhow!("{folder} does not contain {}", file_name()))?;
    let bytes = wheel::save(&mut File::open(&found)?, library, |_| Ok(()))?;
    Ok((format!("copied from {}", found.display()), bytes))
}

fn is_recent(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    parts.next().zip(parts.next()).is_some_and(|version| version >= MIN_VERSION)
}

fn from_npm(library: &Path) -> Result<u64> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let name = run_quietly(npm().args(["pack", "--silent", NPM]).current_dir(folder.path()))?;
    let name = name.lines().last().unwrap_or_default().trim();
    let members = run_quietly(Command::new("tar").args(["-tzf", name]).current_dir(folder.path()))?;
    let member = members
        .lines()
        .find(|member| is_node_member(member, std::env::consts::OS, std::env::consts::ARCH))
        .ok_or_else(|| anyhow!("{NPM} has no library for this platform"))?;
    run_quietly(Command::new("tar").args(["-xzf", name, member]).current_dir(folder.path()))?;
    wheel::save(&mut File::open(folder.path().join(member))?, library, |_| Ok(()))
}

/// Whether this is the library for `os` and `arch` (in Rust's names) in onnxruntime-node's `bin/napi-vN/OS/ARCH/`.
fn is_node_member(member: &str, os: &str, arch: &str) -> bool {
    let os_folder = match os {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    let arch_folder = match arch {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    member.contains(&format!("/{os_folder}/{arch_folder}/")) && is_library(member, os)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_distinguished_from_other_files() {
        assert!(is_library("onnxruntime/capi/libonnxruntime.so.1.32.0", "linux"));
        assert!(!is_library("onnxruntime/capi/libonnxruntime_providers_shared.so", "linux"));
        assert!(is_library("onnxruntime/capi/libonnxruntime.1.32.0.dylib", "macos"));
        assert!(is_library("onnxruntime/capi/onnxruntime.dll", "windows"));
        assert!(!is_library("onnxruntime/capi/onnxruntime_providers_shared.dll", "windows"));
        let member = "package/bin/napi-v6/linux/x64/libonnxruntime.so.1";
        assert!(is_node_member(member, "linux", "x86_64"));
        assert!(!is_node_member(member, "linux", "aarch64"));
        assert!(!is_node_member(member, "macos", "x86_64"));
    }

    #[test]
    fn old_versions_are_rejected() {
        assert!(is_recent("1.24.0") && is_recent("1.32.0") && is_recent("2.0.1rc1"));
        assert!(!is_recent("1.23.2") && !is_recent("0.99.0") && !is_recent("nonsense"));
    }

    #[test]
    fn incomplete_library_is_not_reused() {
        let folder = tempfile::tempdir().unwrap();
        let (library, stamp) = (folder.path().join("lib"), folder.path().join("source"));
        assert_eq!(installed_source(&library, &stamp), None);
        std::fs::write(&library, b"12345").unwrap();
        assert_eq!(installed_source(&library, &stamp), None);
        std::fs::write(&stamp, "5 onnxruntime==1.32.0\n").unwrap();
        assert_eq!(installed_source(&library, &stamp).as_deref(), Some("onnxruntime==1.32.0"));
        std::fs::write(&library, b"1234").unwrap();
        assert_eq!(installed_source(&library, &stamp), None);
    }
}
