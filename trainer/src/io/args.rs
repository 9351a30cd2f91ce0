//! Parsers of command-line values.

/// A share on a command line.
pub(crate) fn parse_fraction(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| "must be 0 or more and less than 1".into())
}
