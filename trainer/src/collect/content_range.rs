//! The `Content-Range` header: which part of a file a response contains.

use reqwest::Response;
use reqwest::header::CONTENT_RANGE;

/// A `Content-Range` header.
#[derive(Debug, PartialEq)]
pub(super) struct ContentRange {
    /// First and last byte; `None` if the requested range does not exist.
    pub(super) bytes: Option<(u64, u64)>,
    /// Size of the whole file, if known.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Returns whether the range is a possible one that begins with this byte.
    pub(super) fn is_from(&self, first: u64) -> bool {
        self.bytes.is_some_and(|(from, to)| from == first && to >= from && self.total.is_none_or(|total| to < total))
    }

    fn parse(header: &str) -> Option<Self> {
        let (bytes, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
        let bytes = bytes.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        Some(Self { bytes, total: total.parse().ok() })
    }
}

/// The `Content-Range` header of a response.
pub(super) fn content_range(response: &Response) -> Option<ContentRange> {
    ContentRange::parse(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        let range = |header: &str| ContentRange::parse(header);
        let (bytes, total) = (Some((5, 9)), Some(10));
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { bytes, total }));
        assert_eq!(range("bytes 5-9/*"), Some(ContentRange { bytes, total: None }));
        assert_eq!(range("bytes */10"), Some(ContentRange { bytes: None, total }));
        assert!(range("5-9/10").is_none() && range("bytes 5-9").is_none());
        assert!(!range("bytes 5-3/10").unwrap().is_from(5) && !range("bytes 5-10/10").unwrap().is_from(5));
    }
}
