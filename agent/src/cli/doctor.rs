//! `doctor`: checks the installation, or the locators of a site profile against its page.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use landfall_common::exit::check_failed;
use url::Url;

use crate::browser;
use crate::cli::args::{BrowserArgs, ModelArgs, fixtures};
use crate::cli::output::{print_json, print_line, print_text};
use crate::cli::session::{close, profile_and_address};
use crate::doctor::Finding;
use crate::doctor::bench::Latency;
use crate::doctor::site::LocatorReport;
use crate::server::arena::{Arena, ArenaOptions};
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::page::Page;
use crate::{doctor, site};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall doctor --json\n  landfall doctor --site mine.toml http://127.0.0.1:8000/game\n  landfall doctor --site mine.toml --try=3 http://127.0.0.1:8000/game\n  landfall doctor --site geoguessr --base-url http://127.0.0.1:8014"
)]
pub(super) struct DoctorArgs {
    /// URL of a page to check a site profile against [default: the local arena, with --site]
    url: Option<Url>,
    /// Site profile to check, by name or file [default: the one for the URL's host]
    #[arg(long, help_heading = "Site profile")]
    site: Option<String>,
    /// Run the JavaScript of a profile that is not built in (its look.call)
    ///
    /// The script has full access to the page: review it first.
    #[arg(long, help_heading = "Site profile")]
    allow_profile_scripts: bool,
    /// Check the profile with a local copy of the site, at this origin
    #[arg(long, value_name = "URL", help_heading = "Site profile")]
    base_url: Option<Url>,
    /// Also play practice rounds, by default one; the guesses are arbitrary and count like any other
    ///
    /// Reports what is found only after a pin or a guess: the pin, the result, its points and distance, and the next round.
    /// With two rounds or more, a score formula that differs from the profile's is determined if possible and printed as
    /// profile lines.
    #[arg(long = "try", value_name = "ROUNDS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..=30), help_heading = "Site profile")]
    practice_rounds: Option<u32>,
    /// Screenshot to write (PNG)
    #[arg(long, value_name = "FILE", default_value = "landfall-doctor.png", help_heading = "Site profile")]
    picture: PathBuf,
    #[command(flatten)]
    browser: BrowserArgs,
    /// Confirm that the account is yours and that no other player is affected
    #[arg(long, help_heading = "Site profile")]
    i_own_this_account: bool,
    /// Print the JSON schema of site profiles and exit
    #[arg(long, help_heading = "Site profile")]
    schema: bool,
    /// Benchmark the bundle and exit: milliseconds per crop and per view on one thread
    #[arg(long, help_heading = "Model")]
    bench: bool,
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) async fn run(args: DoctorArgs) -> Result<()> {
    if args.schema {
        return print_text(site::schema()?.trim_end());
    }
    if args.url.is_some() || args.site.is_some() || args.base_url.is_some() {
        return examine_site(args).await;
    }
    tokio::task::spawn_blocking(move || examine(&args)).await?
}

fn examine(args: &DoctorArgs) -> Result<()> {
    if args.bench {
        let latency = doctor::bench::measure(args.model.find()?)?;
        if args.json {
            return print_json(&latency);
        }
        let Latency { bundle, instructions, squares, square_ms, view_ms, .. } = latency;
        return print_line(format!(
            "{bundle}: {view_ms:.1} ms per view, of {squares} squares of {square_ms:.1} ms; one thread, {instructions}"
        ));
    }
    let findings = doctor::examine();
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = match finding {
                Finding { ok: true, .. } => "ok     ",
                Finding { optional: true, .. } => "absent ",
                _ => "MISSING",
            };
            print_line(format!("{state}  {:<16} {}", finding.what, finding.detail))?;
        }
    }
    let missing = findings.iter().filter(|finding| !finding.ok && !finding.optional).count();
    if missing > 0 {
        Err(check_failed(format!("{missing} of {} requirements are missing", findings.len())))
    } else {
        Ok(())
    }
}

/// Checks the locators of a site profile on its page.
async fn examine_site(args: DoctorArgs) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let (profile, url) = profile_and_address(args.site.as_deref(), args.url, args.base_url.as_ref())?;
    let profile = profile.permit_scripts(args.allow_profile_scripts);
    let (arena, url) = match url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(ArenaOptions::new(fixtures()?)).await?;
            let url = Url::parse(arena.url())?;
            (Some(arena), url)
        }
    };
    guard::check(&profile, &url, consent)?;
    let options = args.browser.into_options();
    let driver = browser::open(&options).await?;
    let examined = match Page::open(driver.clone(), profile, &url, consent).await {
        Ok(page) => examine_page(&page, &args.picture, args.practice_rounds).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, arena).await;
    let findings = examined?;
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = if finding.ok { "ok     " } else { "MISSING" };
            print_line(format!("{state}  {:<16} {}", finding.role, finding.detail))?;
        }
        print_line(format!("screenshot: {}", args.picture.display()))?;
    }
    closed?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        dead => Err(check_failed(format!("{dead} locators that a round needs find nothing; correct the profile"))),
    }
}

async fn examine_page(page: &Page, picture: &Path, rounds: Option<u32>) -> Result<Vec<LocatorReport>> {
    let mut reports = doctor::site::examine(page, picture).await?;
    if let Some(rounds) = rounds.filter(|_| reports.iter().all(|report| report.ok)) {
        reports.extend(doctor::practice::play(page, rounds).await?);
    }
    Ok(reports)
}
