//! Building the program of a release: the web pages first, which become a part of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::Release;
use crate::agent::Agent;
use crate::command::{cargo, find_program, npm, print_status, run_quietly};
use crate::page;

pub(super) const PACKAGE: &str = "landfall-agent";
pub(super) const FEATURES: &str = "embed,rten";
/// The oldest glibc that programs for Linux are linked against, where cargo-zigbuild is installed: that of Debian 10, RHEL 8
/// and Ubuntu 18.10.
pub(super) const GLIBC: (u32, u32) = (2, 28);

/// The target triple of this machine.
pub(super) fn host() -> Result<String> {
    let version = run_quietly(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Builds the program.
pub(super) fn program(release: &Release) -> Result<Agent> {
    let pages = pages(release)?;
    let mut command = cargo(&release.root);
    let target = match release.target.strip_suffix("-unknown-linux-gnu") {
        Some(_) if find_program(&["cargo-zigbuild"]).is_some() => {
            command.arg("zigbuild");
            format!("{}.{}.{}", release.target, GLIBC.0, GLIBC.1)
        }
        Some(_) => {
            print_status("cargo-zigbuild", "not found: the program needs the glibc of this machine or a newer one");
            command.arg("build");
            release.target.clone()
        }
        None => {
            command.arg("build");
            release.target.clone()
        }
    };
    command.args(["--profile", "dist", "--locked", "--package", PACKAGE, "--bin", "landfall"]);
    command.args(["--features", FEATURES, "--target", &target]);
    command.env("LANDFALL_STANDALONE", "1").env("LANDFALL_PAGES", pages);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(&release.root));
    print_status("build", format!("{target}; this takes minutes"));
    Agent::build_with(&mut command)?.ok_or_else(|| anyhow!("the program does not build; the errors are above"))
}

/// Flags that keep paths of this machine out of the program's messages, and symbols out of the program: cargo ignores the
/// profile's `strip` for packages whose opt-level the profile sets.
fn flags(root: &Path) -> OsString {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let flags = [home.map(|home| (home, "cargo")), Some((root.to_owned(), "landfall"))];
    let flags = flags.into_iter().flatten().map(|(path, name)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path);
        flag.push("=");
        flag.push(name);
        flag
    });
    let flags = flags.chain([OsString::from("-Cstrip=symbols")]);
    // The separator that CARGO_ENCODED_RUSTFLAGS is defined with.
    flags.collect::<Vec<_>>().join("\u{1f}".as_ref())
}

/// Builds the pages for the program into a folder of their own, with few sample photos and without bundles, and returns the
/// folder.
fn pages(release: &Release) -> Result<PathBuf> {
    page::install(&release.root)?;
    let out = release.out.join("pages");
    let list = release.root.join("fixtures/embedded.txt");
    let rounds = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let rounds: Vec<_> = rounds.lines().filter(|line| !line.starts_with('#')).collect();
    print_status("page", "npm run build");
    let mut build = npm();
    build.args(["run", "build", "--", "--emptyOutDir", "--outDir"]).arg(&out);
    build.env("LANDFALL_PAGE_BUNDLES", "").env("LANDFALL_PAGE_ROUNDS", rounds.join(","));
    run_quietly(build.current_dir(release.root.join("web-demo")))?;
    // ONNX Runtime for GPUs, 4.1 MB compressed. Only larger bundles use it, and without it they run on the CPU.
    for entry in out.join("assets").read_dir()? {
        let file = entry?.path();
        if file.to_str().is_some_and(|name| name.contains(".jspi") && name.ends_with(".wasm")) {
            std::fs::remove_file(&file).with_context(|| format!("cannot delete {}", file.display()))?;
        }
    }
    Ok(out)
}
