//! `cargo xtask fixtures`: plays every fixture once, to record the views that the agent sees of the panoramas, and writes
//! each bundle's answers to `expected.json`. Needed after adding a fixture or a bundle.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::command::print_status;

/// Records views, logits and `expected.json`.
pub(crate) fn record(root: &Path, agent: &Agent) -> Result<u8> {
    let fixtures = root.join("fixtures");
    let folders: Vec<_> = std::fs::read_dir(fixtures.join("rounds"))?.collect::<Result<Vec<_>, _>>()?;
    let runs = tempfile::tempdir()?;
    let mut play = agent.command();
    play.args(["play", "--json", "--rounds", &folders.len().to_string(), "--fixtures"]).arg(&fixtures);
    let output = play.arg("--runs").arg(runs.path()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("playing the fixtures failed with {}", output.status);
    }
    let game: Value = serde_json::from_slice(&output.stdout).context("the output of `landfall play` is not JSON")?;
    for folder in folders.iter().map(std::fs::DirEntry::path) {
        let file = folder.join("round.json");
        let mut fixture: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        if fixture["pano"].is_null() {
            continue; // the only view is the photo itself
        }
        let rounds = game["rounds"].as_array().context("the output of `landfall play` has no rounds")?;
        let round = rounds.iter().find(|round| round["truth"] == fixture["truth"]);
        let round = round.with_context(|| format!("{} was not played", folder.display()))?;
        let record = Path::new(game["record"].as_str().unwrap_or_default()).join(format!("round_{}", round["n"]));
        let mut views = Vec::new();
        for view in round["views"].as_array().into_iter().flatten() {
            let name = view["file"].as_str().unwrap_or_default();
            // Into the checkout, which is under version control, so not atomic.
            std::fs::copy(record.join(name), folder.join(name))?;
            views.push(json!({"file": name, "heading": view["heading"]}));
        }
        print_status("views", format!("{} of {}", views.len(), folder.display()));
        fixture["views"] = views.into();
        std::fs::write(&file, serde_json::to_string_pretty(&fixture)? + "\n")?;
    }
    // The recorded logits are those of desktop.
    for (bundle, options) in [("desktop", &["--record"][..]), ("pocket", &[])] {
        let mut replay = agent.command();
        replay.args(["replay", "--bundle", bundle]).args(options);
        replay.arg("--write-expected").arg(fixtures.join("expected.json"));
        let status = replay.arg(&fixtures).status()?;
        if !status.success() {
            return Ok(u8::try_from(status.code().unwrap_or(3)).unwrap_or(3));
        }
    }
    Ok(0)
}
