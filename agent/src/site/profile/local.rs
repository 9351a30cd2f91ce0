//! A site's profile on a page of this computer, such as the arena: its hosts are replaced by that page's origin.
//!
//! Nobody's account is there, so the site's need for consent does not go along; its rules of paths do. Only addresses
//! of this computer are taken: anything else would be a way around the consent.

use anyhow::Result;
use landfall_common::exit::usage_error;
use url::{Host, Url};

use crate::site::Profile;

impl Profile {
    /// This profile for the pages under `base` alone, which is on this computer.
    ///
    /// # Errors
    /// When `base` is not the origin of a page on this computer.
    pub fn at(self, base: &Url) -> Result<Self> {
        if !["http", "https"].contains(&base.scheme()) || !is_loopback(base) {
            return Err(usage_error(format!(
                "--base-url {base}: a profile moves to an address of this computer alone, such as http://127.0.0.1:8014"
            )));
        }
        let more_than_origin = base.path() != "/" || base.query().is_some() || base.fragment().is_some();
        if more_than_origin || !base.username().is_empty() || base.password().is_some() {
            let origin = base.origin().ascii_serialization();
            return Err(usage_error(format!("--base-url {base}: give scheme, host and port alone, as in {origin}")));
        }
        let hosts = base.host_str().map(str::to_owned).into_iter().collect();
        Ok(Self { hosts, base: Some(base.clone()), needs_consent: false, ..self })
    }

    /// The address that a game begins at under `base`.
    ///
    /// # Errors
    /// When the profile's `paths.start` is no path.
    pub fn start(&self, base: &Url) -> Result<Url> {
        let start = &self.paths.start;
        let address = base.join(start).ok().filter(|address| address.origin() == base.origin());
        address.ok_or_else(|| usage_error(format!("profile {}: paths.start `{start}` is no path", self.name)))
    }

    /// Whether the profile is for the site that this address is of.
    pub(in crate::site) fn is_for(&self, address: &Url) -> bool {
        match &self.base {
            Some(base) => base.origin() == address.origin(),
            None => {
                let web = ["http", "https"].contains(&address.scheme());
                web && address.host_str().is_some_and(|host| self.hosts.iter().any(|ours| ours == host))
            }
        }
    }

    /// What the profile is for, in words.
    pub(in crate::site) fn sites(&self) -> String {
        self.base.as_ref().map_or_else(|| self.hosts.join(", "), |base| base.origin().ascii_serialization())
    }
}

/// Whether an address is of this computer, by the address itself: what other names lead to is not this program's to say.
pub fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;
    use crate::site::guard;
    use crate::site::guard::Consent;
    use landfall_common::exit::Exit;

    fn geoguessr_at(base: &str) -> Result<Profile> {
        Profile::find("geoguessr").unwrap().at(&Url::parse(base).unwrap())
    }

    #[test]
    fn a_profile_moves_to_this_computer_alone() {
        for base in ["http://127.0.0.1:8014", "http://127.8.9.1/", "http://localhost:1", "https://[::1]:8000"] {
            assert!(geoguessr_at(base).is_ok(), "{base}");
        }
        for base in [
            "https://www.geoguessr.com",
            "https://www.geoguessr.com:443/",
            "http://geoguessr.com",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org",
            "http://localhost.",
            "http://127.0.0.1@www.geoguessr.com/",
            "http://0.0.0.0:8014",
            "http://192.168.0.1",
            "http://[::ffff:192.168.0.1]/",
            "file:///maps/world",
            "data:text/html,x",
            "http://127.0.0.1:8014/maps/world",
            "http://127.0.0.1:8014/?x",
            "http://me:word@127.0.0.1:8014/",
        ] {
            let error = geoguessr_at(base).err().unwrap_or_else(|| panic!("{base} is taken"));
            assert_eq!(exit_code(&error), Exit::Usage, "{base}");
            assert!(error.to_string().contains("--base-url"), "{error}");
        }
    }

    #[test]
    fn there_it_plays_without_consent_and_nowhere_else_even_with_it() {
        let profile = geoguessr_at("http://127.0.0.1:8014").unwrap();
        let allowed = |address: &str| {
            [true, false].map(|word| guard::check(&profile, &Url::parse(address).unwrap(), Consent(word)).is_ok())
        };
        for path in ["maps/world", "game/AbCdEf0123456789", "challenge/AbCdEf0123456789"] {
            assert_eq!(allowed(&format!("http://127.0.0.1:8014/{path}")), [true, true], "{path}");
        }
        for elsewhere in [
            // The site's own pages, other ports, other names of this computer.
            "https://www.geoguessr.com/maps/world",
            "https://geoguessr.com/maps/world",
            "http://127.0.0.1/maps/world",
            "http://127.0.0.1:8015/maps/world",
            "https://127.0.0.1:8014/maps/world",
            "http://localhost:8014/maps/world",
            // The rules of paths stay.
            "http://127.0.0.1:8014/duels/5f0",
            "http://127.0.0.1:8014/game/AbCdEf0123456789/replay",
            "http://127.0.0.1:8014/daily-challenges",
            "http://127.0.0.1:8014/",
        ] {
            assert_eq!(allowed(elsewhere), [false, false], "{elsewhere}");
        }
    }

    #[test]
    fn the_site_itself_asks_for_consent_as_before() {
        let (site, map) = (Profile::find("geoguessr").unwrap(), Url::parse("https://www.geoguessr.com/maps/world"));
        let map = map.unwrap();
        assert!(site.needs_consent && guard::check(&site, &map, Consent(false)).is_err());
        assert!(guard::check(&site, &map, Consent(true)).is_ok());
        // Nor does the profile as it is take this computer for the site.
        let here = Url::parse("http://127.0.0.1:8014/maps/world").unwrap();
        assert!(guard::check(&site, &here, Consent(true)).is_err());
    }

    #[test]
    fn a_game_begins_where_the_profile_says() {
        let base = Url::parse("http://127.0.0.1:8014").unwrap();
        let start = |site: &str| Profile::find(site).unwrap().start(&base).unwrap().to_string();
        assert_eq!(start("geoguessr"), "http://127.0.0.1:8014/maps/world");
        assert_eq!(start("arena"), "http://127.0.0.1:8014/");
        let mut away = Profile::find("arena").unwrap();
        away.paths.start = "https://www.geoguessr.com/maps/world".into();
        assert_eq!(exit_code(&away.start(&base).unwrap_err()), Exit::Usage);
    }
}
