//! Failures of services and of the proxies before them, and tests that the collected data is the same with and without
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use landfall_trainer::{Item, Status};

use super::stub::Stub;
use super::{collected, run_err, run_ok};

/// A failed request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A status with the page of a proxy.
    Status(u16),
    /// A status with a `Retry-After` header.
    RetryAfter(u16, &'static str),
    /// A status with JSON.
    Json(u16, &'static str),
    /// A page of a proxy with status 200.
    Html,
    /// Status 200 without a body.
    Nothing,
    /// The first half of the body, as if it were all of it.
    Truncated,
    /// The connection closes within the body.
    Closed,
    /// As `Closed`, after a `Content-Length` header.
    TooShort,
}

/// A page as proxies send it.
const PAGE: &str = "<!doctype html><title>Just a moment...</title>Too many requests. Please try again later.";

/// Failures after which the same request succeeds.
pub(crate) const PASSING: [Fault; 24] = [
    Fault::Status(503),
    Fault::RetryAfter(429, "0"),
    Fault::Status(502),
    Fault::Status(504),
    Fault::Closed,
    Fault::Html,
    Fault::Status(408),
    Fault::Nothing,
    Fault::Status(425),
    Fault::Truncated,
    Fault::Status(429),
    Fault::TooShort,
    Fault::RetryAfter(503, "Wed, 21 Oct 2015 07:28:00 GMT"),
    Fault::Status(520),
    Fault::Status(521),
    Fault::Status(522),
    Fault::Status(523),
    Fault::Status(524),
    Fault::Status(525),
    Fault::Status(527),
    Fault::Status(530),
    Fault::RetryAfter(403, "0"),
    Fault::RetryAfter(429, "soon"),
    Fault::RetryAfter(429, "0.01"),
];

/// A failure of the first requests of each URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) fault: Fault,
    /// Path that is affected, or beginning of such paths if it ends with a slash.
    pub(crate) of: &'static str,
    /// Number of requests per URL that fail.
    pub(crate) times: usize,
}

impl Fault {
    /// Responds to a request.
    pub(crate) async fn apply(self, request: Request, next: Next) -> Response {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        match self {
            Self::Status(status) => (StatusCode::from_u16(status).unwrap(), html, PAGE).into_response(),
            Self::RetryAfter(status, wait) => {
                (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, wait)], "slow down").into_response()
            }
            Self::Json(status, json) => {
                let kind = [(header::CONTENT_TYPE, "application/json")];
                (StatusCode::from_u16(status).unwrap(), kind, json).into_response()
            }
            Self::Html => (html, PAGE).into_response(),
            Self::Nothing => ().into_response(),
            Self::Truncated | Self::Closed | Self::TooShort => {
                let (mut parts, body) = next.run(request).await.into_parts();
                let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let half = whole.slice(..whole.len() / 2);
                parts.headers.remove(header::CONTENT_LENGTH);
                if self == Self::Truncated {
                    return Response::from_parts(parts, half.into());
                }
                if self == Self::TooShort {
                    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
                }
                let pieces: Vec<Result<Bytes, std::io::Error>> =
                    vec![Ok(half), Err(std::io::ErrorKind::BrokenPipe.into())];
                Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(pieces)))
            }
        }
    }
}

/// The command line that collects a few images of Mapillary.
fn mapillary(stub: &Stub, out: &Path) -> String {
    format!(
        "mapillary --box 10,50,10.002,50.002 --api {}/mapillary --between 0 --first-wait 0.001 --accept-terms mapillary \
         --out {}",
        stub.base,
        out.display()
    )
}

/// What is collected from Mapillary without failures.
fn expected(dir: &Path) -> BTreeMap<String, Item> {
    let out = dir.join("expected");
    run_ok(&mapillary(&Stub::start(false), &out));
    let items = collected(&out);
    assert!(items.len() > 4 && items.values().all(|item| item.status == Some(Status::Ok)), "{items:?}");
    items
}

#[test]
fn collected_data_is_the_same_after_failures() {
    let dir = tempfile::tempdir().unwrap();
    let expected = expected(dir.path());
    let of_the_api = [
        Fault::Json(
            403,
            r#"{"error":{"message":"(#4) Application request limit reached","type":"OAuthException","code":4}}"#,
        ),
        Fault::Json(400, r#"{"error":{"message":"(#17) User request limit reached","code":17}}"#),
        Fault::Json(200, r#"{"error":{"message":"Calls have exceeded the rate limit","code":613}}"#),
        Fault::Json(400, r#"{"error":{"message":"Service temporarily unavailable","code":2}}"#),
        Fault::Json(200, r#"{"error":{"message":"An unexpected error","code":99,"is_transient":true}}"#),
        Fault::Json(400, r#"{"error":{"message":"Please reduce the amount of data you're asking for","code":1}}"#),
        Fault::Json(500, r#"{"error":{"message":"An unknown error","code":1}}"#),
    ];
    let outages = PASSING.iter().map(|fault| (*fault, "/")).chain(of_the_api.map(|fault| (fault, "/mapillary")));
    for (i, (fault, of)) in outages.enumerate() {
        let out = dir.path().join(i.to_string());
        run_ok(&mapillary(&Stub::failing(Outage { fault, of, times: 2 }), &out));
        assert_eq!(collected(&out), expected, "{fault:?}");
    }
}

#[test]
fn failures_that_persist_settle_nothing_and_a_later_run_continues() {
    let dir = tempfile::tempdir().unwrap();
    let expected = expected(dir.path());
    for (i, (fault, message)) in [
        (Fault::Html, "`text/html; charset=utf-8` in place of an image"),
        (Fault::Nothing, "nothing in place of an image"),
        (Fault::Truncated, "a truncated image"),
        (Fault::TooShort, "cannot be reached"),
        (Fault::Status(522), "522"),
        (Fault::Status(403), "403"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = dir.path().join(i.to_string());
        let stub = Stub::failing(Outage { fault, of: "/picture/", times: usize::MAX });
        let stderr = run_err(&mapillary(&stub, &out), 3);
        assert!(stderr.contains("run the same command again") && stderr.contains(message), "{stderr}");
        assert!(collected(&out).is_empty(), "{fault:?}");
        run_ok(&mapillary(&Stub::start(false), &out));
        assert_eq!(collected(&out), expected, "{fault:?}");
    }
    // A server that asks to come back tomorrow is not waited for.
    let out = dir.path().join("tomorrow");
    for of in ["/mapillary", "/picture/"] {
        let tomorrow = Outage { fault: Fault::RetryAfter(429, "86400"), of, times: usize::MAX };
        let stderr = run_err(&mapillary(&Stub::failing(tomorrow), &out), 3);
        assert!(stderr.contains("run the same command again in 1440 minutes"), "{stderr}");
    }
    let denied = Fault::Json(200, r#"{"error":{"message":"(#10) no permission","code":10}}"#);
    let stderr = run_err(&mapillary(&Stub::failing(Outage { fault: denied, of: "/mapillary", times: 9 }), &out), 2);
    assert!(stderr.contains("Mapillary returned error 10: (#10) no permission"), "{stderr}");
    run_ok(&mapillary(&Stub::start(false), &out));
    assert_eq!(collected(&out), expected);
}

#[test]
fn dense_boxes_of_mapillary_are_split_whatever_the_error_is() {
    let dir = tempfile::tempdir().unwrap();
    let [with_status_500, with_error_1] = [false, true].map(|is_faulty| {
        let (stub, out) = (Stub::start(is_faulty), dir.path().join(is_faulty.to_string()));
        run_ok(&mapillary(&stub, &out).replace("10.002,50.002", "10.08,50.08"));
        collected(&out)
    });
    assert_eq!(with_error_1, with_status_500);
}

#[test]
fn kartaview_images_without_a_size_are_fetched_in_another() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("points.csv"), "lat,lng\n1.3,103.8\n").unwrap();
    let collect = |name: &str, fault: Option<Fault>, of: &'static str, code: i32| {
        let stub =
            fault.map_or_else(|| Stub::start(false), |fault| Stub::failing(Outage { fault, of, times: usize::MAX }));
        let (points, out) = (dir.path().join("points.csv"), dir.path().join(name));
        let args = format!(
            "kartaview --points {} --api {}/kartaview --between 0 --first-wait 0.001 --accept-terms kartaview --out {}",
            points.display(),
            stub.base,
            out.display()
        );
        if code == 0 {
            run_ok(&args)
        } else {
            run_err(&args, code)
        };
        let without_url = |item: Item| Item { url: String::new(), ..item };
        collected(&out).into_iter().map(|(id, item)| (id, without_url(item))).collect::<BTreeMap<_, _>>()
    };
    let expected = collect("expected", None, "", 0);
    assert_eq!(expected.len(), 10);
    assert_eq!(collect("no-lth", Some(Fault::Status(404)), "/picture/lth/", 0), expected);
    assert_eq!(collect("refused-lth", Some(Fault::Status(403)), "/picture/lth/", 0), expected);
    let gone = collect("gone", Some(Fault::Status(404)), "/picture/", 0);
    assert!(gone.len() >= 10 && gone.values().all(|item| item.status == Some(Status::Missing)), "{gone:?}");
    assert_eq!(collect("refused", Some(Fault::Status(403)), "/picture/", 3), BTreeMap::new());
    assert_eq!(collect("refused", None, "", 0), expected);
    let busy = r#"{"status":{"apiCode":690,"apiMessage":"An error","httpCode":500}}"#;
    assert_eq!(collect("busy", Some(Fault::Json(200, busy)), "/kartaview", 3), BTreeMap::new());
}

#[test]
fn limits_of_street_view_end_the_run_or_pass() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("points.csv"), "lat,lng\n10.5,7\n10.5,8\n10.5,9\n").unwrap();
    let args = |outage: Option<(Fault, &'static str, usize)>, out: &str| {
        let outage = outage.map(|(fault, of, times)| Outage { fault, of, times });
        let stub = outage.map_or_else(|| Stub::start(false), Stub::failing);
        let args = format!(
            "streetview --points {0}/points.csv --api {1}/streetview --max-cost 1 --headings 0 --accept-terms google \
             --between 0 --first-wait 0.001 --out {0}/{out}",
            dir.path().display(),
            stub.base
        );
        (stub, args)
    };
    let (_stub, plain) = args(None, "expected");
    run_ok(&plain);
    let without_url = |out: &str| -> Vec<Item> {
        collected(&dir.path().join(out)).into_values().map(|item| Item { url: String::new(), ..item }).collect()
    };
    let expected = without_url("expected");
    assert_eq!(expected.len(), 3);

    let metadata = "/streetview/metadata";
    let over =
        Fault::Json(200, r#"{"status":"OVER_QUERY_LIMIT","error_message":"You have exceeded your rate-limit."}"#);
    let (_stub, passing) = args(Some((over, metadata, 2)), "passing");
    run_ok(&passing);
    assert_eq!(without_url("passing"), expected);

    let daily = Fault::Json(200, r#"{"status":"OVER_DAILY_LIMIT","error_message":"Billing is not enabled."}"#);
    let denied = Fault::Json(200, r#"{"status":"REQUEST_DENIED","error_message":"The API is not activated."}"#);
    let quota = Fault::Json(403, "You have exceeded your daily request quota for this API.");
    for (fault, of, code, message) in [
        (over, metadata, 3, "run the same command again tomorrow"),
        (daily, metadata, 3, "Billing is not enabled."),
        (denied, metadata, 2, "check the API key"),
        (quota, "/streetview", 3, "exceeded your daily request quota"),
    ] {
        let (_stub, args) = args(Some((fault, of, usize::MAX)), "limited");
        let stderr = run_err(&args, code);
        assert!(stderr.contains(message), "{stderr}");
        assert_eq!(without_url("limited"), []);
    }
    let (_stub, later) = args(None, "limited");
    run_ok(&later);
    assert_eq!(without_url("limited"), expected);
}
