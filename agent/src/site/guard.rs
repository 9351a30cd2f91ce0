//! Fair play: which pages the agent may play.
//!
//! Live, ranked and multiplayer pages of the built-in profiles' sites are refused whatever a user profile says, and pages
//! of sites with terms on automation need `--i-own-this-account` on every run. URLs are normalised first, so that another
//! spelling of a page is the same page. A site is known by its host: the same site under another name, such as a proxy's,
//! is not recognised.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_common::text::redact_url;
use url::Url;

use crate::site::Profile;
use crate::site::address::{self, PathSpellings};
use crate::site::profile::built_in;

/// The consent given with `--i-own-this-account`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent(pub bool);

/// Checks that this URL may be played with this profile.
///
/// # Errors
/// When it may not; the message states the reason.
pub(crate) fn check(profile: &Profile, address: &Url, consent: Consent) -> Result<()> {
    if !profile.is_for(address) {
        let shown = redact_url(address);
        return Err(usage_error(format!("{shown}: the profile `{}` is for {}", profile.name, profile.sites())));
    }
    let (rules, path) = (Rules::of(profile, address), PathSpellings::of(address));
    rules.check_path(&path, address)?;
    if !path.surely_matches(|path| profile.paths.play.iter().any(|pattern| pattern.is_match(path))) {
        let shown = redact_url(address);
        return Err(usage_error(format!("{shown}: the profile `{}` does not play this page", profile.name)));
    }
    rules.check_consent(address, consent)?;
    profile.check_scripts()
}

/// Checks a document in a frame of a page that may be played: it can be of another site, or another page of this one.
///
/// # Errors
/// As [`check`].
pub(super) fn check_frame(profile: &Profile, address: &str, consent: Consent) -> Result<()> {
    let address = Url::parse(address).ok().filter(|address| ["http", "https"].contains(&address.scheme()));
    let Some(address) = address else { return Ok(()) }; // part of the page itself: about:srcdoc, blob: and the like
    let rules = Rules::of(profile, &address);
    rules.check_path(&PathSpellings::of(&address), &address)?;
    rules.check_consent(&address, consent)
}

/// The profiles whose prohibitions apply to a URL: the one that is played, and the built-in ones for its host.
struct Rules<'a>(Vec<&'a Profile>);

impl<'a> Rules<'a> {
    fn of(profile: &'a Profile, address: &Url) -> Self {
        let host = address::host(address);
        let is_theirs = |built_in: &&Profile| built_in.hosts.iter().any(|theirs| address::is_within(host, theirs));
        Self(built_in().iter().filter(is_theirs).chain([profile]).collect())
    }

    fn check_path(&self, path: &PathSpellings, address: &Url) -> Result<()> {
        if path.may_match(|path| self.0.iter().any(|it| it.paths.refuse.iter().any(|pattern| pattern.is_match(path)))) {
            return Err(usage_error(format!(
                "{}: live, ranked, multiplayer and daily games affect other people; Landfall does not play there",
                redact_url(address)
            )));
        }
        Ok(())
    }

    fn check_consent(&self, address: &Url, consent: Consent) -> Result<()> {
        if self.0.iter().any(|profile| profile.needs_consent) && !consent.0 {
            return Err(usage_error(format!(
                "the terms of {} may forbid automation; pass --i-own-this-account if the account is yours and the game is private",
                address::host(address)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(site: &str, address: &str, consent: bool) -> bool {
        check(&Profile::find(site).unwrap(), &Url::parse(address).unwrap(), Consent(consent)).is_ok()
    }

    /// A user profile for a host without rules of its own.
    fn lawless(host: &str) -> Profile {
        let (_, text) = crate::site::BUILT_IN.iter().find(|(name, _)| *name == "geoguessr").unwrap();
        let text = text.replace("needs_consent = true", "needs_consent = false");
        let text = text.replace("[\"www.geoguessr.com\", \"geoguessr.com\"]", &format!("[{host:?}]"));
        let (start, end) = (text.find("[paths]").unwrap(), text.find("# Maximum error").unwrap());
        let text = format!("{}[paths]\nplay = [\".*\"]\nrefuse = []\n{}", &text[..start], &text[end..]);
        Profile::parse(&text, "mine.toml").unwrap()
    }

    #[test]
    fn plays_single_player_pages_with_consent_only() {
        for path in
            ["maps/world", "game/AbCdEf0123456789", "challenge/AbCdEf0123456789", "maps/62a44b22040f04bd36e8a914"]
        {
            let address = format!("https://www.geoguessr.com/{path}");
            assert!(allowed("geoguessr", &address, true), "{path}");
            assert!(!allowed("geoguessr", &address, false), "{path}");
        }
    }

    #[test]
    fn worldguessr_is_played_alone() {
        let base = Url::parse("http://127.0.0.1:3000").unwrap();
        let profile = Profile::find("worldguessr").unwrap().at(&base).unwrap();
        let allowed = |path: &&str| check(&profile, &base.join(path).unwrap(), Consent(true)).is_ok();
        assert!(["/", "/?map=france", "/de"].iter().all(allowed));
        assert!(!["/daily", "/de/daily", "/multiplayer", "/party/x", "/duel", "/ranked"].iter().any(allowed));
        // Multiplayer games have no route of their own, but another element around their map.
        for (role, locators) in profile.roles() {
            for locator in locators.iter().filter(|_| role.starts_with("map.") || role.starts_with("result.")) {
                assert!(locator.css.as_ref().unwrap().starts_with(".home__singleplayer "), "{role}: {locator}");
            }
        }
    }

    /// Pages where other people are playing.
    const REFUSED: [&str; 16] = [
        "duels/5f0",
        "team-duels/5f0",
        "battle-royale/5f0",
        "live-challenge/5f0",
        "multiplayer",
        "party",
        "play-along/5",
        "bullseye/5",
        "tournaments/5",
        "challenge/rematch/5",
        "game/AbCdEf0123456789/replay",
        "daily-challenges",
        "ranked",
        "en/duels/5f0",
        "quickplay",
        "daily",
    ];

    #[test]
    fn refuses_other_peoples_games() {
        for path in REFUSED.into_iter().chain(["seterra", "", "pro", "me/profile"]) {
            assert!(!allowed("geoguessr", &format!("https://www.geoguessr.com/{path}"), true), "{path}");
        }
    }

    /// Other spellings of the path `/PATH`.
    fn disguises(path: &str) -> Vec<String> {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let again = |text: &str| text.replace('%', "%25");
        let letters = path.split('/').map(encode).collect::<Vec<_>>().join("/");
        let everything = encode(path);
        vec![
            format!("/{path}"),
            format!("/{path}/"),
            format!("//{path}"),
            format!("///{path}//"),
            format!("/{}", path.to_uppercase()),
            format!("/./{path}"),
            format!("/%2e/{path}"),
            format!("/maps/../{path}"),
            format!("/maps/%2E%2e/{path}"),
            format!("/maps/world/..%2f..%2F{path}"),
            format!("/maps/..%5c{path}"),
            format!("/maps\\..\\{path}"),
            format!("/maps/..;/{path}"),
            format!("/;jsessionid=1/{path}"),
            format!("/{path};v=1"),
            format!("/{path}%20"),
            format!("/{path}%00"),
            format!("/{path}."),
            format!("/{path}%3Fmode=solo"),
            format!("/{path}?mode=solo"),
            format!("/{path}#/maps/world"),
            format!("/{letters}"),
            format!("/{everything}"),
            format!("/%2F{everything}"),
            format!("/{}", again(&letters)),
            format!("/{}", again(&everything)),
            format!("/{}", again(&again(&letters))),
            format!("/maps/world%252F%252e%252e%252f%252e%252e%252f{}", again(&everything)),
            format!("/maps/world#/{path}"),
            format!("/maps/world#!/{path}"),
        ]
    }

    /// Other spellings of `www.geoguessr.com`, with and without a port or user.
    const HOSTS: [&str; 16] = [
        "www.geoguessr.com",
        "geoguessr.com",
        "WWW.GeoGuessr.COM",
        "www.geoguessr.com.",
        "geoguessr.com.",
        "www.geoguessr.com:443",
        "geoguessr.com:8443",
        "www.geoguessr.com.:80",
        "me:word@www.geoguessr.com",
        "127.0.0.1@geoguessr.com",
        "example.org%40x@geoguessr.com.",
        "%77ww.geoguessr%2Ecom",
        "ｗｗｗ.ｇｅｏｇｕｅｓｓｒ.ｃｏｍ",
        "www。geoguessr。com",
        "m.geoguessr.com",
        "game-server.eu.geoguessr.com",
    ];

    /// The host as a user profile would list it: of the URL, and as it is written.
    fn profiles_for(host: &str) -> Vec<Profile> {
        let parsed = Url::parse(&format!("https://{host}/")).unwrap();
        let listed = parsed.host_str().unwrap().to_owned();
        let written = host.rsplit('@').next().unwrap().split(':').next().unwrap().to_owned();
        [listed.trim_end_matches('.').to_owned(), format!("{}.", listed.trim_end_matches('.')), listed.clone(), written]
            .iter()
            .map(|host| lawless(host))
            .collect()
    }

    #[test]
    fn other_spellings_of_refused_pages_are_refused() {
        for host in HOSTS {
            let profiles = profiles_for(host);
            for (n, path) in REFUSED.iter().enumerate() {
                // All paths with the first hosts, all hosts with the first paths.
                let disguises = if n < 2 || host == HOSTS[0] { disguises(path) } else { vec![format!("/{path}")] };
                for path in disguises {
                    for scheme in ["https", "http"] {
                        let address = Url::parse(&format!("{scheme}://{host}{path}")).unwrap();
                        for profile in profiles.iter().chain(built_in()) {
                            let refusal = check(profile, &address, Consent(true)).unwrap_err().to_string();
                            let is_other_site = refusal.contains(" is for ") && !profile.is_for(&address);
                            assert!(refusal.contains("affect other people") || is_other_site, "{address}: {refusal}");
                        }
                        assert!(check(&profiles[0], &address, Consent(true)).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn other_spellings_of_a_site_need_consent_too() {
        for host in HOSTS {
            for path in ["/maps/world", "/maps/%77orld", "//maps/world", "/maps/./world", "/maps/world?x=/arena"] {
                let address = Url::parse(&format!("https://{host}{path}")).unwrap();
                for profile in profiles_for(host) {
                    assert!(profile.is_for(&address), "{address} {:?}", profile.hosts);
                    let error = check(&profile, &address, Consent(false)).unwrap_err().to_string();
                    assert!(error.contains("--i-own-this-account"), "{address}: {error}");
                    assert!(check(&profile, &address, Consent(true)).is_ok(), "{address}");
                }
            }
        }
    }

    #[test]
    fn pages_with_similar_names_are_not_refused() {
        for path in ["/maps/party-people-are-here", "/maps/world"] {
            let address = Url::parse(&format!("https://play.example.org{path}")).unwrap();
            assert!(check(&lawless("play.example.org"), &address, Consent(false)).is_ok(), "{path}");
        }
        // The rules of GeoGuessr are for its hosts only.
        for host in ["notgeoguessr.com", "geoguessr.com.example.org", "geoguessr.example"] {
            let address = Url::parse(&format!("https://{host}/duels/5f0")).unwrap();
            assert!(check(&lawless(host), &address, Consent(false)).is_ok(), "{host}");
        }
    }

    #[test]
    fn unknown_pages_are_refused_by_their_words() {
        let mut generic = Profile::find("generic").unwrap();
        generic.hosts = vec!["play.example.org".into()];
        let allowed = |path: &str| {
            let address = Url::parse(&format!("https://play.example.org{path}")).unwrap();
            check(&generic, &address, Consent(false)).is_ok()
        };
        for path in [
            "/duel",
            "/duels/5",
            "/team-duels",
            "/team_duels",
            "/teamduel",
            "/battle-royale",
            "/battle_royale",
            "/battle%20royale",
            "/battleroyale/1",
            "/live",
            "/live-challenge/5",
            "/multiplayer",
            "/multi-player",
            "/Multiplayer.html",
            "/multiplayer.php?x",
            "/party/abc",
            "/play-along",
            "/ranked",
            "/ranking",
            "/versus",
            "/vs/you",
            "/pvp",
            "/lobby/1",
            "/tournament",
            "/tournaments/5",
            "/turnier",
            "/tournoi",
            "/torneo",
            "/torneio",
            "/toernooi",
            "/daily",
            "/daily-challenge",
            "/daily_quiz",
            "/quick-play",
            "/quickplay",
            "/rematch",
            "/replay/5",
            "/en/PARTY",
            "/%70arty",
            "/%2570arty",
            "/#/party",
            "/x/..%2fparty",
        ] {
            assert!(!allowed(path), "{path}");
        }
        for path in ["/", "/game/5", "/maps/party-people", "/dailies-archive", "/liverpool", "/delivery", "/?mode=x"] {
            assert!(allowed(path), "{path}");
        }
    }

    #[test]
    fn frames_are_checked_by_the_same_rules() {
        let profile = Profile::find("arena").unwrap();
        let allowed = |address: &str, consent| check_frame(&profile, address, Consent(consent)).is_ok();
        for frame in ["about:srcdoc", "about:blank", "blob:http://127.0.0.1/x", "https://ads.example/", ""] {
            assert!(allowed(frame, false), "{frame}");
        }
        assert!(!allowed("https://www.geoguessr.com/maps/world", false));
        assert!(allowed("https://www.geoguessr.com/maps/world", true));
        assert!(!allowed("https://www.geoguessr.com./%64uels/5", true));
    }

    #[test]
    fn user_profiles_cannot_loosen_the_rules() {
        let mine = lawless("www.geoguessr.com");
        let duel = Url::parse("https://www.geoguessr.com/duels/5f0").unwrap();
        let map = Url::parse("https://www.geoguessr.com/maps/world").unwrap();
        assert!(check(&mine, &duel, Consent(true)).is_err());
        assert!(check(&mine, &map, Consent(false)).is_err());
        assert!(check(&mine, &map, Consent(true)).is_ok());
    }

    #[test]
    fn messages_show_redacted_urls() {
        let address = Url::parse("https://me:word@www.geoguessr.com/duels/5f0?token=t#t").unwrap();
        assert_eq!(redact_url(&address).as_str(), "https://www.geoguessr.com/duels/5f0");
        let error = check(&Profile::find("geoguessr").unwrap(), &address, Consent(true)).unwrap_err().to_string();
        assert!(error.starts_with("https://www.geoguessr.com/duels/5f0: live"), "{error}");
    }

    #[test]
    fn stays_on_its_hosts() {
        assert!(allowed("arena", "http://127.0.0.1:1234/", false));
        assert!(allowed("arena", "http://localhost:1234/game/abcdefgh", false));
        for elsewhere in [
            "http://127.0.0.1.example.org/",
            "https://www.geoguessr.com/maps/world",
            "file:///etc/hosts",
            "file://127.0.0.1/",
            "ftp://127.0.0.1/",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:http://127.0.0.1/x",
            "about:blank",
        ] {
            assert!(!allowed("arena", elsewhere, true), "{elsewhere}");
        }
        for elsewhere in
            ["https://geoguessr.com.example.org/maps/world", "https://www.geoguessr.com@example.org/maps/world"]
        {
            assert!(!allowed("geoguessr", elsewhere, true), "{elsewhere}");
        }
    }

    #[test]
    fn built_in_rules_are_parsed_once() {
        assert!(std::ptr::eq(built_in(), built_in()));
        assert!(built_in().iter().any(|profile| profile.needs_consent));
    }
}
