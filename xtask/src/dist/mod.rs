//! `dist`: the archive of a release for one target, its checksum, its bill of materials and its Debian package; and tests of
//! what was packed.

mod build;
mod debian;
mod elf;
mod materials;
mod pack;
pub(crate) mod roots;
mod smoke;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, print_status, run_quietly};

/// Maximum size of the program.
const MAX_PROGRAM_BYTES: u64 = 40_000_000;
/// Folder of the archives, in the workspace root.
const OUT: &str = "target/distrib";

/// A release for one target.
struct Release {
    root: PathBuf,
    /// Where the archive is written.
    out: PathBuf,
    target: String,
    version: String,
}

impl Release {
    fn new(root: &Path, target: Option<&str>) -> Result<Self> {
        let metadata = run_quietly(cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata).context("cannot read the output of `cargo metadata`")?;
        let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let agent = packages.iter().find(|package| package["name"] == build::PACKAGE);
        let version = agent.and_then(|package| package["version"].as_str()).context("landfall-agent has no version")?;
        let target = target.map_or_else(build::host, |target| Ok(target.to_owned()))?;
        Ok(Self { root: root.to_owned(), out: root.join(OUT), target, version: version.to_owned() })
    }

    /// Name of the archive without its ending, and of the folder in it.
    fn name(&self) -> String {
        format!("landfall-{}-{}", self.version, self.target)
    }

    /// Whether the program can load ONNX Runtime, without which it runs pocket only.
    fn runs_all_bundles(&self) -> bool {
        !self.target.contains("musl")
    }

    fn is_windows(&self) -> bool {
        self.target.contains("windows")
    }

    /// Name of the program.
    fn program(&self) -> &'static str {
        if self.is_windows() { "landfall.exe" } else { "landfall" }
    }
}

/// Builds, packs and tests a release. Returns 0, or 1 if the program is too large or a test failed. `target`: the target
/// triple; this machine's, if there is none.
pub(crate) fn run(root: &Path, target: Option<&str>) -> Result<u8> {
    let release = Release::new(root, target)?;
    let agent = build::program(&release)?;
    let bytes = agent.file().metadata().with_context(|| format!("cannot read {}", agent.file().display()))?.len();
    print_status("program", format!("{:.1} MB, {}", bytes as f64 / 1e6, agent.file().display()));
    if release.target.contains("linux-gnu") {
        print_status("glibc", elf::glibc_floor(agent.file())?);
    }
    let runs_here = smoke::runs_here(&agent);
    let archive = pack::archive(&release, &agent, runs_here)?;
    print_status("archive", archive.display());
    if runs_here && release.target.contains("linux-gnu") {
        match debian::package(&release)? {
            Some(package) => print_status("package", package.display()),
            None => println!("skipped: the Debian package; on Debian, cargo install cargo-deb"),
        }
    }
    pack::write_checksums(&release.out)?;
    if bytes > MAX_PROGRAM_BYTES {
        eprintln!("the program has {bytes} bytes, more than the {MAX_PROGRAM_BYTES} allowed");
        return Ok(1);
    }
    if !runs_here {
        println!("skipped: completions, man pages and tests; this machine cannot run programs for {}", release.target);
        return Ok(0);
    }
    smoke::test(&release, &archive)
}
