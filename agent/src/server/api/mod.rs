//! `serve --api`: locates images over HTTP, for other programs.

mod document;
mod locate;
mod locator;
mod metrics;
mod pool;
mod problem;
mod request;
mod types;

pub(super) use locator::Locator;
pub(super) use problem::Problem;
pub(super) use request::{ImageFile, Images, check_count, name};
pub(super) use types::{Known, LocateResponse, LocateSettings, PriorName};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use landfall_common::exit::environment_error;
use landfall_model::Classifier;
use tokio::sync::Semaphore;
use utoipa::OpenApi;

use crate::server::connections::{self, Limits};
use crate::server::security::OwnHosts;
use crate::server::token::Token;
use crate::server::{security, spans};
use document::Document;
use types::Health;

/// Nothing of a response is a page.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Maximum time from a request to its answer.
const RESPONSE_TIME: Duration = Duration::from_secs(120);
/// Time that requests have to end when the service stops.
const SHUTDOWN_TIME: Duration = Duration::from_secs(8);

const LOCATE: &str = "/v1/locate";

/// Options of the service.
pub(crate) struct ApiOptions {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Other names by which the service may be called, with or without a port.
    pub hosts: Vec<String>,
    /// The bundles, the default first.
    pub classifiers: Vec<Classifier>,
    /// What clients must send as a bearer token.
    pub token: Option<String>,
    /// Maximum size of a request body in bytes.
    pub max_body: usize,
    /// Maximum number of requests that are answered or wait at the same time.
    pub max_requests: usize,
}

/// A service that is ready to run.
pub(crate) struct ApiServer {
    listener: std::net::TcpListener,
    router: Router,
    max_requests: usize,
}

/// What handlers share.
struct Service {
    locator: Locator,
    /// A slot for each request that may wait.
    slots: Semaphore,
    token: Option<Token>,
}

impl ApiServer {
    /// Starts the encoders and binds the port.
    ///
    /// # Errors
    /// When the port is in use, or a thread cannot be started.
    pub(crate) async fn start(options: ApiOptions) -> Result<Self> {
        let ApiOptions { listen, hosts, classifiers, token, max_body, max_requests } = options;
        let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| {
            environment_error(format!("cannot serve on {listen}: choose another address or port with --listen"))
        })?;
        let at = listener.local_addr()?;
        let service = Arc::new(Service {
            locator: Locator::start(classifiers)?,
            slots: Semaphore::new(max_requests),
            token: token.as_deref().map(Token::new),
        });
        let own = OwnHosts::new("http", at.port(), hosts);
        if !at.ip().is_loopback() {
            own.set_addresses(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect());
        }
        let router = security::protect(router(service, max_body), Arc::new(own), POLICY, RESPONSE_TIME);
        Ok(Self { listener: listener.into_std()?, router, max_requests })
    }

    /// # Errors
    /// When the system does not tell the address.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` ends, and then answers the requests that have begun.
    ///
    /// # Errors
    /// When the service fails.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let handle = axum_server::Handle::new();
        let stopper = handle.clone();
        tokio::spawn(async move {
            stop.await;
            stopper.graceful_shutdown(Some(SHUTDOWN_TIME));
        });
        // More than can be answered, so that clients are told so.
        let limits = Limits { connections: 4 * self.max_requests.max(64), ..Limits::USUAL };
        let served = connections::serve(self.listener, None, handle, self.router, limits).await;
        served.context(environment_error("the service stopped"))
    }
}

fn router(service: Arc<Service>, max_body: usize) -> Router {
    let guarded = Router::new()
        .route(LOCATE, post(locate::locate).layer(DefaultBodyLimit::max(max_body)))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), check_token));
    let open = Router::new().route("/healthz", get(health)).route("/openapi.json", get(openapi));
    let router = guarded.merge(open).fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    let router = router.layer(middleware::from_fn_with_state(Arc::clone(&service), measure)).with_state(service);
    spans::with_spans(router)
}

/// The state of the service
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The service answers", body = Health)))]
async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    Json(Health { status: "ok", bundles: service.locator.bundles() })
}

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

/// Counters for Prometheus
#[utoipa::path(get, path = "/metrics", security((), ("token" = [])), responses(
    (status = 200, description = "In the OpenMetrics text format", body = String, content_type = "application/openmetrics-text"),
    (status = 401, description = "The bearer token is missing or wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn metrics(State(service): State<Arc<Service>>) -> Result<impl IntoResponse, Problem> {
    let text = service.locator.metrics.text().map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is nothing here: /openapi.json says what there is.")
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This path has other methods: /openapi.json names them.")
}

/// Refuses requests without the bearer token, if there is one.
async fn check_token(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    match service.token {
        Some(token) if !token.is_in(request.headers()) => {
            Problem::new(StatusCode::UNAUTHORIZED, "This service needs a bearer token.").into_response()
        }
        _ => next.run(request).await,
    }
}

/// Counts requests and measures how long they take.
async fn measure(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    // Paths of requests are not used as labels, since there is no end of them.
    let known = [LOCATE, "/metrics", "/healthz", "/openapi.json"];
    let path = known.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    let start = Instant::now();
    let response = next.run(request).await;
    service.locator.metrics.count_request(path, response.status());
    if path == LOCATE {
        service.locator.metrics.add_duration(start.elapsed());
    }
    response
}
