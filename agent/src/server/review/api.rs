//! Routes of the review: the page, its data, decisions, pictures and map tiles.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use landfall_common::picture::{fit_within, to_jpeg};
use landfall_common::text::eprint_sanitized;
use landfall_model::{LatLng, images};
use lru::LruCache;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::error::describe;
use crate::photos::geotag::GeotagOptions;
use crate::server::assets::Pages;
use crate::server::json_error::{ApiError, lock};
use crate::server::review::collection::{Bounds, Collection, Dot, write_confirmed};
use crate::server::{spans, tiles};

/// Maximum sides of a thumbnail and of a large picture in pixels.
const THUMBNAIL_PX: (u32, u32) = (320, 240);
const PICTURE_PX: (u32, u32) = (1280, 960);
const JPEG_QUALITY: u8 = 80;
/// Number of cached pictures, of up to some hundred kilobytes each, and of tiles.
const PICTURE_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(512).unwrap();
const TILE_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
/// Pictures that are decoded at the same time, each of which may take hundreds of megabytes.
const MAX_DECODING: usize = 2;
/// Maximum number of problems in a response.
const MAX_PROBLEMS: usize = 20;

/// State shared by all requests.
pub(super) struct State {
    collection: Mutex<Collection>,
    targets: GeotagOptions,
    pages: Pages,
    pictures: Mutex<LruCache<(usize, bool), Bytes>>,
    tiles: Mutex<LruCache<tiles::TileId, Bytes>>,
    decoding: Semaphore,
}

impl State {
    pub(super) fn new(collection: Collection, targets: GeotagOptions, pages: Pages) -> Self {
        Self {
            collection: Mutex::new(collection),
            targets,
            pages,
            pictures: Mutex::new(LruCache::new(PICTURE_CACHE_SIZE)),
            tiles: Mutex::new(LruCache::new(TILE_CACHE_SIZE)),
            decoding: Semaphore::new(MAX_DECODING),
        }
    }
}

type App = Shared<Arc<State>>;

pub(super) fn router(state: Arc<State>) -> Router {
    let pages = state.pages.clone();
    let router = Router::new()
        .route("/", get(serve_page))
        .route("/api/review", get(read_review))
        .route("/api/pictures/{id}", get(read_details))
        .route("/api/accept", post(accept))
        .route("/api/correct", post(correct))
        .route("/api/undo", post(undo))
        .route("/api/write", post(write))
        .route("/api/{*rest}", any(async || ApiError(StatusCode::NOT_FOUND, "no such API call".to_owned())))
        .route("/thumbnails/{id}", get(read_thumbnail))
        .route("/pictures/{id}", get(read_picture))
        .route("/tiles/{z}/{x}/{y}", get(read_tile));
    spans::with_spans(pages.serve_on(router).with_state(state))
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        let message = describe(&error);
        eprint_sanitized(format!("landfall: {message}"));
        Self(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

fn rejected(body: JsonRejection) -> ApiError {
    ApiError(body.status(), body.body_text())
}

fn unknown_picture() -> ApiError {
    ApiError(StatusCode::NOT_FOUND, "there is no such picture".to_owned())
}

fn uncached(json: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(json)).into_response()
}

async fn serve_page(Shared(state): App) -> Result<Response, ApiError> {
    let html = state.pages.read("review.html").await.map_err(|error| {
        ApiError(StatusCode::INTERNAL_SERVER_ERROR, format!("the page is gone from {}: {error}", state.pages))
    })?;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, html).into_response())
}

async fn read_review(Shared(state): App) -> Response {
    let collection = lock(&state.collection);
    let (have_location, failed) = collection.left_out();
    uncached(json!({
        "bundle": collection.bundle(),
        "directory": collection.root().file_name().map(|name| name.to_string_lossy()),
        "have_location": have_location,
        "failed": failed,
        "writes": { "copies": state.targets.copies.is_some(), "sidecars": state.targets.sidecars },
        "undoable": collection.undoable(),
        "dots": collection.dots(),
        "paths": collection.paths().collect::<Vec<_>>(),
    }))
}

async fn read_details(Shared(state): App, Path(id): Path<usize>) -> Result<Response, ApiError> {
    let collection = lock(&state.collection);
    Ok(uncached(json!(collection.details(id).ok_or_else(unknown_picture)?)))
}

/// Which answers are accepted: those of some pictures, or all in a part of the map.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Accepted {
    Pictures { ids: Vec<usize> },
    All { bounds: Bounds, min_p: f64 },
}

fn changed(state: &State, change: impl FnOnce(&mut Collection) -> Result<Vec<Dot>>) -> Result<Response, ApiError> {
    let mut collection = lock(&state.collection);
    let dots = change(&mut collection)?;
    Ok(uncached(json!({ "dots": dots, "undoable": collection.undoable() })))
}

async fn accept(Shared(state): App, body: Result<Json<Accepted>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(accepted) = body.map_err(rejected)?;
    changed(&state, |collection| match accepted {
        Accepted::Pictures { ids } => collection.accept(&ids),
        Accepted::All { bounds, min_p } => collection.accept_in(bounds, min_p),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Correction {
    id: usize,
    lat: f64,
    lng: f64,
}

async fn correct(Shared(state): App, body: Result<Json<Correction>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(Correction { id, lat, lng }) = body.map_err(rejected)?;
    let at = LatLng::new(lat, lng).map_err(|error| ApiError(StatusCode::BAD_REQUEST, error.to_string()))?;
    changed(&state, |collection| collection.correct(id, at))
}

async fn undo(Shared(state): App) -> Result<Response, ApiError> {
    changed(&state, Collection::undo)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteRequest {
    dry_run: bool,
}

async fn write(Shared(state): App, body: Result<Json<WriteRequest>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(WriteRequest { dry_run }) = body.map_err(rejected)?;
    if !state.targets.has_target() {
        let message = "nothing to write to: start landfall review with --write-exif DIR or --sidecar".to_owned();
        return Err(ApiError(StatusCode::CONFLICT, message));
    }
    let (header, confirmed) = {
        let collection = lock(&state.collection);
        (collection.header().clone(), collection.confirmed())
    };
    let options = GeotagOptions { write: !dry_run, ..state.targets.clone() };
    let written = tokio::task::spawn_blocking(move || write_confirmed(&header, &confirmed, options)).await;
    let (summary, problems) = written.map_err(anyhow::Error::from)?;
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    let problems = &problems[..problems.len() - more];
    Ok(uncached(json!({ "summary": summary, "problems": problems, "more_problems": more })))
}

async fn read_thumbnail(state: App, id: Path<usize>) -> Result<Response, ApiError> {
    send_picture(state, id, false).await
}

async fn read_picture(state: App, id: Path<usize>) -> Result<Response, ApiError> {
    send_picture(state, id, true).await
}

async fn send_picture(Shared(state): App, Path(id): Path<usize>, is_large: bool) -> Result<Response, ApiError> {
    let file = lock(&state.collection).file(id).ok_or_else(unknown_picture)?;
    let kept = lock(&state.pictures).get(&(id, is_large)).cloned();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let _slot = state.decoding.acquire().await.map_err(anyhow::Error::from)?;
            let size = if is_large { PICTURE_PX } else { THUMBNAIL_PX };
            let encode =
                move || -> Result<Vec<u8>> { Ok(to_jpeg(&fit_within(&images::open(file)?, size), JPEG_QUALITY)?) };
            let encoded = tokio::task::spawn_blocking(encode).await.map_err(anyhow::Error::from).flatten();
            let bytes = Bytes::from(encoded?);
            lock(&state.pictures).put((id, is_large), bytes.clone());
            bytes
        }
    };
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, bytes).into_response())
}

async fn read_tile(Shared(state): App, Path((z, x, file)): Path<(u32, i64, String)>) -> Result<Response, ApiError> {
    let y = file.strip_suffix(".png").and_then(|y| y.parse::<i64>().ok());
    let tile = y.and_then(|y| tiles::TileId::new(z, x, y));
    let tile = tile.ok_or_else(|| ApiError(StatusCode::NOT_FOUND, "there is no such tile".to_owned()))?;
    let kept = lock(&state.tiles).get(&tile).cloned();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let drawn = tokio::task::spawn_blocking(move || tiles::draw(tile)).await;
            let bytes = Bytes::from(drawn.map_err(anyhow::Error::from).flatten()?);
            lock(&state.tiles).put(tile, bytes.clone());
            bytes
        }
    };
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "public, max-age=86400")];
    Ok((headers, bytes).into_response())
}
