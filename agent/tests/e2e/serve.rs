//! `serve` provides the page and the bundles over HTTPS, and no other files.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Certificate, Client, StatusCode};
use serde_json::Value;

/// A running `landfall serve`, killed on drop.
struct PhoneServer {
    process: Child,
    info: Value,
}

impl PhoneServer {
    fn start(config: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.env("LANDFALL_CONFIG", config).args(["serve", "--json"]).args(args);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            text.push_str(&line.unwrap());
            if let Ok(info) = serde_json::from_str(&text) {
                return Self { process, info };
            }
        }
        panic!("the server ended with {:?} and said {text}", process.wait());
    }

    fn address(&self) -> &str {
        self.info["addresses"][0].as_str().unwrap()
    }
}

impl Drop for PhoneServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A page directory with the file names of a production build.
fn page() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    let words = "Where on Earth is this? ".repeat(200);
    std::fs::write(dir.path().join("index.html"), format!("<title>Landfall</title>{words}")).unwrap();
    for file in ["assets/core-a1b2c3.wasm", "assets/glue-a1b2c3.mjs", "manifest.webmanifest"] {
        std::fs::write(dir.path().join(file), &words).unwrap();
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_page_and_bundles_over_https_and_no_other_files() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let args = ["--listen", "127.0.0.1:0", "--page", page.path().to_str().unwrap()];
    let server = PhoneServer::start(config.path(), &args);
    let base = server.address();
    assert!(base.starts_with("https://127.0.0.1:"), "{base}");

    // The certificate is trusted only after its root has been installed.
    assert!(Client::new().get(base).send().await.is_err());
    let blind = Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let root = blind.get(format!("{base}landfall.crt")).send().await.unwrap();
    assert_eq!(root.headers()[CONTENT_TYPE], "application/x-x509-ca-cert");
    let root = Certificate::from_pem(&root.bytes().await.unwrap()).unwrap();
    let client = Client::builder().tls_certs_only([root.clone()]).build().unwrap();
    let get = async |path: &str| client.get(format!("{base}{path}")).send().await.unwrap();

    let index = get("").await;
    let header = |name: &str| index.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("cross-origin-opener-policy"), "same-origin");
    assert_eq!(header("cross-origin-embedder-policy"), "require-corp");
    assert_eq!((header("cache-control"), header("content-type")), ("no-cache".into(), "text/html".into()));
    let policy = header("content-security-policy");
    assert!(policy.contains("default-src 'self'; script-src 'self' 'wasm-unsafe-eval';"), "{policy}");
    assert!(index.text().await.unwrap().contains("<title>Landfall</title>"));

    for (file, kind) in [
        ("assets/core-a1b2c3.wasm", "application/wasm"),
        ("assets/glue-a1b2c3.mjs", "application/javascript"),
        ("manifest.webmanifest", "application/manifest+json"),
        ("bundles/pocket/bundle.json", "application/json"),
        ("bundles/pocket/cells.json", "application/json"),
    ] {
        let response = client.get(format!("{base}{file}")).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &kind.parse().unwrap()),
            "{file}"
        );
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip", "{file}");
        let cache_control = response.headers()["cache-control"].to_str().unwrap();
        assert_eq!(cache_control.contains("immutable"), file.starts_with("assets/"), "{file}: {cache_control}");
    }

    // Encoders are served uncompressed, and in ranges so that a phone can resume a download.
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/bundles/pocket/encoder.onnx");
    let encoder = std::fs::read(encoder).unwrap();
    let address = format!("{base}bundles/pocket/encoder.onnx");
    let full = client.get(&address).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
    assert_eq!(full.content_length(), Some(encoder.len() as u64));
    assert!(full.bytes().await.unwrap() == encoder);
    let from = encoder.len() - 1000;
    let partial = client.get(&address).header(ACCEPT_ENCODING, "gzip").header(RANGE, format!("bytes={from}-"));
    let partial = partial.send().await.unwrap();
    assert_eq!(partial.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        partial.headers()[CONTENT_RANGE],
        format!("bytes {from}-{}/{}", encoder.len() - 1, encoder.len()).as_str()
    );
    assert!(partial.bytes().await.unwrap() == encoder[from..]);
    // The encoder of the desktop bundle is in the cache, not in the bundle directory.
    let desktop = client.head(format!("{base}bundles/desktop/encoder.onnx")).send().await.unwrap();
    assert!(server.info["bundles"].as_array().unwrap().contains(&"desktop".into()) && desktop.status() == 200);
    assert_eq!(get("bundles/desktop/adapter.safetensors").await.status(), 200);

    std::fs::write(config.path().join("secret"), "secret").unwrap();
    let parent_dirs = "%2e%2e%2f".repeat(12);
    let secret = config.path().join("secret").display().to_string();
    for path in [
        "nothing.html".to_owned(),
        "bundles/pocket/MODEL_CARD.md".into(),
        "bundles/pocket/nothing.onnx".into(),
        "bundles/nonesuch/bundle.json".into(),
        "bundles/pocket/%2e%2e%2fdesktop%2fbundle.json".into(),
        format!("bundles/pocket/{parent_dirs}{}", secret.trim_start_matches('/')),
        format!("{parent_dirs}{}", secret.trim_start_matches('/')),
        format!("assets/{parent_dirs}{}", secret.trim_start_matches('/')),
    ] {
        let response = get(&path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!response.text().await.unwrap().contains("secret"), "{path}");
    }
    let port = base.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    drop(server);

    // A restart on the same port uses the same certificate.
    let again = PhoneServer::start(config.path(), &["--listen", &format!("127.0.0.1:{port}"), "--page", args[3]]);
    assert_eq!(client.get(again.address()).send().await.unwrap().status(), 200);
    let certificate = std::fs::read(config.path().join("serve/certificate.json")).unwrap();
    drop(again);
    drop(PhoneServer::start(config.path(), &args));
    assert!(std::fs::read(config.path().join("serve/certificate.json")).unwrap() == certificate);
}

/// `web-demo/test/smoke.mjs` drives Chromium and fails on page errors and on requests to other origins.
#[test]
fn browser_locates_an_example_without_other_origins() {
    let config = tempfile::tempdir().unwrap();
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-demo");
    let page = web.join("dist");
    assert!(page.join("index.html").is_file(), "the page is not built: run `npm ci && npm run build` in web-demo");
    let server = PhoneServer::start(config.path(), &["--listen", "127.0.0.1:0", "--page", page.to_str().unwrap()]);
    let visit = Command::new("node").args(["test/smoke.mjs", server.address()]).current_dir(web).output().unwrap();
    assert!(visit.status.success(), "{}", String::from_utf8_lossy(&visit.stderr));
    let result: Value = serde_json::from_slice(&visit.stdout).unwrap();
    assert_eq!(result["place"], "Near Rome, Italy", "{result}");
}

#[test]
fn http_rejects_path_traversal() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let server = PhoneServer::start(
        config.path(),
        &["--http", "--listen", "127.0.0.1:0", "--page", page.path().to_str().unwrap()],
    );
    let host = server.address().strip_prefix("http://").unwrap().trim_end_matches('/');
    let get_raw = |path: &str| {
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    assert!(get_raw("/").contains("<title>Landfall</title>"));
    for path in [
        "/../../../../../../../../../../etc/hostname",
        "/bundles/../../../../../../../../../../etc/hostname",
        "//etc/hostname",
    ] {
        assert!(get_raw(path).starts_with("HTTP/1.1 404"), "{path}: {}", get_raw(path));
    }
    assert!(!config.path().join("serve").exists(), "--http creates no certificate");
}
