//! The built web pages: a directory, or a part of the program.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use landfall_common::exit::usage_error;
use landfall_model::installation;
use tower_http::services::ServeDir;

#[cfg(feature = "embed")]
use crate::server::embedded;

/// The built pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    Dir(PathBuf),
    #[cfg(feature = "embed")]
    Embedded,
}

impl Pages {
    /// The pages with `page` (`arena.html` or `index.html`): in `folder`, or next to the executable, or in the source tree
    /// that it was built from, or in the program.
    ///
    /// # Errors
    /// When the page is not found.
    pub(crate) fn find(page: &str, folder: Option<&Path>) -> Result<Self> {
        let built = |dir: &Path| dir.join(page).is_file();
        if let Some(dir) = folder {
            if !built(dir) {
                return Err(usage_error(format!(
                    "{} does not contain {page}: give the directory of the built pages",
                    dir.display()
                )));
            }
            return Ok(Self::Dir(dir.to_owned()));
        }
        let beside = installation::program_dir().map(|dir| dir.join("web"));
        let in_tree = installation::source_tree().map(|tree| tree.join("web-demo/dist"));
        match [beside, in_tree].into_iter().flatten().find(|dir| built(dir)) {
            Some(dir) => Ok(Self::Dir(dir)),
            #[cfg(feature = "embed")]
            None => Ok(Self::Embedded),
            #[cfg(not(feature = "embed"))]
            None => Err(landfall_common::exit::environment_error(format!(
                "the page {page} is not built: put the release's directory `web` beside the program, or run `cargo xtask setup` in a checkout"
            ))),
        }
    }

    /// Serves the pages' files at all paths that the router has no route for.
    pub(crate) fn serve_on<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        match self {
            Self::Dir(dir) => router.fallback_service(ServeDir::new(dir).fallback(get(async || not_found()))),
            #[cfg(feature = "embed")]
            Self::Embedded => router.fallback(get(async |uri: axum::http::Uri, headers: axum::http::HeaderMap| {
                embedded::respond(uri.path(), &headers).unwrap_or_else(not_found)
            })),
        }
    }

    /// The contents of a page.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn read(&self, page: &str) -> io::Result<Cow<'static, [u8]>> {
        match self {
            Self::Dir(dir) => tokio::fs::read(dir.join(page)).await.map(Cow::Owned),
            #[cfg(feature = "embed")]
            Self::Embedded => {
                embedded::find(embedded::PAGES, page).map(embedded::File::read).ok_or(io::ErrorKind::NotFound.into())
            }
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(dir) => dir.display().fmt(f),
            #[cfg(feature = "embed")]
            Self::Embedded => f.write_str("in the program"),
        }
    }
}

pub(crate) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "Not found; the page is at /.\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_page_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Pages::find("arena.html", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        std::fs::write(dir.path().join("arena.html"), "").unwrap();
        assert_eq!(Pages::find("arena.html", Some(dir.path())).unwrap(), Pages::Dir(dir.path().into()));
    }
}
