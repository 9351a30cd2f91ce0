//! `POST /v1/locate`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use prometheus_client::metrics::gauge::Gauge;

use super::problem::Problem;
use super::types::{LocateForm, LocateRequest, LocateResponse};
use super::{Service, request};

/// Predict where photographs were taken
///
/// An image that cannot be read does not fail the request: its result says why.
#[utoipa::path(
    post,
    path = "/v1/locate",
    security((), ("token" = [])),
    request_body(content(
        (LocateRequest = "application/json"),
        (LocateForm = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "A result per image, or one for all with `one_place`", body = LocateResponse),
        (status = 400, description = "The body cannot be parsed", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "The bearer token is missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The request took too long", body = String, content_type = "text/plain"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body has another type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request asks for something impossible", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many requests are waiting", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = u16, description = "Seconds after which to try again"))),
    )
)]
pub(super) async fn locate(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<LocateResponse>, Problem> {
    let _slot = service.slots.try_acquire().map_err(|_| Problem::overloaded())?;
    let _in_flight = InFlight::count(&service.locator.metrics.in_flight);
    let images = request::read(request).await?;
    service.locator.locate(images).await.map(Json)
}

/// Counts a request until it is dropped, also when its client goes away.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn count(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
