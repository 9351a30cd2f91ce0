//! `landfall probe`: whether it may, and where the profile goes.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_agent::browser::{self, BrowserOptions};
use landfall_agent::failure::{no, surroundings, wrong};
use landfall_agent::plain::say;
use landfall_agent::probe;
use landfall_agent::record;
use landfall_agent::site::guard::{self, Consent};
use landfall_agent::site::page::Page;
use landfall_agent::site::{is_loopback, own};

use super::Probe;
use super::print::{print_json, print_line};
use super::run::close;

pub(super) async fn run(args: Probe) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let host = args.url.host_str().ok_or_else(|| wrong(format!("{}: not the address of a page", args.url)))?;
    let profile = probe::profile(host)?;
    guard::check(&profile, &args.url, consent)?;
    if !is_loopback(&args.url) && !args.with_permission {
        return Err(wrong(format!(
            "{host} is not this computer: say --with-permission if the site is yours or lets programs play"
        )));
    }
    let out = match args.out {
        Some(out) => out,
        None => own::folder()
            .map(|folder| folder.join(format!("{}.toml", profile.name)))
            .ok_or_else(|| wrong("no configuration directory is known: name a file with --out"))?,
    };
    may_write(&out, args.force)?;

    let options = BrowserOptions { webdriver: args.webdriver, headed: args.headed, ..BrowserOptions::default() };
    let driver = browser::open(&options).await?;
    let probed = match Page::open(driver.clone(), profile, &args.url, consent).await {
        Ok(mut page) => probe::probe(&mut page, args.rounds, |step| say(step)).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, None).await;
    let found = probed?;
    if let Some(folder) = out.parent() {
        let made = std::fs::create_dir_all(folder);
        made.with_context(|| surroundings(format!("cannot create {}", folder.display())))?;
    }
    may_write(&out, args.force)?; // it may have come meanwhile
    record::write(&out, found.profile.as_bytes())?;
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
        Some(_) => Err(no(format!("{} lacks what a person must fill in: {}", out.display(), found.missing.join("; ")))),
    }
}

fn may_write(out: &Path, force: bool) -> Result<()> {
    match out.exists() && !force {
        true => Err(wrong(format!("{} is there already: say --force to write over it, or --out FILE", out.display()))),
        false => Ok(()),
    }
}
