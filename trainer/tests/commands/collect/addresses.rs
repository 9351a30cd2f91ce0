//! Sampling of places from OpenAddresses sources.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use serde_json::json;

use super::{Stub, run_err, run_ok};

/// Serves the index and a file, whose first request fails. Counts requests of files.
fn serve(requests: Arc<AtomicUsize>) -> String {
    let index = |Query(query): Query<std::collections::HashMap<String, String>>| async move {
        let entry = |source: &str, layer: &str, job: u32| json!({ "id": 1, "source": source, "layer": layer, "name": "state", "job": job });
        // The job is a part of a file name, which must not lead out of the folder.
        let mut outside = entry("xx/outside", "addresses", 0);
        outside["job"] = json!("../../../outside");
        let all = [
            entry("xx/here", "addresses", 7),
            entry("xx/here", "buildings", 8),
            entry("xx/here_too", "addresses", 9),
            outside,
        ];
        Json(
            all.into_iter()
                .filter(|entry| entry["source"].as_str().unwrap().contains(&query["source"]))
                .collect::<Vec<_>>(),
        )
    };
    let file = move |Path(job): Path<u32>| async move {
        if job != 7 {
            return StatusCode::NOT_FOUND.into_response();
        }
        if requests.fetch_add(1, Ordering::SeqCst) == 0 {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for lng in 0..10 {
            let point = json!({ "type": "Feature", "properties": { "number": "1", "street": "Hidden Lane" },
                "geometry": { "type": "Point", "coordinates": [lng, 10.5] } });
            writeln!(gz, "{point}").unwrap();
        }
        gz.finish().unwrap().into_response()
    };
    let app = Router::new().route("/data", get(index)).route("/job/{job}/source.geojson.gz", get(file));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
        });
    });
    base
}

#[test]
fn collect_streetview_samples_openaddresses_sources() {
    let dir = tempfile::tempdir().unwrap();
    let (stub, requests) = (Stub::start(false), Arc::new(AtomicUsize::new(0)));
    let base = serve(requests.clone());
    let args = format!(
        "streetview --addresses-index {base}/data --addresses-files {base}/job --api {}/streetview --between 0 \
         --first-wait 0.005 --out {}/out --dry-run --addresses",
        stub.base,
        dir.path().display()
    );
    let plan = run_ok(&format!("{args} xx/here"));
    assert!(plan.contains("10 places"), "{plan}");
    let file = dir.path().join("out/addresses/xx-here-7.geojson.gz");
    assert!(file.is_file() && requests.load(Ordering::SeqCst) == 2);
    assert_eq!(run_ok(&format!("{args} xx/here")), plan);
    assert_eq!(requests.load(Ordering::SeqCst), 2, "the file is downloaded once");
    assert_eq!(run_ok(&format!("{args} {}", file.display())), plan, "files are sampled like sources");
    let stderr = run_err(&format!("{args} xx/nowhere"), 2);
    assert!(stderr.contains("xx/nowhere: no such file") && stderr.contains("/data?source=xx%2Fnowhere"), "{stderr}");
    let stderr = run_err(&format!("{args} xx/outside"), 2);
    assert!(stderr.contains("lists xx/outside without the number of a job"), "{stderr}");
    let stderr = run_err(&format!("{args} xx/here_too"), 2);
    assert!(stderr.contains("404"), "{stderr}");
}
