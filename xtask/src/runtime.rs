//! Installs ONNX Runtime's shared library in `.runtime/` and in the user's cache directory, from the Python or the npm
//! package. Packages are checked against the SHA-256 that PyPI and npm publish for these versions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::command::{npm, print_status, run_quietly};
use crate::{bundles, wheel};

const PIP: &str = "onnxruntime==1.32.0";
/// The Python version whose wheels are downloaded, whichever Python runs pip: their digests are known.
const PYTHON: &[&str] = &["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"];
/// Wheels: system and processor in Rust's names, the wheel's platform, its SHA-256.
const WHEELS: [(&str, &str, &str, &str); 5] = [
    ("linux", "x86_64", "manylinux_2_28_x86_64", "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8"),
    ("linux", "aarch64", "manylinux_2_28_aarch64", "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054"),
    ("macos", "aarch64", "macosx_14_0_arm64", "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e"),
    ("windows", "x86_64", "win_amd64", "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40"),
    ("windows", "aarch64", "win_arm64", "64d394c69d561af3efd4d4f49dcac8f11d0ce135a20701c16d53b74056cd4cf8"),
];
const NPM: &str = "onnxruntime-node@1.30.0";
/// SHA-256 of its archive, which holds the libraries of all platforms.
const NPM_SHA256: &str = "6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75";

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
        copy_to_cache(&library);
        return Ok(());
    }
    print_status("onnxruntime", format_args!("downloading {PIP}"));
    let (source, bytes) = from_pip(&library)
        .map(|bytes| (PIP.to_owned(), bytes))
        .or_else(|pip| {
            print_status("onnxruntime", format_args!("{pip:#}; downloading {NPM}"));
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
    copy_to_cache(&library);
    Ok(())
}

/// Copies the library to where programs find it that lie elsewhere than in this checkout, unless it is there. Nothing here
/// needs that copy, so errors are only printed.
fn copy_to_cache(library: &Path) {
    let copy = || {
        let target = bundles::cache_dir()?.join("runtime").join(file_name());
        let length = |file: &Path| file.metadata().map(|metadata| metadata.len()).ok();
        if length(&target) != length(library) {
            wheel::save(&mut File::open(library)?, &target, |_| Ok(()))?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = copy() {
        print_status("onnxruntime", format_args!("not copied to the cache directory: {error:#}"));
    }
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
    let (platform, sha256) = wheel_for(std::env::consts::OS, std::env::consts::ARCH)
        .filter(|_| !cfg!(target_env = "musl"))
        .with_context(|| format!("{PIP} has no package for this platform"))?;
    let (_folder, wheel) = wheel::download(PIP, &[PYTHON, &["--platform", platform]].concat())?;
    wheel::check(&wheel, sha256)?;
    let mut archive = wheel::open(&wheel)?;
    let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let member = names.find(|name| is_library(name, std::env::consts::OS));
    drop(names);
    let member = member.ok_or_else(|| anyhow!("the wheel of {PIP} does not contain {}", file_name()))?;
    wheel::save(&mut archive.by_name(&member)?, library, |_| Ok(()))
}

/// Platform and SHA-256 of the wheel for this system and processor.
fn wheel_for(os: &str, arch: &str) -> Option<(&'static str, &'static str)> {
    let wheel = WHEELS.iter().find(|wheel| (wheel.0, wheel.1) == (os, arch));
    wheel.map(|(_, _, platform, sha256)| (*platform, *sha256))
}

fn from_npm(library: &Path) -> Result<u64> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let name = run_quietly(npm().args(["pack", "--silent", NPM]).current_dir(folder.path()))?;
    let name = name.lines().last().unwrap_or_default().trim();
    wheel::check(&folder.path().join(name), NPM_SHA256)?;
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
    fn every_supported_platform_has_a_checked_package() {
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64"), ("windows", "x86_64")] {
            let (platform, sha256) = wheel_for(os, arch).unwrap();
            assert!(platform.contains(if arch == "x86_64" { "64" } else { "arm64" }) || platform.ends_with(arch));
            assert!(sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sha256}");
        }
        let digests: std::collections::BTreeSet<_> = WHEELS.iter().map(|wheel| wheel.3).chain([NPM_SHA256]).collect();
        assert_eq!(digests.len(), WHEELS.len() + 1);
        // The packages of this version have no library for Macs with Intel processors.
        assert_eq!(wheel_for("macos", "x86_64"), None);
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
