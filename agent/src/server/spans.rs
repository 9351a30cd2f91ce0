//! A tracing span per request.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use tracing::Instrument;

/// Adds a span to every request of a router. It holds the path but not the query, which may contain secrets.
pub(super) fn with_spans(router: Router) -> Router {
    router.layer(middleware::from_fn(trace))
}

async fn trace(request: Request, next: Next) -> Response {
    let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    tracing::debug!(parent: &span, status = response.status().as_u16(), "response");
    response
}
