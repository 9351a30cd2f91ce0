//! `landfall probe`: whether it may, and where the profile goes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use landfall_common::exit::{check_failed, environment_error, usage_error};
use landfall_common::fs::write_atomic;
use landfall_common::text::eprint_sanitized;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::cli::output::{print_json, print_line};
use crate::cli::session::close;
use crate::dirs;
use crate::probe;
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::is_loopback;
use crate::site::page::Page;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall probe http://127.0.0.1:8000/game && landfall play http://127.0.0.1:8000/game\n  landfall probe --out mine.toml --with-permission https://game.example.org/ && landfall play --site mine.toml https://game.example.org/\n\nThe guesses are of no use and count as any other: probe where that concerns nobody else. Live, ranked and multiplayer\npages are refused."
)]
pub(super) struct ProbeArgs {
    /// Address of the page that the game begins at
    url: Url,
    /// File to write the profile into [default: the folder `profiles` of Landfall's configuration directory, by the host's
    /// name, where `play` finds it by the address]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// The site is yours, or lets programs play: needed for pages that are not of this computer
    #[arg(long)]
    with_permission: bool,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Rounds to play at most, to see how the game ends
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=30))]
    rounds: u32,
    /// A running WebDriver server in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// Show the browser's window
    #[arg(long)]
    headed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ProbeArgs) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let host = args.url.host_str().ok_or_else(|| usage_error(format!("{}: not the address of a page", args.url)))?;
    let profile = probe::profile(host)?;
    guard::check(&profile, &args.url, consent)?;
    if !is_loopback(&args.url) && !args.with_permission {
        return Err(usage_error(format!(
            "{host} is not this computer: say --with-permission if the site is yours or lets programs play"
        )));
    }
    let out = match args.out {
        Some(out) => out,
        None => dirs::folder()
            .map(|folder| folder.join(format!("{}.toml", profile.name)))
            .ok_or_else(|| usage_error("no configuration directory is known: name a file with --out"))?,
    };
    may_write(&out, args.force)?;

    let options = BrowserOptions { webdriver: args.webdriver, headed: args.headed, ..BrowserOptions::default() };
    let driver = browser::open(&options).await?;
    let probed = match Page::open(driver.clone(), profile, &args.url, consent).await {
        Ok(mut page) => probe::probe(&mut page, args.rounds, |step| eprint_sanitized(step)).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, None).await;
    let found = probed?;
    if let Some(folder) = out.parent() {
        let made = std::fs::create_dir_all(folder);
        made.with_context(|| environment_error(format!("cannot create {}", folder.display())))?;
    }
    may_write(&out, args.force)?; // it may have come meanwhile
    write_atomic(&out, found.profile.as_bytes())?;
    if args.json {
        print_json(&serde_json::json!({
            "file": out, "name": found.name, "roles": found.roles, "rounds": found.rounds, "missing": found.missing,
        }))?;
    } else {
        found.roles.iter().try_for_each(|found| print_line(format!("{:<16} {}", found.role, found.by)))?;
        print_line(format!("profile: {}", out.display()))?;
        print_line(format!("play:    landfall play --site {} {}", out.display(), args.url))?;
    }
    closed?;
    match found.missing.first() {
        None => Ok(()),
        Some(_) => Err(check_failed(format!(
            "{} lacks what a person must fill in: {}",
            out.display(),
            found.missing.join("; ")
        ))),
    }
}

fn may_write(out: &Path, force: bool) -> Result<()> {
    match out.exists() && !force {
        true => {
            Err(usage_error(format!("{} is there already: say --force to write over it, or --out FILE", out.display())))
        }
        false => Ok(()),
    }
}
