//! A hub of large files: it knows of parts, dies in the middle of each answer, and can be told to refuse.

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
const BREATH: usize = 100_000;

struct World {
    files: HashMap<String, Bytes>,
    requests: AtomicUsize,
    served: AtomicUsize,
    refuses: AtomicBool,
}

/// A running hub.
pub(crate) struct Hub {
    pub(crate) base: String,
    world: Arc<World>,
    _runtime: tokio::runtime::Runtime,
}

impl Hub {
    pub(crate) fn start(files: HashMap<String, Vec<u8>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let base = format!("http://{}/resolve/main/", listener.local_addr().unwrap());
        let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let world = Arc::new(World { files, requests: 0.into(), served: 0.into(), refuses: AtomicBool::new(false) });
        let app = Router::new().route("/resolve/main/{*file}", get(file)).with_state(world.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { base, world, _runtime: runtime }
    }

    /// Bytes of files that were sent so far.
    pub(crate) fn served(&self) -> usize {
        self.world.served.load(Ordering::Relaxed)
    }

    /// Whether archives are refused as a gated set's are.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.world.refuses.store(refuses, Ordering::Relaxed);
    }
}

async fn file(State(world): State<Arc<World>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(bytes) = world.files.get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    // Archives are refused once some of one was given.
    if world.refuses.load(Ordering::Relaxed) && file.ends_with(".zip") && world.served.load(Ordering::Relaxed) > BREATH
    {
        return StatusCode::FORBIDDEN.into_response();
    }
    if world.requests.fetch_add(1, Ordering::Relaxed) % 4 == 1 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let range =
        headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let (from, to): (usize, usize) = match range {
        Some((from, to)) => (from.parse().unwrap(), to.parse().map_or(bytes.len(), |to: usize| to + 1)),
        None => (0, bytes.len()),
    };
    if from >= bytes.len() {
        let whole = format!("bytes */{}", bytes.len());
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, whole)]).into_response();
    }
    let end = to.min(from + BREATH);
    world.served.fetch_add(end - from, Ordering::Relaxed);
    let breaks_off = async move {
        // What was sent must be on its way before it dies.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        (end < to).then(|| Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
    };
    let rest = stream::once(breaks_off).filter_map(std::future::ready);
    let pieces = stream::once(std::future::ready(Ok(bytes.slice(from..end)))).chain(rest);
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = format!("bytes {from}-{}/{}", to - 1, bytes.len());
    let headers = [(header::CONTENT_RANGE, whole), (header::CONTENT_LENGTH, (to - from).to_string())];
    (status, headers, Body::from_stream(pieces)).into_response()
}
