//! `roots`: runs built programs in root file systems that have nothing, or only what an old or small distribution has.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::build::GLIBC;
use super::elf;
use super::smoke::{PHOTO, check_answer};
use crate::command::{find_program, print_status, run_quietly};

/// The Debian release of the root with glibc, the oldest that Debian's mirrors still have.
const DEBIAN: &str = "bookworm";

/// Where [`PHOTO`] lies in a root.
const ROUNDS: &str = "/fixtures/rounds";

/// A root file system with the program and some fixtures.
struct Root<'a> {
    dir: PathBuf,
    checkout: &'a Path,
}

/// Runs each program in the roots for its kind. Returns 0 if all tests passed, 1 if not.
pub(crate) fn run(checkout: &Path, programs: &[PathBuf]) -> Result<u8> {
    let mut failed = 0;
    for program in programs {
        let mut test = |what: &str, outcome: Result<()>| match outcome {
            Ok(()) => print_status("ok", what),
            Err(error) => {
                print_status("FAILED", format!("{what}: {error:#}"));
                failed = 1;
            }
        };
        let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
        if elf::is_static(program)? {
            let empty = Root::new(checkout, dir.path().join("empty"), program)?;
            for (what, check) in EMPTY {
                test(&format!("empty root: {what}"), check(&empty));
            }
            match find_program(&["busybox"]) {
                Some(busybox) => test("root with busybox: locate", in_busybox(checkout, dir.path(), program, &busybox)),
                None => println!("skipped: the root with busybox; on Debian, apt-get install busybox-static"),
            }
        } else {
            test(&format!("needs glibc {} or older", elf::glibc_floor(program)?), elf::check_glibc(program, GLIBC));
            match find_program(&["debootstrap"]) {
                Some(debootstrap) => {
                    test(&format!("{DEBIAN}: locate"), in_debian(checkout, dir.path(), program, &debootstrap));
                }
                None => println!("skipped: the root with glibc; on Debian, apt-get install debootstrap"),
            }
        }
    }
    Ok(failed)
}

type Check = fn(&Root) -> Result<()>;

/// What must work with nothing but the program: no libraries, users, home, temporary directory, time zones or certificates.
const EMPTY: [(&str, Check); 7] = [
    ("locate", |root| root.locate()),
    ("replay", |root| {
        let replay = ["replay", "--bundle", "pocket", ROUNDS];
        run_quietly(root.landfall()?.args(replay).arg("--record"))?;
        run_quietly(root.landfall()?.args(replay).args(["--from", "logits"])).map(drop)
    }),
    ("report", |root| root.writes("report.html", &["report", ROUNDS, "--out", "/report.html"])),
    ("export", |root| root.writes("places.kml", &["export", ROUNDS, "--out", "/places.kml"])),
    ("arena", |root| root.serves(&["arena", "--port", "0", "--json"], "url", "Landfall")),
    ("doctor", |root| {
        let output = root.landfall()?.args(["doctor", "--json"]).output()?;
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let is_ok = |part: &str| findings.iter().any(|finding| finding["what"] == part && finding["ok"] == true);
        match ["arena page", "bundle pocket"].iter().find(|part| !is_ok(part)) {
            Some(missing) => bail!("{missing}: {findings:?}"),
            None => Ok(()),
        }
    }),
    ("play says which browser it needs", |root| {
        let output = root.landfall()?.args(["play", "--bundle", "pocket"]).output()?;
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() == Some(3) && message.contains("hromium") && message.contains("install") {
            true => Ok(()),
            false => bail!("{}: {message}", output.status),
        }
    }),
];

impl<'a> Root<'a> {
    fn new(checkout: &'a Path, dir: PathBuf, program: &Path) -> Result<Self> {
        let photo = dir.join(PHOTO);
        let round = photo.parent().context("the photo has no folder")?;
        fs::create_dir_all(round)?;
        for entry in checkout.join(PHOTO).with_file_name("").read_dir()? {
            let entry = entry?;
            fs::copy(entry.path(), round.join(entry.file_name()))?;
        }
        fs::copy(program, dir.join("landfall")).with_context(|| format!("cannot copy {}", program.display()))?;
        Ok(Self { dir, checkout })
    }

    /// A program in this root, without environment variables.
    fn command(&self, program: &str) -> Result<Command> {
        // A user's PATH may lack the directory of chroot.
        let chroot = find_program(&["chroot", "/usr/sbin/chroot"]).context("chroot is not on PATH")?;
        let mut command = if run_quietly(Command::new("id").arg("-u"))?.trim() == "0" {
            Command::new(chroot)
        } else {
            let mut unshare = Command::new(find_program(&["unshare"]).context("unshare is not on PATH")?);
            unshare.arg("--map-root-user").arg(chroot);
            unshare
        };
        command.arg(&self.dir).arg(program).env_clear();
        Ok(command)
    }

    fn landfall(&self) -> Result<Command> {
        self.command("/landfall")
    }

    fn locate(&self) -> Result<()> {
        let photo = format!("/{PHOTO}");
        let answer = run_quietly(self.landfall()?.args(["locate", "--json", "--bundle", "pocket", &photo]))?;
        check_answer(self.checkout, &answer)
    }

    fn writes(&self, file: &str, arguments: &[&str]) -> Result<()> {
        run_quietly(self.landfall()?.args(arguments))?;
        match self.dir.join(file).metadata()?.len() {
            0 => bail!("{file} is empty"),
            _ => Ok(()),
        }
    }

    /// Starts a server that prints an object with its URL, and requests the start page.
    fn serves(&self, arguments: &[&str], key: &str, expected: &str) -> Result<()> {
        let mut server = self.landfall()?.args(arguments).stdout(Stdio::piped()).spawn()?;
        let outcome = (|| {
            let mut line = String::new();
            let stdout = server.stdout.take().context("no output")?;
            // The object has several lines; one of them is `"url": "http://127.0.0.1:PORT/"`.
            let mut lines = BufReader::new(stdout);
            let host = loop {
                line.clear();
                if lines.read_line(&mut line)? == 0 {
                    bail!("the server printed no URL");
                }
                let value = line.split_once(&format!("\"{key}\":")).and_then(|(_, rest)| rest.split('"').nth(1));
                if let Some(host) = value.and_then(|url| url.strip_prefix("http://")) {
                    break host.trim_end_matches('/').to_owned();
                }
            };
            let mut connection = TcpStream::connect(&host)?;
            write!(connection, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
            let mut response = Vec::new();
            connection.read_to_end(&mut response)?;
            let response = String::from_utf8_lossy(&response);
            match response.starts_with("HTTP/1.1 200") && response.contains(expected) {
                true => Ok(()),
                false => Err(anyhow!("{response}")),
            }
        })();
        server.kill()?;
        server.wait()?;
        outcome
    }
}

/// The tools of a small distribution that is built on musl, and no other library.
fn in_busybox(checkout: &Path, dir: &Path, program: &Path, busybox: &Path) -> Result<()> {
    if !elf::is_static(busybox)? {
        bail!("{} is not static; on Debian, apt-get install busybox-static", busybox.display());
    }
    let root = Root::new(checkout, dir.join("busybox"), program)?;
    fs::create_dir_all(root.dir.join("bin"))?;
    fs::copy(busybox, root.dir.join("bin/sh"))?;
    let script = format!("HOME=/root exec /landfall locate --json --bundle pocket /{PHOTO}");
    check_answer(checkout, &run_quietly(root.command("/bin/sh")?.args(["-c", &script]))?)
}

/// A minimal Debian.
fn in_debian(checkout: &Path, dir: &Path, program: &Path, debootstrap: &Path) -> Result<()> {
    let folder = dir.join(DEBIAN);
    let mut make = Command::new(debootstrap);
    make.args(["--variant=minbase", "--include=libc6", DEBIAN]).arg(&folder);
    run_quietly(&mut make)?;
    Root::new(checkout, folder, program)?.locate()
}
