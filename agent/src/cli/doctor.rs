//! `doctor`: whether everything that is needed is there, and whether a profile finds what it looks for.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::exit::check_failed;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::cli::args::{ModelArgs, fixtures};
use crate::cli::output::{print_json, print_line, print_text};
use crate::cli::session::{close, profile_and_address};
use crate::server::arena::{Arena, ArenaOptions, RoundSource};
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::page::Page;
use crate::{doctor, site};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall doctor --json\n  landfall doctor --site mine.toml http://127.0.0.1:8000/game\n  landfall doctor --site geoguessr --base-url http://127.0.0.1:8014"
)]
pub(super) struct DoctorArgs {
    /// Address of a page to try a site's profile on; the local arena when only --site is given
    url: Option<Url>,
    /// Site profile to try: a name or a file [default: the one whose host the address has]
    #[arg(long)]
    site: Option<String>,
    /// Try the site's profile at this origin on this computer, in place of its hosts and its need for consent
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    /// Picture of the page to write (PNG)
    #[arg(long, value_name = "FILE", default_value = "landfall-doctor.png")]
    picture: PathBuf,
    /// A running WebDriver server in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Print the JSON schema of site profiles instead
    #[arg(long)]
    schema: bool,
    /// Measure the encoder instead: milliseconds a view on one thread
    #[arg(long)]
    bench: bool,
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON
    #[arg(long)]
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
        let milliseconds = doctor::encoder_ms(args.model.find()?)?;
        if args.json {
            return print_json(&serde_json::json!({"encoder_ms": milliseconds}));
        }
        return print_line(format!("{milliseconds:.1} ms a view, one thread"));
    }
    let findings = doctor::examine();
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = if finding.ok { "ok     " } else { "MISSING" };
            print_line(format!("{state}  {:<16} {}", finding.what, finding.detail))?;
        }
    }
    let missing = findings.iter().filter(|finding| !finding.ok).count();
    if missing > 0 { Err(check_failed(format!("{missing} of {} things are missing", findings.len()))) } else { Ok(()) }
}

/// Tries a site's profile on its page.
async fn examine_site(args: DoctorArgs) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let (profile, url) = profile_and_address(args.site.as_deref(), args.url, args.base_url.as_ref())?;
    let (arena, url) = match url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(ArenaOptions::new(RoundSource::Fixtures(fixtures()?))).await?;
            let url = Url::parse(arena.url())?;
            (Some(arena), url)
        }
    };
    guard::check(&profile, &url, consent)?;
    let options = BrowserOptions { webdriver: args.webdriver, ..BrowserOptions::default() };
    let driver = browser::open(&options).await?;
    let examined = match Page::open(driver.clone(), profile, &url, consent).await {
        Ok(page) => doctor::site::examine(&page, &args.picture).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, arena).await;
    let findings = examined?;
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = if finding.ok { "ok     " } else { "DEAD   " };
            print_line(format!("{state}  {:<16} {}", finding.role, finding.detail))?;
        }
        print_line(format!("picture: {}", args.picture.display()))?;
    }
    closed?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        dead => Err(check_failed(format!("{dead} things that a round needs are not found; mend the profile"))),
    }
}
