//! Fair play: which pages the agent may play.
//!
//! Live, ranked and multiplayer pages are always refused. Sites with terms on automation need `--i-own-this-account` on
//! every run. A user profile cannot loosen the rules of a built-in profile for the same host. The other half of fair play
//! is in the types: results can be read only with a [`GuessSubmitted`](super::page::GuessSubmitted), which only sending a
//! guess returns.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_common::text::redact_url;
use url::Url;

use crate::site::{BUILT_IN, Profile};

/// The consent given with `--i-own-this-account`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent(pub bool);

/// Checks that this URL may be played with this profile.
///
/// # Errors
/// When it may not; the message states the reason.
pub(crate) fn check(profile: &Profile, address: &Url, consent: Consent) -> Result<()> {
    let host = address.host_str().unwrap_or_default();
    let shown = redact_url(address);
    if !profile.is_for(address) {
        return Err(usage_error(format!("{shown}: the profile `{}` is for {}", profile.name, profile.sites())));
    }
    let names = BUILT_IN.iter().map(|(name, _)| Profile::find(name)).collect::<Result<Vec<_>>>()?;
    let strict: Vec<&Profile> =
        names.iter().filter(|built_in| built_in.hosts.iter().any(|theirs| theirs == host)).chain([profile]).collect();
    if strict.iter().any(|profile| profile.paths.refuse.iter().any(|pattern| pattern.is_match(address.path()))) {
        return Err(usage_error(format!(
            "{shown}: live, ranked, multiplayer and daily games affect other people; Landfall does not play there"
        )));
    }
    if !profile.paths.play.iter().any(|pattern| pattern.is_match(address.path())) {
        return Err(usage_error(format!("{shown}: the profile `{}` does not play this page", profile.name)));
    }
    if strict.iter().any(|profile| profile.needs_consent) && !consent.0 {
        return Err(usage_error(format!(
            "the terms of {host} may forbid automation; pass --i-own-this-account if the account is yours and the game is private"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(site: &str, address: &str, consent: bool) -> bool {
        check(&Profile::find(site).unwrap(), &Url::parse(address).unwrap(), Consent(consent)).is_ok()
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
    fn refuses_other_peoples_games() {
        for path in [
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
            "seterra",
            "",
        ] {
            assert!(!allowed("geoguessr", &format!("https://www.geoguessr.com/{path}"), true), "{path}");
        }
    }

    #[test]
    fn user_profiles_cannot_loosen_the_rules() {
        let text = BUILT_IN[1].1.replace("needs_consent = true", "needs_consent = false");
        let (start, end) = (text.find("[paths]").unwrap(), text.find("# Maximum error").unwrap());
        let loose = format!("{}[paths]\nplay = [\".*\"]\nrefuse = []\n{}", &text[..start], &text[end..]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), loose).unwrap();
        let mine = Profile::find(file.path().to_str().unwrap()).unwrap();
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
        for elsewhere in ["http://127.0.0.1.example.org/", "https://www.geoguessr.com/maps/world", "file:///etc/hosts"]
        {
            assert!(!allowed("arena", elsewhere, true), "{elsewhere}");
        }
        assert!(!allowed("geoguessr", "https://geoguessr.com.example.org/maps/world", true));
    }
}
