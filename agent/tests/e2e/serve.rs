//! `serve`: the page and the bundles over HTTPS, and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Certificate, Client, StatusCode};
use serde_json::Value;

/// A server of our own, which ends with it.
struct PhoneServer {
    process: Child,
    about: Value,
}

impl PhoneServer {
    fn start(config: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.env("LANDFALL_CONFIG", config).args(["serve", "--json"]).args(more);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            text.push_str(&line.unwrap());
            if let Ok(about) = serde_json::from_str(&text) {
                return Self { process, about };
            }
        }
        panic!("the server ended with {:?} and said {text}", process.wait());
    }

    fn address(&self) -> &str {
        self.about["addresses"][0].as_str().unwrap()
    }
}

impl Drop for PhoneServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A page folder as a build leaves it.
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
async fn the_page_and_the_bundles_come_over_https_and_nothing_else() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let more = ["--listen", "127.0.0.1:0", "--page", page.path().to_str().unwrap()];
    let server = PhoneServer::start(config.path(), &more);
    let base = server.address();
    assert!(base.starts_with("https://127.0.0.1:"), "{base}");

    // Who has not been told to trust its certificate does not; who has been does.
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
        let packed = client.get(format!("{base}{file}")).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert_eq!(
            (packed.status(), &packed.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &kind.parse().unwrap()),
            "{file}"
        );
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip", "{file}");
        let keep = packed.headers()["cache-control"].to_str().unwrap();
        assert_eq!(keep.contains("immutable"), file.starts_with("assets/"), "{file}: {keep}");
    }

    // A network comes as it is, whole or from where a phone left off.
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/bundles/pocket/encoder.onnx");
    let encoder = std::fs::read(encoder).unwrap();
    let address = format!("{base}bundles/pocket/encoder.onnx");
    let whole = client.get(&address).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
    assert_eq!(whole.content_length(), Some(encoder.len() as u64));
    assert!(whole.bytes().await.unwrap() == encoder);
    let from = encoder.len() - 1000;
    let rest = client.get(&address).header(ACCEPT_ENCODING, "gzip").header(RANGE, format!("bytes={from}-"));
    let rest = rest.send().await.unwrap();
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(rest.headers()[CONTENT_RANGE], format!("bytes {from}-{}/{}", encoder.len() - 1, encoder.len()).as_str());
    assert!(rest.bytes().await.unwrap() == encoder[from..]);
    // Desktop's encoder lies elsewhere, in the cache.
    let desktop = client.head(format!("{base}bundles/desktop/encoder.onnx")).send().await.unwrap();
    assert!(server.about["bundles"].as_array().unwrap().contains(&"desktop".into()) && desktop.status() == 200);
    assert_eq!(get("bundles/desktop/adapter.safetensors").await.status(), 200);

    std::fs::write(config.path().join("secret"), "secret").unwrap();
    let up = "%2e%2e%2f".repeat(12);
    let secret = config.path().join("secret").display().to_string();
    for path in [
        "nothing.html".to_owned(),
        "bundles/pocket/MODEL_CARD.md".into(),
        "bundles/pocket/nothing.onnx".into(),
        "bundles/nonesuch/bundle.json".into(),
        "bundles/pocket/%2e%2e%2fdesktop%2fbundle.json".into(),
        format!("bundles/pocket/{up}{}", secret.trim_start_matches('/')),
        format!("{up}{}", secret.trim_start_matches('/')),
        format!("assets/{up}{}", secret.trim_start_matches('/')),
    ] {
        let answer = get(&path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text().await.unwrap().contains("secret"), "{path}");
    }
    // As it is typed: no client tidies it up.
    let port = base.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    drop(server);

    // The same certificate the next time, and the same port may be had again.
    let again = PhoneServer::start(config.path(), &["--listen", &format!("127.0.0.1:{port}"), "--page", more[3]]);
    assert_eq!(client.get(again.address()).send().await.unwrap().status(), 200);
    let kept = std::fs::read(config.path().join("serve/certificate.json")).unwrap();
    drop(again);
    drop(PhoneServer::start(config.path(), &more));
    assert!(std::fs::read(config.path().join("serve/certificate.json")).unwrap() == kept);
}

/// `web-demo/test/smoke.mjs` drives Chromium, and holds against the page what goes wrong or leaves its origin.
#[test]
fn a_browser_has_an_example_answered_and_asks_nobody_else() {
    let config = tempfile::tempdir().unwrap();
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-demo");
    let page = web.join("dist");
    assert!(page.join("index.html").is_file(), "the page is not built: run `npm ci && npm run build` in web-demo");
    let server = PhoneServer::start(config.path(), &["--listen", "127.0.0.1:0", "--page", page.to_str().unwrap()]);
    let visit = Command::new("node").args(["test/smoke.mjs", server.address()]).current_dir(web).output().unwrap();
    assert!(visit.status.success(), "{}", String::from_utf8_lossy(&visit.stderr));
    let seen: Value = serde_json::from_slice(&visit.stdout).unwrap();
    assert_eq!(seen["place"], "Near Rome, Italy", "{seen}");
}

#[test]
fn without_https_paths_as_they_are_typed_lead_nowhere_either() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let server = PhoneServer::start(
        config.path(),
        &["--http", "--listen", "127.0.0.1:0", "--page", page.path().to_str().unwrap()],
    );
    let host = server.address().strip_prefix("http://").unwrap().trim_end_matches('/');
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/").contains("<title>Landfall</title>"));
    for path in [
        "/../../../../../../../../../../etc/hostname",
        "/bundles/../../../../../../../../../../etc/hostname",
        "//etc/hostname",
    ] {
        assert!(ask(path).starts_with("HTTP/1.1 404"), "{path}: {}", ask(path));
    }
    assert!(!config.path().join("serve").exists(), "no certificate is made where none is used");
}
