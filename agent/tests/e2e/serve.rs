//! `serve` provides the page and the bundles over HTTPS, and no other files.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use landfall_common::http::client_builder;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HOST, ORIGIN, RANGE};
use reqwest::{Certificate, StatusCode};
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
    assert!(client_builder().build().unwrap().get(base).send().await.is_err());
    let blind = client_builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let root = blind.get(format!("{base}landfall.crt")).send().await.unwrap();
    assert_eq!(root.headers()[CONTENT_TYPE], "application/x-x509-ca-cert");
    let root = Certificate::from_pem(&root.bytes().await.unwrap()).unwrap();
    let client = client_builder().tls_certs_only([root.clone()]).build().unwrap();
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
    assert_eq!(result["place"], "Somewhere in Europe", "{result}");
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
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
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

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_only_to_its_own_names() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let page = page.path().to_str().unwrap();
    let args = ["--http", "--listen", "127.0.0.1:0", "--host", "map.example.org", "--page", page];
    let server = PhoneServer::start(config.path(), &args);
    let port = server.address().trim_end_matches('/').rsplit(':').next().unwrap();
    let client = client_builder().build().unwrap();
    let status = async |host: &str, origin: Option<&str>| {
        let mut statuses = Vec::new();
        for path in ["", "index.html", "bundles/pocket/bundle.json", "nothing"] {
            let mut request = client.get(format!("{}{path}", server.address())).header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{host} {path}");
            assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'"));
            statuses.push(response.status().as_u16());
        }
        assert!(statuses[1..3].iter().all(|status| *status == statuses[0]), "{host}: {statuses:?}");
        statuses[0]
    };
    let own = format!("127.0.0.1:{port}");
    for host in [own.as_str(), &format!("localhost:{port}"), &format!("[::1]:{port}"), "map.example.org"] {
        assert_eq!(status(host, None).await, 200, "{host}");
    }
    for host in ["evil.example", &format!("evil.example:{port}"), "localhost", &format!("192.168.1.7:{port}"), "x"] {
        assert_eq!(status(host, None).await, 421, "{host}");
    }
    for origin in ["https://evil.example", "null", &format!("http://evil.example:{port}")] {
        assert_eq!(status(&own, Some(origin)).await, 403, "{origin}");
    }
    for origin in ["https://map.example.org", &format!("http://{own}")] {
        assert_eq!(status(&own, Some(origin)).await, 200, "{origin}");
    }
}

/// Runs a program, or returns `None` with a line that says so if there is none.
fn run_if_there(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        eprintln!("skipped: there is no {program}");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn certificate_is_what_phones_accept() {
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    // An address of this computer besides the usual ones.
    let args = ["--listen", "127.0.0.2:0", "--page", page.path().to_str().unwrap()];
    let server = PhoneServer::start(config.path(), &args);
    let until: chrono::NaiveDate = server.info["certificate"]["until"].as_str().unwrap().parse().unwrap();
    let days = (until - chrono::Utc::now().date_naive()).num_days();
    assert!((300..=820).contains(&days), "{until}");
    let stored = std::fs::read(config.path().join("serve/certificate.json")).unwrap();
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    for (name, expected) in [
        (
            "site",
            vec!["TLS Web Server Authentication", "DNS:localhost", "IP Address:127.0.0.1", "IP Address:127.0.0.2"],
        ),
        ("root", vec!["CA:TRUE, pathlen:0", "X509v3 Name Constraints", "IP:192.168.0.0/255.255.0.0"]),
    ] {
        let file = config.path().join(name);
        std::fs::write(&file, stored[name]["certificate"].as_str().unwrap()).unwrap();
        let Some(text) = run_if_there("openssl", &["x509", "-noout", "-text", "-in", file.to_str().unwrap()]) else {
            return;
        };
        for part in expected {
            assert!(text.contains(part), "{part}: {text}");
        }
        for host in server.info["certificate"]["names"].as_array().unwrap().iter().filter(|_| name == "site") {
            let host = host.as_str().unwrap();
            let is_named = text.contains(&format!("DNS:{host}")) || text.contains(&format!("IP Address:{host}"));
            assert!(is_named || host.contains(':'), "{host}: {text}"); // IPv6 is written in full
        }
    }
}

/// In a network namespace with a tunnel as the default route, and a network that is joined later.
#[test]
fn home_network_comes_first_and_later_networks_are_served() {
    let enter = [
        "unshare",
        "-rn",
        "bash",
        "-c",
        "ip link set lo up && ip link add x type bridge && command -v curl && command -v openssl",
    ];
    if !Command::new(enter[0]).args(&enter[1..]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespaces, or no ip, curl or openssl");
        return;
    }
    let (config, page) = (tempfile::tempdir().unwrap(), page());
    let script = r#"
        add() { ip link add "$1" type bridge && ip addr add "$2/24" dev "$1" && ip link set "$1" up; }
        ip link set lo up; add wg0 10.8.0.2; add docker0 172.17.0.1; add eth0 192.168.1.7; ip route add default dev wg0
        "$LANDFALL" serve --json --page "$PAGE" > "$LANDFALL_CONFIG/info" & server=$!
        trap 'kill $server' EXIT
        ask() { curl -sk -o "$LANDFALL_CONFIG/page" -w '%{http_code} ' "https://$1:8443/"; }
        until ask 127.0.0.1 > /dev/null; do sleep 0.2; done
        add wlan0 192.168.2.9
        until [ "$(ask 192.168.2.9)" = "200 " ]; do sleep 0.5; done
        for host in 192.168.1.7 10.8.0.2 192.168.2.9; do ask $host; done
        curl -sk -o "$LANDFALL_CONFIG/page" -w '%{http_code} ' -H 'Host: 192.168.2.10:8443' https://127.0.0.1:8443/
        names() { openssl s_client -connect 192.168.2.9:8443 < /dev/null 2> /dev/null | openssl x509 -noout -ext subjectAltName; }
        until names | grep -q 192.168.2.9; do sleep 0.5; done
        names
    "#;
    let mut command = Command::new("timeout");
    command.args(["120", "unshare", "-rn", "bash", "-c", script]).env("LANDFALL", env!("CARGO_BIN_EXE_landfall"));
    let output = command.env("LANDFALL_CONFIG", config.path()).env("PAGE", page.path()).output().unwrap();
    let (text, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let info: Value = serde_json::from_slice(&std::fs::read(config.path().join("info")).unwrap()).unwrap();
    let addresses = ["192.168.1.7", "10.8.0.2", "172.17.0.1", "localhost"].map(|host| format!("https://{host}:8443/"));
    assert_eq!(info["addresses"], serde_json::json!(addresses), "{stderr}");
    assert!(text.starts_with("200 200 200 421 ") && text.contains("IP Address:192.168.2.9"), "{text} {stderr}");
    assert!(stderr.contains("serve: now also at https://192.168.2.9:8443/"), "{stderr}");
}
