//! Moving a site profile to an origin on this computer, such as the arena, in place of its own hosts.
//!
//! No account is involved there, so consent is not needed; the rules for paths still apply. Only loopback addresses are
//! accepted: anything else would circumvent the consent.

use anyhow::Result;
use landfall_common::exit::usage_error;
use url::{Host, Url};

use crate::site::{Profile, address};

impl Profile {
    /// This profile for pages under `base` only, which must be on this computer.
    ///
    /// # Errors
    /// When `base` is not an origin on this computer.
    pub fn at(self, base: &Url) -> Result<Self> {
        if !["http", "https"].contains(&base.scheme()) || !is_loopback(base) {
            return Err(usage_error(format!(
                "--base-url {base}: only an origin on this computer is accepted, such as http://127.0.0.1:8014"
            )));
        }
        let more_than_origin = base.path() != "/" || base.query().is_some() || base.fragment().is_some();
        if more_than_origin || !base.username().is_empty() || base.password().is_some() {
            let origin = base.origin().ascii_serialization();
            return Err(usage_error(format!("--base-url {base}: give only scheme, host and port, as in {origin}")));
        }
        let hosts = base.host_str().map(str::to_owned).into_iter().collect();
        Ok(Self { hosts, base: Some(base.clone()), needs_consent: false, ..self })
    }

    /// The URL under `base` at which a game starts.
    ///
    /// # Errors
    /// When `paths.start` of the profile is not a path.
    pub fn start(&self, base: &Url) -> Result<Url> {
        let start = &self.paths.start;
        let address = base.join(start).ok().filter(|address| address.origin() == base.origin());
        address.ok_or_else(|| usage_error(format!("profile {}: paths.start `{start}` is not a path", self.name)))
    }

    /// Whether the profile applies to the site of this URL.
    pub(crate) fn is_for(&self, address: &Url) -> bool {
        match &self.base {
            Some(base) => base.origin() == address.origin(),
            None => {
                let web = ["http", "https"].contains(&address.scheme());
                web && self.hosts.iter().any(|ours| ours == address::host(address))
            }
        }
    }

    /// The hosts of the profile, for messages.
    pub(in crate::site) fn sites(&self) -> String {
        match &self.base {
            Some(base) => base.origin().ascii_serialization(),
            None if self.hosts.is_empty() => {
                "pages on this computer, with --base-url, or for hosts that a copy of it lists".to_owned()
            }
            None => self.hosts.join(", "),
        }
    }
}

/// Whether a URL is on this computer, judged by the URL itself: other host names are not resolved.
pub(crate) fn is_loopback(address: &Url) -> bool {
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
    fn profiles_move_only_to_this_computer() {
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
    fn a_moved_profile_needs_no_consent_and_plays_nowhere_else() {
        let profile = geoguessr_at("http://127.0.0.1:8014").unwrap();
        let allowed = |address: &str| {
            [true, false].map(|word| guard::check(&profile, &Url::parse(address).unwrap(), Consent(word)).is_ok())
        };
        for path in ["maps/world", "game/AbCdEf0123456789", "challenge/AbCdEf0123456789"] {
            assert_eq!(allowed(&format!("http://127.0.0.1:8014/{path}")), [true, true], "{path}");
        }
        for elsewhere in [
            // Pages of the site itself, other ports, other names of this computer.
            "https://www.geoguessr.com/maps/world",
            "https://geoguessr.com/maps/world",
            "http://127.0.0.1/maps/world",
            "http://127.0.0.1:8015/maps/world",
            "https://127.0.0.1:8014/maps/world",
            "http://localhost:8014/maps/world",
            // The rules for paths still apply.
            "http://127.0.0.1:8014/duels/5f0",
            "http://127.0.0.1:8014/game/AbCdEf0123456789/replay",
            "http://127.0.0.1:8014/daily-challenges",
            "http://127.0.0.1:8014/",
        ] {
            assert_eq!(allowed(elsewhere), [false, false], "{elsewhere}");
        }
    }

    #[test]
    fn the_original_profile_still_needs_consent() {
        let (site, map) = (Profile::find("geoguessr").unwrap(), Url::parse("https://www.geoguessr.com/maps/world"));
        let map = map.unwrap();
        assert!(site.needs_consent && guard::check(&site, &map, Consent(false)).is_err());
        assert!(guard::check(&site, &map, Consent(true)).is_ok());
        // The unmoved profile does not accept this computer.
        let here = Url::parse("http://127.0.0.1:8014/maps/world").unwrap();
        assert!(guard::check(&site, &here, Consent(true)).is_err());
    }

    #[test]
    fn profiles_without_hosts_say_how_they_are_used() {
        let (profile, page) = (Profile::find("worldguessr").unwrap(), Url::parse("http://127.0.0.1:3000/").unwrap());
        let error = guard::check(&profile, &page, Consent(true)).unwrap_err();
        assert!(exit_code(&error) == Exit::Usage && error.to_string().contains("--base-url"), "{error}");
        assert!(guard::check(&profile.at(&page).unwrap(), &page, Consent(false)).is_ok());
    }

    #[test]
    fn games_start_at_the_path_of_the_profile() {
        let base = Url::parse("http://127.0.0.1:8014").unwrap();
        let start = |site: &str| Profile::find(site).unwrap().start(&base).unwrap().to_string();
        assert_eq!(start("geoguessr"), "http://127.0.0.1:8014/maps/world");
        assert_eq!(start("arena"), "http://127.0.0.1:8014/");
        let mut away = Profile::find("arena").unwrap();
        away.paths.start = "https://www.geoguessr.com/maps/world".into();
        assert_eq!(exit_code(&away.start(&base).unwrap_err()), Exit::Usage);
    }
}
