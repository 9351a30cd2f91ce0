//! The files of the web pages and of a few rounds inside the program (feature `embed`), compressed with Brotli where that
//! helps.

use std::borrow::Cow;
use std::io::Read;

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use brotli_decompressor::Decompressor;

/// Size of the decoder's buffer.
const BUFFER_BYTES: usize = 64 << 10;

/// A file by its path below the directory of the pages, or of the rounds.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    contents: &'static Contents,
}

#[derive(Debug)]
struct Contents {
    is_brotli: bool,
    bytes: &'static [u8],
}

// PAGES and ROUNDS, sorted by name.
include!(concat!(env!("OUT_DIR"), "/files.rs"));

pub(super) fn find(files: &'static [File], name: &str) -> Option<&'static File> {
    files.binary_search_by(|file| file.name.cmp(name)).ok().map(|at| &files[at])
}

impl File {
    pub(super) fn read(&self) -> Cow<'static, [u8]> {
        let Contents { is_brotli, bytes } = *self.contents;
        if !is_brotli {
            return Cow::Borrowed(bytes);
        }
        let mut decompressed = Vec::new();
        Decompressor::new(bytes, BUFFER_BYTES).read_to_end(&mut decompressed).expect("build.rs has compressed it");
        Cow::Owned(decompressed)
    }
}

/// The response with a file of the pages, if there is one of this path.
pub(super) fn respond(path: &str, headers: &HeaderMap) -> Option<Response> {
    let name = path.trim_start_matches('/');
    let file = find(PAGES, if name.is_empty() { "index.html" } else { name })?;
    let kind = mime_guess::from_path(file.name).first_or_octet_stream();
    let kind = HeaderValue::from_str(kind.as_ref()).ok()?;
    let vary = HeaderValue::from_static("accept-encoding");
    let Contents { is_brotli, bytes } = *file.contents;
    if is_brotli && accepts_brotli(headers) {
        let encoding = HeaderValue::from_static("br");
        return Some(([(CONTENT_TYPE, kind), (VARY, vary), (CONTENT_ENCODING, encoding)], bytes).into_response());
    }
    Some(([(CONTENT_TYPE, kind), (VARY, vary)], file.read()).into_response())
}

fn accepts_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let weight = |part: &str| part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        parts.next() == Some("br") && parts.find_map(weight) != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_contents_are_those_of_the_checkout() {
        for files in [PAGES, ROUNDS] {
            assert!(files.is_sorted_by(|a, b| a.name < b.name));
        }
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds");
        for file in ROUNDS {
            assert_eq!(find(ROUNDS, file.name).unwrap().read(), std::fs::read(fixtures.join(file.name)).unwrap());
        }
        assert!(find(PAGES, "bundles/pocket/bundle.json").is_none() && find(PAGES, "").is_none());
    }

    #[tokio::test]
    async fn compressed_files_are_decompressed_for_clients_that_want_them_plain() {
        let get = async |path: &str, accepted: Option<&'static str>| {
            let accepted = accepted.map(|coding| (ACCEPT_ENCODING, HeaderValue::from_static(coding)));
            let (parts, body) = respond(path, &accepted.into_iter().collect()).unwrap().into_parts();
            (parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap())
        };
        let (plain, html) = get("/", None).await;
        assert!(html.to_ascii_lowercase().starts_with(b"<!doctype html>"));
        assert!(plain[CONTENT_TYPE] == "text/html" && !plain.contains_key(CONTENT_ENCODING));
        assert_eq!(get("/index.html", Some("gzip, br;q=0")).await.1, html);
        let (compressed, bytes) = get("/index.html", Some("deflate, br;q=0.5, gzip")).await;
        assert_eq!(compressed[CONTENT_ENCODING], "br");
        let mut decompressed = Vec::new();
        Decompressor::new(&bytes[..], BUFFER_BYTES).read_to_end(&mut decompressed).unwrap();
        assert_eq!(decompressed, html);
        for path in ["/nothing.html", "/../Cargo.toml", "/assets/", "/bundles/pocket/bundle.json"] {
            assert!(respond(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
