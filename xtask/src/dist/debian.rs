//! The Debian package, which cargo-deb makes of what is in the archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Release;
use super::build::PACKAGE;
use crate::command::{cargo, find_program, run_quietly};

/// Where the metadata in agent/Cargo.toml looks for the files, in the folder of the archives.
const FILES: &str = "debian";
/// Files that the package must have, among others.
const EXPECTED: [&str; 8] = [
    "./usr/bin/landfall",
    "./usr/share/landfall/bundles/desktop/head.onnx",
    "./usr/share/landfall/bundles/phone/moments.safetensors",
    "./usr/share/man/man1/landfall-locate.1.gz",
    "./usr/share/bash-completion/completions/landfall",
    "./usr/share/zsh/vendor-completions/_landfall",
    "./usr/share/fish/vendor_completions.d/landfall.fish",
    "./usr/share/doc/landfall/copyright",
];

/// Makes the package of a packed release. Returns `None` if this machine cannot.
pub(super) fn package(release: &Release) -> Result<Option<PathBuf>> {
    if find_program(&["cargo-deb"]).is_none() || find_program(&["dpkg-deb"]).is_none() {
        return Ok(None);
    }
    let files = release.out.join(FILES);
    if files.exists() {
        fs::remove_dir_all(&files).with_context(|| format!("cannot delete {}", files.display()))?;
    }
    run_quietly(Command::new("cp").arg("-r").arg(release.out.join(release.name())).arg(&files))?;
    let mut command = cargo(&release.root);
    command.args(["deb", "--package", PACKAGE, "--no-build", "--no-strip", "--profile", "dist"]);
    let output = run_quietly(command.args(["--target", &release.target, "--output"]).arg(&release.out));
    fs::remove_dir_all(&files).with_context(|| format!("cannot delete {}", files.display()))?;
    // Its last line is the file.
    let package =
        output?.lines().last().map(|file| release.root.join(file)).context("cargo-deb did not name the package")?;
    check(&package)?;
    Ok(Some(package))
}

/// Checks that the package has its files where Debian expects them.
fn check(package: &Path) -> Result<()> {
    let listed = run_quietly(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let files: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    match EXPECTED.iter().find(|expected| !files.contains(expected)) {
        Some(missing) => bail!("{} does not have {missing}", package.display()),
        None => Ok(()),
    }
}
