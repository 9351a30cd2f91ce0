//! Parsers of command-line values.

/// Parses a fraction of at least 0 and less than 1.
pub(crate) fn parse_fraction(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|fraction| (0.0..1.0).contains(fraction))
        .ok_or_else(|| "must be at least 0 and less than 1".into())
}
