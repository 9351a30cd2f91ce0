//! A stub of a hub of large files. It supports ranges, closes the connection within each response, and can refuse
//! archives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};

/// The connection is closed after this number of bytes.
const MAX_RESPONSE_BYTES: usize = 100_000;

struct ServerState {
    files: HashMap<String, Bytes>,
    requests: AtomicUsize,
    served: AtomicUsize,
    refuses: AtomicBool,
}

/// A running hub.
pub(crate) struct Hub {
    pub(crate) base: String,
    state: Arc<ServerState>,
    _runtime: tokio::runtime::Runtime,
}

impl Hub {
    pub(crate) fn start(files: HashMap<String, Vec<u8>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let base = format!("http://{}/resolve/main/", listener.local_addr().unwrap());
        let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let state =
            Arc::new(ServerState { files, requests: 0.into(), served: 0.into(), refuses: AtomicBool::new(false) });
        let app = Router::new().route("/resolve/main/{*file}", get(file)).with_state(state.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { base, state, _runtime: runtime }
    }

    /// Number of bytes of files sent so far.
    pub(crate) fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }

    /// Sets whether archives are refused, as for a gated data set.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::Relaxed);
    }
}

async fn file(State(state): State<Arc<ServerState>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(bytes) = state.files.get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    // Refuse archives only after the first part of one was sent.
    if state.refuses.load(Ordering::Relaxed)
        && file.ends_with(".zip")
        && state.served.load(Ordering::Relaxed) > MAX_RESPONSE_BYTES
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    if state.requests.fetch_add(1, Ordering::Relaxed) % 4 == 1 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let etag = format!("\"{}\"", bytes.len());
    // A part of another version is of no use.
    let is_same_version = headers.get(header::IF_RANGE).is_none_or(|wanted| wanted == etag.as_str());
    let range = headers.get(header::RANGE).filter(|_| is_same_version);
    let range = range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let (from, to): (usize, usize) = match range {
        Some((from, to)) => (from.parse().unwrap(), to.parse().map_or(bytes.len(), |to: usize| to + 1)),
        None => (0, bytes.len()),
    };
    if from >= bytes.len() {
        let whole = format!("bytes */{}", bytes.len());
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, whole)]).into_response();
    }
    let end = to.min(from + MAX_RESPONSE_BYTES);
    state.served.fetch_add(end - from, Ordering::Relaxed);
    let failure = async move {
        // Let the sent bytes arrive before the connection closes.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        (end < to).then(|| Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
    };
    let rest = stream::once(failure).filter_map(std::future::ready);
    let pieces = stream::once(std::future::ready(Ok(bytes.slice(from..end)))).chain(rest);
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = format!("bytes {from}-{}/{}", to - 1, bytes.len());
    let headers =
        [(header::CONTENT_RANGE, whole), (header::CONTENT_LENGTH, (to - from).to_string()), (header::ETAG, etag)];
    (status, headers, Body::from_stream(pieces)).into_response()
}
