//! Builds the model crate as WebAssembly for the web pages. The file is in git, together with a hash of its sources.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::command::{cargo, print_status, run_quietly};

const TARGET: &str = "wasm32-unknown-unknown";
/// The module that the page loads, and the hash of its sources.
const MODULE: &str = "web-demo/src/engine/landfall.wasm";
const STAMP: &str = "web-demo/src/engine/landfall.wasm.sources";
/// Files of the crate that are not compiled for WebAssembly.
const NATIVE_ONLY: [&str; 4] = ["classifier.rs", "engine", "installation.rs", "runtime"];

/// Builds the module and writes it to the page's sources. If the Rust target cannot be installed, the file in git stays,
/// and it is an error if that was built from other sources.
pub(crate) fn build(root: &Path) -> Result<()> {
    if let Err(why) = ensure_target(root) {
        eprintln!("warning: cannot install the Rust target {TARGET}, nothing was built: {why:#}");
        eprintln!("warning: the page uses {MODULE} from git");
        if !is_current(root)? {
            bail!("{MODULE} is out of date: build it on a machine where `rustup target add {TARGET}` works");
        }
        return Ok(());
    }
    let mut build = cargo(root);
    build.args(["rustc", "--profile", "wasm", "--target", TARGET, "--package", "landfall-model", "--lib"]);
    build.args(["--no-default-features", "--features", "wasm", "--crate-type", "cdylib"]);
    build.arg("--message-format=json-render-diagnostics");
    build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags(root));
    let built = artifact(&run_quietly(&mut build)?).ok_or_else(|| anyhow!("cargo reported no .wasm file"))?;
    write_atomic(
        &root.join(MODULE),
        &std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?,
    )?;
    write_atomic(&root.join(STAMP), format!("{}\n", sources_hash(root)?).as_bytes())?;
    print_status("wasm", format_args!("{MODULE}, {} bytes", root.join(MODULE).metadata()?.len()));
    Ok(())
}

/// SIMD is supported by every browser that can run the page. Remapping keeps local paths out of panic messages.
fn flags(root: &Path) -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registry = home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())).unwrap_or_default();
    format!("-Ctarget-feature=+simd128 --remap-path-prefix={}=. {registry}", root.display())
}

fn ensure_target(root: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let library = run_quietly(rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    print_status("wasm", format_args!("rustup target add {TARGET}"));
    run_quietly(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root)).map(drop)
}

/// The path of the .wasm file in cargo's output, which has one JSON message per line.
fn artifact(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?.iter();
        files.filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    })
}

fn write_atomic(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}", file.display());
    let mut temporary = NamedTempFile::new_in(folder).with_context(failed)?;
    temporary.write_all(bytes).with_context(failed)?;
    temporary.persist(file).with_context(failed)?;
    Ok(())
}

/// Whether the module in git was built from the current sources.
pub(crate) fn is_current(root: &Path) -> Result<bool> {
    let stamp = std::fs::read_to_string(root.join(STAMP)).with_context(|| format!("cannot read {STAMP}"))?;
    Ok(stamp.trim() == sources_hash(root)?)
}

/// SHA-256 of the module's inputs: the crate's sources and data, and the locked versions of its dependencies.
fn sources_hash(root: &Path) -> Result<String> {
    let model = root.join("model");
    let mut files = vec![model.join("Cargo.toml")];
    collect_files(&model.join("src"), &mut files)?;
    collect_files(&model.join("data"), &mut files)?;
    files.retain(|file| !NATIVE_ONLY.iter().any(|name| file.starts_with(model.join("src").join(name))));
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&file).and_then(|mut open| open.read_to_end(&mut bytes));
        opened.with_context(|| format!("cannot read {}", file.display()))?;
        bytes.retain(|byte| *byte != b'\r'); // a Windows checkout may have CRLF line ends
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(bytes);
    }
    let text = |file: &Path| std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    let (manifest, lock) = (text(&model.join("Cargo.toml"))?, text(&root.join("Cargo.lock"))?);
    for package in locked(&manifest, &lock)? {
        hash.update(package + "\n");
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { collect_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    dependencies: Vec<&'a str>,
}

/// The packages of a Cargo.lock. Cargo writes it in one form, which needs no parser of TOML: that took a third of the time
/// to compile xtask.
fn packages(lock: &str) -> Result<Vec<Package<'_>>> {
    let quotes = ['"', '\''];
    let package = |block| {
        let field = |name: &str| {
            let value = str::lines(block).find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            value.map(|value| value.trim_matches(quotes))
        };
        let list = block.split_once("\ndependencies = [").and_then(|(_, rest)| rest.split_once(']'));
        let dependencies = list.map(|(list, _)| list.split(quotes).skip(1).step_by(2).collect()).unwrap_or_default();
        Some(Package { name: field("name")?, version: field("version")?, dependencies })
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks.map(package).collect::<Option<_>>().context("cannot parse Cargo.lock")
}

/// The names in `[dependencies]` of a Cargo.toml, without optional ones.
fn required(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let entries = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    let required = entries.filter(|line| !line.contains("optional = true"));
    required.filter_map(|line| line.split(['.', '=']).next().map(str::trim).filter(|name| !name.is_empty())).collect()
}

/// `name version` of every package that a crate depends on, without optional dependencies, from Cargo.toml and Cargo.lock.
fn locked(manifest: &str, lock: &str) -> Result<BTreeSet<String>> {
    let lock = packages(lock)?;
    let mut wanted = required(manifest);
    let mut seen = BTreeSet::new();
    while let Some(dependency) = wanted.pop() {
        // `name`, or `name version` if Cargo.lock has several versions.
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        for package in lock.iter().filter(|p| p.name == name && version.is_none_or(|v| p.version == v)) {
            if seen.insert(format!("{} {}", package.name, package.version)) {
                wanted.extend(&package.dependencies);
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_in_git_is_up_to_date() {
        let root = crate::workspace_root();
        assert!(is_current(&root).unwrap(), "{MODULE} is out of date: run `cargo xtask wasm`");
    }

    #[test]
    fn locked_versions_follow_required_dependencies() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\na.workspace = true\nb = { workspace = true, optional = \
                        true }\n# no\n\n[dev-dependencies]\nb = \"1\"";
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
        assert!(super::packages("[[package]]\nname = 'a'\n").is_err());
        let found = locked(manifest, &packages.concat()).unwrap();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a 1.0.0", "c 2.0.0", "d 3.0.0"]);
    }

    #[test]
    fn artifact_is_found_in_cargo_messages() {
        let messages = "not json\n{\"filenames\":[\"/t/a.rlib\"]}\n{\"filenames\":[\"/t/x.wasm\"]}\n{\"reason\":\"build-finished\"}";
        assert_eq!(artifact(messages), Some("/t/x.wasm".into()));
        assert_eq!(artifact("{\"filenames\":[\"/t/a.rlib\"]}"), None);
    }
}
