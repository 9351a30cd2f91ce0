//! What commands that open a page share: which profile, at which address, and how the browser is ended.

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use thirtyfour::WebDriver;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::dirs;
use crate::server::arena::Arena;
use crate::site::{BUILT_IN, Profile};

/// The profile to use, at `--base-url` where that is given, and the address to begin at; none is the arena.
pub(super) fn profile_and_address(
    site: Option<&str>,
    url: Option<Url>,
    base: Option<&Url>,
) -> Result<(Profile, Option<Url>)> {
    let Some(base) = base else { return Ok((Profile::find(&site_of(site, url.as_ref())?)?, url)) };
    // Whatever its name is, the profile goes to an address of this computer.
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
    let Some(host) = url.and_then(Url::host_str) else { return Ok("arena".to_owned()) };
    let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    for name in built_in.chain(dirs::folder().into_iter().flat_map(|folder| dirs::names(&folder))) {
        if Profile::find(&name)?.hosts.iter().any(|ours| ours == host) {
            return Ok(name);
        }
    }
    Err(usage_error(format!("no site profile is for {host}; write one and name it with --site FILE")))
}

/// Ends the browser, and the arena where there is one.
pub(super) async fn close(driver: WebDriver, options: &BrowserOptions, arena: Option<Arena>) -> Result<()> {
    let closed = browser::shutdown(driver, options).await;
    if let Some(arena) = arena {
        arena.stop().await;
    }
    closed.then_some(()).ok_or_else(|| environment_error("the browser did not close"))
}
