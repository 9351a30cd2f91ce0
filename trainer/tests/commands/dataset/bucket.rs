//! A stub of an S3 server with multipart uploads, range requests and listing by prefix. Every sixth request fails with
//! SlowDown, and unsigned requests are rejected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

/// The access key that requests must be signed with.
pub(crate) const KEY: &str = "landfall-stub-key";

/// The contents of the only bucket.
#[derive(Default)]
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Parts of incomplete uploads, by upload id and part number.
    parts: Mutex<BTreeMap<(String, usize), Bytes>>,
    requests: AtomicUsize,
    /// Number of range requests.
    pub(crate) ranges: AtomicUsize,
    /// Number of completed multipart uploads.
    pub(crate) uploads: AtomicUsize,
}

impl Bucket {
    /// Starts the server and returns its URL.
    pub(crate) fn serve(self: &Arc<Self>) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .fallback(respond)
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self.clone());
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        address
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects.lock().unwrap().clone()
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"))
        .into_response()
}

async fn guard(State(bucket): State<Arc<Bucket>>, request: Request, next: Next) -> Response {
    let signed = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !signed.is_some_and(|signed| signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/"))) {
        return error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    if bucket.requests.fetch_add(1, Ordering::SeqCst) % 6 == 5 {
        return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    next.run(request).await
}

async fn respond(
    State(bucket): State<Arc<Bucket>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = url::Url::parse(&format!("http://stub{uri}")).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let Some(key) = url.path().strip_prefix("/bucket") else { return error(StatusCode::NOT_FOUND, "NoSuchBucket") };
    let key = key.trim_start_matches('/').to_owned();
    let upload = query.get("uploadId").cloned();
    let tag = [(header::ETAG, "\"tag\"")];
    match (method, upload) {
        (Method::POST, None) => format!(
            "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{key}</Key><UploadId>of {key}</UploadId>\
             </InitiateMultipartUploadResult>"
        )
        .into_response(),
        (Method::PUT, Some(upload)) => {
            bucket.parts.lock().unwrap().insert((upload, query["partNumber"].parse().unwrap()), body);
            tag.into_response()
        }
        (Method::POST, Some(upload)) => {
            let mut parts = bucket.parts.lock().unwrap();
            let (completed, others) = std::mem::take(&mut *parts).into_iter().partition(|((of, _), _)| *of == upload);
            *parts = others;
            let whole: Vec<u8> = BTreeMap::into_values(completed).flatten().collect();
            bucket.objects.lock().unwrap().insert(key.clone(), whole.into());
            bucket.uploads.fetch_add(1, Ordering::SeqCst);
            format!(
                "<CompleteMultipartUploadResult><Location>here</Location><Bucket>bucket</Bucket><Key>{key}</Key>\
                 <ETag>\"tag\"</ETag></CompleteMultipartUploadResult>"
            )
            .into_response()
        }
        (Method::PUT, None) => {
            bucket.objects.lock().unwrap().insert(key, body);
            tag.into_response()
        }
        (Method::GET, None) if query.contains_key("list-type") => {
            let prefix = query.get("prefix").map_or("", String::as_str);
            let objects = bucket.objects();
            let contents = objects.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, bytes)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"tag\"</ETag>\
                     <Size>{}</Size></Contents>",
                    bytes.len()
                )
            });
            let contents: String = contents.collect();
            format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>").into_response()
        }
        (Method::GET | Method::HEAD, None) => {
            let Some(bytes) = bucket.objects().get(&key).cloned() else {
                return error(StatusCode::NOT_FOUND, "NoSuchKey");
            };
            let known = [(header::ETAG, "\"tag\""), (header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")];
            let Some(range) = headers.get(header::RANGE) else { return (known, bytes).into_response() };
            bucket.ranges.fetch_add(1, Ordering::SeqCst);
            let (start, last) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (start, last) = (start.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
            if start >= bytes.len() {
                return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
            }
            let last = last.min(bytes.len() - 1);
            let of = [(header::CONTENT_RANGE, format!("bytes {start}-{last}/{}", bytes.len()))];
            (StatusCode::PARTIAL_CONTENT, known, of, bytes.slice(start..=last)).into_response()
        }
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}
