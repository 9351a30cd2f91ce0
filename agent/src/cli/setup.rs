//! `setup`: fetches ONNX Runtime and the encoders of bundles, and says which browser was found.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use indicatif::DecimalBytes;
use landfall_common::text::eprint_sanitized;
use serde::Serialize;

use crate::browser;
use crate::cli::output::{print_json, print_line};
use crate::setup::{self, Part, Plan, State};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall setup --dry-run\n  landfall setup --bundle desktop\n  landfall setup --offline ~/packages",
    after_long_help = "Packages are downloaded with pip (LANDFALL_PYTHON names the interpreter), with your mirror and proxy settings; \
                       without pip with npm (ONNX Runtime only) or from the index that PIP_INDEX_URL names. An interrupted \
                       set-up is continued by the next one, and damaged files are replaced.\n\n\
                       Without a network connection: `landfall setup --offline DIR` lists the files to put into DIR, with package and \
                       SHA-256, and then installs them from there."
)]
pub(super) struct SetupArgs {
    /// Bundle to set up, by name or directory (./DIR) (repeatable) [default: all that are installed]
    #[arg(long = "bundle", value_name = "NAME|DIR", help_heading = "Model")]
    bundles: Vec<String>,
    #[command(flatten)]
    fetching: FetchArgs,
}

/// How files are fetched.
#[derive(Args)]
pub(super) struct FetchArgs {
    /// Install from files in this directory, matched by SHA-256, without network access
    #[arg(long, value_name = "DIR", help_heading = "Download")]
    offline: Option<PathBuf>,
    /// Show what would be fetched and how large it is, without fetching it
    #[arg(long, help_heading = "Download")]
    dry_run: bool,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    parts: &'a [Part],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    browser: Vec<Part>,
}

pub(super) async fn run(args: SetupArgs) -> Result<()> {
    fetch(args.bundles, args.fetching, true).await
}

/// Fetches what bundles need. `with_browser`: say which browser was found.
pub(super) async fn fetch(bundles: Vec<String>, args: FetchArgs, with_browser: bool) -> Result<()> {
    let mut plan = tokio::task::spawn_blocking(move || Plan::of(&bundles)).await??;
    // Standard output is for JSON then.
    let mut failure = None;
    let mut say = |line: String| match args.json {
        true => eprint_sanitized(line),
        // A closed output does not end a set-up; it is reported at the end.
        false => failure = print_line(line).err().or(failure.take()),
    };
    plan.parts.iter().for_each(|part| say(part.line()));
    let bytes = plan.download_bytes();
    if bytes > 0 && args.offline.is_none() {
        say(format!("to download: {} in all", DecimalBytes(bytes)));
    }
    let outcome = match args.dry_run {
        true => Ok(()),
        false => setup::carry_out(&mut plan, args.offline.as_deref(), &mut say).await,
    };
    let browser = if with_browser { browser_parts() } else { Vec::new() };
    browser.iter().for_each(|part| say(part.line()));
    if args.json {
        print_json(&Report { parts: &plan.parts, browser })?;
    }
    outcome?;
    failure.map_or(Ok(()), Err)
}

/// Which browser and driver were found. A missing one is no error: locating photos needs none.
fn browser_parts() -> Vec<Part> {
    let part = |what: &str, found: Option<PathBuf>| {
        let detail = match &found {
            Some(_) => "on this system".to_owned(),
            None => format!("needed by `landfall play` and `landfall probe` only; {}", browser::HOW_TO_INSTALL),
        };
        let state = if found.is_some() { State::Present } else { State::Missing };
        Part { what: what.into(), state, file: found, bytes: None, detail: Some(detail) }
    };
    vec![part("browser", browser::chromium()), part("browser driver", browser::chromedriver())]
}
