//! `probe`: writes a site profile for an unknown game page.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use landfall_common::exit::{check_failed, environment_error, usage_error};
use landfall_common::fs::write_atomic;
use landfall_common::text::eprint_sanitized;
use serde::Serialize;
use serde_json::json;
use url::Url;

use crate::browser;
use crate::cli::args::BrowserArgs;
use crate::cli::output::{print_json, print_line};
use crate::cli::session::close;
use crate::dirs;
use crate::error::{describe, exit_code};
use crate::probe;
use crate::probe::{Hint, Known, PartialProfile};
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::is_loopback;
use crate::site::page::Page;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall probe http://127.0.0.1:8000/game && landfall play http://127.0.0.1:8000/game\n  landfall probe --out mine.toml --with-permission https://game.example.org/ && landfall play --site mine.toml https://game.example.org/\n  landfall probe --profile draft.toml --out mine.toml http://127.0.0.1:8000/game\n\nThe guesses are arbitrary and count like any other: probe only where no other player is affected. Live, ranked and\nmultiplayer pages are refused."
)]
pub(super) struct ProbeArgs {
    /// URL of the page on which a game starts
    url: Url,
    /// File for the profile [default: HOST.toml in the profiles directory of Landfall's configuration, where `play` finds it by the URL]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Confirm that the site is yours or permits automated play; required for sites on other computers
    #[arg(long, help_heading = "Game")]
    with_permission: bool,
    /// Confirm that the account is yours and that no other player is affected
    #[arg(long, help_heading = "Game")]
    i_own_this_account: bool,
    /// Maximum number of rounds to play to find the end of the game
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=30), help_heading = "Game")]
    rounds: u32,
    /// Known button text, as in guess="Lock it in"; KEY is start, guess or next (repeatable)
    #[arg(long, value_name = "KEY=TEXT", value_parser = hint, help_heading = "Game")]
    hint: Vec<Hint>,
    /// Partial profile, in TOML: its keys are kept unchanged, and only the rest is searched for
    ///
    /// For pages on which probe finds nothing or takes the wrong element: write down the keys that you know, such as the map's
    /// initial view or its guess button. They are the keys of profiles.
    #[arg(long, value_name = "FILE", help_heading = "Game")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    browser: BrowserArgs,
    /// Print JSON: what was found, and every step with its time, also after a failure
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What the probe did, for `--json`.
#[derive(Serialize)]
struct Step {
    /// Time since the page was opened.
    seconds: f64,
    did: String,
}

pub(super) async fn run(args: ProbeArgs) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let host = args.url.host_str().ok_or_else(|| usage_error(format!("{}: not the URL of a page", args.url)))?;
    let given = args.profile.as_deref().map(PartialProfile::read).transpose()?.unwrap_or_default();
    let known = Known { hints: args.hint, profile: given };
    let profile = probe::profile(host, &known)?;
    guard::check(&profile, &args.url, consent)?;
    if !is_loopback(&args.url) && !args.with_permission {
        return Err(usage_error(format!(
            "{host} is not this computer; pass --with-permission if the site is yours or permits automated play"
        )));
    }
    let out = match args.out {
        Some(out) => out,
        None => dirs::user_profiles()
            .map(|folder| folder.join(format!("{}.toml", profile.name)))
            .ok_or_else(|| usage_error("the configuration directory is unknown; name a file with --out"))?,
    };
    may_write(&out, args.force)?;

    let options = args.browser.into_options();
    let driver = browser::open(&options).await?;
    let (start, steps) = (Instant::now(), RefCell::new(Vec::new()));
    let on_step = |step: &str| {
        eprint_sanitized(step);
        steps
            .borrow_mut()
            .push(Step { seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0, did: step.to_owned() });
    };
    let probed = match Page::open(driver.clone(), profile, &args.url, consent).await {
        Ok(mut page) => probe::probe(&mut page, args.rounds, &known, on_step).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, None).await;
    let found = match probed {
        Ok(found) => found,
        Err(error) if args.json => {
            print_json(&json!({ "error": describe(&error), "exit_code": exit_code(&error) as u8, "steps": steps }))?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if let Some(folder) = out.parent() {
        let made = std::fs::create_dir_all(folder);
        made.with_context(|| environment_error(format!("cannot create {}", folder.display())))?;
    }
    may_write(&out, args.force)?; // again: the file may have been created meanwhile
    write_atomic(&out, found.profile.as_bytes())?;
    if args.json {
        print_json(&json!({
            "file": out, "name": found.name, "roles": found.roles, "rounds": found.rounds, "missing": found.missing,
            "max_pin_error_km": found.max_pin_error_km, "steps": steps,
        }))?;
    } else {
        found.roles.iter().try_for_each(|found| print_line(format!("{:<16} {}", found.role, found.by)))?;
        print_line(format!("profile: {}", out.display()))?;
        let option = found.max_pin_error_km.map_or_else(String::new, |km| format!(" --max-pin-error {km}"));
        print_line(format!("play:    landfall play --site {}{option} {}", out.display(), args.url))?;
    }
    closed?;
    match found.missing.first() {
        None => Ok(()),
        Some(_) => {
            Err(check_failed(format!("{} is incomplete; fill in by hand: {}", out.display(), found.missing.join("; "))))
        }
    }
}

fn hint(text: &str) -> std::result::Result<Hint, String> {
    match text.split_once('=') {
        Some((key @ ("start" | "guess" | "next"), text)) if !text.trim().is_empty() => {
            Ok(Hint { key: key.to_owned(), text: text.to_owned() })
        }
        _ => Err("write start=TEXT, guess=TEXT or next=TEXT".to_owned()),
    }
}

fn may_write(out: &Path, force: bool) -> Result<()> {
    match out.exists() && !force {
        true => Err(usage_error(format!(
            "{} exists; pass --force to overwrite it, or name another file with --out",
            out.display()
        ))),
        false => Ok(()),
    }
}
