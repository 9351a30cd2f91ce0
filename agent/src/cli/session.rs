//! Shared by commands that open a page: the choice of profile and URL, and closing the browser.

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use thirtyfour::WebDriver;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::dirs;
use crate::server::arena::Arena;
use crate::site::{BUILT_IN, Profile};

/// The profile, moved to `--base-url` if given, and the URL to start at; `None` for the arena.
pub(super) fn profile_and_address(
    site: Option<&str>,
    url: Option<Url>,
    base: Option<&Url>,
) -> Result<(Profile, Option<Url>)> {
    let Some(base) = base else { return Ok((Profile::find(&site_of(site, url.as_ref())?)?, url)) };
    let profile = Profile::find(site.unwrap_or("arena"))?.at(base)?;
    let url = match url {
        Some(url) => url,
        None => profile.start(base)?,
    };
    Ok((profile, Some(url)))
}

fn site_of(site: Option<&str>, url: Option<&Url>) -> Result<String> {
    if let Some(site) = site {
        return Ok(site.to_owned());
    }
    let Some((url, host)) = url.and_then(|url| Some((url, url.host_str()?))) else { return Ok("arena".to_owned()) };
    let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    for name in built_in.chain(dirs::user_profiles().into_iter().flat_map(|folder| dirs::names(&folder))) {
        if Profile::find(&name)?.is_for(url) {
            return Ok(name);
        }
    }
    Err(usage_error(format!("no site profile is for {host}; `landfall probe` writes one, or name a file with --site")))
}

/// Closes the browser and stops the arena.
pub(super) async fn close(driver: WebDriver, options: &BrowserOptions, arena: Option<Arena>) -> Result<()> {
    let closed = browser::shutdown(driver, options).await;
    if let Some(arena) = arena {
        arena.stop().await;
    }
    closed.then_some(()).ok_or_else(|| environment_error("the browser did not close"))
}
