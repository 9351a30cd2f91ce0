//! What `--player` names.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_model::{LatLng, bundle};
use url::Url;

/// What `--player` names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PlayerSpec {
    Constant(Option<LatLng>),
    Prior,
    Person,
    Bundle(String),
    Http(Url),
    Command(String),
    /// A command that starts a server of the Model Context Protocol.
    Mcp(String),
}

impl PlayerSpec {
    /// # Errors
    /// A usage error when a point or a URL is invalid.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let point = |text: &str| {
            let (lat, lng) = text.split_once(',')?;
            LatLng::new(lat.trim().parse().ok()?, lng.trim().parse().ok()?).ok()
        };
        let (prefix, rest) = text.split_once(':').unwrap_or((text, ""));
        Ok(match prefix {
            "constant" if rest.is_empty() => Self::Constant(None),
            "constant" => Self::Constant(Some(
                point(rest)
                    .with_context(|| usage_error(format!("`{rest}` is not LAT,LNG, as in constant:48.2,16.4")))?,
            )),
            "prior" if rest.is_empty() => Self::Prior,
            "person" if rest.is_empty() => Self::Person,
            "http" | "https" => {
                Self::Http(Url::parse(text).with_context(|| usage_error(format!("`{text}` is not a URL")))?)
            }
            "bundle" => Self::Bundle(rest.to_owned()),
            "command" => Self::Command(rest.to_owned()),
            "mcp" => Self::Mcp(rest.to_owned()),
            _ if bundle::names().iter().any(|name| name == text) || Path::new(text).join("bundle.json").is_file() => {
                Self::Bundle(text.to_owned())
            }
            _ => Self::Command(text.to_owned()),
        })
    }

    /// The kind of player in results.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Prior => "prior",
            Self::Person => "person",
            Self::Bundle(_) => "bundle",
            Self::Http(_) => "http",
            Self::Command(_) => "command",
            Self::Mcp(_) => "mcp",
        }
    }

    /// Name in tables: nothing of a command's options or of a URL's query, which may be secret.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Bundle(name) => {
                Path::new(name).file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned())
            }
            Self::Http(url) => url.host_str().unwrap_or("http").to_owned(),
            Self::Command(line) | Self::Mcp(line) => {
                let words = shlex::split(line).unwrap_or_default();
                let is_script = |word: &&String| !word.starts_with('-') && word.contains('.');
                let word = words.iter().skip(1).find(is_script).or(words.first()).cloned().unwrap_or_default();
                Path::new(&word).file_stem().map_or(word.clone(), |name| name.to_string_lossy().into_owned())
            }
            _ => self.kind().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_are_recognised() {
        let parse = |text: &str| PlayerSpec::parse(text).unwrap();
        assert_eq!(parse("constant"), PlayerSpec::Constant(None));
        assert_eq!(parse("constant:-33.9, 151"), PlayerSpec::Constant(Some(LatLng { lat: -33.9, lng: 151.0 })));
        assert_eq!(parse("pocket"), PlayerSpec::Bundle("pocket".into()));
        assert_eq!(parse("command:pocket"), PlayerSpec::Command("pocket".into()));
        assert_eq!(parse("python3 agent.py --key=a:b"), PlayerSpec::Command("python3 agent.py --key=a:b".into()));
        assert_eq!(parse("mcp:landfall mcp"), PlayerSpec::Mcp("landfall mcp".into()));
        assert!(matches!(parse("http://127.0.0.1:8090/v1/locate"), PlayerSpec::Http(_)));
        for wrong in ["constant:91,0", "constant:x", "http://"] {
            assert!(PlayerSpec::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_have_no_secrets() {
        let name = |text: &str| PlayerSpec::parse(text).unwrap().name();
        assert_eq!(name("python3 -u agents/gpt.py --key SECRET"), "gpt");
        assert_eq!(name("https://me:SECRET@example.org/guess?key=SECRET"), "example.org");
        assert_eq!((name("prior"), name("./my-agent --x")), ("prior".into(), "my-agent".into()));
    }
}
