//! Graphics in the terminal: a small world map of the posterior, and the images themselves.
//!
//! Nothing is drawn when the stream is not a terminal, when `CI` is set, or with `--json`.

mod map;
pub(crate) mod picture;
mod renderer;
mod sixel;
#[cfg(feature = "screen")]
pub(crate) mod watch;

use console::Term;

pub(crate) use map::MapMark;
pub(crate) use renderer::TerminalRenderer;

/// Maximum width of a map in columns.
const MAX_COLUMNS: u16 = 96;
/// Minimum width of a map in columns.
const MIN_COLUMNS: u16 = 40;

/// Colour support of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Colours {
    /// No colours.
    None,
    /// The 16 ANSI colours.
    Sixteen,
    /// The palette of 256 colours.
    Palette256,
    /// 24-bit colours.
    True,
}

/// A terminal to draw on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalCanvas {
    /// Width of a map in columns.
    pub columns: u16,
    /// Its colour support.
    pub colours: Colours,
}

impl TerminalCanvas {
    /// The canvas of a stream; `None` if the stream is not a terminal or graphics are not wanted.
    pub(crate) fn of(term: &Term) -> Option<Self> {
        let (_, columns) = term.is_term().then(|| term.size())?;
        Self::from_env(columns, |name| std::env::var(name).ok())
    }

    /// The canvas with up to `columns` columns, for the terminal that the environment variables describe.
    fn from_env(columns: u16, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let kind = set("TERM").unwrap_or_default();
        if set("CI").is_some() || kind == "dumb" || columns < MIN_COLUMNS {
            return None;
        }
        let colours = match set("COLORTERM").as_deref() {
            _ if set("NO_COLOR").is_some() => Colours::None,
            Some("truecolor" | "24bit") => Colours::True,
            _ if set("WT_SESSION").is_some() => Colours::True, // Windows Terminal
            _ if kind.contains("256color") || kind.contains("direct") => Colours::Palette256,
            _ if kind.is_empty() && cfg!(not(windows)) => Colours::None,
            _ => Colours::Sixteen,
        };
        Some(Self { columns: columns.min(MAX_COLUMNS), colours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(columns: u16, variables: &[(&str, &str)]) -> Option<TerminalCanvas> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        TerminalCanvas::from_env(columns, variable)
    }

    #[test]
    fn canvas_is_detected_from_the_environment() {
        let colours = |variables: &[_]| canvas(80, variables).unwrap().colours;
        assert_eq!(colours(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), Colours::True);
        assert_eq!(colours(&[("TERM", "xterm-256color")]), Colours::Palette256);
        assert_eq!(colours(&[("TERM", "linux")]), Colours::Sixteen);
        assert_eq!(colours(&[("WT_SESSION", "1")]), Colours::True);
        assert_eq!(colours(&[("TERM", "xterm"), ("COLORTERM", "24bit"), ("NO_COLOR", "1")]), Colours::None);
        assert_eq!(colours(&[("TERM", "xterm"), ("NO_COLOR", "")]), Colours::Sixteen);
        assert_eq!(canvas(80, &[("TERM", "dumb")]), None);
        assert_eq!(canvas(80, &[("TERM", "xterm"), ("CI", "true")]), None);
        assert_eq!(canvas(30, &[("TERM", "xterm")]), None);
        assert_eq!(canvas(500, &[("TERM", "xterm")]).unwrap().columns, MAX_COLUMNS);
    }
}
