//! Tests of a packed release: it is unpacked, and run without anything of this machine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::Release;
use super::pack::BUNDLES;
use crate::agent::Agent;
use crate::command::{print_status, run_quietly};

/// A photo, relative to the workspace root, as the golden file names it.
pub(super) const PHOTO: &str = "fixtures/rounds/rome-colosseum/view_000.jpg";
const GOLDEN: &str = "model/tests/golden/locate.jsonl";
/// Maximum difference of a coordinate in degrees, for processors and engines that round differently.
const TOLERANCE_DEG: f64 = 0.01;

/// Whether this machine can run the program.
pub(super) fn runs_here(agent: &Agent) -> bool {
    agent.command().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs every test. Returns 0 if all passed and 1 if not.
pub(super) fn test(release: &Release, archive: &Path) -> Result<u8> {
    let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
    run_quietly(Command::new("tar").arg("-xf").arg(archive).current_dir(dir.path()))?;
    let folder = dir.path().join(release.name());
    let landfall = || {
        let mut command = Command::new(folder.join(release.program()));
        command.current_dir(dir.path()).env("LANDFALL_CACHE", dir.path().join("cache"));
        for name in ["LANDFALL_BUNDLES", "LANDFALL_CONFIG", "ORT_DYLIB_PATH"] {
            command.env_remove(name);
        }
        command
    };
    let version = run_quietly(landfall().arg("--version"))?;
    let mut checks = vec![("version", equal(version.trim(), &format!("landfall {}", release.version)))];
    let photo = release.root.join(PHOTO);
    let answer = run_quietly(landfall().args(["locate", "--json", "--bundle", "pocket"]).arg(photo))?;
    checks.push(("locate", check_answer(&release.root, &answer)));
    checks.push(("doctor", check_doctor(&mut landfall())));
    for (shell, file) in [("bash", "landfall.bash"), ("zsh", "_landfall"), ("fish", "landfall.fish")] {
        let packed = std::fs::read_to_string(folder.join("completions").join(file))?;
        checks.push((shell, equal(&run_quietly(landfall().args(["completions", shell]))?, &packed)));
    }
    if release.runs_all_bundles() {
        let list = run_quietly(landfall().args(["bundle", "list", "--json"]))?;
        checks.push(("bundles", check_bundles(&list)));
    }
    checks.push(("man pages", is_file(&folder.join("man/landfall-locate.1"))));
    let mut failed = 0;
    for (what, outcome) in checks {
        match outcome {
            Ok(()) => print_status("ok", what),
            Err(error) => {
                print_status("FAILED", format!("{what}: {error:#}"));
                failed = 1;
            }
        }
    }
    Ok(failed)
}

fn equal(found: &str, expected: &str) -> Result<()> {
    if found != expected {
        bail!("{found:?} instead of {expected:?}");
    }
    Ok(())
}

fn is_file(file: &Path) -> Result<()> {
    if !file.is_file() {
        bail!("{} is missing", file.display());
    }
    Ok(())
}

/// Nothing is missing from the packed bundles but the encoders.
fn check_bundles(list: &str) -> Result<()> {
    let list: Vec<Value> = serde_json::from_str(list).context("the output of bundle list is not JSON")?;
    for name in BUNDLES {
        let bundle = list.iter().find(|bundle| bundle["name"] == name).ok_or_else(|| anyhow!("{name} is not there"))?;
        let files = bundle["files"].as_array().ok_or_else(|| anyhow!("{name}: {}", bundle["error"]))?;
        if let Some(missing) = files.iter().find(|file| file["present"] == false && file["origin"] == "bundle") {
            bail!("{name}: {} is missing", missing["file"]);
        }
    }
    Ok(())
}

/// Compares an answer of `locate` on [`PHOTO`] with the golden file.
pub(super) fn check_answer(root: &Path, answer: &str) -> Result<()> {
    let golden = root.join(GOLDEN);
    let golden = std::fs::read_to_string(&golden).with_context(|| format!("cannot read {}", golden.display()))?;
    let is_same =
        |line: &Value| line["image"] == PHOTO && line["bundle"].as_str().is_some_and(|it| it.starts_with("pocket@"));
    let expected = golden.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(is_same);
    let expected = expected.ok_or_else(|| anyhow!("{GOLDEN} has no line for {PHOTO}"))?;
    let answer: Value = serde_json::from_str(answer).context("the answer is not JSON")?;
    for key in ["country", "bundle"] {
        if answer[key] != expected[key] {
            bail!("{key} is {} instead of {}", answer[key], expected[key]);
        }
    }
    for key in ["lat", "lng"] {
        let (found, expected) = (answer[key].as_f64(), expected[key].as_f64());
        let difference = found.zip(expected).map(|(found, expected)| (found - expected).abs());
        if difference.is_none_or(|difference| difference > TOLERANCE_DEG) {
            bail!("{key} is {found:?} instead of {expected:?}");
        }
    }
    Ok(())
}

/// `doctor` exits with 1 where there is no browser; the parts of the release must be there all the same.
fn check_doctor(landfall: &mut Command) -> Result<()> {
    let output = landfall.args(["doctor", "--json"]).output().context("cannot start the program")?;
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).context("the output of doctor is not JSON")?;
    for part in ["arena page", "bundle pocket"] {
        match findings.iter().find(|finding| finding["what"] == part) {
            Some(finding) if finding["ok"] == true => {}
            finding => {
                bail!("{part}: {}", finding.map_or("not mentioned".into(), |finding| finding["detail"].to_string()))
            }
        }
    }
    Ok(())
}
