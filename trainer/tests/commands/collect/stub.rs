//! Stub servers of Flickr, Street View, Mapillary and KartaView with generated data. Requests may fail in the ways of
//! `faults.rs`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::get;
use base64::Engine;
use hmac::Mac;
use serde_json::{Value, json};

use super::faults::{Outage, PASSING};

pub(crate) const KEY: &str = "top-secret-key-0123456789";
pub(crate) const SIGNING_SECRET: &str = "vNIXE0xscrmjlyV-12Nj_BvUPaw=";

/// A photo of the Flickr stub.
#[derive(Clone)]
pub(crate) struct Photo {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) text: &'static str,
    pub(crate) uploaded: i64,
    pub(crate) taken: i64,
    pub(crate) lat: f64,
    pub(crate) lng: f64,
}

/// Time of the first upload.
pub(crate) const T0: i64 = 1_672_531_200;
pub(crate) const DAY: i64 = 86_400;

/// Photos of the Flickr stub: a busy first day, then few; a single page; too many in one second.
pub(crate) fn photos() -> Vec<Photo> {
    let mut photos = Vec::new();
    let mut add = |text: &'static str, n: u64, when: &dyn Fn(u64) -> i64| {
        for i in 0..n {
            let id = photos.len() as u64 + 1;
            photos.push(Photo {
                id,
                owner: format!("{}@N0{}", id % 37, id % 7),
                text,
                uploaded: T0 + when(i),
                // Some pairs were taken in the same second.
                taken: T0 - 1000 * DAY + (id - id % 40 / 39) as i64,
                lat: 35.0 + id as f64 * 1e-3,
                lng: 139.0 + id as f64 * 1e-3,
            });
        }
    };
    add("Tokyo", 520, &|i| i as i64 * 100);
    add("Tokyo", 30, &|i| 4 * DAY + i as i64 * 1000);
    add("Tokyo", 7, &|i| 10 * DAY - 1 - i as i64);
    add("Paris", 160, &|i| i as i64 * 10);
    add("Burst", 4_100, &|_| 5 * DAY);
    add("Burst", 200, &|i| 5 * DAY - 3000 + i as i64);
    // One photo matches two queries, and one has no coordinates.
    let mut again = photos[3].clone();
    again.text = "Paris";
    photos.push(again);
    photos[9].lat = 0.0;
    photos[9].lng = 0.0;
    // Photos of the same second have the same owner.
    for i in 1..photos.len() {
        if photos[i].id % 40 == 39 {
            photos[i].owner = photos[i - 1].owner.clone();
        }
    }
    photos
}

/// How the server responds to a request of a photo.
pub(crate) fn photo_kind(id: u64) -> &'static str {
    match id % 25 {
        5 => "404",
        10 => "410",
        15 => "redirect",
        20 => "tiny",
        24 => "not an image",
        _ => "ok",
    }
}

/// A unique image of a few kilobytes.
pub(crate) fn jpeg(seed: u64) -> Vec<u8> {
    let noise = |x: u32, y: u32, c: u64| {
        let n = (u64::from(x) * 31 + u64::from(y) * 17 + c * 7 + seed * 1009).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n >> 56) as u8
    };
    let picture = image::RgbImage::from_fn(48, 40, |x, y| image::Rgb([0, 1, 2].map(|c| noise(x, y, c))));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

struct ServerState {
    photos: Vec<Photo>,
    is_faulty: bool,
    outage: Option<Outage>,
    requests: AtomicUsize,
    /// Number of requests by purpose.
    seen: std::sync::Mutex<HashMap<String, usize>>,
    base: String,
}

type Shared = State<Arc<ServerState>>;
type RequestQuery = Query<HashMap<String, String>>;

/// A running stub.
pub(crate) struct Stub {
    pub(crate) base: String,
    state: Arc<ServerState>,
    _runtime: tokio::runtime::Runtime,
}

impl Stub {
    pub(crate) fn start(is_faulty: bool) -> Self {
        Self::with(is_faulty, None)
    }

    pub(crate) fn failing(outage: Outage) -> Self {
        Self::with(false, Some(outage))
    }

    fn with(is_faulty: bool, outage: Option<Outage>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(ServerState {
            photos: photos(),
            is_faulty,
            outage,
            requests: AtomicUsize::new(0),
            seen: Default::default(),
            base: base.clone(),
        });
        let app = Router::new()
            .route("/flickr", get(flickr))
            .route("/photos/{server}/{file}", get(photo))
            .route("/failing/{server}/{file}", get(failing))
            .route("/photo_unavailable.png", get(unavailable))
            .route("/streetview", get(view))
            .route("/streetview/metadata", get(metadata))
            .route("/mapillary", get(mapillary))
            .route("/kartaview", get(kartaview))
            .route("/picture/{seed}", get(plain))
            .route("/picture/{size}/{seed}", get(of_size))
            .layer(middleware::from_fn_with_state(state.clone(), fail))
            .with_state(state.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { base, state, _runtime: runtime }
    }

    /// Returns the number of requests for a purpose.
    pub(crate) fn seen(&self, what: &str) -> usize {
        self.state.seen.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl ServerState {
    fn note(&self, what: &str) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let count = seen.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// Lets requests fail: one in five, each time in a different way, or as the stub's [`Outage`] says.
async fn fail(State(state): Shared, request: Request, next: Next) -> Response {
    let n = state.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(Outage { fault, of, times }) = state.outage {
        let path = request.uri().path();
        let is_affected = path == of || of.ends_with('/') && path.starts_with(of);
        let fails = is_affected && state.note(&format!("outage {}", request.uri())) <= times;
        return if fails { fault.apply(request, next).await } else { next.run(request).await };
    }
    if !state.is_faulty || n % 5 != 3 {
        return next.run(request).await;
    }
    PASSING[n / 5 % PASSING.len()].apply(request, next).await
}

fn flickr_error(code: u16, message: &str) -> Response {
    Json(json!({ "stat": "fail", "code": code, "message": message })).into_response()
}

async fn flickr(State(state): Shared, Query(query): RequestQuery) -> Response {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    if get("api_key") != KEY {
        return flickr_error(100, "Invalid API Key (Key has invalid format)");
    }
    let fixed = [
        ("method", "flickr.photos.search"),
        ("format", "json"),
        ("nojsoncallback", "1"),
        ("has_geo", "1"),
        ("accuracy", "6"),
        ("privacy_filter", "1"),
        ("media", "photos"),
        ("per_page", "250"),
        ("sort", "interestingness-desc"),
    ];
    if fixed.iter().any(|(name, value)| get(name) != *value) {
        return flickr_error(3, "Parameterless searches have been disabled.");
    }
    let text = get("text");
    let times = state.note(&format!("flickr {text}"));
    if text.starts_with("Paris") && times <= 2 {
        return flickr_error([10, 105][times - 1], "not now");
    }
    let number = |name: &str| get(name).parse::<i64>().unwrap();
    let (from, to, page) = (number("min_upload_date"), number("max_upload_date"), number("page"));
    let word = text.split(' ').next().unwrap();
    let found: Vec<&Photo> =
        state.photos.iter().filter(|p| p.text == word && (from..=to).contains(&p.uploaded)).collect();
    if !text.contains(" -party") {
        return flickr_error(1, "the excluded words are missing");
    }
    // Beyond 4,000 results pages repeat.
    let begin = (page as usize - 1) % 16 * 250;
    let list: Vec<Value> = found
        .iter()
        .skip(begin)
        .take(250)
        .map(|p| {
            let taken = chrono::DateTime::from_timestamp(p.taken, 0).unwrap().format("%Y-%m-%d %H:%M:%S").to_string();
            // Flickr sends numbers as JSON numbers or as strings.
            let degrees = |x: f64| if p.id.is_multiple_of(2) { json!(x) } else { json!(x.to_string()) };
            json!({ "id": p.id.to_string(), "owner": p.owner, "secret": format!("{:x}", p.id), "server": "65535",
                "latitude": degrees(p.lat), "longitude": degrees(p.lng), "accuracy": "16", "datetaken": taken,
                "license": "4", "title": "" })
        })
        .chain([json!({ "id": "a photo without the other fields" })])
        .collect();
    let total = if page % 2 == 1 { json!(found.len().to_string()) } else { json!(found.len()) };
    let reply = json!({ "photos": { "page": page, "pages": found.len().div_ceil(250), "perpage": 250, "total": total,
        "photo": list }, "stat": "ok" });
    if times % 3 == 0 {
        return format!("jsonFlickrApi({reply})").into_response();
    }
    Json(reply).into_response()
}

fn as_jpeg(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], bytes).into_response()
}

async fn photo(Path((_, file)): Path<(String, String)>) -> Response {
    let id: u64 = file.split('_').next().unwrap().parse().unwrap();
    match photo_kind(id) {
        "404" => StatusCode::NOT_FOUND.into_response(),
        "410" => StatusCode::GONE.into_response(),
        "redirect" => Redirect::to("/photo_unavailable.png").into_response(),
        "tiny" => as_jpeg(vec![0xff, 0xd8, 0xff, 0xd9]),
        "not an image" => as_jpeg([&[0xff, 0xd8][..], &[7; 2000], &[0xff, 0xd9]].concat()),
        _ => as_jpeg(jpeg(id)),
    }
}

/// Responds to requests of every seventh photo with an error.
async fn failing(Path((server, file)): Path<(String, String)>) -> Response {
    let id: u64 = file.split('_').next().unwrap().parse().unwrap();
    if id.is_multiple_of(7) {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    } else {
        photo(Path((server, file))).await
    }
}

async fn unavailable() -> Response {
    ([(header::CONTENT_TYPE, "image/png")], vec![0; 4000]).into_response()
}

async fn of_size(Path((_, seed)): Path<(String, u64)>, state: Shared) -> Response {
    plain(Path(seed), state).await
}

async fn plain(Path(seed): Path<u64>, State(state): Shared) -> Response {
    // The first request of this URL fails as if it had expired.
    if seed == 77 && state.note("expired") == 1 {
        return StatusCode::FORBIDDEN.into_response();
    }
    as_jpeg(jpeg(seed))
}

/// Returns whether path and query are signed with [`SIGNING_SECRET`].
fn is_signed(path: &str, query: &str) -> bool {
    let Some((signed, signature)) = query.split_once("&signature=") else { return false };
    let secret = base64::engine::general_purpose::URL_SAFE.decode(SIGNING_SECRET).unwrap();
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(&secret).unwrap();
    mac.update(format!("{path}?{signed}").as_bytes());
    let expected = base64::engine::general_purpose::URL_SAFE.encode(mac.finalize().into_bytes());
    signature.replace("%3D", "=").replace("%2B", "+") == expected
}

/// Covers all kinds of responses, by the longitude in whole degrees.
async fn metadata(State(state): Shared, Query(query): RequestQuery, uri: axum::http::Uri) -> Response {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    if get("key") != KEY || !is_signed(uri.path(), uri.query().unwrap_or_default()) {
        return Json(json!({ "status": "REQUEST_DENIED", "error_message": "The provided API key is invalid." }))
            .into_response();
    }
    let (lat, lng) = get("location").split_once(',').unwrap();
    let (lat, lng): (f64, f64) = (lat.parse().unwrap(), lng.parse().unwrap());
    let found = |pano: String, copyright: &str| {
        json!({ "status": "OK", "pano_id": pano, "copyright": copyright, "date": "2016-05",
            "location": { "lat": lat + 0.0001, "lng": lng } })
    };
    Json(match lng as i64 % 10 {
        1 => json!({ "status": "ZERO_RESULTS" }),
        2 => json!({ "status": "NOT_FOUND" }),
        3 if state.note(get("location")) <= 2 => json!({ "status": "UNKNOWN_ERROR" }),
        4 => found("shared".into(), "© 2017 Google"),
        5 => found(format!("CAoSLEFG{lng}"), "© A. Gardener"),
        6 => {
            let mut dateless = found(format!("dateless{lng}"), "© 2019 Google");
            dateless.as_object_mut().unwrap().remove("date");
            dateless
        }
        _ => found(format!("pano-{lng}_x"), "© 2020 Google"),
    })
    .into_response()
}

async fn view(State(state): Shared, Query(query): RequestQuery, uri: axum::http::Uri) -> Response {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    if get("key") != KEY || !is_signed(uri.path(), uri.query().unwrap_or_default()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    state.note("view");
    let heading: u64 = get("heading").parse().unwrap();
    let number = get("pano").bytes().fold(0u64, |n, byte| n.wrapping_mul(31).wrapping_add(byte.into()) % 1_000_003);
    if get("pano").starts_with("dateless") && heading == 270 {
        // Without the parameter the response is a grey image.
        return if get("return_error_code") == "true" {
            StatusCode::NOT_FOUND.into_response()
        } else {
            as_jpeg(jpeg(0))
        };
    }
    as_jpeg(jpeg(number * 1000 + heading))
}

/// 5,000 images on a grid of 0.08 degrees with its corner at 10 E 50 N, half of them near the corner.
async fn mapillary(State(state): Shared, Query(query): RequestQuery, headers: HeaderMap) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != &format!("OAuth {KEY}")) {
        let error =
            json!({ "error": { "message": "Invalid OAuth access token.", "type": "OAuthException", "code": 190 } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let edges: Vec<f64> = query["bbox"].split(',').map(|edge| edge.parse().unwrap()).collect();
    let (west, south, east, north) = (edges[0], edges[1], edges[2], edges[3]);
    if (east - west) * (north - south) > 0.01 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    state.note("mapillary");
    let inside: Vec<Value> = mapillary_images(&state.base)
        .into_iter()
        .filter(|image| {
            let at = |i: usize| image["geometry"]["coordinates"][i].as_f64().unwrap();
            (west..=east).contains(&at(0)) && (south..=north).contains(&at(1))
        })
        .collect();
    if inside.len() > 3_000 && state.is_faulty {
        let message = "Please reduce the amount of data you're asking for, then retry your request";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": { "message": message, "code": 1 } }))).into_response();
    }
    if inside.len() > 3_000 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(json!({ "data": inside[..inside.len().min(1_879)] })).into_response()
}

pub(crate) fn mapillary_images(base: &str) -> Vec<Value> {
    (0..5_000u64)
        .map(|i| {
            let spread = if i < 2_500 { 0.01 } else { 0.08 };
            let (x, y) = ((i % 50) as f64 / 50.0 * spread, (i / 50 % 50) as f64 / 50.0 * spread);
            let (lng, lat) = (10.0 + x, 50.0 + y);
            let mut image = json!({
                "id": format!("m{i}"), "geometry": { "type": "Point", "coordinates": [lng, lat] },
                "captured_at": 1_507_560_881_000_u64 + i, "compass_angle": -10.5, "sequence": format!("s{}", i / 100),
                "is_pano": i % 100 == 0, "creator": { "username": "walker", "id": "1" },
                "thumb_1024_url": format!("{base}/picture/{i}"),
            });
            if i % 2 == 1 {
                image["computed_geometry"] = json!({ "type": "Point", "coordinates": [lng + 0.001, lat] });
            }
            image
        })
        .collect()
}

async fn kartaview(State(state): Shared, Query(query): RequestQuery) -> Response {
    let number = |name: &str| query[name].parse::<f64>().unwrap();
    if number("itemsPerPage") > 100.0 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if number("lat") < 0.0 {
        let status = json!({ "apiCode": 601, "apiMessage": "The request has invalid parameters", "httpCode": 200 });
        return Json(json!({ "status": status })).into_response();
    }
    let page = number("page") as usize;
    let list: Vec<Value> = ((page - 1) * 100..(page * 100).min(130))
        .map(|i| {
            json!({
                "id": (9_000 + i).to_string(), "lat": (1.3 + i as f64 * 1e-4).to_string(), "lng": "103.848072",
                "heading": if i == 4 { json!("north") } else { json!("-167.5") }, "shotDate": "2016-04-16 09:00:45",
                "projection": if i % 10 == 3 { "SPHERE" } else { "PLANE" }, "fieldOfView": null,
                "sequenceId": (i / 13).to_string(),
                "fileurl": format!("{}/picture/{{{{sizeprefix}}}}/{}", state.base, 100_000 + i),
            })
        })
        .collect();
    let status =
        json!({ "apiCode": 600, "apiMessage": "The request has been processed without incidents", "httpCode": 200 });
    Json(json!({ "status": status, "result": { "data": list, "hasMoreData": page * 100 < 130 } })).into_response()
}
