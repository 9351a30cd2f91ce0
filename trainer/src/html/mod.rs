//! What the HTML pages share.

pub(crate) mod world_svg;

/// The style sheet, light or dark as the reader's system is.
pub(crate) const STYLE: &str = include_str!("style.css");
