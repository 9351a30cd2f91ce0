//! The page's part of the model crate as WebAssembly, kept in git with the hash of what it was made from.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::command::{cargo, quiet, say};

const TARGET: &str = "wasm32-unknown-unknown";
/// What the page loads, and beside it the hash of its sources.
const MADE: &str = "web-demo/src/engine/landfall.wasm";
const STAMP: &str = "web-demo/src/engine/landfall.wasm.sources";
/// Files of the crate that WebAssembly is not made from.
const NATIVE: [&str; 2] = ["classifier.rs", "runtime.rs"];

/// Build it and put it where the page takes it from. Where Rust's target cannot be had the file in git stays, which is an
/// error when it was made from other sources.
pub(crate) fn build(root: &Path) -> Result<()> {
    if let Err(why) = ensure_target(root) {
        eprintln!("\n*** {TARGET} CANNOT BE HAD, NOTHING WAS BUILT: {why:#}\n*** The page uses {MADE} from git.\n");
        if !is_current(root)? {
            bail!("{MADE} was made from other sources than these: build it where `rustup target add {TARGET}` works");
        }
        return Ok(());
    }
    let mut build = cargo(root);
    build.args(["rustc", "--profile", "wasm", "--target", TARGET, "--package", "landfall-model", "--lib"]);
    build.args(["--no-default-features", "--features", "wasm", "--crate-type", "cdylib"]);
    build.arg("--message-format=json-render-diagnostics");
    build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags(root));
    let made = artifact(&quiet(&mut build)?).ok_or_else(|| anyhow!("cargo built no .wasm"))?;
    put(&root.join(MADE), &std::fs::read(&made).with_context(|| format!("{} cannot be read", made.display()))?)?;
    put(&root.join(STAMP), format!("{}\n", sources(root)?).as_bytes())?;
    say("wasm", format_args!("{MADE}, {} bytes", root.join(MADE).metadata()?.len()));
    Ok(())
}

/// Every browser that runs the page's networks has SIMD. Paths of this machine stay out of panics' messages.
fn flags(root: &Path) -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registry = home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())).unwrap_or_default();
    format!("-Ctarget-feature=+simd128 --remap-path-prefix={}=. {registry}", root.display())
}

fn ensure_target(root: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let library = quiet(rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    say("wasm", format_args!("rustup target add {TARGET}"));
    quiet(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root)).map(drop)
}

/// The .wasm among cargo's messages, one JSON object a line.
fn artifact(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?.iter();
        files.filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    })
}

fn put(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = || format!("{} cannot be written", file.display());
    let mut side = NamedTempFile::new_in(folder).with_context(failed)?;
    side.write_all(bytes).with_context(failed)?;
    side.persist(file).with_context(failed)?;
    Ok(())
}

/// Whether the file in git was made from these sources.
fn is_current(root: &Path) -> Result<bool> {
    let stamp = std::fs::read_to_string(root.join(STAMP)).with_context(|| format!("{STAMP} cannot be read"))?;
    Ok(stamp.trim() == sources(root)?)
}

/// sha256 of what the file is made from: the crate's sources and data, and the locked versions of what it depends on.
fn sources(root: &Path) -> Result<String> {
    let model = root.join("model");
    let mut files = vec![model.join("Cargo.toml")];
    find(&model.join("src"), &mut files)?;
    find(&model.join("data"), &mut files)?;
    files.retain(|file| !NATIVE.iter().any(|name| file.ends_with(name)));
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&file).and_then(|mut open| open.read_to_end(&mut bytes));
        opened.with_context(|| format!("{} cannot be read", file.display()))?;
        bytes.retain(|byte| *byte != b'\r'); // a checkout on Windows may have put them there
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(bytes);
    }
    let text =
        |file: &Path| std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
    let (manifest, lock) = (text(&model.join("Cargo.toml"))?, text(&root.join("Cargo.lock"))?);
    for package in locked(&manifest, &lock)? {
        hash.update(package + "\n");
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { find(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Manifest {
    dependencies: toml::Table,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// `name version` of every package that a crate needs without its optional dependencies, by its Cargo.toml and the lock.
fn locked(manifest: &str, lock: &str) -> Result<BTreeSet<String>> {
    let manifest: Manifest = toml::from_str(manifest).context("a Cargo.toml cannot be read")?;
    let lock: Lock = toml::from_str(lock).context("Cargo.lock cannot be read")?;
    let is_needed =
        |(_, entry): &(&String, &toml::Value)| entry.get("optional").is_none_or(|o| o.as_bool() != Some(true));
    let mut wanted: Vec<String> =
        manifest.dependencies.iter().filter(is_needed).map(|(name, _)| name.clone()).collect();
    let mut seen = BTreeSet::new();
    while let Some(dependency) = wanted.pop() {
        // `name`, or `name version` where the lock has several.
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        for package in lock.package.iter().filter(|p| p.name == name && version.is_none_or(|v| p.version == v)) {
            if seen.insert(format!("{} {}", package.name, package.version)) {
                wanted.extend(package.dependencies.iter().cloned());
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_git_is_made_from_these_sources() {
        let root = crate::workspace_root();
        assert!(is_current(&root).unwrap(), "{MADE} was made from other sources: cargo xtask wasm");
    }

    #[test]
    fn what_is_needed_is_found_in_the_lock() {
        let manifest = "[dependencies]\na.workspace = true\nb = { workspace = true, optional = true }";
        let package = |name: &str, version: &str, needs: &str| {
            format!("[[package]]\nname = '{name}'\nversion = '{version}'\ndependencies = [{needs}]\n")
        };
        let packages = [
            package("a", "1.0.0", "'c 2.0.0', 'd'"),
            package("b", "1.0.0", ""),
            package("c", "1.0.0", ""),
            package("c", "2.0.0", ""),
            package("d", "3.0.0", "'a'"),
        ];
        let found = locked(manifest, &packages.concat()).unwrap();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a 1.0.0", "c 2.0.0", "d 3.0.0"]);
    }

    #[test]
    fn the_wasm_is_found_among_the_messages() {
        let messages = "not json\n{\"filenames\":[\"/t/a.rlib\"]}\n{\"filenames\":[\"/t/x.wasm\"]}\n{\"reason\":\"build-finished\"}";
        assert_eq!(artifact(messages), Some("/t/x.wasm".into()));
        assert_eq!(artifact("{\"filenames\":[\"/t/a.rlib\"]}"), None);
    }
}
