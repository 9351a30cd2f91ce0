//! The archive: the program, completions, man pages, licences and documentation; beside it the bill of materials and the
//! checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Release, materials};
use crate::agent::Agent;
use crate::command::run_quietly;

/// In the source tree.
const DOCUMENTS: [&str; 4] = ["packaging/README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// Bundles that are too large for the program. Their encoders are downloaded.
pub(super) const BUNDLES: [&str; 2] = ["desktop", "phone"];
/// Shells and the names that they expect of completion files.
const COMPLETIONS: [(&str, &str); 4] =
    [("bash", "landfall.bash"), ("zsh", "_landfall"), ("fish", "landfall.fish"), ("powershell", "_landfall.ps1")];

/// Writes the archive and the files beside it.
pub(super) fn archive(release: &Release, agent: &Agent, runs_here: bool) -> Result<PathBuf> {
    let name = release.name();
    let folder = release.out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    copy(agent.file(), &folder.join(release.program()))?;
    for document in DOCUMENTS {
        let document = release.root.join(document);
        copy(&document, &folder.join(document.file_name().unwrap_or_default()))?;
    }
    if release.runs_all_bundles() {
        BUNDLES.iter().try_for_each(|name| bundle(&release.root, name, &folder))?;
    }
    let materials = materials::of(release)?;
    write(&folder.join("THIRD-PARTY-LICENSES.txt"), &materials.licences()?)?;
    write(&release.out.join(format!("{name}.cdx.json")), &materials.bill(release)?)?;
    if runs_here {
        generated(agent, &folder)?;
    }
    let ending = if release.is_windows() { "zip" } else { "tar.gz" };
    let archive = release.out.join(format!("{name}.{ending}"));
    pack(release, &name, &archive)?;
    Ok(archive)
}

/// Writes the checksums of everything in a folder that is published.
pub(super) fn write_checksums(folder: &Path) -> Result<()> {
    write(&folder.join("SHA256SUMS"), &checksums(folder)?)
}

/// The files of a bundle, without the encoder, which set-up downloads or computes.
fn bundle(root: &Path, name: &str, folder: &Path) -> Result<()> {
    let (from, to) = (root.join("model/bundles").join(name), folder.join("bundles").join(name));
    fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
    let manifest = from.join("bundle.json");
    let manifest = fs::read(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: Value = serde_json::from_slice(&manifest).with_context(|| format!("{name}: bundle.json"))?;
    let parts = [
        &manifest["cells"],
        &manifest["head"],
        &manifest["encoder"]["adapter"],
        &manifest["encoder"]["derived"]["moments"],
    ];
    let parts = parts.iter().filter_map(|part| part["file"].as_str());
    parts.chain(["bundle.json", "MODEL_CARD.md"]).try_for_each(|file| copy(&from.join(file), &to.join(file)))
}

/// Completions and man pages, which the program writes itself.
fn generated(agent: &Agent, folder: &Path) -> Result<()> {
    let completions = folder.join("completions");
    fs::create_dir(&completions).with_context(|| format!("cannot create {}", completions.display()))?;
    for (shell, file) in COMPLETIONS {
        write(&completions.join(file), &run_quietly(agent.command().args(["completions", shell]))?)?;
    }
    run_quietly(agent.command().arg("man").arg(folder.join("man")))?;
    Ok(())
}

/// Packs a folder of `release.out`. GNU tar is told to leave out what differs from build to build.
fn pack(release: &Release, name: &str, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.current_dir(&release.out);
    let is_gnu = run_quietly(Command::new("tar").arg("--version")).is_ok_and(|version| version.contains("GNU tar"));
    if is_gnu {
        let time = run_quietly(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(&release.root));
        let time = time.ok().and_then(|time| time.trim().parse::<u64>().ok()).unwrap_or(0);
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=go-w"]);
        tar.arg(format!("--mtime=@{time}")).env("GZIP", "-9n");
    }
    // By its ending, bsdtar, which Windows and macOS have, writes a zip file.
    tar.args(["-a", "-c", "-f"]).arg(archive).arg(name);
    run_quietly(&mut tar).map(drop)
}

/// One line, as sha256sum prints it, for each archive, package and bill of materials of the folder.
fn checksums(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let endings = [".tar.gz", ".zip", ".deb", ".cdx.json"];
    files.retain(|file| file.to_str().is_some_and(|name| endings.iter().any(|ending| name.ends_with(ending))));
    files.sort();
    let lines = files.iter().map(|file| {
        let contents = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let sum: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{sum}  {}\n", file.file_name().unwrap_or_default().display()))
    });
    lines.collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
