//! Attaching to the browser of a user, several browsers in parallel, and browsers, drivers and WebDriver servers that do not
//! work: each ends within seconds with an error that says what to do.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use landfall_agent::testing::browser;
use serde_json::Value;

/// A browser that was started by a user and has one tab open.
struct UserBrowser {
    process: Child,
    port: String,
}

impl UserBrowser {
    fn open(folder: &Path) -> Self {
        let mut command = Command::new(browser::chromium().unwrap());
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-port=0",
        ]);
        command.arg(format!("--user-data-dir={}", folder.display())).arg("data:text/html,<title>Theirs</title>");
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut user_browser = Self { process, port: String::new() }; // kills the process on panic
        let start = Instant::now();
        loop {
            let contents = std::fs::read_to_string(folder.join("DevToolsActivePort")).unwrap_or_default();
            if let Some((port, _)) = contents.split_once('\n') {
                user_browser.port = port.to_owned();
                return user_browser;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the browser did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Titles of the tabs.
    async fn tabs(&self) -> Vec<String> {
        let list = crate::http().get(format!("http://127.0.0.1:{}/json/list", self.port)).send().await.unwrap();
        let list: Vec<Value> = list.json().await.unwrap();
        let pages = list.iter().filter(|target| target["type"] == "page");
        pages.map(|page| page["title"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for UserBrowser {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn play(args: &[&str], runs: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command
        .args(["play", "--json", "--bundle", "pocket", "--rounds", "1", "--min-gain", "5000", "--runs"])
        .arg(runs)
        .args(args);
    command.output().unwrap()
}

#[cfg(unix)]
#[test]
fn the_browser_and_its_flags_can_be_chosen() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (program, arguments) = (folder.path().join("my-browser"), folder.path().join("arguments"));
    let chromium = landfall_agent::testing::browser::chromium().unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\nexec '{}' \"$@\"\n", arguments.display(), chromium.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = play(&["--browser", program.to_str().unwrap(), "--browser-arg=--lang=de"], runs.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let arguments = std::fs::read_to_string(arguments).unwrap();
    assert!(arguments.contains("--lang=de") && arguments.contains("--headless"), "{arguments}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_browser_keeps_its_tabs() {
    let (folder, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut user_browser = UserBrowser::open(folder.path());
    while user_browser.tabs().await != ["Theirs"] {
        tokio::time::sleep(Duration::from_millis(100)).await; // until it has loaded
    }
    for (extra_args, code) in [(&[][..], 0), (&["--max-pin-error", "0.000001"][..], 3)] {
        let output = play(&[&["--attach", &user_browser.port], extra_args].concat(), runs.path());
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{problem}");
        if code == 0 {
            let game: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(game["score"].is_u64() && game["score"] == game["page_score"], "{game}");
        }
        assert!(user_browser.process.try_wait().unwrap().is_none(), "the browser was closed");
        assert_eq!(user_browser.tabs().await, ["Theirs"], "after {extra_args:?}");
    }
}

#[test]
fn parallel_games_have_separate_records() {
    let runs = tempfile::tempdir().unwrap();
    let output = play(&["--parallel", "2", "--games", "3", "--pause", "0", "--seed", "1"], runs.path());
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    assert!(problem.contains("game 1, round 1 ") && problem.contains("game 3, round 1 "), "{problem}");
    let output_json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let games = output_json["games"].as_array().unwrap();
    let mut records: Vec<&str> = games.iter().map(|game| game["record"].as_str().unwrap()).collect();
    records.sort_unstable();
    records.dedup();
    assert_eq!((records.len(), &output_json["summary"]["games"]), (3, &3.into()));
    for record in records {
        assert!(Path::new(record).join("round_1/round.json").is_file(), "{record}");
    }
    let sum: u64 = games.iter().map(|game| game["score"].as_u64().unwrap()).sum();
    assert_eq!(output_json["summary"]["score"], sum);
    assert_eq!(output_json["summary"]["page_score"], sum);
    assert_eq!(output_json["summary"]["points_a_round"], sum as f64 / 3.0);
}

/// Writes an executable shell script.
#[cfg(unix)]
pub(crate) fn write_script(file: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Plays with only these programs on PATH, beside those that scripts need. Returns the exit code and what was printed.
#[cfg(unix)]
fn play_with_programs(scripts: &[(&str, &str)], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let (programs, runs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, script) in scripts {
        write_script(&programs.path().join(name), script);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["play", "--bundle", "pocket", "--rounds", "1", "--min-gain", "5000", "--runs"]).arg(runs.path());
    let output = command.env("PATH", programs.path()).envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A script that runs the real browser or driver with the real PATH.
#[cfg(unix)]
fn real(program: &Path) -> String {
    format!("export PATH='{}'; exec '{}' \"$@\"", std::env::var("PATH").unwrap(), program.display())
}

/// As Ubuntu's package for a snap that is not installed.
#[cfg(unix)]
const SNAP_STUB: &str =
    "echo >&2; echo \"Command '$0' requires the chromium snap to be installed.\" >&2; echo >&2; exit 1";

#[cfg(unix)]
#[test]
fn stubs_are_passed_over_and_slow_drivers_waited_for() {
    let (browser, driver) = (real(&browser::chromium().unwrap()), real(&browser::chromedriver().unwrap()));
    let slow = format!("case \"$*\" in *--version*) ;; *) /bin/sleep 3;; esac; {driver}");
    let (browser, slow) = (browser.as_str(), slow.as_str());
    // The proxy must not be used for what is on this computer.
    let proxy = "http://127.0.0.1:9";
    let proxies: Vec<(&str, &str)> = ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .map(|name| (name, proxy))
        .chain([("no_proxy", ""), ("NO_PROXY", "")])
        .collect();
    let scripts = [("chromium-browser", SNAP_STUB), ("google-chrome", browser), ("chromedriver", slow)];
    let (code, printed) = play_with_programs(&scripts, &proxies);
    assert_eq!(code, Some(0), "{printed}");
}

#[cfg(unix)]
#[test]
fn browsers_and_drivers_that_do_not_work_are_named_with_what_to_do() {
    let (browser, driver) = (real(&browser::chromium().unwrap()), real(&browser::chromedriver().unwrap()));
    let version = |version: &str, otherwise: &str| {
        format!("case \"$*\" in *--version*) echo '{version}'; exit 0;; esac; {otherwise}")
    };
    let old_driver = version("ChromeDriver 1.0.6099.109 (3419140ab)", &driver);
    let new_browser = version("Chromium 131.0.6778.85 built on Debian", "exit 1");
    let no_sandbox = version(
        "Chromium 131.0.6778.85",
        "echo '[7:7:FATAL:zygote_host_impl_linux.cc(128)] No usable sandbox! If you are running' >&2; exit 1",
    );
    let same_driver = version("ChromeDriver 131.0.6778.85", &driver);
    let (browser, driver) = (browser.as_str(), driver.as_str());
    let (old_driver, same_driver) = (old_driver.as_str(), same_driver.as_str());
    let (new_browser, no_sandbox) = (new_browser.as_str(), no_sandbox.as_str());
    let broken_driver =
        "echo 'chromedriver: error while loading shared libraries: libnss3.so: not found' >&2; exit 127";
    for (scripts, expected) in [
        (
            vec![("chromium-browser", SNAP_STUB), ("chromedriver", driver)],
            vec!["chromium-browser", "not usable", "snap"],
        ),
        (
            vec![("chromium", new_browser), ("chromedriver", old_driver)],
            vec!["131.0.6778.85", "1.0.6099.109", "install the driver of version 131", "session not created"],
        ),
        (
            vec![("chromium", no_sandbox), ("chromedriver", same_driver)],
            vec!["sandbox cannot start", "session not created"],
        ),
        (vec![("chromium", browser), ("chromedriver", broken_driver)], vec!["chromedriver", "libnss3.so"]),
        (vec![("chromium", browser)], vec!["driver", "not on PATH"]),
    ] {
        let (code, printed) = play_with_programs(&scripts, &[]);
        assert_eq!(code, Some(3), "{printed}");
        assert!(expected.iter().all(|words| printed.contains(words)), "{expected:?}: {printed}");
    }
}

/// A WebDriver server that is not well.
async fn faulty_server(fault: &'static str) -> String {
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    let error = |status: StatusCode, error: &str, message: &str| {
        (status, axum::Json(serde_json::json!({"value": {"error": error, "message": message, "stacktrace": ""}})))
            .into_response()
    };
    let value = |value: Value| axum::Json(serde_json::json!({ "value": value })).into_response();
    let internal = StatusCode::INTERNAL_SERVER_ERROR;
    let app = axum::Router::new().fallback(move |request: Request| async move {
        let (path, is_post) = (request.uri().path().to_owned(), request.method() == "POST");
        match fault {
            "silent" => std::future::pending().await,
            "html" => (StatusCode::SERVICE_UNAVAILABLE, "<h1>503 Service Unavailable</h1>").into_response(),
            _ if path == "/status" => {
                value(serde_json::json!({"ready": fault != "not ready", "message": "no nodes yet"}))
            }
            "full" if path == "/session" => {
                error(internal, "session not created", "Could not start a new session. No slot")
            }
            _ if path == "/session" => {
                let browser = if fault == "firefox" { "firefox" } else { "chrome" };
                value(serde_json::json!({"sessionId": "0123", "capabilities": {"browserName": browser}}))
            }
            "gone" => error(StatusCode::NOT_FOUND, "invalid session id", "Unable to find session with ID: 0123"),
            _ if path.ends_with("/url") && is_post => error(
                internal,
                "unknown error",
                "unknown error: net::ERR_CONNECTION_REFUSED\n  (Session info: chrome=131)",
            ),
            _ if path.ends_with("/execute/sync") => {
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let is_size = String::from_utf8_lossy(&body).contains("innerWidth");
                value(if is_size { serde_json::json!([800, 800]) } else { serde_json::json!(-1) })
            }
            _ if path.ends_with("/rect") => value(serde_json::json!({"x": 0, "y": 0, "width": 800, "height": 950})),
            _ => value(Value::Null),
        }
    });
    crate::listen(app).await
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_webdriver_servers_end_the_game_with_what_they_say() {
    let runs = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut servers = vec![(format!("http://{closed}"), vec!["no WebDriver server answers", "refused"])];
    for (fault, expected) in [
        ("silent", vec!["does not answer within"]),
        ("html", vec!["503", "not as a WebDriver server"]),
        ("not ready", vec!["is not ready", "no nodes yet"]),
        ("full", vec!["did not open a session", "No slot"]),
        ("firefox", vec!["opened firefox instead of Chrome"]),
        ("gone", vec!["Unable to find session"]),
        ("refused", vec!["cannot reach this computer's 127.0.0.1", "ERR_CONNECTION_REFUSED"]),
    ] {
        servers.push((faulty_server(fault).await, expected));
    }
    for (server, expected) in servers {
        let folder = runs.path().to_owned();
        let output = tokio::task::spawn_blocking(move || play(&["--webdriver", &server], &folder)).await.unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{expected:?}: {problem}");
        assert!(expected.iter().all(|words| problem.contains(words)), "{expected:?}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_to_what_is_no_browser_says_how_to_start_one() {
    let runs = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let html = faulty_server("html").await.trim_start_matches("http://").to_owned();
    for (address, expected) in [(closed, "--user-data-dir=DIR"), (html, "is not the debugging port")] {
        let folder = runs.path().to_owned();
        let output = tokio::task::spawn_blocking(move || play(&["--attach", &address], &folder)).await.unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{problem}");
        assert!(problem.contains(expected), "{problem}");
    }
}
