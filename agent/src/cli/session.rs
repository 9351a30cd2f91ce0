//! Shared by commands that open a page: the choice of profile and URL, and closing the browser.

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::text::eprint_sanitized;
use thirtyfour::WebDriver;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::dirs;
use crate::error::describe;
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
    let Some(url) = url else { return Ok("arena".to_owned()) };
    let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    let names = built_in.chain(dirs::user_profiles().into_iter().flat_map(|folder| dirs::names(&folder)));
    let profiles = names.filter_map(|name| match Profile::find(&name) {
        Ok(profile) => Some((name, profile)),
        Err(error) => {
            // Another profile may fit; this one must not stand in its way.
            eprint_sanitized(format!("skipped the site profile {name}: {}", describe(&error)));
            None
        }
    });
    profile_for(profiles, url).ok_or_else(|| {
        let host = url.host_str().unwrap_or_default();
        usage_error(format!("no site profile is for {host}; `landfall probe` writes one, or name a file with --site"))
    })
}

/// The first profile that plays the URL, else the first for its host, whose rules then explain why it is not played.
fn profile_for(profiles: impl Iterator<Item = (String, Profile)>, url: &Url) -> Option<String> {
    let mut for_host = None;
    for (name, profile) in profiles.filter(|(_, profile)| profile.is_for(url)) {
        if profile.paths.play.iter().any(|pattern| pattern.is_match(url.path())) {
            return Some(name);
        }
        for_host.get_or_insert(name);
    }
    for_host
}

/// Closes the browser and stops the arena.
pub(super) async fn close(driver: WebDriver, options: &BrowserOptions, arena: Option<Arena>) -> Result<()> {
    let closed = browser::shutdown(driver, options).await;
    if let Some(arena) = arena {
        arena.stop().await;
    }
    closed.then_some(()).ok_or_else(|| environment_error("the browser did not close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_is_chosen_by_host_then_by_path() {
        let (_, arena) = BUILT_IN[0];
        let own = arena.replace("\"^/$\"", "\"^/quiz\"").replace("name = \"arena\"", "name = \"quiz\"");
        let chosen = |url: &str| {
            let profiles = [("arena", arena), ("quiz", own.as_str())];
            let profiles = profiles.map(|(name, text)| (name.to_owned(), Profile::parse(text, name).unwrap()));
            profile_for(profiles.into_iter(), &Url::parse(url).unwrap())
        };
        assert_eq!(chosen("http://127.0.0.1:8014/").as_deref(), Some("arena"));
        assert_eq!(chosen("http://127.0.0.1:8000/quiz").as_deref(), Some("quiz"));
        assert_eq!(chosen("http://localhost:8000/neither/of/both").as_deref(), Some("arena"));
        assert_eq!(chosen("https://game.example.org/"), None);
    }
}
