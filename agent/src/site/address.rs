//! Normalising URLs before rules are applied to them: one page can be written in many ways, and a rule must hold for all
//! of them.
//!
//! The URL parser already lower-cases hosts, converts them to Punycode, and resolves plain `.` and `..` segments. What it
//! leaves is handled here: a trailing dot of the host, subdomains, and everything that servers and routers decode or
//! ignore in paths.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Paths that are still percent-encoded after this many rounds of decoding are not played.
const MAX_DECODINGS: usize = 8;

/// The host of a URL without a trailing dot; empty if it has none.
pub(super) fn host(address: &Url) -> &str {
    address.host_str().unwrap_or_default().trim_end_matches('.')
}

/// The host of a profile as it appears in parsed URLs. What is not a host matches nothing.
pub(super) fn normalize_host(written: &str) -> String {
    let host = Host::parse(written.trim().trim_end_matches('.'));
    host.map_or_else(|_| written.to_owned(), |host| host.to_string())
}

/// Whether a host is `site` or one of its subdomains, such as `www`.
pub(super) fn is_within(host: &str, site: &str) -> bool {
    host.strip_suffix(site).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The spellings of a URL's path, from the path as it is to its plain form.
pub(super) struct PathSpellings {
    /// As in the URL, decoded once, twice and so on, each also in its plain form.
    spellings: Vec<String>,
    /// Whether the path is still encoded after [`MAX_DECODINGS`].
    is_opaque: bool,
    /// The route in the fragment (`#/duels`), which pages with only one document use as a path.
    route: Option<Box<Self>>,
}

impl PathSpellings {
    pub(super) fn of(address: &Url) -> Self {
        let route = address.fragment().and_then(|text| {
            let text = percent_decode_str(text).decode_utf8_lossy();
            let path = text.trim_start_matches('!').trim_start_matches('\\');
            path.starts_with('/').then(|| Box::new(Self::of_path(path)))
        });
        Self { route, ..Self::of_path(address.path()) }
    }

    fn of_path(path: &str) -> Self {
        let (mut spellings, mut decoded, mut is_opaque) = (vec![path.to_owned(), plain(path)], path.to_owned(), true);
        for _ in 0..=MAX_DECODINGS {
            let next = percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
            if next == decoded {
                is_opaque = false;
                break;
            }
            spellings.extend([next.clone(), plain(&next)]);
            decoded = next;
        }
        Self { spellings, is_opaque, route: None }
    }

    /// Whether one of the spellings matches, or cannot be known.
    pub(super) fn may_match(&self, matches: impl Fn(&str) -> bool + Copy) -> bool {
        let route = self.route.as_ref().is_some_and(|route| route.may_match(matches));
        route || self.is_opaque || self.spellings.iter().any(|path| matches(path))
    }

    /// Whether the page itself matches: its plain form, or the path as it is, provided that it has no separators that
    /// only appear by decoding.
    pub(super) fn surely_matches(&self, matches: impl Fn(&str) -> bool) -> bool {
        let (Some(raw), Some(plain)) = (self.spellings.first(), self.spellings.last()) else { return false };
        let depth = |path: &str| path.split('/').filter(|segment| !segment.is_empty()).count();
        !self.is_opaque && (matches(plain) || matches(raw) && depth(raw) == depth(plain))
    }
}

/// A path without what servers ignore: backslashes, empty and dot segments, parameters after `;`, a query or fragment that
/// was encoded, and white space, control characters and dots at the ends of segments.
fn plain(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in path.split(['/', '\\']) {
        let segment = segment.split([';', '?', '#']).next().unwrap_or_default().trim_matches(is_invisible);
        is_folder = ["", ".", ".."].contains(&segment);
        if segment == ".." {
            segments.pop();
        } else if !segment.trim_end_matches(['.', ' ']).is_empty() {
            segments.push(segment.trim_end_matches(['.', ' ']));
        }
    }
    let end = if is_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// White space, control characters and characters without width.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || ('\u{200b}'..='\u{200f}').contains(&c)
        || "\u{ad}\u{2060}\u{feff}".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn hosts_have_one_spelling() {
        for written in [
            "https://geoguessr.com/",
            "https://GeoGuessr.COM/",
            "https://geoguessr.com./",
            "https://geoguessr.com:8443/",
            "https://me:word@geoguessr.com/",
            "https://example.org@geoguessr.com/",
            "https://geoguessr.com\\@example.org/",
            "https://%67eo%67uessr.com/",
            "https://ｇｅｏｇｕｅｓｓｒ.com/",
            "https://geoguessr。com/",
            "https://geoguessr.com。/",
            "https://geo\u{ad}guessr.com/",
            "https:\\\\geoguessr.com\\",
        ] {
            assert_eq!(host(&url(written)), "geoguessr.com", "{written}");
        }
        for written in ["geoguessr.com", "GeoGuessr.com.", " geoguessr.com", "ＧＥＯguessr。com", "%67eoguessr.com"]
        {
            assert_eq!(normalize_host(written), "geoguessr.com", "{written}");
        }
        assert_eq!(normalize_host("münchen.example"), host(&url("http://MÜNCHEN.example/")));
        assert_eq!(normalize_host("127.1"), "127.0.0.1");
        assert_eq!(normalize_host("[::1]"), host(&url("http://[0:0::1]/")));
    }

    #[test]
    fn subdomains_belong_to_a_site() {
        for host in ["geoguessr.com", "www.geoguessr.com", "m.geoguessr.com", "a.b.geoguessr.com"] {
            assert!(is_within(host, "geoguessr.com"), "{host}");
        }
        for host in ["notgeoguessr.com", "geoguessr.com.example.org", "geoguessr.org", "com", ""] {
            assert!(!is_within(host, "geoguessr.com"), "{host}");
        }
    }

    #[test]
    fn plain_paths() {
        for (path, expected) in [
            ("/", "/"),
            ("/maps/world", "/maps/world"),
            ("/spiel/", "/spiel/"),
            ("//maps///world", "/maps/world"),
            ("/maps/./x/../world", "/maps/world"),
            ("/maps\\..\\duels", "/duels"),
            ("/../../duels", "/duels"),
            ("/duels;v=1/5;x", "/duels/5"),
            ("/duels\0/ 5 ", "/duels/5"),
            ("/duels./5...", "/duels/5"),
            ("/duels?x#y", "/duels"),
            ("/maps/..", "/"),
        ] {
            assert_eq!(plain(path), expected, "{path}");
        }
    }

    #[test]
    fn encoded_paths_match_in_every_spelling() {
        let encode = |text: &str, times: usize| (0..times).fold(text.to_owned(), |text, _| text.replace('%', "%25"));
        for times in 0..MAX_DECODINGS {
            let spellings = PathSpellings::of(&url(&format!("https://a.example/{}", encode("%64uels", times))));
            assert!(spellings.may_match(|path| path == "/duels"), "{times}");
            assert!(spellings.surely_matches(|path| path == "/duels"), "{times}");
        }
        let opaque = PathSpellings::of(&url(&format!("https://a.example/{}", encode("%64", 40))));
        assert!(opaque.may_match(|_| false) && !opaque.surely_matches(|_| true));
        // A pattern may be written for the encoded path, unless decoding changes its segments.
        let encoded = |path: &str, pattern: &str| {
            PathSpellings::of(&url(&format!("https://a.example{path}"))).surely_matches(|path| path == pattern)
        };
        assert!(encoded("/%C3%B6", "/%C3%B6") && encoded("/%C3%B6", "/ö"));
        assert!(!encoded("/game/..%2Fadmin", "/game/..%2Fadmin") && encoded("/game/..%2Fadmin", "/admin"));
    }

    #[test]
    fn routes_in_the_fragment_count() {
        for text in ["https://a.example/#/duels", "https://a.example/#!/duels", "https://a.example/x#%2Fduels"] {
            assert!(PathSpellings::of(&url(text)).may_match(|path| path == "/duels"), "{text}");
        }
        for text in ["https://a.example/#duels", "https://a.example/?/duels"] {
            assert!(!PathSpellings::of(&url(text)).may_match(|path| path == "/duels"), "{text}");
        }
    }
}
