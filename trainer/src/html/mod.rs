//! Shared parts of the HTML reports.

pub(crate) mod world_svg;

/// The style sheet, with light and dark colour schemes.
pub(crate) const STYLE: &str = include_str!("style.css");
