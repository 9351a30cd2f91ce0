//! The page on which a person checks the answers of a manifest: a map, the pictures, and what was decided.
//!
//! It is served on this computer only. Pictures are those that the manifest lists, by number, so that no request names a file.

mod api;
mod collection;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use tokio::task::JoinHandle;

use crate::photos::geotag::GeotagOptions;
use crate::server::assets::Pages;
use crate::server::connections::{self, Limits};
use crate::server::security::{self, OwnHosts};
pub(crate) use collection::{Collection, write_confirmed};

/// Content security policy of the page: own code, styles and images. No page may embed it.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'none'; \
    frame-ancestors 'none'";

/// Maximum time for a response. Writing a hundred thousand copies takes long.
const RESPONSE_TIME: Duration = Duration::from_secs(3 * 3600);

/// A running review. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Review {
    url: String,
    _server: JoinHandle<()>,
    handle: axum_server::Handle<SocketAddr>,
}

impl Drop for Review {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Review {
    /// Serves the page on 127.0.0.1.
    ///
    /// # Errors
    /// When the page is not built or the port is in use.
    pub(crate) fn start(
        collection: Collection,
        targets: GeotagOptions,
        port: u16,
        page: Option<&Path>,
    ) -> Result<Self> {
        let pages = Pages::find("review.html", page)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            environment_error(format!("cannot serve the page on port {port}: choose another port, or 0 for any"))
        })?;
        let at = listener.local_addr()?;
        let router = api::router(Arc::new(api::State::new(collection, targets, pages)));
        let own = Arc::new(OwnHosts::new("http", at.port(), Vec::new()));
        let router = security::protect(router, own, POLICY, RESPONSE_TIME);
        let handle = axum_server::Handle::new();
        let serving = connections::serve(listener, None, handle.clone(), router, Limits::USUAL);
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("the review stopped: {error}");
            }
        });
        Ok(Self { url: format!("http://{at}/"), _server: server, handle })
    }

    /// URL of the page, `http://127.0.0.1:PORT/`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
