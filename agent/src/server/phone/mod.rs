//! `serve`: provides the phone page and its bundles on the local network.
//!
//! The page is served over HTTPS, since browsers allow the camera on secure pages only, and with the headers that
//! enable WebAssembly threads. The server is read-only and serves only files of the page and of the bundles.

mod certificate;
mod network;
mod watch;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use landfall_common::exit::environment_error;
use landfall_common::text::eprint_sanitized;
use landfall_model::{Bundle, bundle};
use serde::Serialize;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::services::ServeFile;

use crate::server::assets::{Pages, not_found};
use crate::server::connections::{self, Limits};
use crate::server::security::OwnHosts;
use crate::server::{security, spans};
pub(crate) use certificate::Certificate;
use certificate::StoredCertificates;
use watch::AddressWatch;

/// Content security policy: own code and files, WebAssembly, generated images, and OpenStreetMap tiles if the user
/// enables them.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
    img-src 'self' blob: data: https://tile.openstreetmap.org; media-src 'self' blob:; connect-src 'self' blob: data:; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every response, besides the usual ones. The first two make the page cross-origin isolated, which WebAssembly
/// threads require.
const HEADERS: [(HeaderName, &str); 3] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("permissions-policy"), "camera=(self), geolocation=(self), microphone=()"),
];

/// Maximum time until a response begins. Transferring a model may take longer.
const RESPONSE_TIME: Duration = Duration::from_secs(60);

/// Options of the server.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether to use HTTPS with a self-signed certificate.
    pub https: bool,
    /// Other names by which the server may be called, with or without a port.
    pub hosts: Vec<String>,
    /// Directory of the built page; `None` searches for it.
    pub page: Option<PathBuf>,
}

/// A server that is ready to run.
#[derive(Debug)]
pub(crate) struct PhoneServer {
    /// URLs, bundles and notes.
    pub about: ServerInfo,
    listener: std::net::TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    own: Arc<OwnHosts>,
    addresses: Vec<IpAddr>,
}

/// URLs, bundles and notes, as printed by `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct ServerInfo {
    /// URLs of the page, starting with those reachable from other machines.
    pub addresses: Vec<String>,
    #[serde(skip)]
    reachable: usize,
    /// Names of the bundles.
    pub bundles: Vec<String>,
    /// The certificate, if HTTPS is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl ServerInfo {
    /// The URL for phones, if there is one: the first one, in the home network if this computer is in one.
    pub(crate) fn for_phones(&self) -> Option<&String> {
        self.addresses.first().filter(|_| self.reachable > 0)
    }
}

impl PhoneServer {
    /// Finds the page, the bundles and the certificate, and binds the port.
    ///
    /// # Errors
    /// When the page is not built, there is no bundle, the certificate cannot be stored, or the port is in use.
    pub(crate) async fn start(options: &ServeOptions) -> Result<Self> {
        let pages = Pages::find("index.html", options.page.as_deref())?;
        // Hashing whole encoders would block the async runtime.
        let (bundles, mut notes) = tokio::task::spawn_blocking(collect_bundle_files).await?;
        if bundles.names.is_empty() {
            return Err(environment_error(format!("there is no bundle to serve: {}", notes.join("; "))));
        }
        let listener = tokio::net::TcpListener::bind(options.listen).await.with_context(|| {
            environment_error(format!(
                "cannot serve on {}: choose another address or port with --listen",
                options.listen
            ))
        })?;
        let at = listener.local_addr()?;
        let all_addresses = network::addresses();
        let addresses = network::private(&all_addresses);
        let (certificate, tls) = match options.https {
            true => {
                let stored = certificate::load_or_create(&watch::certified(at.ip(), &addresses))?;
                let (chain, key) = stored.site_pem();
                let tls = RustlsConfig::from_pem(chain, key)
                    .await
                    .context(environment_error("the certificate is invalid"))?;
                (Some(stored), Some(tls))
            }
            false => (None, None),
        };
        let scheme = if options.https { "https" } else { "http" };
        let (others, local) = network::hosts(at.ip(), &addresses);
        if !options.https && !at.ip().is_loopback() {
            notes.push("without HTTPS, browsers block the camera on pages from other computers".into());
        }
        if options.https && !at.ip().is_unspecified() && !network::is_private(at.ip()) {
            notes.push(format!("the certificate is valid for private networks only, and {} is not on one", at.ip()));
        } else if at.ip().is_unspecified() && others.is_empty() {
            notes.push("this computer is not on a private network: give its address with --listen".into());
        }
        let address = |host: &String| format!("{scheme}://{host}:{}/", at.port());
        let about = ServerInfo {
            addresses: others.iter().chain(&local).map(address).collect(),
            reachable: others.len(),
            bundles: bundles.names.clone(),
            certificate: certificate.as_ref().map(StoredCertificates::summary),
            notes,
        };
        let own = Arc::new(OwnHosts::new(scheme, at.port(), options.hosts.clone()));
        let router = router(&pages, bundles, certificate.map(StoredCertificates::into_root_pem));
        let router = security::protect(router, Arc::clone(&own), POLICY, RESPONSE_TIME);
        Ok(Self { about, listener: listener.into_std()?, router, tls, own, addresses: all_addresses })
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// When the server fails.
    pub(crate) async fn run(self) -> Result<()> {
        let watch = AddressWatch::new(self.listener.local_addr()?, self.own, self.tls.clone(), self.addresses);
        let handle = axum_server::Handle::new();
        let result = tokio::select! {
            result = connections::serve(self.listener, self.tls, handle, self.router, Limits::USUAL) => result,
            never = watch.run() => match never {},
        };
        result.context(environment_error("the server stopped"))
    }
}

/// Servable files by `NAME/FILE`, and the names of the complete bundles.
#[derive(Debug, Default)]
struct BundleFiles {
    names: Vec<String>,
    files: HashMap<String, BundleFile>,
}

#[derive(Debug)]
enum BundleFile {
    Path(PathBuf),
    Memory(Bytes),
}

/// All complete bundles, and a note for each incomplete one.
fn collect_bundle_files() -> (BundleFiles, Vec<String>) {
    let (mut found, mut notes) = (BundleFiles::default(), Vec::new());
    for name in bundle::names() {
        match bundle_files(&name) {
            Ok(files) => {
                found.files.extend(files.into_iter().map(|(file, contents)| (format!("{name}/{file}"), contents)));
                found.names.push(name);
            }
            Err(error) => notes.push(format!("the bundle {name} is not served: {error}")),
        }
    }
    (found, notes)
}

/// Files of a bundle by their names in `bundle.json`. They may be in different directories.
fn bundle_files(name: &str) -> landfall_model::Result<Vec<(String, BundleFile)>> {
    let bundle = Bundle::find(name)?;
    if let Some(files) = bundle.files_in_memory() {
        let file = |(name, contents): (&String, &Vec<u8>)| (name.clone(), BundleFile::Memory(contents.clone().into()));
        return Ok(files.iter().map(file).collect());
    }
    let (manifest, encoder) = (&bundle.manifest, bundle.encoder_paths()?);
    let adapter = manifest.encoder.adapter.as_ref().map(|adapter| adapter.file.clone()).zip(encoder.adapter);
    let files = [
        ("bundle.json".to_owned(), bundle.dir.join("bundle.json")),
        (manifest.cells.file.clone(), bundle.dir.join(&manifest.cells.file)),
        (manifest.head.file.clone(), bundle.head_path()?),
        (manifest.encoder.file.clone(), encoder.network),
    ];
    Ok(files.into_iter().chain(adapter).map(|(file, path)| (file, BundleFile::Path(path))).collect())
}

/// The router of the site. `root` is the root certificate as PEM, for phones to install.
fn router(pages: &Pages, bundles: BundleFiles, root: Option<String>) -> Router {
    // Networks are not compressible, and resuming a download needs byte ranges of the original.
    let compressed = DefaultPredicate::new()
        .and(NotForContentType::new("application/octet-stream"))
        .and(NotForContentType::new("application/gzip"));
    let mut router =
        Router::new().route("/bundles/{name}/{file}", get(serve_bundle_file)).with_state(Arc::new(bundles));
    if let Some(root) = root {
        let kind = [(header::CONTENT_TYPE, "application/x-x509-ca-cert")];
        router = router.route("/landfall.crt", get(async move || (kind, root)));
    }
    let router = pages
        .serve_on(router)
        .layer(middleware::from_fn(set_cache_control))
        .layer(CompressionLayer::new().compress_when(compressed));
    spans::with_spans(security::with_headers(router, HEADERS))
}

async fn serve_bundle_file(
    State(bundles): State<Arc<BundleFiles>>,
    Path((name, file)): Path<(String, String)>,
    request: Request,
) -> Response {
    let path = match bundles.files.get(&format!("{name}/{file}")) {
        Some(BundleFile::Path(path)) => path,
        Some(BundleFile::Memory(contents)) => return contents.clone().into_response(),
        None => return not_found(),
    };
    match ServeFile::new(path).try_call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => {
            eprint_sanitized(format!("{}: cannot be read: {error}", path.display()));
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Files in `assets/` have content hashes in their names and can be cached; all others are revalidated.
async fn set_cache_control(request: Request, next: Next) -> Response {
    let hashed = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let cache_control =
        if hashed && response.status().is_success() { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    response
}
