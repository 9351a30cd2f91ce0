//! What a terminal can show beside words: a small map of the world with what is believed, and the picture itself.
//!
//! Nothing is drawn where nobody looks: when the stream is no terminal, on a build machine, or with `--json`.

mod map;
pub mod picture;
mod renderer;
mod sixel;
#[cfg(feature = "screen")]
pub mod watch;

use console::Term;

pub use map::MapMark;
pub(crate) use renderer::TerminalRenderer;

/// Columns of the widest map.
const MAX_COLUMNS: u16 = 96;
/// Fewer columns show no world.
const MIN_COLUMNS: u16 = 40;

/// Colours that a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colours {
    /// Only its own.
    None,
    /// The sixteen.
    Sixteen,
    /// The table of 256.
    Palette256,
    /// Any.
    True,
}

/// A terminal that may be drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalCanvas {
    /// Columns of a map.
    pub columns: u16,
    /// Its colours.
    pub colours: Colours,
}

impl TerminalCanvas {
    /// The canvas that a stream is, if it is one.
    pub fn of(term: &Term) -> Option<Self> {
        let (_, columns) = term.is_term().then(|| term.size())?;
        Self::from_env(columns, |name| std::env::var(name).ok())
    }

    /// The canvas with `columns` columns, for the terminal that the environment states.
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
    fn the_environment_says_what_can_be_shown() {
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
