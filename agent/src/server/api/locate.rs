//! `POST /v1/locate`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use futures_util::future::join_all;
use landfall_model::images::{self, Decoded};
use landfall_model::{Bundle, Prior};
use prometheus_client::metrics::gauge::Gauge;

use super::Service;
use super::metrics::Outcome;
use super::pool::Pool;
use super::problem::Problem;
use super::request::{self, ImageFile, Images};
use super::types::{LocateForm, LocateRequest, LocateResponse, LocateResult, LocateSettings};
use crate::photos::hints::HintedCells;
use crate::photos::locate::{LocateOptions, of_logits};

/// Squares of an image, as the encoder takes them.
struct Squares {
    tensors: Vec<Vec<f32>>,
    /// What is missing of a truncated file.
    warning: Option<String>,
}

/// Images of one place.
struct Place {
    name: String,
    images: Vec<ImageFile>,
}

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
    let _in_flight = InFlight::count(&service.metrics.in_flight);
    let Images { files, settings } = request::read(request).await?;
    let pool = find(&service, &settings)?;
    let hinted = hinted(pool, &settings).await?;
    if settings.top.is_some_and(|top| !(1..=100).contains(&top)) {
        return Err(Problem::impossible("`top` must be from 1 to 100."));
    }
    let places = if settings.one_place {
        let name = files.first().map(|file| file.name.clone()).unwrap_or_default();
        vec![Place { name, images: files }]
    } else {
        files.into_iter().map(|file| Place { name: file.name.clone(), images: vec![file] }).collect()
    };
    let results = places.into_iter().map(|place| locate_place(&service, pool, place, &settings, hinted.clone()));
    let results = join_all(results).await.into_iter().collect::<Result<_, _>>()?;
    Ok(Json(LocateResponse { bundle: pool.bundle().manifest.id(), engine: pool.engine(), results }))
}

fn find<'a>(service: &'a Service, settings: &LocateSettings) -> Result<&'a Arc<Pool>, Problem> {
    let name = |pool: &Pool| pool.bundle().manifest.name.clone();
    let named = |pool: &&Arc<Pool>| settings.bundle.as_ref().is_none_or(|wanted| *wanted == name(pool));
    service.bundles.iter().find(named).ok_or_else(|| {
        let names: Vec<String> = service.bundles.iter().map(|pool| name(pool)).collect();
        Problem::impossible(format!("There is no such bundle; the service has {}.", names.join(", ")))
    })
}

/// The cells that are possible by what is known; `None` for all.
async fn hinted(pool: &Arc<Pool>, settings: &LocateSettings) -> Result<Option<Arc<HintedCells>>, Problem> {
    let hints = settings.known.hints().map_err(|why| Problem::impossible(format!("`known`: {why}.")))?;
    if hints.is_empty() {
        return Ok(None);
    }
    let pool = Arc::clone(pool);
    let cells = tokio::task::spawn_blocking(move || HintedCells::new(hints, &pool.bundle().cells));
    let cells = cells.await.map_err(Problem::internal)?;
    Ok(Some(Arc::new(cells.map_err(|why| Problem::impossible(format!("`known`: {why}.")))?)))
}

async fn locate_place(
    service: &Service,
    pool: &Arc<Pool>,
    place: Place,
    settings: &LocateSettings,
    hinted: Option<Arc<HintedCells>>,
) -> Result<LocateResult, Problem> {
    let Place { name, images } = place;
    let read = join_all(images.into_iter().map(|image| logits(service, pool, image))).await;
    let (mut views, mut warnings) = (Vec::new(), Vec::new());
    for view in read {
        match view? {
            Ok((logits, warning)) => {
                views.push(logits);
                warnings.extend(warning);
            }
            Err(why) => return Ok(LocateResult::failed(name, why)),
        }
    }
    let pool = Arc::clone(pool);
    let (prior, top): (Prior, _) = (settings.prior.into(), usize::from(settings.top.unwrap_or_default()));
    let posterior = tokio::task::spawn_blocking(move || {
        let options = LocateOptions { prior, hinted: hinted.as_deref(), top, ..Default::default() };
        of_logits(pool.bundle(), PathBuf::new(), &views, options)
    });
    let located = posterior.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(LocateResult::located(name, located, warnings))
}

/// The logits of an image with what is missing of its file, or why it cannot be read.
async fn logits(
    service: &Service,
    pool: &Arc<Pool>,
    image: ImageFile,
) -> Result<Result<(Vec<f32>, Option<String>), String>, Problem> {
    let decoding = service.decoders.acquire().await.map_err(Problem::internal)?;
    let decoder = Arc::clone(pool);
    let squares = tokio::task::spawn_blocking(move || squares(decoder.bundle(), &image.bytes));
    let squares = squares.await.map_err(Problem::internal)?;
    drop(decoding);
    let Squares { tensors, warning } = match squares {
        Ok(squares) => squares,
        Err(why) => {
            service.metrics.count_image(Outcome::Unreadable);
            return Ok(Err(why));
        }
    };
    let start = Instant::now();
    let logits = pool.logits(tensors).await.map_err(Problem::internal)?;
    service.metrics.add_inference(start.elapsed());
    service.metrics.count_image(Outcome::Located);
    Ok(Ok((logits, warning)))
}

fn squares(bundle: &Bundle, bytes: &[u8]) -> Result<Squares, String> {
    let Decoded { image, warning } = images::decode(bytes).map_err(|why| why.to_string())?;
    let tensors = bundle.manifest.preprocess.tensors(&image).collect();
    Ok(Squares { tensors, warning: warning.map(|warning| warning.to_string()) })
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
